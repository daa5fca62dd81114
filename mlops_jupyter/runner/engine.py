"""``papermill --engine mlops``: papermill's command line and readers, our loop, capture and end states.

Typed parameters and whole (atomic) output need ``mlops run``: papermill injects parameters and writes files itself.
"""

from __future__ import annotations

import signal
import time
import uuid
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.engines import Engine, NotebookExecutionManager  # noqa: TID253 - only papermill loads this module
from papermill.exceptions import PapermillExecutionError  # noqa: TID253
from papermill.log import logger  # noqa: TID253

from mlops_jupyter.config import Settings, load_settings
from mlops_jupyter.entities import RunUid
from mlops_jupyter.errors import UsageError
from mlops_jupyter.store import open_workspace_store

from . import marks
from .cancellation import Cancellation
from .cells import Ending, Limits
from .in_kernel import KernelPlan, execute, kernel_environment
from .kernel import kernel_language
from .parameters import PARAMETERS_TAG, Parameter, effective_values, infer_parameters, tagged_cell
from .parent import ParentRun, workspace_path
from .record import Throttle
from .result import RUN_STATUS, State
from .tracked import untrackable


class _Manager(NotebookExecutionManager):  # type: ignore[misc]
    """Papermill's record of an execution, which does not call cells completed that never ran."""

    def notebook_complete(self, **_: Any) -> None:
        """Set the end of the notebook and write it."""
        marks.end_time(self.nb, at=time.time())
        self.complete_pbar()
        self.cleanup_pbar()
        self.save()


class MlopsEngine(Engine):  # type: ignore[misc]
    """Executes a notebook for papermill as a run of the workspace that the notebook's folder belongs to."""

    @classmethod
    def execute_notebook(
        cls,
        nb: NotebookNode,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: bool | dict[str, Any] = True,
        log_output: bool = False,
        autosave_cell_every: float = 30,
        **kwargs: Any,
    ) -> NotebookNode:
        """Called by papermill with the notebook, its parameters injected. Raises as ``execute_managed_notebook``."""
        manager = _Manager(
            nb,
            output_path=output_path,
            progress_bar=progress_bar,
            log_output=log_output,
            autosave_cell_every=autosave_cell_every,
        )
        nb.metadata.pop("widgets", None)
        manager.notebook_start()
        try:
            cls.execute_managed_notebook(manager, kernel_name, log_output=log_output, **kwargs)
        finally:
            manager.cleanup_pbar()
            manager.notebook_complete()
        executed: NotebookNode = manager.nb
        return executed

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        *,
        log_output: bool = False,
        stdout_file: Any = None,
        stderr_file: Any = None,
        start_timeout: float = 60,
        execution_timeout: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Execute the cells.

        Raises:
            PapermillExecutionError: a cell ended the notebook before its last code cell. A cell that raised is left
                to papermill, which finds it in the notebook.
            DeadKernelError, CellTimeoutError: as papermill's own engine does.
            KeyboardInterrupt, SystemExit: SIGINT or SIGTERM was received; the notebook was written.
        """
        source = Path(str(kwargs.get("input_path") or "-")).absolute()
        settings = load_settings(source.parent if source.parent.is_dir() else Path.cwd())
        listener = _Listener(nb_man, log_output=log_output, files={"stdout": stdout_file, "stderr": stderr_file})
        limits = Limits(cell=execution_timeout or kwargs.get("timeout") or None)
        with Cancellation() as cancellation:
            ending = _recorded(
                settings, source, listener, kernel_name,
                limits=limits, startup_timeout=start_timeout, cancellation=cancellation,
            )  # fmt: skip
            received = cancellation.received
        marks.end(nb_man.nb, ending.state, at=time.time(), error=ending.error or None)
        _raise(nb_man.nb, ending, received)


class _Listener:
    """Keeps papermill's marks, progress bar and logs up to date."""

    def __init__(self, manager: NotebookExecutionManager, *, log_output: bool, files: dict[str, Any]) -> None:
        self.manager = manager
        self._log_output = log_output
        self._files = files
        self._throttle = Throttle()
        self._began = 0.0

    def cell_started(self, index: int) -> None:
        cell = self.manager.nb.cells[index]
        self._began = time.monotonic()
        marks.cell_started(cell, time.time())
        if self._log_output:
            logger.info(f"Executing Cell {index + 1:-<40}")
        description = self.manager.get_cell_description(cell)
        if description is not None and self.manager.pbar:
            self.manager.pbar.set_description(f"Executing {description}")

    def cell_ended(self, index: int, state: State, others: frozenset[int]) -> None:  # noqa: ARG002 - a listener's
        duration = None if state is State.SKIPPED else time.monotonic() - self._began
        marks.cell_ended(self.manager.nb.cells[index], state, at=time.time(), duration=duration)
        if self._log_output:
            logger.info(f"Ending Cell {index + 1:-<43}")
        if self.manager.pbar:
            self.manager.pbar.update(1)
        self.tick()

    def output(self, output: NotebookNode) -> None:
        if output.output_type == "stream":
            file = self._files.get(output.name)
            if file is not None:
                file.write(output.text)
                file.flush()
            if self._log_output:
                (logger.info if output.name == "stdout" else logger.warning)(output.text)
        elif self._log_output and "text/plain" in output.get("data", {}):
            logger.info(output.data["text/plain"])

    def tick(self) -> None:
        self._throttle.offer(self.manager.save)


