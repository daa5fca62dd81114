"""Verifications of converted notebooks: what was found, and when."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops_jupyter.entities import Digest

from .connection import Connection, Row

_COLUMNS = "notebook, output, digest, grade, document, at"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVerification:
    """One verification."""

    notebook: str
    """Workspace-relative path of the notebook that was converted."""
    output: str
    """Workspace-relative path of the converted notebook."""
    digest: Digest
    """Of the converted notebook as it was verified."""
    grade: str | None
    document: Mapping[str, Any]
    """As ``verification.json``."""
    at: float
    """Seconds since the epoch."""


def add_verification(
    connection: Connection,
    *,
    notebook: str,
    output: str,
    digest: Digest,
    grade: str | None,
    document: Mapping[str, Any],
    at: float | None = None,
) -> None:
    """Keep a verification."""
    connection.execute(
        f"INSERT INTO verifications ({_COLUMNS}) VALUES (?,?,?,?,?,?)",
        (notebook, output, digest, grade, json.dumps(document), time.time() if at is None else at),
    )


def latest_verification(
    connection: Connection, *, digest: Digest | None = None, output: str | None = None
) -> StoredVerification | None:
    """The latest verification of a converted notebook, by its digest or by its path; None where there is none."""
    if (digest is None) == (output is None):
        raise TypeError("latest_verification takes either a digest or an output")
    column, value = ("digest", digest) if digest is not None else ("output", output)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM verifications WHERE {column} = ? ORDER BY seq DESC LIMIT 1", (value,)
    )
    return _verification(rows[0]) if rows else None


def _verification(r: Row) -> StoredVerification:
    return StoredVerification(notebook=r[0], output=r[1], digest=r[2], grade=r[3], document=json.loads(r[4]), at=r[5])
