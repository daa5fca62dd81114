"""After a runner was killed: bring its output notebook up to the last cell that had finished, and end its run."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from mlops_jupyter.config import Settings
from mlops_jupyter.entities import RunStatus, RunUid, SessionId
from mlops_jupyter.errors import MlopsError
from mlops_jupyter.store import Connection, FileLock, executions, is_held, runs

from . import marks
from .document import read_notebook, rejoin_lines, render_notebook, to_nodes
from .record import CELLS, EVENTS, SKELETON, part_file, replace_file
from .result import State

_ERROR = "The runner was killed; the outputs of all cells that had finished were recovered."


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """A killed run that was put right."""

    run_id: RunUid
    output: Path
    """Where its notebook now is: the output it was asked for, or its run's folder where that is taken since."""
    cells: int
    """Finished cells whose results are in it."""


def recover_runs(settings: Settings, store: Connection) -> list[Recovered]:
    """Put right every run of this workspace whose runner was killed. Safe for many processes at once.

    A run is only touched when its runner's lock is free, and an output that another run has replaced since is left
    alone.
    """
    recovered = []
    for folder in _unfinished(settings.runs):
        lock = FileLock(settings.locks / "recover.lock")
        if not lock.acquire(timeout=10.0):
            break
        try:
            with contextlib.suppress(MlopsError, OSError, ValueError, KeyError, TypeError):
                found = _recover(folder, settings, store)
                if found is not None:
                    recovered.append(found)
        finally:
            lock.release()
    return recovered


def _unfinished(root: Path) -> list[Path]:
    """Run folders that still hold what only recovery needs."""
    try:
        return sorted(path.parent for path in root.glob(f"*/{SKELETON}"))
    except OSError:
        return []


def _recover(folder: Path, settings: Settings, store: Connection) -> Recovered | None:
    started = next((line for line in _lines(folder / EVENTS) if line.get("event") == "started"), None)
    if started is None:
        # Killed before it began: nothing was executed, and nothing of it is recorded.
        if time.time() - folder.stat().st_mtime > 60.0:
            _drop(folder)
        return None
    session_id = SessionId(started["session_id"])
    if is_held(settings.locks / f"session-{session_id}.lock"):
        return None
    run_uid = RunUid(started["run_id"])
    notebook, finished, last_at = _replay(folder)
    if notebook is None:
        return None
    output = Path(started["output"])
    part = part_file(output, run_uid)
    if not _is_ours(output, run_uid):
        output = folder / (output.name if output.parent != folder else f"recovered-{output.name}")
    replace_file(output, part_file(output, run_uid), render_notebook(notebook))
    with contextlib.suppress(OSError):
        part.unlink()
    runs.set_tags(store, run_uid, {"mlops.state": str(State.CANCELLED), "mlops.error": _ERROR})
    runs.end_run(store, run_uid, RunStatus.KILLED, at=last_at)
    executions.end_session(store, session_id, at=last_at)
    _drop(folder)
    return Recovered(run_id=run_uid, output=output, cells=finished)


def _replay(folder: Path) -> tuple[NotebookNode | None, int, float]:
    """The notebook as its finished cells left it, their number, and when the last thing happened."""
    try:
        notebook = rejoin_lines(to_nodes(json.loads((folder / SKELETON).read_bytes())))
    except ValueError:  # killed while it was written: no cell had run
        _drop(folder)
        return None, 0, 0.0
    finished = set()
    for line in _lines(folder / CELLS):
        cell = notebook.cells[line["index"]]
        for key in ("execution_count", "outputs", "metadata"):
            cell[key] = to_nodes(line["cell"][key])
        finished.add(line["index"])
    last_at = 0.0
    running: int | None = None
    for line in _lines(folder / EVENTS):
        last_at = float(line["at"])
        if line["event"] == "cell_started":
            running = int(line["index"])
        elif line["event"] == "cell_ended":
            running = None
    if running is not None and running not in finished:
        cell = notebook.cells[running]
        cell.metadata["papermill"].update(status="failed", exception=True)
    marks.end(notebook, State.CANCELLED, at=last_at, error=_ERROR)
    marks.add_banner(notebook, index=running, error=_ERROR)
    return notebook, len(finished), last_at


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines of a log; a torn last one is left out."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        for line in stream:
            if not line.endswith(b"\n"):
                return
            yield json.loads(line)


def _is_ours(output: Path, run_uid: str) -> bool:
    """Whether the file at ``output`` is this run's (or nothing is there)."""
    if not output.parent.is_dir():
        return False
    if not output.exists():
        return True
    try:
        ours = read_notebook(output).metadata.get("mlops")
        return isinstance(ours, dict) and ours.get("run_id") == run_uid
    except MlopsError:
        return False


def _drop(folder: Path) -> None:
    for name in (CELLS, SKELETON):
        with contextlib.suppress(OSError):
            (folder / name).unlink()