def _recorded(
    settings: Settings,
    source: Path,
    listener: _Listener,
    kernel_name: str,
    *,
    limits: Limits,
    startup_timeout: float,
    cancellation: Cancellation,
) -> Ending:
    """Execute as a run of the workspace."""
    notebook = listener.manager.nb
    name = workspace_path(settings.root, source)
    run_uid = RunUid(uuid.uuid4().hex)
    specs = KernelSpecManager()
    plan = KernelPlan(
        name=kernel_name, specs=specs, is_python=kernel_language(kernel_name, specs) == "python", cwd=Path.cwd(),
        env=kernel_environment(settings, run_uid=run_uid, notebook=name),
        log=settings.runs / run_uid / "kernel.log", startup_timeout=startup_timeout,
    )  # fmt: skip
    marks.begin_run(notebook, run_id=run_uid)
    for warning in untrackable(notebook):
        logger.warning(warning)
    given = dict(notebook.metadata["papermill"].get("parameters") or {})
    parameters = _parameters(notebook)
    store = open_workspace_store(settings)
    try:
        plan.log.parent.mkdir(parents=True, exist_ok=True)
        parent = ParentRun(settings, store, run_uid=run_uid, notebook=name)
        values = {**effective_values(parameters, given), **given}
        parent.start(parameters=parameters, values=values, given=given, tags={}, at=time.time())
        try:
            ending, unrecorded = execute(notebook, plan, listener, limits=limits, cancellation=cancellation)
        except BaseException:
            parent.abandon()
            raise
        if unrecorded is not None:
            logger.warning(unrecorded)
        tags = {"mlops.state": str(ending.state), "mlops.lineage": "full" if unrecorded is None else "none"}
        parent.finish(RUN_STATUS[ending.state], tags=tags, output=None, at=time.time())
        return ending
    finally:
        store.close()


def _parameters(notebook: NotebookNode) -> list[Parameter]:
    index = tagged_cell(notebook, PARAMETERS_TAG)
    if index is None:
        return []
    try:
        return infer_parameters(notebook.cells[index].source)
    except UsageError:  # the cell will raise its own SyntaxError
        return []


def _raise(notebook: NotebookNode, ending: Ending, received: int | None) -> None:
    """Say to papermill how it ended, in papermill's and nbclient's own exceptions."""
    if ending.state is State.CANCELLED:
        if received == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt
    if ending.state is State.KERNEL_DIED:
        raise DeadKernelError(ending.error)
    if ending.state is State.TIMED_OUT:
        raise CellTimeoutError(ending.error)
    if ending.ename == "SystemExit" and ending.index is not None:
        cell = notebook.cells[ending.index]
        raise PapermillExecutionError(
            cell_index=ending.index,
            exec_count=cell.execution_count,
            source=cell.source,
            ename=ending.ename,
            evalue=ending.evalue,
            traceback=[*ending.traceback, ending.error],  # papermill's message is made of these lines
        )
