"""What came of reproducing a run: the whole document, each time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops_jupyter.entities import RunUid

from .connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """One attempt."""

    run_uid: RunUid
    at: float
    """Seconds since the epoch."""
    verdict: str
    """``equal``, ``within_tolerance``, ``differs``, ``failed`` or ``no_metrics``."""
    document: Mapping[str, Any]


def add_reproduction(connection: Connection, reproduction: Reproduction) -> None:
    """Append one."""
    connection.execute(
        "INSERT INTO reproductions (run_uid, at, verdict, document) VALUES (?,?,?,?)",
        (reproduction.run_uid, reproduction.at, reproduction.verdict, json.dumps(reproduction.document)),
    )


def latest_reproduction(connection: Connection, run_uid: RunUid) -> Reproduction | None:
    """The last attempt at a run, or None."""
    rows = connection.execute(
        "SELECT run_uid, at, verdict, document FROM reproductions WHERE run_uid = ? ORDER BY seq DESC LIMIT 1",
        (run_uid,),
    )
    if not rows:
        return None
    uid, at, verdict, document = rows[0]
    return Reproduction(run_uid=uid, at=at, verdict=verdict, document=json.loads(document))
