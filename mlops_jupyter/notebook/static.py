"""A history made up from the source of a notebook that was never tracked, as if it ran once from top to
bottom.

Nothing is executed, so what a call does to its arguments is not known: whatever the text does not rule out
becomes an edge of the grade ``assumed``. A safe slice over it may keep too much; a proven one keeps what the
text says outright.
"""

from __future__ import annotations

import ast
import hashlib
import posixpath
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from mlops_jupyter.analysis import Assignment, CellAnalysis, Function, Touch, TouchKind, ValueKind, analyze
from mlops_jupyter.entities import (
    CellExecution,
    Digest,
    EntityKind,
    EntityVersion,
    ExecutionId,
    ExecutionStatus,
    Grade,
)
from mlops_jupyter.provenance import Records

from . import static_ambient as ambient
from .document import Cell, NotebookDocument
from .static_files import ANY, Files, files_of, functions_in, may_match
from .static_libraries import CHANGE_ARGUMENTS, ITERATOR, MISSING, PLOTTING, PURE_FUNCTIONS, PURE_METHODS, RANDOM
from .static_state import SESSION, State
from .static_values import Value

_SAID = (TouchKind.ITEM, TouchKind.ATTRIBUTE, TouchKind.AUGMENTED, TouchKind.INPLACE, TouchKind.OUT)
_POSSIBLE = (
    TouchKind.RECEIVER, TouchKind.ARGUMENT, TouchKind.CALLEE, TouchKind.CONDITIONAL_STORE, TouchKind.ITERATED,
    TouchKind.CONTEXT,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticHistory:
    """Records as capture would have made them, had the cells run once in the order of the document."""

    records: Records
    latest: dict[str, EntityVersion]
    """Last version of each variable that is there at the end."""
    notes: tuple[str, ...]


def static_records(document: NotebookDocument, *, notebook: str | None = None) -> StaticHistory:
    """The history of a notebook as its source tells it. Executes nothing.

    Args:
        document: the notebook.
        notebook: its workspace-relative path, for the records.
    """
    state = State(notebook)
    counts = [cell.execution_count for cell in document.code_cells if cell.execution_count is not None]
    if counts != sorted(counts):
        state.notes["The notebook was last run in another order than it is written in; this follows the text."] = None
    for position, cell in enumerate(document.code_cells):
        _run(state, position, cell)
    present = {
        n: v
        for (kind, n), v in state.last.items()
        if kind is EntityKind.VARIABLE and not v.deleted and v.execution_id is not None
    }
    records = Records(tuple(state.executions), tuple(state.versions), tuple(state.uses.values()))
    return StaticHistory(records=records, latest=present, notes=tuple(state.notes))


def _run(state: State, position: int, cell: Cell) -> None:
    execution = _execution(state.notebook, position, cell)
    state.executions.append(execution)
    python = _python(cell.source)
    analysis = analyze(python)
    if analysis.syntax_error is not None:
        state.notes[f"Code cell {position + 1} cannot be read: {analysis.syntax_error}."] = None
        return
    dynamic = ambient.is_dynamic(analysis)
    if dynamic:
        state.notes[f"Code cell {position + 1} runs code that its text does not show (exec, eval or globals)."] = None
    tree = _tree(python, analysis)
    before = dict(state.values.names)
    state.values.run(tree, analysis.functions)
    for place, files in functions_in(tree, state.values).items():
        function = next((f for f in analysis.functions if f.position == place), None)
        if function is not None:
            state.files[(function.qualname, function.position, len(function.reads))] = files
    state.scalars -= {store.name for store in analysis.stores}
    state.scalars |= {a.name for a in analysis.assignments if a.certain and _is_scalar(a)}
    ran = list(_called(state, analysis, before))
    names = {load.name for load in analysis.loads}.union(*(f.reads for f in ran))
    _reads(state, execution, analysis, ran)
    _ambient(state, execution, analysis, ran, names)
    _random(state, execution, analysis, ran)
    _mutations(state, execution, analysis, ran, before)
    _stores(state, execution, analysis, ran)
    _files(state, execution, analysis, tree, ran)
    if dynamic or any(m.name in ambient.NAMES_FROM_ELSEWHERE for m in analysis.magics):
        _anything(state, execution)


def _reads(state: State, execution: CellExecution, analysis: CellAnalysis, ran: Iterable[Function]) -> None:
    magics = {magic.at_line for magic in analysis.magics}  # ``!echo $HOME`` may mean the shell's
    for load in analysis.loads:
        if load.exposed or load.deferred:
            sure = (
                load.at.line not in magics
                and load.exposed
                and load.certain
                and not load.deferred
                and load.at.branch < 0
            )
            state.read(execution, load.name, Grade.DECLARED, "read in the text", sure=sure)
    for function in ran:
        for name in function.reads:
            state.read(execution, name, Grade.ASSUMED, f"read by {function.name}")


def _called(state: State, analysis: CellAnalysis, before: Mapping[str, Value]) -> Iterator[Function]:
    """Functions of the notebook that the cell may call: those that the values which it names may lead to."""
    todo = [load.name for load in analysis.loads]
    seen: set[str] = set()
    given: set[Function] = set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        earlier = before.get(name, Value()).functions
        for function in (*state.values.of(name).functions, *earlier):
            if function not in given:
                given.add(function)
                yield function
                todo += [*function.reads, *(d.partition(".")[0] for d in function.decorators)]


def _ambient(
    state: State, execution: CellExecution, analysis: CellAnalysis, ran: Iterable[Function], names: Iterable[str]
) -> None:
    changed = ambient.settings(analysis, ran, state.values)
    changes_files, shell = ambient.commands(analysis)
    if changes_files:
        changed.setdefault("ambient", "commands")
    felt = ambient.felt(analysis, names, state.values) | set(changed)
    for key in sorted(felt | ({"ambient"} if shell else set())):
        known = state.last.get((EntityKind.STATE, key))
        if known is not None:
            state.use(execution, known, Grade.DECLARED if key in changed else Grade.ASSUMED, "its settings may matter")
    for key, reason in changed.items():
        state.write(execution, EntityKind.STATE, key, strong=False, grade=Grade.DECLARED, reason=reason)


def _random(state: State, execution: CellExecution, analysis: CellAnalysis, ran: Iterable[Function]) -> None:
    ran = list(ran)
    seeded = ambient.seeds(analysis, ran, state.values)
    if ambient.draws(analysis, ran, state.values):
        for kind, name in list(state.last):
            if kind is EntityKind.STATE and name.startswith("random:") and not seeded.get(name.partition(":")[2]):
                state.use(execution, state.last[(kind, name)], Grade.DECLARED, "random numbers drawn")
                state.write(
                    execution, kind, name, strong=False, grade=Grade.DECLARED, reason="random numbers may be drawn"
                )
    for key, sure in seeded.items():
        state.write(execution, EntityKind.STATE, f"random:{key}", strong=sure, grade=Grade.DECLARED, reason="seeded")


def _mutations(
    state: State,
    execution: CellExecution,
    analysis: CellAnalysis,
    ran: Iterable[Function],
    before: Mapping[str, Value],
) -> None:
    looked = [
        Touch(load.name, TouchKind.RECEIVER, load.at, detail="__missing__")
        for load in analysis.loads
        if MISSING in state.values.of(load.name).packages
    ]
    for touch in [*looked, *analysis.touches, *(t for f in ran for t in f.touches)]:
        said = touch.kind in _SAID
        if touch.name in state.scalars or touch.name in state.values.modules:
            continue
        if not said and (touch.kind not in _POSSIBLE or _harmless(state, touch)):
            continue
        objects = set(state.values.of(touch.name).objects) | before.get(touch.name, Value()).objects
        for name in dict.fromkeys([touch.name, *sorted(state.values.sharing(objects))]):
            version = state.last.get((EntityKind.VARIABLE, name))
            if version is None or version.deleted or version.execution_id == execution.execution_id:
                continue
            if name in state.scalars or name in state.values.modules:
                continue
            grade = Grade.DECLARED if said and name == touch.name else Grade.ASSUMED
            state.use(execution, version, grade, "changed in place" if said else "may be changed in place")
            state.write(execution, EntityKind.VARIABLE, name, strong=False, grade=grade, reason=str(touch.kind))


def _harmless(state: State, touch: Touch) -> bool:
    """Whether a touch leaves its object as it was, as far as is known of libraries."""
    values = state.values
    value = values.of(touch.name)
    if touch.kind in (TouchKind.ITERATED, TouchKind.CONTEXT):
        return ITERATOR not in value.packages or touch.kind is TouchKind.CONTEXT
    if touch.kind is TouchKind.CALLEE:
        return (
            touch.name in values.plain or (not value.objects and bool(value.packages)) or touch.name not in values.names
        )
    last = touch.detail.rpartition(".")[2]
    if touch.kind is TouchKind.RECEIVER:
        if last == "info" and "logging" in value.packages:
            return False
        if any(f.name == last for f in value.functions) or RANDOM in value.packages or ITERATOR in value.packages:
            return False
        return last in PURE_METHODS and not (value.packages & PLOTTING and last in ("plot", "hist", "title", "join"))
    if touch.kind is TouchKind.ARGUMENT:
        if RANDOM in value.packages:
            return False
        callee = touch.detail.partition(".")[0]
        if ITERATOR in value.packages:
            return touch.detail in ("len", "print", "type", "isinstance", "id", "repr", "str", "next_")
        if last in CHANGE_ARGUMENTS or last.endswith("_"):
            return False
        if callee in PURE_FUNCTIONS and callee not in values.names:
            return True
        return values.from_library(callee) and not values.of(callee).functions
    return False


def _is_scalar(assignment: Assignment) -> bool:
    return assignment.kind is ValueKind.LITERAL and not isinstance(assignment.literal, list | dict | set | tuple)


def _stores(state: State, execution: CellExecution, analysis: CellAnalysis, ran: Iterable[Function]) -> None:
    certain: dict[str, bool] = {}
    failed = execution.status is not ExecutionStatus.OK
    for store in analysis.stores:
        certain[store.name] = certain.get(store.name, False) or (store.certain and store.at.branch < 0 and not failed)
    for function in ran:
        for name in function.writes:
            certain.setdefault(name, False)
    certain |= dict.fromkeys(_bound_by_magics(analysis), not failed)
    for name, sure in certain.items():
        state.write(
            execution,
            EntityKind.VARIABLE,
            name,
            strong=sure,
            grade=Grade.DECLARED if sure else Grade.ASSUMED,
            reason="assigned" if sure else "may be assigned",
        )
    for deletion in analysis.deletes:
        if deletion.certain and not failed and (EntityKind.VARIABLE, deletion.name) in state.last:
            state.write(
                execution,
                EntityKind.VARIABLE,
                deletion.name,
                strong=True,
                grade=Grade.DECLARED,
                reason="deleted",
                deleted=True,
            )
    if analysis.star_imports:
        _star(state, execution, "import of *")


def _bound_by_magics(analysis: CellAnalysis) -> Iterator[str]:
    """Names that cell magics bind: ``%%capture shown``, ``%%bash --out lines``."""
    for magic in analysis.magics:
        words = magic.line.split()
        if magic.name == "capture":
            yield from (w for w in words if w.isidentifier())
        elif magic.body is not None:
            yield from (
                w for option, w in pairwise(words) if option in ("--out", "--err", "--proc") and w.isidentifier()
            )


def _star(state: State, execution: CellExecution, reason: str) -> None:
    name = f"names of cell {execution.position + 1}"
    state.stars.append(state.write(execution, EntityKind.STATE, name, strong=True, grade=Grade.DECLARED, reason=reason))


def _anything(state: State, execution: CellExecution) -> None:
    """The cell may read, change and bind any name."""
    for name in state.names():
        state.use(
            execution, state.last[(EntityKind.VARIABLE, name)], Grade.ASSUMED, "its text does not show what it reads"
        )
    _star(state, execution, "binds names that its text does not show")


def _files(
    state: State, execution: CellExecution, analysis: CellAnalysis, tree: ast.Module, ran: Iterable[Function]
) -> None:
    found = files_of(tree.body, state.values)
    for function in ran:
        found.add(state.files.get((function.qualname, function.position, len(function.reads)), Files()))
    if analysis.imports:
        found.reads |= {f"{i.module.replace('.', '/')}.py" for i in analysis.imports if i.module}
    for magic in analysis.magics:
        words = magic.line.split()
        if magic.name in ("writefile", "file") and words:
            found.writes.add(words[-1])
            found.adds |= {words[-1]} if "-a" in words else set()
        elif magic.name == "run" and words:
            found.reads |= {words[0], ANY}
    if ambient.commands(analysis)[1]:
        found.reads.add(ANY)
    known = {name: v for (kind, name), v in state.last.items() if kind is EntityKind.FILE}
    for pattern in sorted(found.reads | found.adds):
        matching = [v for name, v in known.items() if may_match(pattern, name)]
        for version in matching:
            state.use(
                execution, version, Grade.DECLARED if pattern == version.name else Grade.ASSUMED, "read in the text"
            )
        if not matching and pattern in found.reads and _is_input(pattern):
            version = state.outside(EntityKind.FILE, _from_root(state.notebook, pattern), "read in the text")
            state.use(execution, version, Grade.DECLARED, "read in the text")
    for pattern in sorted(found.writes):
        state.write(
            execution,
            EntityKind.FILE,
            pattern,
            strong="*" not in pattern and pattern not in found.adds,
            grade=Grade.DECLARED,
            reason="written in the text",
        )


def _is_input(pattern: str) -> bool:
    return "*" not in pattern and not pattern.endswith(".py") and "\n" not in pattern and len(pattern) < 300


def _from_root(notebook: str | None, path: str) -> str:
    """The name that the record would have: relative to the workspace."""
    if "://" in path or path.startswith(("/", "~")) or notebook is None:
        return path
    return posixpath.normpath(posixpath.join(posixpath.dirname(notebook), path))


def _tree(python: str, analysis: CellAnalysis) -> ast.Module:
    """The statements of a cell; those of its body where the cell is one of a cell magic."""
    body = next((m.body for m in analysis.magics if m.body is not None), None) if analysis.wrapped else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(python if body is None else body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module(body=[], type_ignores=[])


def _python(source: str) -> str:
    """The cell as Python, magics turned into calls the way that IPython does it."""
    from IPython.core.inputtransformer2 import TransformerManager  # a slow import that only this path needs

    try:
        return str(TransformerManager().transform_cell(source))  # type: ignore[no-untyped-call]
    except SyntaxError:
        return source


def _execution(notebook: str | None, position: int, cell: Cell) -> CellExecution:
    text = cell.source.encode("utf-8", "surrogatepass")  # a notebook may hold half a character
    return CellExecution(
        execution_id=ExecutionId(hashlib.sha256(b"%d\n%s" % (position, text)).hexdigest()[:32]),
        session_id=SESSION,
        position=position,
        execution_count=cell.execution_count,
        cell_id=cell.cell_id,
        notebook=notebook,
        source=cell.source,
        source_digest=Digest("sha256:" + hashlib.sha256(text).hexdigest()),
        started_at=float(position),
        duration=0.0,
        status=ExecutionStatus.OK if cell.error is None else ExecutionStatus.ERROR,
        error=cell.error,
    )
