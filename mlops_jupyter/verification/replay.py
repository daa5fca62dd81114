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
from pathlib import Path
from typing import IO, Any

from mlops_jupyter.errors import TransientError

from .replayed import Replay, as_replay
from .scratch import Scratch

OnCell = Callable[[int, int], None]
"""Called with (number of the cell from 1, how many there are) as each starts."""

_STOP_GRACE = 15.0
_CLEARED = ("MLOPS_", "MLFLOW_", "JPY_", "OPENLINEAGE_")
_DENIED = re.compile(r"(?:PermissionError|OSError): \[Errno (?:13|30|18)\][^']*'(?P<path>/[^']+)'")


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
