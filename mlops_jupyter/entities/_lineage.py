"""Executions, versions of entities, and what used what (the words of W3C PROV)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ._ids import Digest, ExecutionId, RunUid, SessionId, VersionId


class Grade(StrEnum):
    """How well an edge is known, best first."""

    EXACT = "exact"
    """Observed or proven: rebound identity, a full fingerprint, an audit event."""
    SAMPLED = "sampled"
    """Observed on a sample of the value's bytes."""
    DECLARED = "declared"
    """Said by the user or by the source text alone."""
    ASSUMED = "assumed"
    """Could not be ruled out, so taken for true."""


class EntityKind(StrEnum):
    """What a version is a version of."""

    VARIABLE = "variable"
    FILE = "file"
    STATE = "state"
    """Hidden state with a key of its own: ``numpy.random``, ``random``, ``cwd``, ``environ``, ``module:pd`` …"""


class ExecutionStatus(StrEnum):
    """How an execution of a cell ended."""

    OK = "ok"
    ERROR = "error"
    INTERRUPTED = "interrupted"


class Origin(StrEnum):
    """Where code runs."""

    INTERACTIVE = "interactive"
    HEADLESS = "headless"
    SCRIPT = "script"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One kernel or script, from the moment that capture starts until the process ends."""

    session_id: SessionId
    origin: Origin
    host: str
    pid: int
    user: str
    """The actor: Jupyter identity, else git e-mail, else OS user."""
    notebook: str | None
    """Workspace-relative path of the notebook, ``/``-separated, or None where it is not known."""
    python: str
    environment: Digest | None
    """Digest of the environment document (interpreter and distributions) in the ``environments`` table."""
    started_at: float
    """Seconds since the epoch."""
    ended_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellExecution:
    """One execution of one cell: a PROV activity."""

    execution_id: ExecutionId
    session_id: SessionId
    position: int
    """0-based among the executions of the session, failed ones included."""
    execution_count: int | None
    """The number that Jupyter shows, ``In [n]``."""
    cell_id: str | None
    notebook: str | None
    source: str
    """The cell's text as the user wrote it (with ``%%track``), secrets redacted."""
    source_digest: Digest
    started_at: float
    """Seconds since the epoch."""
    duration: float
    """Seconds that the user's code took."""
    status: ExecutionStatus
    error: str | None = None
    """``ValueError: …`` in one line where the cell raised."""
    run_uid: RunUid | None = None
    """The run that this execution belongs to, where it is tracked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityVersion:
    """One version of a variable, a file or a piece of hidden state: a PROV entity.

    ``execution_id`` says what generated it (``wasGeneratedBy``); None means that it came from outside of what was
    recorded. A weak version (``strong`` false: a mutation) derives from ``previous`` (``wasDerivedFrom``), so a
    slice that needs it needs the previous one too; a strong version replaces what was there.
    """

    version_id: VersionId
    kind: EntityKind
    name: str
    """Variable name; workspace-relative ``/``-separated path or URI; key of the hidden state."""
    session_id: SessionId
    execution_id: ExecutionId | None
    strong: bool
    grade: Grade
    reason: str
    """Short words for people: ``assigned``, ``mutated through alias b``, ``opened for writing`` …"""
    at: float
    """Seconds since the epoch."""
    previous: VersionId | None = None
    deleted: bool = False
    """A ``del``: the name is gone from here on."""
    type_name: str | None = None
    """``pandas.core.frame.DataFrame``"""
    summary: str | None = None
    """At most 200 characters: ``DataFrame 150 × 5``, ``0.1``. Never made by user code (no ``repr`` of user types)."""
    digest: Digest | None = None
    size: int | None = None
    """Bytes, for files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """An execution used a version (PROV ``used``)."""

    execution_id: ExecutionId
    version_id: VersionId
    grade: Grade
    reason: str
