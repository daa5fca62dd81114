"""A notebook executed as a person executes it: cells in any order, edited between executions, in one kernel.

Capture starts where the notebook loads the extension, and what is recorded is an interactive session, not a
headless run. The demo plays a working session this way, from which everything else is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from nbformat import NotebookNode

from mlops_jupyter.config import Settings
from mlops_jupyter.errors import UsageError

from .cancellation import Cancellation
from .cells import CellLoop, Ending, Limits
from .document import read_notebook, render_notebook
from .kernel import Kernel
from .record import part_file, replace_file
from .result import CellCallback, State, preview

_OURS = ("MLOPS_ORIGIN", "MLOPS_PARENT_RUN", "MLOPS_NOTEBOOK")
STARTUP_TIMEOUT = 60.0
"""Seconds that a kernel gets to answer."""


@dataclass(frozen=True, slots=True)
class Play:
    """One execution of one cell."""

    cell_id: str
    source: str | None = None
    """Text that the cell has at that moment; None: the notebook's."""


def play(
    settings: Settings,
    notebook: Path,
    plays: Sequence[Play],
    *,
    on_cell: CellCallback | None = None,
    timeout: float | None = None,
    environment: dict[str, str] | None = None,
) -> Ending:
    """Execute ``plays`` in one kernel in the notebook's folder and save the outputs in ``notebook``.

    Args:
        settings: of the workspace that the session is recorded in.
        notebook: the file; after the last execution it holds the outputs and counts, as JupyterLab would save it.
        plays: what to execute, in this order. The first one that raises ends the session.
        on_cell: told of each execution, as by ``run_notebook``.
        timeout: seconds for each execution.
        environment: of the kernel; default: this process's.

    Raises:
        TargetNotFoundError: there is no such notebook.
        UsageError: not a notebook, or no cell has one of the ids.
        TransientError: the kernel did not start, or the notebook cannot be written.
    """
    document = read_notebook(notebook)
    places = {cell.id: index for index, cell in enumerate(document.cells) if cell.cell_type == "code"}
    unknown = [step.cell_id for step in plays if step.cell_id not in places]
    if unknown:
        raise UsageError(f"{notebook} has no code cell with the id {unknown[0]!r}.")
    session = deepcopy(document)
    session.cells = []
    for step in plays:
        cell = deepcopy(document.cells[places[step.cell_id]])
        cell.source = cell.source if step.source is None else step.source
        session.cells.append(cell)
    env = {k: v for k, v in (os.environ if environment is None else environment).items() if k not in _OURS}
    env |= {"MLOPS_HOME": str(settings.home), "JPY_SESSION_NAME": str(notebook.absolute())}
    with Cancellation() as cancellation:
        log = settings.home / "logs" / "interactive-kernel.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        kernel = Kernel("python3", log=log, cancellation=cancellation, specs=KernelSpecManager())
        listener = _Listener(session, on_cell)
        try:
            kernel.start(cwd=notebook.absolute().parent, env=env, timeout=STARTUP_TIMEOUT)
            ending = CellLoop(kernel, session, listener, limits=Limits(cell=timeout), cancellation=cancellation).run()
        finally:
            kernel.stop(now=not kernel.is_idle)
    for cell in session.cells[: listener.ended]:
        shown = document.cells[places[cell.id]]
        shown.outputs, shown.execution_count = cell.outputs, cell.execution_count
    replace_file(notebook, part_file(notebook, "interactive"), render_notebook(document))
    return ending


class _Listener:
    """Passes progress on."""

    def __init__(self, session: NotebookNode, on_cell: Callable[[int, int, State, str], None] | None) -> None:
        self._cells = session.cells
        self._on_cell = on_cell
        self.ended = 0
        """How many executions came to an end."""

    def cell_started(self, index: int) -> None:
        self._tell(index, State.RUNNING)

    def cell_ended(self, index: int, state: State, others: frozenset[int]) -> None:  # noqa: ARG002 - a listener's
        self.ended = index + 1
        self._tell(index, state)

    def output(self, output: NotebookNode) -> None:
        pass

    def tick(self) -> None:
        pass

    def _tell(self, index: int, state: State) -> None:
        if self._on_cell is not None:
            self._on_cell(index, len(self._cells), state, preview(self._cells[index].source))
