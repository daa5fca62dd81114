"""Runs of a session: ``%%track`` around a cell, ``%track on`` over several, and those that ``log_*`` start.

Responsibilities: start a run before its cell, keep MLflow's own calls of the user's in the same run, and
gather at the end what the cell adds to it. The store sees a run at its start (RUNNING) and everything else
in one transaction.
"""

from __future__ import annotations

import importlib
import os
import random
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from mlops_jupyter.data.exchange import Exchange, open_exchange
from mlops_jupyter.entities import ExecutionStatus, Origin, ParamSource, Run, RunStatus, RunUid
from mlops_jupyter.errors import MlopsError, UsageError
from mlops_jupyter.store import SQLiteConnection
from mlops_jupyter.store import runs as store_runs

from . import valueprobes
from .environment import read_environment
from .figures import FigureCollector
from .git import FRESH, GitWatch
from .history import History
from .minting import new_uid
from .mlflow_environment import MlflowEnvironment
from .options import TrackOptions, parse_options
from .runs import RunRecord

if TYPE_CHECKING:
    from .estimators import Watcher
    from .session import CaptureSession, Finished, OpenCell

Kind = Literal["cell", "steps", "implicit", "parent"]


@dataclass(slots=True)
class OpenRun:
    """A run that goes on."""

    run_uid: RunUid
    name: str
    experiment: str
    kind: Kind
    options: TrackOptions
    started_at: float
    parent_uid: RunUid | None = None
    git: GitWatch | None = None
    cells: int = 0
    failed: bool = False
    metrics_before: int = 0
    """Place of the last metric that was there when the cell began; the cell itself logged what came after it."""


