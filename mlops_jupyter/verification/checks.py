"""One check of a verification: a replay in a scratch of its own, and what it says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlops_jupyter.config import Settings
from mlops_jupyter.entities import CellExecution, EntityVersion
from mlops_jupyter.errors import MlopsError
from mlops_jupyter.notebook import GatheredSlice
from mlops_jupyter.notebook.injected import is_injected
from mlops_jupyter.notebook.masked import analysis_of
from mlops_jupyter.store import Connection

from .compare import Comparison, Difference, Facts, Value, compare_facts, in_order_of_text
from .grading import Instability, Needs, as_diverging, judge
from .replay import replay
from .replayed import Replay
from .result import Check, CheckName, Diverging, OnProgress, State, named
from .scratch import Scratch, changed_inputs, make_scratch, remove_scratch


@dataclass(slots=True)
class Context:
    """What the checks of one verification share."""

    converted: dict[str, Any]
    found: GatheredSlice
    settings: Settings
    store: Connection
    folder: str
    """The notebook's folder, relative to the workspace."""
    recorded: tuple[Facts, ...]
    sources: dict[str, str]
    needs: Needs
    inputs: list[EntityVersion]
    named: list[str]
    """Files and folders that the text of a cell names and that are there, though nothing recorded a read."""
    written: Mapping[str, CellExecution]
    deadline: float
    size_limit: int
    keep: bool
    on_progress: OnProgress | None
    cancelled: threading.Event = field(default_factory=threading.Event)
    notes: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    """``In [3]`` by the id of the recorded execution."""

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.deadline - time.monotonic()

    def told(self, name: str) -> Callable[[int, int], None] | None:
        """The callback for the cells of one check."""
        progress = self.on_progress
        return None if progress is None else lambda number, of: progress(name, number, of)


@dataclass(slots=True)
class Outcome:
    """How one check that compares came out."""

    check: Check
    exact: bool = False
    within: bool = False
    diverging: Diverging | None = None
    why: tuple[str, ...] = ()
    compared: int = 0
    unknown: int = 0
    cannot: bool = False
    """Whether it could not be run, so that it says nothing."""


def new_scratch(context: Context) -> Scratch:
    """A scratch copy for one replay."""
    return make_scratch(
        context.settings.root, base=context.settings.home / "scratch",
        needed=[*(v.name for v in context.inputs), *context.named],
        written=list(context.written), near=context.settings.root / context.folder, limit=context.size_limit,
    )  # fmt: skip


def run_once(
    context: Context, name: str, document: Mapping[str, Any], parameters: Mapping[str, Any] | None = None
) -> Replay | str:
    """One replay in a scratch of its own; a sentence where it could not be done."""
    if context.left <= 0:
        return "the time budget was used up"
    try:
        scratch = new_scratch(context)
    except MlopsError as error:
        return str(error)
    try:
        result = replay(
            document, scratch=scratch, folder=context.folder, name=name, parameters=parameters,
            timeout=max(context.left, 0.1), on_cell=context.told(name), cancelled=context.cancelled,
        )  # fmt: skip
        changed = changed_inputs(scratch)
        if changed:
            return f"{named(changed)} changed while it was read"
        return result
    except MlopsError as error:
        return str(error)
    finally:
        if context.keep:
            (scratch.folder / "kept").touch()
            scratch.lock.release()
        else:
            remove_scratch(scratch)


def cannot_tell(context: Context, run: Replay | str) -> str | None:
    """Why a replay says nothing, or None where it does."""
    if isinstance(run, str):
        return run
    if run.blocked is not None:
        who = failed_label(context, run) if run.failed_cell is not None else "what starts the kernel"
        return f"{who} would have written to {run.blocked}, outside of the scratch copy"
    if run.state == "timed_out":
        return "the time budget was used up"
    if run.state in ("kernel_died", "cancelled"):
        return run.error or run.state
    if run.lineage != "full" and run.succeeded:
        return next(iter(run.warnings), "the kernel recorded nothing")
    return None


def failed_label(context: Context, run: Replay) -> str:
    """``In [3]`` of the cell at which a replay stopped."""
    key = next((c.execution_id for c in run.cells if c.cell_id == run.failed_cell), None)
    return context.labels.get(key or "", "A cell" if run.failed_cell is None else f"The cell {run.failed_cell}")


