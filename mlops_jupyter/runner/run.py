"""``run_notebook``: one notebook, headless, as a run of the workspace."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

from nbformat import NotebookNode

from mlops_jupyter.config import Settings
from mlops_jupyter.errors import MlopsError, TransientError, UsageError
from mlops_jupyter.store import Connection, FileLock

from . import marks
from .cancellation import Cancellation
from .cells import Ending, Limits, is_skipped
from .document import render_notebook
from .guardian import Guardian
from .in_kernel import KernelPlan, execute, kernel_environment
from .parent import ParentRun, workspace_path
from .plan import Plan, make_plan
from .record import SKELETON, EventLog, Output, part_file
from .recover import recover_runs
from .result import RUN_STATUS, CellCallback, CellResult, FailedCell, RunResult, State, exit_code, preview

DELIVERY_TIMEOUT = 60.0
"""Seconds that delivery gets before the run returns."""

Deliver = Callable[[float], bool]
"""Delivers what was recorded within the given seconds; whether all of it arrived."""


class OpenWorkspace(Protocol):
    """The open workspace that a run is recorded in (``workspace.Workspace``)."""

    @property
    def settings(self) -> Settings:
        """Its settings."""
        ...

    @property
    def store(self) -> Connection:
        """Its store."""
        ...


def run_notebook(
    workspace: OpenWorkspace,
    notebook: Path,
    out: Path | None = None,
    *,
    parameters: Iterable[tuple[str, str]] | Mapping[str, Any] = (),
    parameter_files: Iterable[Path] = (),
    parameter_yaml: Iterable[str] = (),
    cell_timeout: float | None = None,
    timeout: float | None = None,
    cwd: Path | None = None,
    on_cell: CellCallback | None = None,
    on_output: Callable[[str, str], None] | None = None,
    deliver: Deliver | None = None,
    cancellation: Cancellation | None = None,
) -> RunResult:
    """Execute ``notebook`` in a kernel of its own and record it as a run with its cells' lineage.

    ``out`` defaults to the run's folder in the workspace. ``parameters``: pairs of name and text as from a command
    line, or a mapping of plain data; they outrank ``parameter_yaml``, which outranks ``parameter_files``.
    ``cell_timeout`` and ``timeout`` in seconds, a cell and in all. ``cwd``: the kernel's folder, by default the
    notebook's. ``on_output`` gets (stream name, text) of what cells print. A user's failing code, a dead kernel, a
    time-out or a cancellation is a result, not an exception; then too the output is written and whole.

    Raises:
        TargetNotFoundError: there is no such notebook.
        UsageError: a notebook, parameter, kernel name, output or folder that cannot be; nothing was started.
        TransientError: the workspace or the output cannot be written, or the kernel did not start.
    """
    plan = make_plan(workspace.settings, notebook, out, parameters, parameter_files, parameter_yaml, cwd)
    _check_limits(cell_timeout, timeout)
    with contextlib.suppress(MlopsError, OSError):  # what cannot be recovered now is tried again at the next run
        recover_runs(workspace.settings, workspace.store)
    with cancellation or Cancellation() as cancel, _alone(workspace.settings, plan):
        run = _Run(workspace, plan, cancel, on_cell=on_cell, on_output=on_output)
        result = run.execute(cell_timeout=cell_timeout, timeout=timeout)
    if deliver is not None:
        result = replace(result, delivered=deliver(DELIVERY_TIMEOUT))
    return result


def _check_limits(*limits: float | None) -> None:
    if any(limit is not None and not limit > 0 for limit in limits):
        raise UsageError("A time limit must be a number of seconds above 0.")


@contextlib.contextmanager
def _alone(settings: Settings, plan: Plan) -> Iterator[None]:
    """No other run writes to this one's output.

    Raises:
        UsageError: one does.
    """
    name = hashlib.sha256(os.fsencode(plan.output)).hexdigest()[:16]
    lock = FileLock(settings.locks / f"output-{name}.lock")
    if plan.output.parent != plan.folder and not lock.acquire():
        raise UsageError(
            f"Another run is writing to the output {plan.output}.", hint="Wait for its end or name another output."
        )
    try:
        yield
    finally:
        lock.release()


class _Run:
    """One run from its first record to its last; also the loop's listener."""

    def __init__(
        self,
        workspace: OpenWorkspace,
        plan: Plan,
        cancellation: Cancellation,
        *,
        on_cell: CellCallback | None,
        on_output: Callable[[str, str], None] | None,
    ) -> None:
        self._settings = workspace.settings
        self._plan = plan
        self._cancellation = cancellation
        self._on_cell = on_cell
        self._on_output = on_output
        self._notebook = plan.document
        self._name = workspace_path(workspace.settings.root, plan.notebook)
        self._parent = ParentRun(workspace.settings, workspace.store, run_uid=plan.run_uid, notebook=self._name)
        self._output = Output(plan.output, plan.run_uid)
        self._started_at = time.time()
        self._began = time.monotonic()
        self._cell_began = (0.0, 0.0)
        self._states: dict[int, tuple[State, float | None]] = {}
        self._number: dict[int, int] = {}
        self._lineage: Literal["full", "none"] = "none"
        self._warnings = list(plan.warnings)
        self._written: tuple[FailedCell | None, tuple[CellResult, ...], MlopsError | None] | None = None
        self._log: EventLog

    def execute(self, *, cell_timeout: float | None, timeout: float | None) -> RunResult:
        """The whole run."""
        plan = self._plan
        limits = Limits(cell=cell_timeout, deadline=None if timeout is None else self._began + timeout)
        self._prepare()
        guardian = Guardian(self._settings, plan.folder)
        guardian.start()
        complete = False
        try:
            try:
                ending = self._execute(limits)
            except BaseException:
                self._parent.abandon()
                raise
            result = self._finish(ending)
            complete = True
        finally:
            self._log.close(complete=complete)
            guardian.dismiss()
        with contextlib.suppress(OSError):
            part_file(plan.output, plan.run_uid).unlink()
        return result

    def _prepare(self) -> None:
        plan = self._plan
        try:
            plan.folder.mkdir(parents=True, exist_ok=True)
            marks.begin(
                self._notebook, source=str(plan.notebook), output=str(plan.output), parameters=plan.given,
                run_id=plan.run_uid, at=self._started_at,
            )  # fmt: skip
            self._number = {
                index: number
                for number, index in enumerate(
                    i for i, cell in enumerate(self._notebook.cells) if cell.cell_type == "code"
                )
            }
            (plan.folder / SKELETON).write_bytes(render_notebook(self._notebook))
            self._log = EventLog(plan.folder)
        except OSError as error:
            shutil.rmtree(plan.folder, ignore_errors=True)  # nothing has run yet, so nothing in it is worth keeping
            raise TransientError(
                f"The run's folder {plan.folder} cannot be written: {error.strerror or error}.",
                hint="Make room, make it writable, or set MLOPS_HOME to a folder that is.",
            ) from error
        self._parent.start(
            parameters=plan.parameters,
            values=plan.values,
            given=plan.given,
            tags=self._folder_tag(),
            at=self._started_at,
        )
        self._log.event(
            "started", run_id=plan.run_uid, session_id=self._parent.session_id, notebook=str(plan.notebook),
            output=str(plan.output), pid=os.getpid(),
        )  # fmt: skip
        try:
            self._output.write(self._notebook)
        except MlopsError:
            self._parent.abandon()
            self._log.close(complete=True)
            raise

    def _folder_tag(self) -> dict[str, str]:
        """Where the kernel starts, unless that is the notebook's folder."""
        plan = self._plan
        if plan.cwd == plan.notebook.parent:
            return {}
        return {"mlops.cwd": os.path.relpath(plan.cwd, self._settings.root).replace(os.sep, "/")}

    def _execute(self, limits: Limits) -> Ending:
        plan = self._plan
        kernel = KernelPlan(
            name=plan.kernel_name, specs=plan.specs, is_python=plan.is_python, cwd=plan.cwd,
            env=kernel_environment(self._settings, run_uid=plan.run_uid, notebook=self._name),
            log=plan.folder / "kernel.log", secrets=plan.secrets,
        )  # fmt: skip
        ending, warning = execute(
            self._notebook, kernel, self, limits=limits, cancellation=self._cancellation, meanwhile=self._write_end
        )
        if warning is None:
            self._lineage = "full"
        else:
            self._warnings.append(warning)
        return ending

    def cell_started(self, index: int) -> None:
        at = time.time()
        self._cell_began = (at, time.monotonic())
        cell = self._notebook.cells[index]
        marks.cell_started(cell, at)
        self._log.event("cell_started", index=index, id=cell.id)
        self._tell(index, State.RUNNING)

    def cell_ended(self, index: int, state: State, others: frozenset[int]) -> None:
        cell = self._notebook.cells[index]
        duration = None if state is State.SKIPPED else time.monotonic() - self._cell_began[1]
        marks.cell_ended(cell, state, at=time.time(), duration=duration)
        self._states[index] = (state, duration)
        for changed in sorted({index, *others}):
            self._log.cell(changed, self._notebook.cells[changed])
        self._log.event("cell_ended", index=index, id=cell.id, state=str(state), duration=duration)
        self._output.offer(self._notebook)
        self._tell(index, state)

    def output(self, output: NotebookNode) -> None:
        if self._on_output is not None and output.output_type == "stream":
            self._on_output(output.name, output.text)

    def tick(self) -> None:
        self._output.offer(self._notebook)

    def _tell(self, index: int, state: State) -> None:
        if self._on_cell is not None:
            source = self._notebook.cells[index].source
            self._on_cell(self._number[index], len(self._number), state, preview(source))

    def _finish(self, ending: Ending) -> RunResult:
        plan, state = self._plan, ending.state
        at, duration = time.time(), time.monotonic() - self._began
        if self._written is None:  # the kernel did not start
            self._write_end(ending)
        assert self._written is not None
        failed, cells, problem = self._written
        self._record_end(ending, at=at, output=plan.output if problem is None else None)
        if problem is not None:
            raise problem
        return RunResult(
            run_id=plan.run_uid, state=state, notebook=plan.notebook, output=plan.output,
            exit_code=exit_code(state, self._cancellation.received), started_at=self._started_at, duration=duration,
            cells=cells, failed_cell=failed, error=ending.error or None, death=ending.death, lineage=self._lineage,
            warnings=tuple(self._warnings), parameters=plan.values, converted=marks.converted_from(self._notebook),
        )  # fmt: skip

    def _write_end(self, ending: Ending) -> None:
        """Write the notebook as it ended, while the kernel goes down."""
        failed, cells = self._failed_cell(ending), self._cell_results()  # before the banner moves the cells
        marks.end(self._notebook, ending.state, at=time.time(), error=ending.error or None)
        if ending.state is not State.SUCCEEDED:
            marks.add_banner(self._notebook, index=ending.index, error=ending.error)
        problem: MlopsError | None = None
        try:
            self._output.write(self._notebook)
        except MlopsError as unwritten:
            problem = unwritten
        self._written = failed, cells, problem

    def _record_end(self, ending: Ending, *, at: float, output: Path | None) -> None:
        self._log.event("ended", state=str(ending.state), error=ending.error or None)
        tags = {"mlops.state": str(ending.state), "mlops.lineage": self._lineage}
        if ending.error:
            tags["mlops.error"] = ending.error
        try:
            self._parent.finish(RUN_STATUS[ending.state], tags=tags, output=output, at=at)
        except MlopsError as error:
            # The output is there; a run whose end is not recorded is reaped by its lock.
            self._warnings.append(f"The end of the run could not be recorded: {error}")

    def _failed_cell(self, ending: Ending) -> FailedCell | None:
        if ending.index is None or ending.state is State.SUCCEEDED:
            return None
        cell = self._notebook.cells[ending.index]
        return FailedCell(
            index=ending.index, cell_id=cell.id, source_preview=preview(cell.source), error=ending.error,
            traceback=ending.traceback,
        )  # fmt: skip

    def _cell_results(self) -> tuple[CellResult, ...]:
        results = []
        for index in self._number:
            cell = self._notebook.cells[index]
            never = State.SKIPPED if is_skipped(cell) else State.NEVER_RAN
            state, duration = self._states.get(index, (never, None))
            results.append(CellResult(index=index, cell_id=cell.id, state=state, duration=duration))
        return tuple(results)