class Tracker:
    """Knows which run is open in a session."""

    def __init__(self, session: CaptureSession) -> None:
        self._session = session
        self.history = History()
        self.figures = FigureCollector(session.faults.report)
        self.exchange: Exchange = open_exchange(session.settings)
        self._folder: TemporaryDirectory[str] | None = None
        if session.sink.in_memory:
            self._folder = TemporaryDirectory(prefix="mlops-", ignore_cleanup_errors=True)
            self.exchange = Exchange(Path(self._folder.name))
        self.environment = MlflowEnvironment(session.settings)
        self._cell_run: OpenRun | None = None
        self._steps: OpenRun | None = None
        self._step_run: OpenRun | None = None
        self._look: GitWatch | None = None
        self._parent = self._headless_parent()
        valueprobes.listen(lambda seen: self.watcher.receive(seen))

    @cached_property
    def watcher(self) -> Watcher:
        """What sees models and scores. Made for the first cell: loading must be quick."""
        from .estimators import Watcher

        return Watcher(self._session.faults.report)

    def _headless_parent(self) -> OpenRun | None:
        uid = self._session.parent_run
        if uid is None:
            return None
        return OpenRun(uid, "", "", "parent", TrackOptions(), time.time())

    # -- which run
    # --------------------------------------------------------------------------------------------------

    @property
    def steps(self) -> OpenRun | None:
        """The run of ``%track on``."""
        return self._steps

    def current(self) -> OpenRun | None:
        """The innermost run that is open, or None."""
        return self._cell_run or self._steps or self._parent

    def run_of_cell(self) -> RunUid | None:
        """The run that the cell which just ended belongs to."""
        run = self._of_cell()
        return run.run_uid if run is not None else None

    def _of_cell(self) -> OpenRun | None:
        """As ``current``, but the cells of ``%track on`` and ``%track off`` are no steps."""
        if self._cell_run is not None:
            return self._cell_run
        if self._step_run is not None and self._step_run is self._steps:
            return self._steps
        return self._parent

    def for_logging(self) -> RunUid:
        """The run that ``log_*`` writes to; started where there is none."""
        run = self.current()
        if run is None:
            run = self.start("implicit", TrackOptions(), parent=None)
            self._cell_run = run
        return run.run_uid

    # -- around a cell
    # ----------------------------------------------------------------------------------------------

    def before(self, cell: OpenCell, track_line: tuple[int, str] | None) -> None:
        """A cell is about to run; ``track_line`` is what ``find_track_line`` says of it."""
        if self._cell_run is not None and self._cell_run.kind == "implicit":
            self._end_implicit(RunStatus.FINISHED)
        self._step_run = self._steps
        self.watcher.source = f"cell:{cell.execution_id}"
        if track_line is not None:
            try:
                options = parse_options(track_line[1])
            except UsageError:
                track_line = None  # IPython shows the error and does not run the cell
            else:
                self._begin_cell(options)
        run = self.current()
        if run is not None and run.kind != "parent":
            self.watcher.begin()
            if run.kind == "steps":  # by time would not do: two cells end within one millisecond
                ((last,),) = self._session.store.execute("SELECT COALESCE(MAX(seq), 0) FROM metrics")
                run.metrics_before = last
            self.figures.start(self._session.shell)
            self.environment.enter(run.run_uid)

    def _begin_cell(self, options: TrackOptions) -> None:
        parent = self._steps or self._parent
        self._cell_run = self.start("cell", options, parent=parent.run_uid if parent else None)
        self._cell_run.git = self._git()
        if "sklearn" in sys.modules:
            importlib.import_module("cloudpickle")  # now, so that the end of the cell does not wait for it
        if options.seed is not None:
            seed_everything(options.seed)

    def after(self, cell: OpenCell, finished: Finished) -> RunRecord | None:
        """A cell has run; what it adds to the open run, or None."""
        self.environment.leave()
        images = self.figures.stop()
        sightings = self.watcher.end()
        valueprobes.forget()
        injected = _is_injected(self._session, cell)
        self.history.add(cell.execution_id, finished.analysis, finished.versions, finished.uses, injected=injected)
        run = self._of_cell()
        if run is None:
            return None
        run.cells += 1
        if run.kind == "parent":
            return None  # the runner writes the end of its run; the execution names the run
        from .gathering import gather_record

        record = gather_record(self._session, run, finished, sightings, images)
        if self._cell_run is not None:
            self._cell_run = None
        else:
            record.ended_at = None
            record.status = RunStatus.RUNNING
        return record

    def abandon(self, finished: Finished) -> RunRecord | None:
        """End the cell's run after gathering failed: its state is still told."""
        run, self._cell_run = self._cell_run, None
        self.environment.leave()
        self.watcher.end()
        if run is None:
            return None
        return RunRecord(
            run_uid=run.run_uid,
            name=run.name,
            experiment=run.experiment,
            status=outcome_status(finished.execution.status),
            ended_at=time.time(),
        )

    # -- starting and stopping
    # --------------------------------------------------------------------------------------

    def start(self, kind: Kind, options: TrackOptions, *, parent: RunUid | None) -> OpenRun:
        """Start a run and write that it runs."""
        session = self._session
        cell = session.cell
        run_uid = RunUid(new_uid())
        experiment = (
            options.experiment
            or os.environ.get("MLFLOW_EXPERIMENT_NAME")
            or session.settings.experiment
            or session.notebook
            or "Default"
        )
        name = options.name or _default_name(session.notebook, run_uid)
        tags = {
            "mlflow.user": session.user,
            "mlflow.source.type": "NOTEBOOK",
            "mlops.origin": str(session.origin),
            "mlops.environment": read_environment().digest,
            **(
                {"mlflow.source.name": session.notebook, "mlops.notebook": session.notebook} if session.notebook else {}
            ),
            **session.folder_tag,
            **({"mlops.execution_id": cell.execution_id} if cell is not None else {}),
            **({"mlops.cell_id": cell.info.cell_id} if cell is not None and cell.info.cell_id else {}),
            **options.tags,
        }
        if session.origin is Origin.SCRIPT:
            tags["mlflow.source.type"] = "LOCAL"
        run = OpenRun(run_uid, name, experiment, kind, options, time.time(), parent)
        record = Run(
            run_uid=run_uid,
            name=name,
            experiment=experiment,
            status=RunStatus.RUNNING,
            started_at=run.started_at,
            parent_uid=parent,
            session_id=session.session_id,
            execution_id=cell.execution_id if cell is not None and kind != "steps" else None,
            notebook=session.notebook,
            user=session.user,
            tags=tags,
        )
        session.sink.write(lambda store: store_runs.start_run(store, record))
        return run

    def turn_on(self, options: TrackOptions) -> OpenRun:
        """``%track on``.

        Raises:
            UsageError: it is on already.
        """
        if self._steps is not None:
            raise UsageError(f"%track is on already (run {self._steps.run_uid[:8]}).", hint="End it with: %track off")
        parent = self._parent.run_uid if self._parent is not None else None
        self._steps = self.start("steps", options, parent=parent)
        self._steps.git = self._git()
        if options.seed is not None:
            seed_everything(options.seed)
            self._session.sink.write(
                lambda store: store_runs.log_params(store, self._run_uid(), [_seed_param(options)], found=True)
            )
        return self._steps

    def _git(self) -> GitWatch:
        if self._look is None or time.monotonic() - self._look.begun > FRESH:
            self._look = GitWatch(self._session.settings.root)
        return self._look

    def _run_uid(self) -> RunUid:
        assert self._steps is not None
        return self._steps.run_uid

    def turn_off(self) -> OpenRun | None:
        """``%track off``; the run that ended, or None where none was on."""
        run, self._steps = self._steps, None
        if run is not None:
            status = RunStatus.FAILED if run.failed else RunStatus.FINISHED
            self._end(run.run_uid, status)
        return run

    def stop(self) -> None:
        """The session ends: so do its runs."""
        valueprobes.listen(None)
        self.environment.restore()
        self.turn_off()
        if self._cell_run is not None:
            self._end_implicit(RunStatus.FINISHED)
        if self._folder is not None:
            self._folder.cleanup()

    def _end_implicit(self, status: RunStatus) -> None:
        run, self._cell_run = self._cell_run, None
        if run is not None:
            self._end(run.run_uid, status)

    def _end(self, run_uid: RunUid, status: RunStatus) -> None:
        at = time.time()

        def write(store: SQLiteConnection) -> None:
            store_runs.end_run(store, run_uid, status, at=at)

        try:
            self._session.sink.write(write)
        except MlopsError as error:
            self._session.faults.report("ending a run", error)


