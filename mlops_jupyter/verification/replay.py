"""One replay: a notebook runs headless in a scratch copy, and what each cell left is read back.

It runs in a process of its own, with a store of its own in the scratch: nothing appears among the user's runs, and
nothing is delivered anywhere.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from mlops_jupyter.entities import EntityKind, EntityVersion, ExecutionId, ExecutionStatus
from mlops_jupyter.errors import TransientError
from mlops_jupyter.store import Connection, open_store
from mlops_jupyter.store import executions as records
from mlops_jupyter.store import runs as store_runs

from .compare import Value
from .outputs import text_of_outputs
from .scratch import Scratch

OnCell = Callable[[int, int], None]
"""Called with (number of the cell from 1, how many there are) as each starts."""

_STOP_GRACE = 15.0
_CLEARED = ("MLOPS_", "MLFLOW_", "JPY_", "OPENLINEAGE_")
_DENIED = re.compile(r"(?:PermissionError|OSError): \[Errno (?:13|30|18)\][^']*'(?P<path>/[^']+)'")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedCell:
    """What one code cell of a replay left."""

    index: int
    """0-based position among all cells of the document that was replayed."""
    cell_id: str
    execution_id: str | None
    """The recorded execution that the cell is a replay of (``metadata.mlops.execution_id``)."""
    state: str
    """``succeeded``, ``failed``, ``timed_out``, ``kernel_died``, ``cancelled``, ``skipped`` or ``never_ran``."""
    error: str | None = None
    variables: Mapping[str, Value] = field(default_factory=dict)
    """Last version of each variable that the cell wrote."""
    files_written: Mapping[str, str | None] = field(default_factory=dict)
    """Digest by name as recorded: relative to the workspace, or absolute."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Of the cell's own run, where it was tracked."""
    params: Mapping[str, str] = field(default_factory=dict)
    unseeded: tuple[str, ...] = ()
    """Generators of random numbers that it drew from and that nothing had seeded: ``numpy.random`` …"""
    text: str = ""
    """Its text outputs, normalised (``outputs.text_of_outputs``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """How a replay went."""

    state: str
    exit_code: int
    error: str | None
    failed_cell: str | None
    """Id of the cell at which it stopped."""
    cells: tuple[ReplayedCell, ...]
    lineage: str
    """``full``, or ``none`` where the kernel recorded nothing: then nothing can be compared."""
    confined: bool
    """Whether the operating system kept it from writing outside of the scratch."""
    seconds: float
    warnings: tuple[str, ...] = ()
    blocked: str | None = None
    """Path outside of the scratch that a cell tried to write."""
    output: Path | None = None
    """The executed notebook, in the scratch."""

    @property
    def succeeded(self) -> bool:
        """Whether all cells ran."""
        return self.state == "succeeded"


def replay(
    document: Mapping[str, Any],
    *,
    scratch: Scratch,
    folder: str = ".",
    name: str = "replay",
    parameters: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    fingerprints: bool = True,
    on_cell: OnCell | None = None,
    cancelled: threading.Event | None = None,
) -> Replay:
    """Run a notebook document in ``scratch``.

    ``folder``: the notebook's folder, relative to the workspace. ``parameters``: plain data by name, injected after
    the ``parameters`` cell. ``timeout`` in seconds, kernel start included. ``fingerprints``: whether every written
    variable is looked at (else what an ordinary session looks at). Cells that ask for it in
    ``metadata.mlops.track`` are tracked. Setting ``cancelled`` ends it.

    Raises:
        TransientError: the process of the replay could not be started, or ended without a word.
    """
    place = scratch.folder / "replays" / name
    place.mkdir(parents=True, exist_ok=True)
    home = scratch.root / ".mlops"  # its folder is the workspace of the replay
    shutil.rmtree(home, ignore_errors=True)
    cwd = Path(os.path.normpath(scratch.root / folder))
    cwd.mkdir(parents=True, exist_ok=True)
    prepared = prepare(document)
    (place / "in.ipynb").write_text(json.dumps(prepared), encoding="utf-8")
    request = {
        "parent": os.getpid(), "scratch": str(scratch.folder), "protected": str(scratch.original), "cwd": str(cwd),
        "notebook": str(place / "in.ipynb"), "output": str(place / "out.ipynb"), "parameters": dict(parameters or {}),
        "timeout": timeout,
    }  # fmt: skip
    (place / "request.json").write_text(json.dumps(request), encoding="utf-8")
    began = time.monotonic()
    environment = replay_environment(scratch, home=home, fingerprints=fingerprints)
    # Killed a little after its own limit, should it not end by itself.
    limit = None if timeout is None else timeout + _STOP_GRACE
    command = [sys.executable, "-m", "mlops_jupyter.verification.child", str(place / "request.json")]
    log = run_child(command, environment=environment, cwd=place, limit=limit, on_cell=on_cell, cancelled=cancelled)
    result_file = place / "result.json"
    if not result_file.exists():
        raise TransientError(
            "The process of a replay ended without a result" + (f": {log}" if log else "."), hint="Try again."
        )
    result = json.loads(result_file.read_text(encoding="utf-8"))
    return as_replay(
        prepared, result, home=home, output=place / "out.ipynb", seconds=time.monotonic() - began,
        confined=result["confined"], blocked=blocked_path(result["error"], scratch),
    )  # fmt: skip


def as_replay(
    document: Mapping[str, Any],
    result: Mapping[str, Any],
    *,
    home: Path,
    output: Path,
    seconds: float,
    confined: bool,
    blocked: str | None,
) -> Replay:
    """What is known of a run: its own answer, its store in ``home`` and its executed notebook ``output``."""
    failed = result.get("failed_cell")
    return Replay(
        state=result["state"], exit_code=result["exit_code"], error=result.get("error"),
        failed_cell=failed.get("cell_id") if isinstance(failed, Mapping) else failed,
        cells=_cells(document, result, home=home, output=output), lineage=result.get("lineage", "none"),
        confined=confined, seconds=seconds, warnings=tuple(result.get("warnings", ())), blocked=blocked, output=output,
    )  # fmt: skip


def prepare(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as it is replayed: without outputs, every cell with an id, tracked cells with their line."""
    prepared: dict[str, Any] = copy.deepcopy(dict(document))
    prepared.setdefault("metadata", {})
    prepared["nbformat"], prepared["nbformat_minor"] = 4, 5
    seen: set[str] = set()
    for index, cell in enumerate(prepared["cells"]):
        given = cell.get("id")
        cell["id"] = given if isinstance(given, str) and given and given not in seen else f"replay-{index}"
        seen.add(cell["id"])
        cell.setdefault("metadata", {})
        if cell.get("cell_type") != "code":
            continue
        cell["outputs"], cell["execution_count"] = [], None
        source = cell.get("source", "")
        cell["source"] = source if isinstance(source, str) else "".join(source)
        ours = cell["metadata"].get("mlops")
        if isinstance(ours, dict) and isinstance(ours.get("track"), str):
            cell["source"] = f"%%track {ours['track']}".rstrip() + "\n" + cell["source"]
            cell["metadata"]["mlops"] = {key: value for key, value in ours.items() if key != "track"}
    return prepared


