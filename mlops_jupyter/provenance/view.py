"""The graph as a person wants to see it: cells, files, runs and models, with variables as the names on the
arrows.

Cells that do nothing but import are left out of the picture and listed beside it: they lead everywhere and
say little.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mlops_jupyter.entities import CellExecution, EntityKind, EntityVersion, ExecutionStatus, Grade, VersionId

from .graph import LineageGraph, NodeKind, execution_id, model_id, run_id, version_id
from .slices import count_of, without_magics

_ORDER = list(Grade)


@dataclass(frozen=True, slots=True)
class ViewNode:
    """One box of the picture."""

    id: str
    kind: NodeKind
    title: str
    subtitle: str
    tooltip: str
    focus: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class ViewEdge:
    """One arrow, in the direction in which data flows: ``target`` was made with the help of ``source``."""

    source: str
    target: str
    names: tuple[str, ...]
    """Variables that flow, in the order in which they were met; empty between a cell and a file."""
    grade: Grade
    """The least certain of what is folded into the arrow."""


@dataclass(frozen=True, slots=True)
class View:
    """What is drawn."""

    nodes: tuple[ViewNode, ...]
    edges: tuple[ViewEdge, ...]
    imports: tuple[str, ...]
    """Labels of the cells that only import."""
    hidden: int = 0
    """Boxes left out because there are more than asked for."""


@dataclass(slots=True)
class _Arrows:
    names: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    grades: dict[tuple[str, str], Grade] = field(default_factory=dict)

    def add(self, source: str, target: str, name: str | None, grade: Grade) -> None:
        if source == target:
            return
        names = self.names.setdefault((source, target), {})
        if name is not None:
            names[name] = None
        known = self.grades.get((source, target), grade)
        self.grades[(source, target)] = max(known, grade, key=_ORDER.index)


def view(graph: LineageGraph, *, limit: int | None = None) -> View:
    """The picture of ``graph``, with at most ``limit`` boxes: those nearest to the target."""
    focus = set(graph.focus)
    imports = [e for e in graph.executions if only_imports(e.source) and execution_id(e) not in focus]
    left_out = {e.execution_id for e in imports}
    several = len({e.notebook for e in graph.executions}) > 1
    runs = {r.run_uid: r for r in graph.runs}
    nodes = [_cell(e, several=several, focus=focus) for e in graph.executions if e.execution_id not in left_out]
    shown = {node.id for node in nodes}
    versions = {v.version_id: v for v in graph.versions}
    makers = {v.version_id: f"execution:{v.execution_id}" for v in graph.versions if v.execution_id}
    arrows = _Arrows()

    own: dict[VersionId, str] = {}
    for v in graph.versions:
        made_here = makers.get(v.version_id) in shown
        outside = v.kind is EntityKind.VARIABLE and v.execution_id is None
        if v.kind is EntityKind.FILE or version_id(v) in focus or outside:
            own[v.version_id] = version_id(v)
            nodes.append(_entity(v, focus))
            if made_here:
                arrows.add(makers[v.version_id], version_id(v), None, v.grade)

    def origin(v: EntityVersion) -> str | None:
        return own.get(v.version_id) or (makers[v.version_id] if makers.get(v.version_id) in shown else None)

    for use in graph.uses:
        user, used = f"execution:{use.execution_id}", versions.get(use.version_id)
        if user in shown and used is not None and (start := origin(used)) is not None:
            arrows.add(start, user, None if used.version_id in own else used.name, use.grade)
    for v in graph.versions:
        previous = versions.get(v.previous) if v.previous is not None and not v.strong else None
        if previous is None or (start := origin(previous)) is None:
            continue
        end = makers.get(v.version_id)
        if end in shown:
            arrows.add(start, end, None if previous.version_id in own else v.name, v.grade)
        elif v.version_id in own:
            arrows.add(start, own[v.version_id], None, v.grade)

    for e in graph.executions:
        if e.run_uid in runs and execution_id(e) in shown:
            arrows.add(execution_id(e), run_id(runs[e.run_uid]), None, Grade.EXACT)
    for r in graph.runs:
        metrics = " · ".join(f"{k} {v:.4g}" for k, v in list(r.metrics.items())[:3])
        params = "\n".join(f"{k} = {v}" for k, v in r.params.items())
        tip = f"run {r.run_uid}\n{r.experiment}\n{r.status}\n{params}".strip()
        failed = r.status in ("FAILED", "KILLED")
        nodes.append(ViewNode(run_id(r), "run", r.name, metrics or str(r.status), tip, run_id(r) in focus, failed))
        if r.parent_uid in runs:
            arrows.add(run_id(r), run_id(runs[r.parent_uid]), None, Grade.EXACT)
    for uid, m in graph.models:
        short = m.class_name.rpartition(".")[2]
        tip = f"{m.class_name}\n{m.digest or m.error or ''}".strip()
        nodes.append(ViewNode(model_id(m), "model", m.name, short, tip, model_id(m) in focus))
        if uid in runs:
            arrows.add(run_id(runs[uid]), model_id(m), None, Grade.EXACT)

    kept = _nearest(nodes, arrows.names, focus, limit)
    edges = tuple(
        ViewEdge(a, b, tuple(sorted(names)), arrows.grades[(a, b)])
        for (a, b), names in arrows.names.items()
        if a in kept and b in kept
    )
    listed = tuple(cell_label(e, several=several) for e in imports)
    return View(tuple(n for n in nodes if n.id in kept), edges, listed, len(nodes) - len(kept))


def _nearest(
    nodes: Sequence[ViewNode], arrows: Iterable[tuple[str, str]], focus: set[str], limit: int | None
) -> set[str]:
    every = {n.id for n in nodes}
    if limit is None or len(every) <= limit:
        return every
    beside: dict[str, list[str]] = {}
    for a, b in arrows:
        beside.setdefault(a, []).append(b)
        beside.setdefault(b, []).append(a)
    kept = dict.fromkeys(sorted(focus & every)[:limit])
    queue = list(kept)
    for here in queue:
        for there in beside.get(here, ()):
            if there in every and there not in kept and len(kept) < limit:
                kept[there] = None
                queue.append(there)
    return set(kept)


def _cell(e: CellExecution, *, several: bool, focus: set[str]) -> ViewNode:
    failed = e.status is not ExecutionStatus.OK
    tip = f"{e.source}\n\n{e.error}" if e.error else e.source
    return ViewNode(
        execution_id(e), "execution", cell_label(e, several=several), headline(e.source), tip,
        execution_id(e) in focus, failed,
    )  # fmt: skip


def _entity(v: EntityVersion, focus: set[str]) -> ViewNode:
    if v.kind is EntityKind.FILE:
        facts = [short_digest(v.digest), "" if v.size is None else size_text(v.size)]
        subtitle = " · ".join(fact for fact in facts if fact) or v.reason
    else:
        subtitle = v.summary or (v.type_name or "").rpartition(".")[2] or v.reason
    tip = "\n".join(text for text in (v.name, v.type_name, v.summary, v.digest, v.reason) if text)
    return ViewNode(version_id(v), v.kind.value, v.name, subtitle, tip, version_id(v) in focus)


def cell_label(e: CellExecution, *, several: bool) -> str:
    """``In [3]``, with the notebook where several take part."""
    label = f"In [{count_of(e)}]"
    return f"{label} {e.notebook}" if several and e.notebook else label


def headline(source: str) -> str:
    """The line of a cell that says most: the first that is neither empty, a comment nor a magic; else the
    first."""
    lines = [line.strip() for line in without_magics(source).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("#", "%", "import ", "from "))]
    return (telling or lines or [""])[0]


def only_imports(source: str) -> bool:
    """Whether a cell consists of imports and magics that set the notebook up."""
    code = "\n".join(line for line in without_magics(source).splitlines() if not line.startswith("%"))
    try:
        statements = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(source.strip()) and all(isinstance(s, ast.Import | ast.ImportFrom) for s in statements)


def short_digest(digest: str | None) -> str:
    """``sha256:9f86d081`` of a digest."""
    algorithm, _, value = (digest or "").partition(":")
    return f"{algorithm}:{value[:8]}" if value else algorithm[:16]


def size_text(size: int) -> str:
    """Bytes for people, in powers of 1000."""
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