def outcome_status(status: ExecutionStatus) -> RunStatus:
    """The state of a run whose one cell ended like this."""
    return {
        ExecutionStatus.OK: RunStatus.FINISHED,
        ExecutionStatus.ERROR: RunStatus.FAILED,
        ExecutionStatus.INTERRUPTED: RunStatus.KILLED,
    }[status]


def _is_injected(session: CaptureSession, cell: OpenCell) -> bool:
    """Whether a headless run put this cell in, with the parameters it was given."""
    if session.origin is not Origin.HEADLESS:
        return False
    return bool(cell.info.cell_id == "injected-parameters" or cell.info.raw_cell.startswith("# Parameters\n"))


def seed_everything(seed: int) -> None:
    """Seed ``random``, and numpy and torch where they are loaded."""
    random.seed(seed)
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed)
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


def _seed_param(options: TrackOptions) -> Any:
    from mlops_jupyter.entities import Param

    return Param(key="seed", value=str(options.seed), type_name="int", source=ParamSource.DECLARED)


def _default_name(notebook: str | None, run_uid: RunUid) -> str:
    stem = PurePosixPath(notebook).stem if notebook else "cell"
    return f"{stem}-{_words(run_uid)}"


_ADJECTIVES = [
    "amber",
    "brisk",
    "calm",
    "clear",
    "deft",
    "early",
    "fair",
    "fleet",
    "keen",
    "light",
    "lucid",
    "mild",
    "neat",
    "quick",
    "quiet",
    "sharp",
]
_NOUNS = [
    "birch",
    "brook",
    "cedar",
    "crane",
    "dune",
    "fern",
    "finch",
    "heron",
    "lark",
    "maple",
    "otter",
    "reed",
    "robin",
    "tern",
    "wren",
    "yew",
]


def _words(run_uid: RunUid) -> str:
    """Two words and two digits out of the id, so that runs of one notebook can be told apart when spoken
    of."""
    number = int(run_uid[:8], 16)
    return f"{_ADJECTIVES[number % 16]}-{_NOUNS[number // 16 % 16]}-{number // 256 % 100:02d}"
