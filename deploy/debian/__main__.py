"""``make deb``: build ``dist/reconciler_VERSION_ARCH.deb`` from this checkout.

The same commit gives the same bytes: versions are pinned with their hashes, and every time in the package is
``SOURCE_DATE_EPOCH``, without which it is that of the newest commit.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from deploy.debian.building import CHECKOUT, Unbuildable, build_wheel, epoch, refuse_places, refuse_unfit
from deploy.debian.environment import Target, make_environment
from deploy.debian.tree import Package, make_tree, pack

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MAINTAINER = "Maintainers of the reconciler <reconciler@packages.invalid>"


def main() -> int:
    """Build it and print its path; 1 with a sentence when it cannot be built."""
    arguments = _arguments()
    try:
        refuse_unfit()
        refuse_places(arguments.wheel, arguments.out)
        os.environ["SOURCE_DATE_EPOCH"] = str(epoch())
        with tempfile.TemporaryDirectory(prefix="reconciler-deb-") as scratch:
            wheel = arguments.wheel or build_wheel(Path(scratch))
            root = Path(scratch) / "root"
            root.mkdir(mode=0o755)
            target = Target.here(arguments.python)
            make_environment(root, wheel, target)
            package = Package.of(wheel, target, arguments.maintainer)
            make_tree(root, package)
            file = pack(root, package, arguments.out, arguments.compression)
    except Unbuildable as error:
        sys.stderr.write(f"error: {error}\nhint: {error.hint}\n")
        return 1
    sys.stdout.write(f"{file}\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make deb", description=__doc__)
    add = parser.add_argument
    add("--python", choices=PYTHONS, default="3.11", help="the target's python3: 3.11 is Debian 12, 3.13 Debian 13")
    add("--out", type=Path, default=CHECKOUT / "dist", help="the folder that the package is written to")
    add("--wheel", type=Path, help="pack this wheel in place of the checkout")
    add("--compression", choices=("xz", "gzip", "none"), default="xz", help="how the package is compressed")
    add("--maintainer", default=os.environ.get("DEB_MAINTAINER", MAINTAINER), help="NAME <ADDRESS> of who builds it")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