def replay_environment(scratch: Scratch, *, home: Path, fingerprints: bool = True) -> dict[str, str]:
    """Environment of a replay: a store, an MLflow and temporary folders in the scratch, none of the user's."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_CLEARED)}
    runtime = scratch.folder / "runtime"
    runtime.mkdir(exist_ok=True)
    if kept.get("PYTHONPATH"):  # relative to the folder that we are in now; the project's own is the copy
        folders = [Path(os.path.abspath(p)) for p in kept["PYTHONPATH"].split(os.pathsep) if p]  # noqa: PTH100
        kept["PYTHONPATH"] = os.pathsep.join(
            str(scratch.mirror(p) if p.is_relative_to(scratch.original) else p) for p in folders
        )
    return {
        **kept,
        "MLOPS_HOME": str(home),
        "MLOPS_STATE_DIR": str(home),
        "MLOPS_DELIVER": "false",
        "MLOPS_CAPTURE_MODELS": "false",
        "MLOPS_DATA_SNAPSHOT_LIMIT": "0",
        "MLOPS_REPLAY_ROOT": str(scratch.root),
        "MLOPS_FINGERPRINT": "all" if fingerprints else "",
        # Code that calls MLflow itself must not reach the user's.
        "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}",
        "MLFLOW_REGISTRY_URI": f"sqlite:///{home / 'mlflow.db'}",
        "TMPDIR": str(scratch.temporary),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run_child(
    command: list[str],
    *,
    environment: Mapping[str, str],
    cwd: Path,
    limit: float | None,
    on_cell: OnCell | None = None,
    cancelled: threading.Event | None = None,
    capture: list[str] | None = None,
) -> str:
    """Run a process to its end, or to ``limit`` seconds; the last lines of its standard error.

    What it prints are lines of progress, or goes into ``capture``.
    """
    try:
        with (cwd / "log").open("w+b") as log:
            process = subprocess.Popen(
                command, cwd=cwd, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                start_new_session=True, text=True,
            )  # fmt: skip
            stdout = process.stdout
            if stdout is None:  # it was asked for above
                raise OSError("no pipe")
            reader = threading.Thread(target=_read, args=(stdout, on_cell, capture), daemon=True)
            reader.start()
            try:
                _wait(process, limit, cancelled)
            finally:
                _end(process)
                reader.join(5.0)
                if not reader.is_alive():  # else something that the process started still holds the other end
                    stdout.close()
            log.seek(max(0, log.tell() - 2_000)) if log.seek(0, os.SEEK_END) else None
            return " ".join(log.read().decode("utf-8", "replace").split())[-500:]
    except OSError as error:
        raise TransientError(f"A replay could not be started: {error.strerror or error}.", hint="Try again.") from error


def _wait(process: subprocess.Popen[str], limit: float | None, cancelled: threading.Event | None) -> None:
    deadline = None if limit is None else time.monotonic() + limit
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        step = left if cancelled is None else min(0.2, left) if left is not None else 0.2
        try:
            process.wait(None if step is None else max(step, 0.0))
            return
        except subprocess.TimeoutExpired:
            if (deadline is not None and time.monotonic() >= deadline) or (
                cancelled is not None and cancelled.is_set()
            ):
                return


def _end(process: subprocess.Popen[str]) -> None:
    """Ask it to end, then end it with all that it started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _read(stream: IO[str], on_cell: OnCell | None, capture: list[str] | None) -> None:
    for line in stream:
        if capture is not None:
            capture.append(line)
        elif on_cell is not None:
            try:
                told = json.loads(line)
                on_cell(int(told["cell"]), int(told["of"]))
            except (ValueError, KeyError, TypeError):
                continue  # not a line of progress


