"""Backward slices: the smallest ordered set of recorded executions that makes a value again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mlops_jupyter.entities import (
    CellExecution,
    EntityKind,
    EntityVersion,
    ExecutionId,
    ExecutionStatus,
    Grade,
    SessionId,
    VersionId,
)

from .closure import ALL_GRADES, PROVEN, upstream
from .source import LineageSource

Certainty = Literal["safe", "proven"]

_OURS = re.compile(
    r"^(?:%(?:load_ext|reload_ext|unload_ext)\s+mlops_jupyter\b.*|%(?:track|lineage|gather|mlops)(?:\s.*)?)$"
)
_CELL_MAGIC = re.compile(r"^%%(?:track|mlops)(?:\s|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceEdge:
    """One reason why an execution is in a slice: ``user`` needs ``name`` as ``maker`` left it."""

    user: int | None
    """Position of the execution that used the version; None for the target itself."""
    maker: int | None
    """Position of the execution that generated it; None where it came from outside."""
    kind: EntityKind
    name: str
    grade: Grade
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Executions that make ``target``, in the order in which they ran.

    Running ``cells`` one after the other in a fresh kernel, with ``inputs`` in place, gives the target's
    value again.
    """

    target: str
    certainty: Certainty
    """``safe``: every dependency that could not be ruled out is kept; ``proven``: only what was observed or
    said."""
    kept: tuple[CellExecution, ...]
    edges: tuple[SliceEdge, ...]
    inputs: tuple[EntityVersion, ...]
    """Files and other versions from outside of the slice: what must be there before it runs."""
    notes: tuple[str, ...] = ()
    """What the reader of the slice should know, one sentence each."""

    @property
    def executions(self) -> tuple[int, ...]:
        """0-based positions kept, in order, among the executions recorded since capture started."""
        return tuple(execution.position for execution in self.kept)

    @property
    def cells(self) -> tuple[str, ...]:
        """Text of each kept execution as it was when it ran, without the lines that are for this package."""
        return tuple(without_magics(execution.source) for execution in self.kept)

    @property
    def source(self) -> str:
        """The code: the cells that have any, joined by blank lines."""
        return "\n\n".join(cell for cell in self.cells if cell.strip())

    @property
    def grade(self) -> Mapping[tuple[int | None, str], Grade]:
        """Grade of each edge, by (position of the user or None for the target, name of what it needs)."""
        grades: dict[tuple[int | None, str], Grade] = {}
        order = list(Grade)
        for edge in self.edges:
            key = (edge.user, edge.name)
            if key not in grades or order.index(edge.grade) > order.index(grades[key]):
                grades[key] = edge.grade
        return grades


def without_magics(source: str) -> str:
    """A cell's text without this package's own lines (``%load_ext mlops_jupyter``, ``%%track …``, ``%lineage
    …``)."""
    lines = source.splitlines()
    start = _first_line(lines)
    if start is not None and _CELL_MAGIC.match(lines[start]):
        lines = lines[start + 1 :]
        start = _first_line(lines)
    if start is not None and not lines[start].startswith("%%"):
        # The body of another cell magic stays as it is: a shell script may hold any line.
        lines = [line for i, line in enumerate(lines) if not (_OURS.match(line) and _outside_text(lines[:i]))]
    return "\n".join(lines).strip("\n")


def _first_line(lines: list[str]) -> int | None:
    return next((i for i, line in enumerate(lines) if line.strip()), None)


def _outside_text(before: list[str]) -> bool:
    """Whether no triple-quoted text is open after these lines (quotes inside of other quotes are not told
    apart)."""
    text = "\n".join(before)
    return text.count('"""') % 2 == 0 and text.count("'''") % 2 == 0


def backward_slice(
    source: LineageSource,
    *,
    target: str,
    version: EntityVersion | None = None,
    execution: CellExecution | None = None,
    certainty: Certainty = "safe",
    across_sessions: bool = False,
) -> Slice:
    """The executions that made ``version`` (or that ``execution`` needs, itself included).

    A version needs the execution that generated it and, where it is a mutation, the version before it; an
    execution needs all that it used. Executions that failed are kept where they left something that is needed.

    Args:
        source: the records.
        target: the name by which the user asked.
        version: the version to make; exactly one of this and ``execution`` is given.
        execution: the execution to end with.
        certainty: ``proven`` does not follow edges that are only assumed.
        across_sessions: follow files into the sessions that wrote them; otherwise such a file is an input.
    """
    if (version is None) == (execution is None):
        raise TypeError("backward_slice takes either a version or an execution")
    return slice_of_many(
        source,
        target=target,
        versions=() if version is None else (version,),
        executions=() if execution is None else (execution,),
        certainty=certainty,
        across_sessions=across_sessions,
    )


