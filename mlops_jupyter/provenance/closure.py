"""Everything that a set of versions was made from, or that was made from it.

Breadth first, a handful of queries for each level, so that the cost follows the size of the answer and not
that of the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlops_jupyter.entities import (
    CellExecution,
    EntityVersion,
    ExecutionId,
    Grade,
    SessionId,
    Used,
    VersionId,
)

from .source import LineageSource, Records

PROVEN = frozenset({Grade.EXACT, Grade.SAMPLED, Grade.DECLARED})
"""Grades of what was observed or said; what is left is assumed."""
ALL_GRADES = frozenset(Grade)


class _Collected:
    """What a traversal has met so far, and what it must look at next."""

    def __init__(self, source: LineageSource, limit: int | None) -> None:
        self.source = source
        self.limit = limit
        self.versions: dict[VersionId, EntityVersion] = {}
        self.uses: dict[tuple[ExecutionId, VersionId], Used] = {}
        self.expanded: dict[ExecutionId, None] = {}
        self.seen: set[VersionId] = set()

    def full(self) -> bool:
        return self.limit is not None and len(self.expanded) >= self.limit

    def fetch(self, version_ids: Iterable[VersionId]) -> Sequence[EntityVersion]:
        wanted = [i for i in dict.fromkeys(version_ids) if i not in self.seen]
        self.seen.update(wanted)
        found = self.source.versions(wanted) if wanted else ()
        for version in found:
            self.versions[version.version_id] = version
        return found

    def expand(self, execution_ids: Iterable[ExecutionId]) -> list[ExecutionId]:
        fresh = [i for i in dict.fromkeys(execution_ids) if i not in self.expanded]
        if self.limit is not None:
            fresh = fresh[: max(0, self.limit - len(self.expanded))]
        self.expanded.update(dict.fromkeys(fresh))
        return fresh

    def records(self) -> Records:
        executions = in_order(self.source.executions(list(self.expanded)))
        return Records(tuple(executions), tuple(self.versions.values()), tuple(self.uses.values()))


def in_order(executions: Iterable[CellExecution]) -> list[CellExecution]:
    """Executions as they ran: by position in one session, sessions by the time at which each began."""
    found = list(executions)
    first: dict[SessionId, float] = {}
    for execution in found:
        at = first.get(execution.session_id)
        first[execution.session_id] = execution.started_at if at is None else min(at, execution.started_at)
    return sorted(found, key=lambda e: (first[e.session_id], e.session_id, e.position))


def upstream(
    source: LineageSource,
    version_ids: Iterable[VersionId] = (),
    execution_ids: Iterable[ExecutionId] = (),
    *,
    grades: frozenset[Grade] = ALL_GRADES,
    session_id: SessionId | None = None,
    limit: int | None = None,
) -> Records:
    """What the versions and executions given were made from, themselves included.

    A version leads to the execution that generated it and, where it is weak, to the version before it; an
    execution leads to all that it used.

    Args:
        source: the records.
        version_ids: where to begin.
        execution_ids: where to begin, too.
        grades: edges of other grades are not followed. A weak version of another grade is passed by: the
            version before it counts as if the mutation had not been.
        session_id: stop at versions that another session generated.
        limit: most executions to visit, nearest first.
    """
    found = _Collected(source, limit)
    versions = list(version_ids)
    executions = found.expand(execution_ids)
    while versions or executions:
        uses = source.uses_by(executions) if executions else ()
        for use in uses:
            if use.grade in grades:
                found.uses[(use.execution_id, use.version_id)] = use
                versions.append(use.version_id)
        generators: list[ExecutionId] = []
        previous: list[VersionId] = []
        for version in found.fetch(versions):
            if not version.strong and version.previous is not None:
                previous.append(version.previous)
            if version.execution_id is None or (not version.strong and version.grade not in grades):
                continue
            if session_id is None or version.session_id == session_id:
                generators.append(version.execution_id)
        versions, executions = previous, found.expand(generators)
    return found.records()


def downstream(
    source: LineageSource,
    version_ids: Iterable[VersionId] = (),
    execution_ids: Iterable[ExecutionId] = (),
    *,
    limit: int | None = None,
) -> Records:
    """What was made from the versions and executions given, themselves included.

    A version leads to the executions that used it and to the weak versions that derive from it; an execution
    leads to all that it generated.

    Args:
        source: the records.
        version_ids: where to begin.
        execution_ids: where to begin, too.
        limit: most executions to visit, nearest first.
    """
    found = _Collected(source, limit)
    level = [v.version_id for v in found.fetch(version_ids)]
    executions = found.expand(execution_ids)
    while level or executions:
        if executions:
            made = source.generated(executions)
            level += [v.version_id for v in found.fetch(v.version_id for v in made)]
        users: list[ExecutionId] = []
        if level and not found.full():
            for use in source.uses_of(level):
                found.uses[(use.execution_id, use.version_id)] = use
                users.append(use.execution_id)
            derived = source.derived(level)
            level = [v.version_id for v in found.fetch(v.version_id for v in derived)]
            users += [v.execution_id for v in derived if v.execution_id is not None]
        else:
            level = []
        executions = found.expand(users)
    records = found.records()
    kept = {e.execution_id for e in records.executions}
    return Records(records.executions, records.versions, tuple(u for u in records.uses if u.execution_id in kept))
