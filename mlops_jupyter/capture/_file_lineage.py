"""From what a cell did to files, to versions and uses in the lineage, across sessions."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlops_jupyter.entities import (
    Digest,
    EntityKind,
    EntityVersion,
    ExecutionId,
    Grade,
    SessionId,
    Used,
    VersionId,
)
from mlops_jupyter.store import Connection
from mlops_jupyter.store.executions import find_versions

from .minting import new_version_id

_CLOCK_SLACK = 2.0
"""Seconds that a file's modification time may lie after the moment when it was recorded (coarse clocks)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One file (or URI) that a cell read or wrote."""

    key: str
    """Workspace-relative ``/``-separated path, absolute path, URI without secrets, or ``package:NAME/…``."""
    path: str | None
    """Absolute path on this machine; None for a URI."""
    digest: Digest | None
    """None: a URI, a removed file, or one that did not fit into the time budget."""
    size: int | None
    """Bytes."""
    grade: Grade
    reason: str
    at: float
    """Seconds since the epoch."""
    modified_at: float | None = None
    """The file's modification time, seconds since the epoch."""
    strong: bool = True
    """A write that replaced the file; false: appended to or changed in place."""
    before: FileRecord | None = None
    """The file before it was written to in place or read and replaced, where there was one."""
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class FolderState:
    """A folder that a cell of this session made: ``made`` by this cell, else used by it."""

    key: str
    version_id: VersionId
    made: bool
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAccess:
    """What one cell read from outside of itself, and what it wrote."""

    execution_id: ExecutionId | None = None
    reads: tuple[FileRecord, ...] = ()
    writes: tuple[FileRecord, ...] = ()
    dropped: int = 0
    """Paths beyond the limit, which are not among the records."""
    states: tuple[FolderState, ...] = ()
    """Folders that the cell made, and folders made by earlier cells that it needs."""


@dataclass(slots=True)
class _Found:
    """Versions for the store, those of this batch findable by key."""

    connection: Connection
    session_id: SessionId
    versions: list[EntityVersion] = field(default_factory=list)

    def version_of(self, record: FileRecord) -> tuple[EntityVersion, Grade | None]:
        """The version that ``record`` shows, made where there is none; a grade if it is a guess."""
        digest = record.digest
        for version in self.versions:
            if version.name == record.key and version.execution_id is None and version.digest == digest:
                return version, None
        if digest is not None:
            same = find_versions(self.connection, EntityKind.FILE, record.key, digest=digest, limit=50)
            made = [version for version in same if version.execution_id is not None]
            if made or same:
                return (made or same)[0], None
        latest = find_versions(self.connection, EntityKind.FILE, record.key, limit=1)
        if latest and _may_be(latest[0], record):
            return latest[0], Grade.DECLARED if record.path is None else Grade.ASSUMED
        known = bool(latest) and not latest[0].deleted
        version = EntityVersion(
            version_id=new_version_id(),
            kind=EntityKind.FILE,
            name=record.key,
            session_id=self.session_id,
            execution_id=None,
            strong=True,
            grade=record.grade,
            reason="changed outside of what was recorded" if known else "made outside of what was recorded",
            at=record.at,
            digest=digest,
            size=record.size,
        )
        self.versions.append(version)
        return version, None


def to_lineage(
    access: FileAccess,
    connection: Connection,
    *,
    session_id: SessionId | str,
    execution_id: ExecutionId | str,
) -> tuple[tuple[EntityVersion, ...], tuple[Used, ...]]:
    """Versions and uses for ``store.executions.append_execution``. Writes nothing itself.

    A read whose (path, digest) an earlier execution wrote, in any session, uses that version. Else an
    external version with that digest is reused or made; its reason says whether the path was known with
    other content. A write is a new version, weak and derived from what was there where the file was changed
    in place.

    Raises:
        TransientError: the store cannot be read.
    """
    found = _Found(connection, SessionId(session_id))
    execution = ExecutionId(execution_id)
    uses: dict[VersionId, Used] = {}
    for record in access.reads:
        version, guess = found.version_of(record)
        uses[version.version_id] = Used(
            execution_id=execution,
            version_id=version.version_id,
            grade=guess or record.grade,
            reason=record.reason if guess is not Grade.ASSUMED else f"{record.reason}; content not compared",
        )
    written: list[EntityVersion] = []
    for record in access.writes:
        previous = None
        if not record.strong or record.deleted:
            previous = _previous(found, record)
            if record.deleted and previous is None:
                continue  # nobody knows the file that is gone
        written.append(
            EntityVersion(
                version_id=new_version_id(),
                kind=EntityKind.FILE,
                name=record.key,
                session_id=found.session_id,
                execution_id=execution,
                strong=record.strong,
                grade=record.grade,
                reason=record.reason,
                at=record.at,
                previous=None if record.deleted else previous,
                deleted=record.deleted,
                digest=record.digest,
                size=record.size,
            )
        )
    for state in access.states:
        if state.made:
            written.append(
                EntityVersion(
                    version_id=state.version_id,
                    kind=EntityKind.STATE,
                    name=state.key,
                    session_id=found.session_id,
                    execution_id=execution,
                    strong=True,
                    grade=Grade.EXACT,
                    reason="folder made",
                    at=state.at,
                )
            )
        else:
            uses[state.version_id] = Used(
                execution_id=execution, version_id=state.version_id, grade=Grade.EXACT, reason="inside of the folder"
            )
    return (*found.versions, *written), tuple(uses.values())


def _previous(found: _Found, record: FileRecord) -> VersionId | None:
    if record.deleted:
        latest = find_versions(found.connection, EntityKind.FILE, record.key, limit=1)
        return latest[0].version_id if latest and not latest[0].deleted else None
    return found.version_of(record.before)[0].version_id if record.before is not None else None


def _may_be(latest: EntityVersion, record: FileRecord) -> bool:
    """Whether ``record`` may be of ``latest`` although their digests cannot be compared (sampled, none)."""
    digest = record.digest
    if latest.deleted or (digest is not None and latest.digest is not None and _kind(digest) == _kind(latest.digest)):
        return False
    if record.path is None:
        return digest is None and latest.digest is None
    unmodified = record.modified_at is not None and record.modified_at <= latest.at + _CLOCK_SLACK
    return latest.size == record.size and unmodified


def _kind(digest: Digest) -> str:
    return digest.partition(":")[0]
