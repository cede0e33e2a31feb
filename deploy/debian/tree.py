"""Everything else in the package, and the package itself."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from deploy.debian.building import CHECKOUT, run
from deploy.debian.environment import GLIBC, HOME, Target, binaries
from deploy.debian.texts import changelog, control, copyright_text, manual_page, packed
from reconciler.host.bootstrapping.units import ACCOUNTS, FOLDERS_AT_BOOT, UNITS, text_for
from reconciler.host.system_emperor import emperor_configuration
from reconciler.host.system_layout import SystemLayout
from reconciler.host.vassal_start import first_start

FOLDER = CHECKOUT / "deploy/debian"
DOCUMENTATION = "usr/share/doc/reconciler"
SCRIPTS = ("postinst", "prerm", "postrm")
LIBRARIES = {"libgcc_s.so.1": "libgcc-s1", "libstdc++.so.6": "libstdc++6"}
"""Libraries of the distribution that wheels use beside the C library, and the packages that have them."""
_PRERELEASE = re.compile(r"(?<=\d)\.?(a|b|rc|dev)(?=\d)")


@dataclass(frozen=True, slots=True)
class Package:
    """What the package says of itself."""

    version: str
    target: Target
    maintainer: str

    @classmethod
    def of(cls, wheel: Path, target: Target, maintainer: str) -> Package:
        """The package of a wheel; ``1.0rc1`` is ``1.0~rc1``, which dpkg takes for older than ``1.0``."""
        return cls(_PRERELEASE.sub(r"~\1", wheel.name.split("-")[1]), target, maintainer)

    @property
    def file_name(self) -> str:
        """As dpkg would call it."""
        return f"reconciler_{self.version}_{self.target.architecture}.deb"


def make_tree(root: Path, package: Package) -> None:
    """Put units, manual page, documents and the package's own data beside the environment."""
    programs = {name: f"{HOME}/bin/{name}" for name in ("reconciler", "pyuwsgi")}
    files: dict[str, str | bytes] = {
        f"usr/lib/{place}": text_for(name, programs)
        for name, place in {**UNITS, **ACCOUNTS, **FOLDERS_AT_BOOT}.items()
    }
    files |= {
        "usr/share/reconciler/emperor.ini": emperor_configuration(SystemLayout.at()),
        "usr/share/reconciler/vassal-start": first_start(),
        "usr/share/man/man1/reconciler.1.gz": packed(manual_page(package.version)),
        "usr/share/lintian/overrides/reconciler": (FOLDER / "lintian-overrides").read_text(),
        f"{DOCUMENTATION}/changelog.gz": packed(changelog(package.version, package.maintainer)),
        f"{DOCUMENTATION}/CHANGELOG.md.gz": packed((CHECKOUT / "CHANGELOG.md").read_text("utf-8")),
        f"{DOCUMENTATION}/copyright": copyright_text(root),
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (root / "usr/bin").mkdir()
    (root / "usr/bin/reconciler").symlink_to("../lib/reconciler/bin/reconciler")
    _write_control(root, package)


def pack(root: Path, package: Package, out: Path, compression: str) -> Path:
    """Give every file its mode and time, and write the package to the folder ``out``."""
    made = int(os.environ["SOURCE_DATE_EPOCH"])
    for path in [root, *sorted(root.rglob("*"))]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or _is_program(root, path) else 0o644)
        os.utime(path, (made, made), follow_symlinks=False)
    out.mkdir(parents=True, exist_ok=True)
    file = out / package.file_name
    unfinished = file.with_suffix(".unfinished")
    run("dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build", str(root), str(unfinished))
    unfinished.replace(file)
    return file


def _is_program(root: Path, path: Path) -> bool:
    return path.parent in (root / HOME.removeprefix("/") / "bin", root / "DEBIAN") and path.name not in (
        "control",
        "md5sums",
    )


def _write_control(root: Path, package: Package) -> None:
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()]
    folder = root / "DEBIAN"
    folder.mkdir()
    sums = (f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(root)}\n"
            for path in files)  # fmt: skip
    (folder / "md5sums").write_text("".join(sums))
    kib = sum(-(-path.lstat().st_size // 1024) for path in files)
    python = package.target.python
    major, minor = python.split(".")
    depends = [
        f"python3 (>= {python}~)",
        f"python3 (<< {major}.{int(minor) + 1}~)",
        f"python{python}",
        f"libc6 (>= {GLIBC})",
        *_libraries(root),
    ]
    (folder / "control").write_text(
        control(package.version, package.target.architecture, package.maintainer, kib, depends)
    )
    for name in SCRIPTS:
        shutil.copy(FOLDER / "scripts" / name, folder / name)


def _libraries(root: Path) -> list[str]:
    """The packages with the libraries that the environment's programs need beside the C library."""
    needed = "\n".join(run("readelf", "--dynamic", str(file)) for file in binaries(root))
    return sorted(package for library, package in LIBRARIES.items() if f"[{library}]" in needed)