def slice_of_many(
    source: LineageSource,
    *,
    target: str,
    versions: Sequence[EntityVersion] = (),
    executions: Sequence[CellExecution] = (),
    certainty: Certainty = "safe",
    across_sessions: bool = False,
) -> Slice:
    """As ``backward_slice`` for several versions and executions of one session at once.

    ``target`` is how the reader of the slice calls them together.
    """
    session = next(s for s in (*(v.session_id for v in versions), *(e.session_id for e in executions)))
    records = upstream(
        source,
        [v.version_id for v in versions],
        [e.execution_id for e in executions],
        grades=ALL_GRADES if certainty == "safe" else PROVEN,
        session_id=None if across_sessions else session,
    )
    known = {v.version_id: v for v in records.versions}
    positions = {e.execution_id: e.position for e in records.executions}
    edges: dict[tuple[int | None, VersionId], SliceEdge] = {}
    for version in versions:
        edges[(None, version.version_id)] = _edge(None, version, known, positions, version.grade, version.reason)
    for use in records.uses:
        used = known.get(use.version_id)
        if used is not None and use.execution_id in positions:
            user = positions[use.execution_id]
            edges[(user, use.version_id)] = _edge(user, used, known, positions, use.grade, use.reason)
    for derived in records.versions:
        if derived.previous is None or derived.execution_id not in positions:
            continue
        user, previous = positions[derived.execution_id], known.get(derived.previous)
        if previous is not None and (user, derived.previous) not in edges:
            edges[(user, derived.previous)] = _edge(user, previous, known, positions, derived.grade, derived.reason)
    inputs = [
        v
        for v in records.versions
        if v.execution_id not in positions and v.kind is not EntityKind.STATE and not _skipped(v, positions)
    ]
    return Slice(
        target=target,
        certainty=certainty,
        kept=records.executions,
        edges=tuple(sorted(edges.values(), key=_edge_order)),
        inputs=tuple(sorted(inputs, key=lambda v: (v.kind, v.name))),
        notes=tuple(_notes(records.executions, inputs, session)),
    )


def _skipped(version: EntityVersion, positions: Mapping[ExecutionId, int]) -> bool:
    """Whether a mutation was passed by because it is only assumed: then it is no input either."""
    return not version.strong and version.execution_id is not None and version.execution_id not in positions


def _edge(
    user: int | None,
    used: EntityVersion,
    versions: Mapping[VersionId, EntityVersion],
    positions: Mapping[ExecutionId, int],
    grade: Grade,
    reason: str,
) -> SliceEdge:
    # A mutation that was passed by: what counts is the version before it.
    while used.execution_id not in positions and not used.strong and used.previous is not None:
        before = versions.get(used.previous)
        if before is None:
            break
        used = before
    maker = None if used.execution_id is None else positions.get(used.execution_id)
    return SliceEdge(user=user, maker=maker, kind=used.kind, name=used.name, grade=grade, reason=reason)


def _edge_order(edge: SliceEdge) -> tuple[float, int, str]:
    user = float("inf") if edge.user is None else edge.user
    return (user, -1 if edge.maker is None else edge.maker, edge.name)


def _notes(executions: tuple[CellExecution, ...], inputs: list[EntityVersion], session: SessionId) -> list[str]:
    notes = []
    for execution in executions:
        if execution.status is not ExecutionStatus.OK:
            shown = execution.error or str(execution.status)
            notes.append(f"In [{count_of(execution)}] failed ({shown}) but left something that is needed.")
    for version in inputs:
        if version.kind is EntityKind.FILE and version.execution_id is not None and version.session_id != session:
            notes.append(f"{version.name} was written by another session; the slice reads it as it is.")
        elif version.kind is EntityKind.VARIABLE and version.session_id == "static":
            notes.append(f"{version.name} is used, and {version.reason}.")
        elif version.kind is EntityKind.VARIABLE:
            notes.append(f"{version.name} was there before capture started; no recorded cell makes it.")
    return notes


def count_of(execution: CellExecution) -> str:
    """The number that Jupyter shows between the brackets of ``In [3]``."""
    return "?" if execution.execution_count is None else str(execution.execution_count)