def blocked_path(error: str | None, scratch: Scratch) -> str | None:
    """The path outside of the scratch that a replay was kept from writing, as its error says."""
    found = _DENIED.search(error or "")
    if found is None:
        return None
    path = found["path"]
    return None if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(scratch.folder)) else path


def _cells(
    document: Mapping[str, Any], result: Mapping[str, Any], *, home: Path, output: Path
) -> tuple[ReplayedCell, ...]:
    told = result["cells"]  # of each, or only how many ended how
    states = {cell["cell_id"]: cell["state"] for cell in told} if isinstance(told, list) else {}
    texts = _texts(output)
    left = _read_store(home)
    cells = []
    for index, cell in enumerate(document["cells"]):
        if cell["cell_type"] != "code":
            continue
        cell_id = cell["id"]
        ours = cell["metadata"].get("mlops")
        found = left.get(cell_id, _Left())
        cells.append(
            ReplayedCell(
                index=index, cell_id=cell_id,
                execution_id=ours.get("execution_id") if isinstance(ours, dict) else None,
                state=states.get(cell_id, found.state), error=found.error, variables=found.variables,
                files_written=found.files, metrics=found.metrics, params=found.params, unseeded=tuple(found.unseeded),
                text=texts.get(cell_id, ""),
            )
        )  # fmt: skip
    return tuple(cells)


@dataclass(slots=True)
class _Left:
    state: str = "never_ran"
    error: str | None = None
    variables: dict[str, Value] = field(default_factory=dict)
    files: dict[str, str | None] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    unseeded: list[str] = field(default_factory=list)


def _read_store(home: Path) -> dict[str, _Left]:
    path = home / "lineage.db"
    if not path.exists():
        return {}
    store = open_store(path)
    try:
        return _read_executions(store)
    finally:
        store.close()


def _read_executions(store: Connection) -> dict[str, _Left]:
    ids = [ExecutionId(row[0]) for row in store.execute("SELECT execution_id FROM executions ORDER BY seq")]
    executions = records.get_executions(store, ids)
    versions: dict[str, list[EntityVersion]] = {}
    for version in records.versions_generated(store, ids):
        versions.setdefault(str(version.execution_id), []).append(version)
    drawn = _unseeded_draws(store, ids)
    found: dict[str, _Left] = {}
    for execution in executions:
        if execution.cell_id is None:
            continue
        left = found.setdefault(execution.cell_id, _Left())
        left.error = execution.error
        left.state = "succeeded" if execution.status is ExecutionStatus.OK else "failed"
        of_cell = versions.get(execution.execution_id, [])
        left.variables |= written_values(of_cell)
        left.files |= written_files(of_cell)
        left.unseeded += drawn.get(execution.execution_id, [])
        if execution.run_uid is not None:
            run = store_runs.get_run(store, execution.run_uid)
            if run.execution_id == execution.execution_id:
                left.metrics |= dict(run.metrics)
                left.params |= dict(run.params)
    return found


def _unseeded_draws(store: Connection, ids: list[ExecutionId]) -> dict[str, list[str]]:
    """By execution, the generators that it drew from though nothing had seeded them."""
    uses = [use for use in records.uses_by(store, ids) if "without a seed" in use.reason]
    names = {v.version_id: v.name for v in records.get_versions(store, [use.version_id for use in uses])}
    found: dict[str, list[str]] = {}
    for use in uses:
        if use.version_id in names:
            found.setdefault(use.execution_id, []).append(names[use.version_id])
    return found


def written_values(versions: list[EntityVersion]) -> dict[str, Value]:
    """Last version of each variable among what one execution generated."""
    return {
        v.name: Value(digest=v.digest, summary=v.summary, type_name=v.type_name, grade=str(v.grade), deleted=v.deleted)
        for v in sorted(versions, key=lambda v: v.at)
        if v.kind is EntityKind.VARIABLE and v.reason != "displayed"
    }


def written_files(versions: list[EntityVersion]) -> dict[str, str | None]:
    """Digest of each file that one execution wrote."""
    return {
        v.name: v.digest for v in sorted(versions, key=lambda v: v.at) if v.kind is EntityKind.FILE and not v.deleted
    }


def _texts(output: Path) -> dict[str, str]:
    try:
        document = json.loads(output.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {
        cell["id"]: text_of_outputs(cell.get("outputs", ()))
        for cell in document.get("cells", ())
        if cell.get("cell_type") == "code" and isinstance(cell.get("id"), str)
    }
