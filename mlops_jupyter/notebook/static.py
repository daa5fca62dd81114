"""A history made up from the source of a notebook that was never tracked, as if it ran once from top to
bottom.

Nothing is executed, so what a call does to its arguments is not known: whatever the text does not rule out
becomes an edge of the grade ``assumed``. A safe slice over it may keep too much; a proven one keeps what the
text says outright.
"""

from __future__ import annotations

import builtins
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mlops_jupyter.analysis import Assignment, CellAnalysis, Function, TouchKind, ValueKind, analyze
from mlops_jupyter.entities import (
    CellExecution,
    Digest,
    EntityKind,
    EntityVersion,
    ExecutionId,
    ExecutionStatus,
    Grade,
    SessionId,
    Used,
    VersionId,
)
from mlops_jupyter.provenance import Records

from .document import Cell, NotebookDocument

_SESSION = SessionId("static")
_SAID = (TouchKind.ITEM, TouchKind.ATTRIBUTE, TouchKind.AUGMENTED, TouchKind.INPLACE, TouchKind.OUT)
_POSSIBLE = (TouchKind.RECEIVER, TouchKind.ARGUMENT, TouchKind.CALLEE, TouchKind.CONDITIONAL_STORE)
_PURE_METHODS = frozenset(
    """
    head tail describe info copy mean median sum std var min max count nunique unique value_counts
    groupby merge join sort_values sort_index reset_index set_index rename drop dropna fillna astype
    assign query isna notna corr agg apply map transform pivot pivot_table melt sample predict
    predict_proba score get_params to_numpy to_dict tolist items keys values split strip lower upper
    replace format startswith endswith get index plot hist show
    """.split()  # noqa: SIM905 - words are easier to read and to extend than a list of quotes
)
_PURE_FUNCTIONS = frozenset(
    """
    print len sum max min abs round sorted list dict set tuple str int float bool range enumerate
    zip isinstance type repr display any all reversed hash id callable
    """.split()  # noqa: SIM905 - words are easier to read and to extend than a list of quotes
)
_SETTINGS = frozenset(
    """
    seed manual_seed set_option set_theme set_style set_context chdir filterwarnings simplefilter
    use basicConfig load_dotenv set_seed set_output_format
    """.split()  # noqa: SIM905 - words are easier to read and to extend than a list of quotes
)
"""Calls on a module that change what later cells do."""
_WRITES = re.compile(r"""\b(?:to_|save|dump|write|imsave)\w*\(|\bopen\(.*,\s*(?:mode=)?["'][wax]""")
"""A line that writes a file, as far as its text can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticHistory:
    """Records as capture would have made them, had the cells run once in the order of the document."""

    records: Records
    latest: dict[str, EntityVersion]
    """Last version of each variable that is there at the end."""
    notes: tuple[str, ...]


@dataclass(slots=True)
class _State:
    notebook: str | None
    executions: list[CellExecution] = field(default_factory=list)
    versions: list[EntityVersion] = field(default_factory=list)
    uses: dict[tuple[ExecutionId, VersionId], Used] = field(default_factory=dict)
    last: dict[tuple[EntityKind, str], EntityVersion] = field(default_factory=dict)
    functions: dict[str, list[Function]] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)
    unchanging: set[str] = field(default_factory=set)
    """Names of imported things and of scalars: no call changes them."""
    origins: dict[str, frozenset[str]] = field(default_factory=dict)
    stars: list[EntityVersion] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)

    def write(
        self,
        execution: CellExecution,
        kind: EntityKind,
        name: str,
        *,
        strong: bool,
        grade: Grade,
        reason: str,
        deleted: bool = False,
    ) -> EntityVersion:
        previous = self.last.get((kind, name))
        version = EntityVersion(
            version_id=VersionId(len(self.versions) + 1),
            kind=kind,
            name=name,
            session_id=_SESSION,
            execution_id=execution.execution_id,
            strong=strong or previous is None,
            grade=grade,
            reason=reason,
            at=float(len(self.versions)),
            previous=None if previous is None else previous.version_id,
            deleted=deleted,
        )
        self.versions.append(version)
        self.last[(kind, name)] = version
        return version

    def use(self, execution: CellExecution, version: EntityVersion, grade: Grade, reason: str) -> None:
        key = (execution.execution_id, version.version_id)
        known = self.uses.get(key)
        if version.execution_id != execution.execution_id and (known is None or known.grade is Grade.ASSUMED):
            self.uses[key] = Used(
                execution_id=execution.execution_id, version_id=version.version_id, grade=grade, reason=reason
            )

    def read(self, execution: CellExecution, name: str, grade: Grade, reason: str) -> None:
        version = self.last.get((EntityKind.VARIABLE, name))
        if version is not None:
            self.use(execution, version, grade, reason)
        elif not hasattr(builtins, name):
            for star in self.stars:
                self.use(execution, star, Grade.ASSUMED, f"{name} may come from an import of *")


def static_records(document: NotebookDocument, *, notebook: str | None = None) -> StaticHistory:
    """The history of a notebook as its source tells it. Executes nothing.

    Args:
        document: the notebook.
        notebook: its workspace-relative path, for the records.
    """
    state = _State(notebook)
    counts = [cell.execution_count for cell in document.code_cells if cell.execution_count is not None]
    if counts != sorted(counts):
        state.notes["The notebook was last run in another order than it is written in; this follows the text."] = None
    for position, cell in enumerate(document.code_cells):
        _run(state, position, cell)
    present = {n: v for (kind, n), v in state.last.items() if kind is EntityKind.VARIABLE and not v.deleted}
    records = Records(tuple(state.executions), tuple(state.versions), tuple(state.uses.values()))
    return StaticHistory(records=records, latest=present, notes=tuple(state.notes))


def _run(state: _State, position: int, cell: Cell) -> None:
    execution = _execution(state.notebook, position, cell)
    state.executions.append(execution)
    python = _python(cell.source)
    analysis = analyze(python)
    if analysis.syntax_error is not None:
        state.notes[f"Code cell {position + 1} cannot be read: {analysis.syntax_error}."] = None
        return
    if analysis.dynamic:
        state.notes[f"Code cell {position + 1} runs code that its text does not show (exec, eval or globals)."] = None
    state.modules |= {i.bound for i in analysis.imports if i.name is None}
    state.unchanging -= {store.name for store in analysis.stores}
    state.unchanging |= {i.bound for i in analysis.imports}
    state.unchanging |= {a.name for a in analysis.assignments if a.certain and _is_scalar(a)}
    _reads(state, execution, analysis)
    _mutations(state, execution, analysis)
    _stores(state, execution, analysis)
    _files(state, execution, analysis, python)
    defined = {f.qualname.partition(".")[0] for f in analysis.functions}
    for name in defined:
        state.functions[name] = [f for f in analysis.functions if f.qualname.partition(".")[0] == name]


def _reads(state: _State, execution: CellExecution, analysis: CellAnalysis) -> None:
    for load in analysis.loads:
        if load.exposed or load.deferred:
            state.read(execution, load.name, Grade.DECLARED, "read in the text")
    for function in _called(state, analysis):
        for name in function.reads:
            state.read(execution, name, Grade.ASSUMED, f"read by {function.name}")


def _called(state: _State, analysis: CellAnalysis) -> Iterator[Function]:
    """Functions of the notebook that the cell may call: those whose names it loads, and what these load."""
    todo = [load.name for load in analysis.loads]
    here = {f.qualname.partition(".")[0] for f in analysis.functions}
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        functions = [f for f in analysis.functions if f.qualname.partition(".")[0] == name] if name in here else []
        for function in functions or state.functions.get(name, []):
            yield function
            todo += function.reads


def _mutations(state: _State, execution: CellExecution, analysis: CellAnalysis) -> None:
    touches = list(analysis.touches)
    touches += [touch for function in _called(state, analysis) for touch in function.touches]
    for touch in touches:
        said = touch.kind in _SAID
        if not said and touch.kind not in _POSSIBLE:
            continue
        if not said and (touch.name in state.unchanging or _harmless(touch.kind, touch.detail)):
            continue
        # What a function does to an argument reaches others less often than what a method does to its object.
        shared = said or touch.kind is TouchKind.RECEIVER
        aliases = state.origins.get(touch.name, frozenset()) - state.unchanging if shared else frozenset()
        for name in (touch.name, *sorted(aliases)):
            before = state.last.get((EntityKind.VARIABLE, name))
            if before is None or before.execution_id == execution.execution_id or name in state.functions:
                continue
            grade = Grade.DECLARED if said and name == touch.name else Grade.ASSUMED
            state.use(execution, before, grade, "changed in place" if said else "may be changed in place")
            state.write(execution, EntityKind.VARIABLE, name, strong=False, grade=grade, reason=str(touch.kind))
    for call in analysis.calls:
        root, _, rest = call.callee.partition(".")
        if call.discarded and root in state.modules and rest.rpartition(".")[2] in _SETTINGS:
            before = state.last.get((EntityKind.VARIABLE, root))
            if before is not None and before.execution_id != execution.execution_id:
                state.use(execution, before, Grade.DECLARED, "read in the text")
            state.write(
                execution,
                EntityKind.VARIABLE,
                root,
                strong=False,
                grade=Grade.DECLARED,
                reason=f"{call.callee}()",
            )


def _harmless(kind: TouchKind, detail: str) -> bool:
    if kind is TouchKind.RECEIVER:
        return detail in _PURE_METHODS
    return kind is TouchKind.ARGUMENT and detail in _PURE_FUNCTIONS


def _is_scalar(assignment: Assignment) -> bool:
    return assignment.kind is ValueKind.LITERAL and not isinstance(assignment.literal, list | dict | set | tuple)


def _stores(state: _State, execution: CellExecution, analysis: CellAnalysis) -> None:
    certain: dict[str, bool] = {}
    for store in analysis.stores:
        certain[store.name] = certain.get(store.name, False) or (store.certain and store.at.branch < 0)
    for function in _called(state, analysis):
        for name in function.writes:
            certain.setdefault(name, False)
    for name, sure in certain.items():
        state.write(
            execution,
            EntityKind.VARIABLE,
            name,
            strong=sure,
            grade=Grade.DECLARED if sure else Grade.ASSUMED,
            reason="assigned" if sure else "may be assigned",
        )
        state.origins.pop(name, None)
    for name, sources in analysis.derived:
        state.origins[name] = frozenset(s for s in sources if s not in state.functions)
    for deletion in analysis.deletes:
        if deletion.certain and (EntityKind.VARIABLE, deletion.name) in state.last:
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
        star = state.write(
            execution, EntityKind.STATE, f"import * {execution.position}", strong=True, grade=Grade.DECLARED,
            reason="import of *",
        )  # fmt: skip
        state.stars.append(star)


def _files(state: _State, execution: CellExecution, analysis: CellAnalysis, python: str) -> None:
    lines = _statement_of(analysis)
    writing = (number for number, line in enumerate(python.splitlines(), 1) if _WRITES.search(line))
    written = {lines.get(number, number) for number in writing}
    for path in analysis.path_literals:
        key = (EntityKind.FILE, path.text)
        if lines.get(path.line, path.line) in written:
            state.write(
                execution,
                EntityKind.FILE,
                path.text,
                strong=True,
                grade=Grade.DECLARED,
                reason="written in the text",
            )
        elif key in state.last:
            state.use(execution, state.last[key], Grade.DECLARED, "read in the text")


def _statement_of(analysis: CellAnalysis) -> dict[int, int]:
    """First line of the statement that each line belongs to."""
    return {line: s.line for s in analysis.statements for line in range(s.line, s.end_line + 1)}


def _python(source: str) -> str:
    """The cell as Python, magics turned into calls the way that IPython does it."""
    from IPython.core.inputtransformer2 import TransformerManager  # a slow import that only this path needs

    try:
        return str(TransformerManager().transform_cell(source))  # type: ignore[no-untyped-call]
    except SyntaxError:
        return source


def _execution(notebook: str | None, position: int, cell: Cell) -> CellExecution:
    return CellExecution(
        execution_id=ExecutionId(hashlib.sha256(f"{position}\n{cell.source}".encode()).hexdigest()[:32]),
        session_id=_SESSION,
        position=position,
        execution_count=cell.execution_count,
        cell_id=cell.cell_id,
        notebook=notebook,
        source=cell.source,
        source_digest=Digest("sha256:" + hashlib.sha256(cell.source.encode()).hexdigest()),
        started_at=float(position),
        duration=0.0,
        status=ExecutionStatus.OK,
    )
