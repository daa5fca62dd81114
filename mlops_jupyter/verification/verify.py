"""Verification of a converted notebook: replays in scratch copies, held against what was recorded."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from mlops_jupyter.config import Settings
from mlops_jupyter.data.digest import measure
from mlops_jupyter.entities import Grade as EdgeGrade
from mlops_jupyter.notebook import GatheredSlice
from mlops_jupyter.provenance import without_magics
from mlops_jupyter.store import Connection

from .checks import Context, Outcome, against_replay, cannot_tell, check_of, outcome_of, replayed_facts, run_once
from .commands import dangerous_command
from .compare import Comparison, compare_facts
from .confine import can_confine
from .documents import converted_parameters, path_literals, slice_notebook
from .grading import Instability, find_instability
from .recorded import SavedOutput, files_of, label_of, recorded_facts, saved_outputs
from .replayed import Replay
from .result import Check, CheckName, Diverging, Grade, OnProgress, Parameter, Verification
from .scratch import SIZE_LIMIT

DEFAULT_BUDGET: Mapping[str, float] = {"fast": 600.0, "full": 1_800.0}
"""Seconds."""


class OpenWorkspace(Protocol):
    """The open workspace (``workspace.Workspace``)."""

    @property
    def settings(self) -> Settings:
        """Its settings."""
        ...

    @property
    def store(self) -> Connection:
        """Its store."""
        ...


def verify(
    converted: Mapping[str, Any],
    found: GatheredSlice,
    *,
    workspace: OpenWorkspace,
    notebook: Path,
    output: Path | None = None,
    texts: Mapping[str, str] | None = None,
    level: Literal["fast", "full"] = "fast",
    budget: float | None = None,
    size_limit: int = SIZE_LIMIT,
    keep: bool = False,
    on_progress: OnProgress | None = None,
) -> Verification:
    """Whether the notebook ``converted`` gives what the executions of ``found`` gave.

    V0 replays the recorded cells, V1 the converted notebook with its parameters given at their defaults; ``full``
    also starts it as a scheduler would (V2) and changes each parameter once (V3).

    Args:
        converted: the converted notebook's document.
        found: the slice that it was made of.
        workspace: where the record is.
        notebook: the original, for its folder and its saved outputs.
        output: where the converted notebook is (to be) kept, by default beside the original.
        texts: by execution id, texts instead of the recorded ones (secrets are blanked in those).
        level: which checks.
        budget: seconds for all of it; what was not reached is ``skipped`` and says so.
        size_limit: bytes that a scratch copy may take.
        keep: leave the scratch copies in ``.mlops/scratch``.
        on_progress: told of each cell that starts.

    What goes wrong with a replay (a full disk, too much to copy, a dead kernel) is told in the result.
    """
    began = time.monotonic()
    context = _context(
        converted, found, workspace=workspace, notebook=notebook, texts=texts or {},
        budget=DEFAULT_BUDGET[level] if budget is None else budget, size_limit=size_limit, keep=keep,
        on_progress=on_progress,
    )  # fmt: skip
    refusal = _refusal(context)
    if refusal is not None:
        return _unverified(refusal, level=level, seconds=time.monotonic() - began)
    changed = _changed_inputs(context)
    try:
        fast = _fast(context)
        parameters: tuple[Parameter, ...] = ()
        checks = list(fast.checks)
        if level == "full":
            from .full import run_as_scheduled, try_parameters

            name = (output or notebook).name
            second = run_as_scheduled(context, fast, name=name)
            third, parameters = try_parameters(context, fast)
            checks += [second.check, third]
            fast.add(second)
    except BaseException:
        context.cancelled.set()
        raise
    return _verdict(context, fast, tuple(checks), parameters, changed, level=level, seconds=time.monotonic() - began)


@dataclass(slots=True)
class Fast:
    """What V0 and V1 found."""

    outcomes: list[Outcome]
    instability: Instability
    first: Replay | None = None
    """V0."""
    second: Replay | None = None
    """V1."""

    @property
    def checks(self) -> list[Check]:
        """The checks of these outcomes."""
        return [outcome.check for outcome in self.outcomes]

    def add(self, outcome: Outcome) -> None:
        """Let another outcome count."""
        self.outcomes.append(outcome)


def _context(
    converted: Mapping[str, Any],
    found: GatheredSlice,
    *,
    workspace: OpenWorkspace,
    notebook: Path,
    texts: Mapping[str, str],
    budget: float,
    size_limit: int,
    keep: bool,
    on_progress: OnProgress | None,
) -> Context:
    settings, store = workspace.settings, workspace.store
    saved: Mapping[str, SavedOutput] = saved_outputs(notebook)
    inputs, written = files_of(store, found)
    by_position = {e.position: e.execution_id for e in found.kept}
    needs: dict[str, set[tuple[str, str]]] = {}
    for edge in found.edges:
        if edge.user in by_position and edge.maker in by_position and edge.grade is not EdgeGrade.ASSUMED:
            needs.setdefault(by_position[edge.user], set()).add((by_position[edge.maker], edge.name))
    sources = {str(e.execution_id): without_magics(texts.get(e.execution_id, e.source)) for e in found.kept}
    folder = _folder(settings.root, notebook)
    return Context(
        converted=dict(converted), found=found, settings=settings, store=store,
        folder=folder, recorded=recorded_facts(store, found, saved),
        sources=sources,
        needs=needs, inputs=inputs, named=_named_files(settings.root, folder, sources, written),
        written=written, deadline=time.monotonic() + budget, size_limit=size_limit,
        keep=keep, on_progress=on_progress, labels={e.execution_id: label_of(e) for e in found.kept},
    )  # fmt: skip


def _folder(root: Path, notebook: Path) -> str:
    folder = Path(os.path.realpath(notebook.absolute().parent))
    real = Path(os.path.realpath(root))
    return os.path.relpath(folder, real) if folder.is_relative_to(real) else "."


def _named_files(root: Path, folder: str, sources: Mapping[str, str], written: Collection[str]) -> list[str]:
    """Files and small folders in the workspace that cells name. A folder of data that is only listed, or a library
    that opens files in its own way, leaves no record."""
    here = Path(os.path.normpath(root / folder))
    found: dict[str, None] = {}
    for literal in dict.fromkeys(text for source in sources.values() for text in path_literals(source)):
        path = Path(os.path.normpath(here / literal))
        try:
            matches = sorted(here.glob(literal))[:_MOST_NAMED] if "*" in literal else [path] if path.exists() else []
        except (OSError, ValueError, NotImplementedError):
            continue
        for match in matches:
            name = os.path.relpath(match, root)
            inside = match.is_relative_to(root) and not any(p.startswith(".") for p in Path(name).parts)
            if not inside or match in (root, here) or name in written:
                continue
            if match.is_file() or _is_small(match):
                found[name] = None
    return list(found)


_MOST_NAMED = 1_000
_SMALL = 256 * 1024 * 1024
"""Bytes of a folder that is copied because a cell names it."""


def _is_small(folder: Path) -> bool:
    size = 0
    for number, path in enumerate(folder.rglob("*")):
        size += path.stat().st_size if path.is_file() else 0
        if number > _MOST_NAMED or size > _SMALL:
            return False
    return True


# ------------------------------------------------------------------ before anything runs


def _refusal(context: Context) -> str | None:
    """Why nothing may be run: a cell writes to a place that is not in the scratch."""
    for name, execution in context.written.items():
        if os.path.isabs(name) and ".." not in name:  # noqa: PTH117 - a name in the record, not a path to open
            path = Path(name)
            root = Path(os.path.realpath(context.settings.root))
            # ``../x`` from the notebook is recorded under its absolute path; the text tells which it was.
            if not path.is_relative_to(root) and name not in context.sources.get(execution.execution_id, ""):
                continue
            return (
                f"{label_of(execution)} writes to {name}, which is not in the scratch copy; let it write to a "
                "relative path"
            )
    if can_confine():
        return None  # the system stops what is not known beforehand
    for execution in context.found.kept:
        command = dangerous_command(context.sources[execution.execution_id], root=str(context.settings.root))
        if command is not None:
            return f"{label_of(execution)} runs a command that names {command}, and a command is not stopped there"
    return None


def _changed_inputs(context: Context) -> list[str]:
    """Inputs that are not as they were when they were read, one sentence each."""
    sentences = []
    for version in context.inputs:
        if version.digest is None or "://" in version.name or version.name.startswith("package:"):
            continue
        path = context.settings.root / version.name
        try:
            now = measure(path, seconds=None).digest
        except OSError:
            sentences.append(f"{version.name} is not there any more")
            continue
        same_kind = now is not None and now.partition(":")[0] == version.digest.partition(":")[0]
        if same_kind and now != version.digest:
            sentences.append(f"{version.name} has changed since it was read")
    return sentences


# ------------------------------------------------------------------ V0 and V1


def _fast(context: Context) -> Fast:
    original = slice_notebook(context.found, context.sources, context.converted)
    static = context.found.origin == "static"
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=2))
        stack.callback(_stop_on_error, context)
        first_future = pool.submit(run_once, context, "V0", original)
        second_future = pool.submit(run_once, context, "V1", context.converted, converted_parameters(context.converted))
        first, second = first_future.result(), second_future.result()
        comparison = _against_record(context, first)
        again: Comparison | None = None
        unsure = comparison is not None and not comparison.exact
        one = replayed_facts(context, first) if isinstance(first, Replay) else {}
        lifted: Comparison | None = None
        if isinstance(first, Replay) and isinstance(second, Replay):
            lifted = against_replay(context, first, second)
        if cannot_tell(context, first) is None and (unsure or static or (lifted is not None and not lifted.exact)):
            third = pool.submit(run_once, context, "V0", original).result()
            if isinstance(third, Replay) and third.succeeded and isinstance(first, Replay):
                again = compare_facts(list(one.values()), replayed_facts(context, third))
    instability = find_instability(
        again, context.recorded, sources=context.sources, needs=context.needs,
        unseeded=_unseeded(first),
        differing=comparison.differences if comparison is not None else (),
    )  # fmt: skip
    fast = Fast([], instability)
    fast.outcomes.append(outcome_of(context, "V0", first, comparison, instability))
    fast.outcomes.append(outcome_of(context, "V1", second, lifted, instability))
    fast.first = first if isinstance(first, Replay) else None
    fast.second = second if isinstance(second, Replay) else None
    return fast


def _unseeded(run: Replay | str) -> dict[str, tuple[str, ...]]:
    if isinstance(run, str):
        return {}
    return {cell.execution_id: cell.unseeded for cell in run.cells if cell.execution_id is not None}


def _stop_on_error(context: Context) -> None:
    if sys.exc_info()[0] is not None:
        context.cancelled.set()


def _against_record(context: Context, run: Replay | str) -> Comparison | None:
    if cannot_tell(context, run) is not None or not isinstance(run, Replay):
        return None
    ran = replayed_facts(context, run)
    return compare_facts([f for f in context.recorded if f.key in ran], ran)


# ------------------------------------------------------------------ the verdict


def _unverified(reason: str, *, level: Literal["fast", "full"], seconds: float) -> Verification:
    names: Sequence[CheckName] = ("V0", "V1") if level == "fast" else ("V0", "V1", "V2", "V3")
    return Verification(
        level=level, grade=None, reason=f"Not verified: {reason}.",
        checks=tuple(check_of(name, "unknown", reason, 0.0) for name in names), diverging=None, parameters=(),
        unseeded=(), compared=0, unknown=0, notes=(), seconds=round(seconds, 3),
    )  # fmt: skip


def _verdict(
    context: Context,
    fast: Fast,
    checks: tuple[Check, ...],
    parameters: tuple[Parameter, ...],
    changed: Collection[str],
    *,
    level: Literal["fast", "full"],
    seconds: float,
) -> Verification:
    notes = [*context.notes]
    if fast.first is not None and not fast.first.confined:
        notes.append("This system cannot keep a replay from writing elsewhere; it only ran in the scratch copy.")
    grade, reason, diverging = _grade(context, fast, list(changed))
    notes += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in changed]
    record = fast.outcomes[0]
    return Verification(
        level=level, grade=grade, reason=reason, checks=checks, diverging=diverging, parameters=parameters,
        unseeded=fast.instability.unstable, compared=record.compared, unknown=record.unknown, notes=tuple(notes),
        seconds=round(seconds, 3),
    )  # fmt: skip


def _grade(context: Context, fast: Fast, changed: Sequence[str]) -> tuple[Grade | None, str, Diverging | None]:
    failed = next((o for o in fast.outcomes if o.diverging is not None), None)
    if failed is not None and failed.diverging is not None:
        cause = f" ({changed[0]})" if changed else ""
        unseeded = fast.instability.unstable
        if not cause and unseeded:
            cause = f" ({unseeded[0].name} in {unseeded[0].cell} {unseeded[0].reason})"
        return "C", f"Not reproduced: {failed.check.detail}{cause}.", failed.diverging
    cannot = next((o for o in fast.outcomes[:2] if o.cannot), None)
    if cannot is not None:
        return None, f"Not verified: {cannot.check.name}: {cannot.check.detail}.", None
    if context.found.origin == "static":
        had = fast.outcomes[0].compared > 0
        reason = "its saved outputs agree" if had else "nothing was recorded to compare with"
        return "B", f"Never tracked: {reason}; it runs headless and lifting its parameters changes nothing.", None
    if fast.outcomes[0].compared == 0:
        return "B", "It runs, and lifting its parameters changes nothing; no value was recorded to compare with.", None
    why = [reason for outcome in fast.outcomes for reason in outcome.why]
    if changed:
        return "B", f"The values agree, though {changed[0]}.", None
    if not why and all(outcome.exact or outcome.cannot for outcome in fast.outcomes):
        return "A", f"Exactly as recorded: {fast.outcomes[0].compared} values, metrics, files and outputs.", None
    return "B", f"As recorded, but {' and '.join(dict.fromkeys(why))}.", None