def replayed_facts(context: Context, run: Replay) -> dict[str, Facts]:
    """What the cells of a replay left, by the recorded execution that they are."""
    positions: dict[str, int] = {str(e.execution_id): e.position for e in context.found.kept}
    return {
        cell.execution_id: Facts(
            key=cell.execution_id, label=context.labels.get(cell.execution_id, cell.cell_id), cell_id=cell.cell_id,
            position=positions.get(cell.execution_id, cell.index),
            variables=in_order_of_text(cell.variables, context.sources.get(cell.execution_id, "")),
            files=cell.files_written, metrics=cell.metrics, params=cell.params,
            text=cell.text,
        )
        for cell in run.cells
        if cell.execution_id is not None and cell.state in ("succeeded", "failed")
    }  # fmt: skip


def against_replay(context: Context, first: Replay, run: Replay) -> Comparison:
    """What ``run`` left, held against a replay; of a run that stopped only the cells that ran."""
    expected, got = replayed_facts(context, first), replayed_facts(context, run)
    facts = [_without_overridden(context, f) for f in expected.values() if run.succeeded or f.key in got]
    return compare_facts(facts, got, elsewhere=values_elsewhere(run))


def _without_overridden(context: Context, facts: Facts) -> Facts:
    """Without variables that a headless run set anew from what it was given: a converted notebook has that alone."""
    later = {
        name
        for execution in context.found.kept
        if is_injected(execution) and execution.position > facts.position
        for name in analysis_of(execution.source).literals
    }
    return replace(facts, variables={name: v for name, v in facts.variables.items() if name not in later})


def values_elsewhere(run: Replay) -> dict[str, Value]:
    """Variables that the cells without a recorded execution wrote: imports and parameters."""
    found: dict[str, Value] = {}
    for cell in run.cells:
        if cell.execution_id is None:
            found.update(cell.variables)
    return found


def outcome_of(
    context: Context, name: CheckName, run: Replay | str, comparison: Comparison | None, instability: Instability
) -> Outcome:
    """What a replay says: as expected, not, or nothing."""
    seconds = run.seconds if isinstance(run, Replay) else 0.0
    reason = cannot_tell(context, run)
    if reason is not None or not isinstance(run, Replay):
        skipped = isinstance(run, str) and "budget" in run
        return Outcome(check_of(name, "skipped" if skipped else "unknown", reason or "", seconds), cannot=True)
    by_key = {f.key: f for f in context.recorded}
    target = context.found.target
    static = context.found.origin == "static" and name == "V0"
    verdict = judge(
        comparison or Comparison(differences=(), same=0, unknown=0, metrics=0), instability, target=target,
        outputs_count=static,
    )  # fmt: skip
    compared = 0 if comparison is None else comparison.same + len(comparison.differences)
    unknown = 0 if comparison is None else comparison.unknown
    if verdict.first is not None:
        found = as_diverging(verdict.first, by_key, name)
        return Outcome(
            check_of(name, "failed", _sentence(found, verdict.first), seconds), diverging=found, compared=compared,
            unknown=unknown,
        )  # fmt: skip
    if not run.succeeded:
        label = failed_label(context, run)
        cell_id = run.failed_cell
        error = run.error or run.state
        found = Diverging(cell=label, cell_id=cell_id, variable=None, expected="no error", got=error, check=name)
        return Outcome(
            check_of(name, "failed", f"{label} failed: {error}", seconds), diverging=found, compared=compared,
            unknown=unknown,
        )  # fmt: skip
    detail = f"{compared} values, metrics, files and outputs compared"
    detail += f" ({'; '.join(verdict.why)})" if verdict.why else ", all the same" if compared else ""
    if comparison is None:
        return Outcome(check_of(name, "unknown", "there was nothing to compare it with", seconds), cannot=True)
    return Outcome(
        check_of(name, "passed", detail, seconds), exact=verdict.exact, within=True, why=verdict.why, compared=compared,
        unknown=unknown,
    )  # fmt: skip


def _sentence(found: Diverging, difference: Difference) -> str:
    what = {"variable": found.variable, "metric": f"the metric {found.variable}", "file": f"the file {found.variable}",
            "parameter": f"the parameter {found.variable}", "output": "what it shows"}[difference.kind]  # fmt: skip
    return f"{found.cell}: {what} is {found.got}, expected {found.expected}"


def check_of(name: CheckName, state: State, detail: str, seconds: float) -> Check:
    """A check as it is told."""
    return Check(name=name, state=state, detail=detail, seconds=round(seconds, 3))
