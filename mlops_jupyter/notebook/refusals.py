"""Where a slice cannot become a notebook that runs by itself, and why: one sentence each. Pure."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping, Sequence

from mlops_jupyter.analysis import CellAnalysis, redact
from mlops_jupyter.analysis.secrets import BLANK
from mlops_jupyter.entities import CellExecution, EntityKind, EntityVersion, ExecutionStatus
from mlops_jupyter.errors import UsageError
from mlops_jupyter.provenance import count_of, without_magics

from .document import NotebookDocument
from .gathered import GatheredSlice
from .masked import analysis_of, tree_of
from .static_state import UNASSIGNED

_WAITS = frozenset(
    {
        "input",
        "raw_input",
        "builtins.input",
        "getpass",
        "getpass.getpass",
        "click.prompt",
        "pdb.set_trace",
        "breakpoint",
    }
)
_LAST_OUTPUT = frozenset({"_", "__", "___", "Out", "_oh", "In", "_ih", "_i", "_ii", "_iii"})
_NUMBERED = re.compile(r"^_i?\d+$")
_BLANKED = re.compile(r"(?<![*])\*{3}(?![*])")
_WIDGETS = ("ipywidgets", "ipydatetime", "ipyfilechooser", "panel")


def check_language(document: NotebookDocument | None, *, name: str, verb: str = "converted") -> None:
    """Only Python is understood; ``verb`` is what would have been done, for the message.

    Raises:
        UsageError: the notebook is in another language.
    """
    if document is not None and document.language not in ("python", "ipython", "python3"):
        raise UsageError(
            f"{name} is a notebook in {document.language}; only Python notebooks can be {verb}.",
            hint="mlops run runs it headless as it is, without lineage.",
        )


def texts_of(
    found: GatheredSlice, document: NotebookDocument | None, *, extra: Sequence[CellExecution] = ()
) -> dict[str, str]:
    """By execution id the texts to use where the recorded one has blanked secrets: the notebook's own.

    Raises:
        UsageError: the notebook's cell is gone or was edited, so that no text of it is known.
    """
    texts: dict[str, str] = {}
    for execution in (*found.kept, *extra):
        if not _has_blank(execution.source):
            continue
        own = _own_text(execution, document)
        if own is None:
            raise UsageError(
                f"{_named(execution)} holds a secret that was not recorded, and the notebook has it no more.",
                hint="Read the secret from the environment (os.environ), run the cell again and convert then.",
            )
        texts[execution.execution_id] = own
    return texts


def check(
    found: GatheredSlice,
    texts: Mapping[str, str],
    *,
    changed: Collection[str] = (),
    versions: Sequence[EntityVersion] = (),
) -> None:
    """Whether the slice can run by itself.

    Args:
        found: the slice.
        texts: by execution id, texts that replace the recorded ones.
        changed: names of input files whose content is not what it was when they were read.
        versions: all that the session made, to tell who changed them.

    Raises:
        UsageError: it cannot; the message says why and what to do.
    """
    for version in found.inputs:
        if version.kind is EntityKind.VARIABLE:
            user = next((e.user for e in found.edges if e.name == version.name and e.maker is None), None)
            where = next((f" ({_named(x)} uses it)" for x in found.kept if x.position == user), "")
            if version.reason == UNASSIGNED:
                place = where.replace(" uses it", "")
                raise UsageError(
                    f"The notebook does not run from top to bottom: {version.name!r} is used{place}, and {UNASSIGNED}.",
                    hint="Work in it once with %load_ext mlops_jupyter, so that the order of its cells is recorded.",
                )
            raise UsageError(
                f"{version.name!r} came from before capture started, or from another kernel{where}, so no recorded "
                "cell makes it.",
                hint="Restart the kernel, run %load_ext mlops_jupyter first, then the cells, and convert again.",
            )
    if not any(without_magics(execution.source).strip() for execution in found.kept):
        raise UsageError("There is no code to convert.", hint="Run the cells that make the target first.")
    _check_inputs(found, changed, versions)
    for execution in found.kept:
        if execution.status is ExecutionStatus.INTERRUPTED:
            raise UsageError(
                f"{_named(execution)} was interrupted and what it had made until then is needed, but a run does not "
                "stop at the same place.",
                hint="Run it to its end, or make it stop by itself, and convert again.",
            )
    loaded: set[str] = set()
    analyses: list[tuple[CellExecution, str, CellAnalysis]] = []
    for execution in found.kept:
        text = without_magics(texts.get(execution.execution_id, execution.source))
        analysis = analysis_of(text)
        loaded |= {load.name for load in analysis.loads}
        loaded |= {name for function in analysis.functions for name in function.reads}
        analyses.append((execution, text, analysis))
    stored = {store.name for _, _, analysis in analyses for store in analysis.stores}
    for execution, _, analysis in analyses:
        _check_waits(execution, analysis, loaded, stored)
        _check_outputs(execution, analysis, stored)
    _check_widgets(analyses)


def _check_inputs(found: GatheredSlice, changed: Collection[str], versions: Sequence[EntityVersion]) -> None:
    kept = {e.execution_id: e for e in found.kept}
    for file in found.inputs:
        if file.kind is not EntityKind.FILE or file.name not in changed:
            continue
        for version in versions:
            if version.name != file.name or version.execution_id is None or version.kind is not EntityKind.FILE:
                continue
            # A kept cell that writes the whole file anew does so again; what adds to it starts from another end, and
            # what a cell that is left out wrote over it is gone.
            if version.execution_id not in kept or not version.strong:
                raise UsageError(
                    f"{file.name!r} was changed by the notebook itself after it had been read, so what was read is not "
                    "there any more.",
                    hint="Restore the file, or let the notebook write to another one, and run it again.",
                )


def _check_waits(execution: CellExecution, analysis: CellAnalysis, loaded: set[str], stored: set[str]) -> None:
    calls = [call.callee for call in analysis.calls]
    for function in analysis.functions:
        if function.name in loaded or function.qualname.partition(".")[0] in loaded:
            calls += [call.callee for call in function.calls]
    for callee in calls:
        if callee in _WAITS and callee.partition(".")[0] not in stored - {"getpass", "builtins"}:
            raise UsageError(
                f"{_named(execution)} waits for input ({callee}()), and a headless run has nobody to ask.",
                hint="Assign the value to a variable instead; it becomes a parameter.",
            )


def _check_outputs(execution: CellExecution, analysis: CellAnalysis, stored: set[str]) -> None:
    if analysis.outputs_read:
        raise UsageError(
            f"{_named(execution)} reads Out[{analysis.outputs_read[0]}], and the cells of a converted notebook have "
            "other numbers.",
            hint="Assign that value to a variable, run the cells again and convert then.",
        )
    for load in analysis.loads:
        if load.exposed and load.name not in stored and (load.name in _LAST_OUTPUT or _NUMBERED.match(load.name)):
            raise UsageError(
                f"{_named(execution)} reads {load.name!r}, the output of another cell, and the cells of a "
                "converted notebook have other numbers.",
                hint="Assign that value to a variable, run the cells again and convert then.",
            )


def _check_widgets(analyses: Sequence[tuple[CellExecution, str, CellAnalysis]]) -> None:
    makers: set[str] = set()
    widgets: set[str] = set()
    for execution, text, analysis in analyses:
        makers |= {i.bound for i in analysis.imports if i.module.partition(".")[0] in _WIDGETS}
        if not makers:
            continue
        tree = tree_of(text)
        for node in ast.walk(tree) if tree is not None else ():
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _root(node.value.func) in makers:
                widgets |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Load)
                and node.attr in ("value", "result", "children", "label", "index")
                and _root(node.value) in widgets
            ):
                raise UsageError(
                    f"{_named(execution)} reads the widget {_root(node.value)!r}, whose value a person sets.",
                    hint="Assign the value to a variable instead; it becomes a parameter.",
                )


def _root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _has_blank(source: str) -> bool:
    return any(_BLANKED.search(line) for line in source.split("\n") if not line.lstrip().startswith("#"))


def _own_text(execution: CellExecution, document: NotebookDocument | None) -> str | None:
    """The notebook's text of the cell, where it is the recorded one with the secret in it."""
    cells = document.code_cells if document is not None else ()
    for cell in sorted(cells, key=lambda c: c.cell_id != execution.cell_id):
        if BLANK in redact(cell.source) and redact(cell.source).strip() == execution.source.strip():
            return cell.source
    return None


def _named(execution: CellExecution) -> str:
    return (
        f"In [{count_of(execution)}]"
        if execution.execution_count is not None
        else f"Code cell {execution.position + 1}"
    )
