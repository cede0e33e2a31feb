"""Remove what is left of an app that is gone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.invocation import invocation_of

if TYPE_CHECKING:
    from reconciler.cli.wiring import Installation
    from reconciler.engine.forgetting import Forgotten


def command(
    context: typer.Context,
    app: Annotated[str, typer.Argument(metavar="APP", help="The app's name.")],
    shared: Annotated[bool, typer.Option("--shared", help="Remove its shared files too, for good.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before shared files are removed.")] = False,
) -> int:
    """Remove what an app that is gone left on this host."""
    from reconciler.cli.output import write_lines  # noqa: PLC0415  not needed to refuse options
    from reconciler.cli.views.lines import line  # noqa: PLC0415
    from reconciler.cli.views.words import counted  # noqa: PLC0415

    installation = invocation_of(context).installation()
    installation.layout.create()
    place = installation.layout.shared(app)
    agreed = yes or not shared
    while (gone := _forget(installation, app, shared=shared, agreed=agreed)) is None:
        # nobody is kept from working while the question stands
        agreed = _agreed(place)
        if not agreed:
            write_lines([line(f"Nothing was removed; {place} is as it was.")])
            return 1
    numbers = {"attempt": gone.attempts, "log": gone.logs, "stored output": gone.outputs}
    parts = [counted(number, noun) for noun, number in numbers.items() if number]
    write_lines([line(f"Forgot {app}" + (f": {', '.join(parts)}." if parts else "."))])
    if gone.left is not None:
        write_lines([line(f"Left its shared files in {gone.left}; `reconciler forget --shared {app}` removes them.")])
    return 0


def _forget(installation: Installation, app: str, *, shared: bool, agreed: bool) -> Forgotten | None:
    """Forget the app; ``None``, and nothing is done, where somebody has to agree first."""
    from reconciler.engine.collecting import Collecting  # noqa: PLC0415  not needed to refuse options
    from reconciler.engine.forgetting import Forgetting  # noqa: PLC0415
    from reconciler.host.locking import state_lock  # noqa: PLC0415

    with state_lock(installation.layout), installation.engine() as engine:
        collecting = Collecting(engine.host.layout, engine.journal, installation.configuration.store)
        forgetting = Forgetting(engine.host.layout, engine.journal, engine.reader, collecting)
        forgetting.check(app)
        if not agreed and engine.host.layout.shared(app).exists():
            return None
        return forgetting.forget(app, shared=shared)


def _agreed(place: Path) -> bool:
    from reconciler.model.errors import UsageError  # noqa: PLC0415  a refusal is the rare way

    if not sys.stdin.isatty():
        raise UsageError(
            f"{place} would be removed for good, and nobody is at a terminal to agree",
            hint="add --yes if it is meant",
        )
    sys.stderr.write(f"Remove {place} and everything in it for good? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
