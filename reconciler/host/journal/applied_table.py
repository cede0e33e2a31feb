"""What was applied, and which outputs were ever made."""

from __future__ import annotations

from collections.abc import Collection

from reconciler.host.journal.connection import JournalConnection
from reconciler.model.stage import AppliedStage, StageName


class AppliedTable(JournalConnection):
    """The tables ``applied`` and ``outputs``; a verification moves ``applied``, see :class:`AppsTable`."""

    def _applied_stage(self, stage: str, digest: str, key: str, content: str) -> AppliedStage:
        values = self._decoded(content)
        try:
            upstream = {StageName(above): value for above, value in values.pop("upstream", {}).items()}
            return AppliedStage(StageName(stage), digest, key, upstream=upstream, **values)
        except (ValueError, TypeError, AttributeError) as error:
            raise self._damaged(f"it holds {stage!r} where a stage was written") from error

    def applied(self) -> dict[str, dict[StageName, AppliedStage]]:
        """All applied stages, by app and stage."""
        result: dict[str, dict[StageName, AppliedStage]] = {}
        for app, *row in self._rows("SELECT app, stage, digest, key, content FROM applied"):
            known = self._applied_stage(*row)
            result.setdefault(app, {})[known.stage] = known
        return result

    def applied_of(self, app: str) -> dict[StageName, AppliedStage]:
        """The applied stages of one app; empty before its first release."""
        rows = self._rows("SELECT stage, digest, key, content FROM applied WHERE app = ?", (app,))
        return {known.stage: known for known in (self._applied_stage(*row) for row in rows)}

    def output(self, key: str) -> str | None:
        """The digest of the output that was made for the key of its inputs; ``None`` when none was."""
        return next(
            (str(digest) for (digest,) in self._rows("SELECT digest FROM outputs WHERE key = ?", (key,))), None
        )

    def outputs(self) -> dict[str, str]:
        """The digest of every output that was ever made, by the key of its inputs."""
        return dict(self._rows("SELECT key, digest FROM outputs"))

    def record_output(self, stage: StageName, key: str, digest: str, at: float) -> None:
        """Remember under which digest the output of these inputs is stored."""
        self._write([("INSERT OR REPLACE INTO outputs VALUES (?, ?, ?, ?)", (key, stage, digest, at))])

    def made_outputs(self) -> set[tuple[StageName, str]]:
        """Stage and digest of every output that was made or applied and is not forgotten."""
        made = self._rows("SELECT stage, digest FROM outputs UNION SELECT stage, digest FROM applied")
        try:
            return {(StageName(stage), digest) for stage, digest in made}
        except ValueError as error:
            raise self._damaged(str(error)) from error

    def forget_these_outputs(self, gone: Collection[tuple[StageName, str]]) -> None:
        """Drop what is remembered of outputs, given as stage and digest."""
        self._write(
            [("DELETE FROM outputs WHERE stage = ? AND digest = ?", (stage, digest)) for stage, digest in gone]
        )

    def forget_outputs(self, kept: Collection[tuple[StageName, str]]) -> int:
        """Drop what is remembered of outputs that are not among ``kept`` (stage and digest); returns how many."""
        rows = self._rows("SELECT key, stage, digest FROM outputs")
        gone = [key for key, stage, digest in rows if (StageName(stage), digest) not in kept]
        if gone:
            self._write([("DELETE FROM outputs WHERE key = ?", (key,)) for key in gone])
        return len(gone)
