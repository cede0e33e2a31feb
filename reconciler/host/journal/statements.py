"""Statements that several tables' writers put into one transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from reconciler.host.journal.records import EventRecord, ReleaseRecord
from reconciler.model.stage import AppliedStage

Statement = tuple[str, tuple[Any, ...]]
"""SQL, and the values for its question marks."""


def upsert(app: str, **known: object) -> Statement:
    """Put what is ``known`` of an app, by column, into its row; the other columns stay."""
    names = ", ".join(known)
    marks = ", ".join("?" for _ in known)
    updates = ", ".join(f"{name} = excluded.{name}" for name in known)
    return (
        f"INSERT INTO apps (app, {names}) VALUES (?, {marks}) ON CONFLICT (app) DO UPDATE SET {updates}",  # noqa: S608
        (app, *known.values()),
    )


def insert_release(release: ReleaseRecord) -> Statement:
    """Add an attempt to deploy to the history."""
    return (
        "INSERT INTO releases VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            release.app,
            release.release,
            release.revision,
            release.config_revision,
            json.dumps(release.digests),
            release.state,
            release.at,
            release.seconds,
            release.error,
        ),
    )


def insert_event(event: EventRecord) -> Statement:
    """Add an event to the history."""
    return (
        "INSERT INTO events VALUES (NULL, ?, ?, ?, ?, ?)",
        (event.at, event.app, event.kind, event.message, json.dumps(event.detail)),
    )


def forget_other_stages(app: str, kept: Collection[AppliedStage]) -> Statement:
    """Drop the applied stages that an app has no more."""
    marks = ", ".join("?" for _ in kept)
    names = (stage.stage.value for stage in kept)
    return f"DELETE FROM applied WHERE app = ? AND stage NOT IN ({marks})", (app, *names)  # noqa: S608  only marks


def replace_applied(app: str, stage: AppliedStage) -> Statement:
    """Let a stage be the one that was applied."""
    content: Mapping[str, object] = {
        name: value for name, value in asdict(stage).items() if name not in ("stage", "digest", "key")
    }
    return (
        "INSERT OR REPLACE INTO applied VALUES (?, ?, ?, ?, ?)",
        (app, stage.stage, stage.digest, stage.key, json.dumps(content)),
    )


def output_made(stage: AppliedStage, at: float) -> Statement:
    """Remember the output of a stage of the store, unless it is known already."""
    return ("INSERT OR IGNORE INTO outputs VALUES (?, ?, ?, ?)", (stage.key, stage.stage, stage.digest, at))
