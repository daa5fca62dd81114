"""Starting the process that delivers, from a kernel, a runner or a server: cheap, and never raising.

Nothing heavy is imported here; the process itself is ``python -m mlops_jupyter.tracking``. One runs for each
workspace and target, held together by a lock file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from mlops_jupyter.config import Settings

from .locks import is_held

LOG_LIMIT = 1_000_000
"""Bytes of log after which a new one is begun; one old one is kept."""
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 600.0
"""Seconds between two starts: the first while a process comes up, the longest where it keeps dying."""

# A run of the kernel's is not one of the delivery; warnings that a kernel makes errors would stop MLflow's import.
_NOT_INHERITED = frozenset({"MLFLOW_RUN_ID", "MLFLOW_RUN_CONTEXT", "MLFLOW_TRACKING_URI", "PYTHONWARNINGS"})

_children: list[int] = []
_without_mlflow: set[str] = set()


def delivery_lock(settings: Settings) -> Path:
    """Lock file that the delivery process of these settings holds: one for each target of a workspace."""
    if settings.embedded_mlflow:
        return settings.locks / "delivery.lock"
    return settings.locks / f"delivery-{hashlib.sha256(settings.tracking_uri.encode()).hexdigest()[:12]}.lock"


def delivery_log(settings: Settings) -> Path:
    """Where the delivery process writes what it did and what went wrong."""
    return settings.home / "logs" / "delivery.log"


def ensure_delivery(settings: Settings) -> bool:
    """See to it that a delivery process runs; whether one was started just now.

    Costs some ten microseconds where one runs. Never raises and never waits. Where the process keeps dying it
    is started ever more rarely, at least every ten minutes; where this environment has no MLflow, never, and
    that is noted once as a fault.
    """
    try:
        return settings.deliver and _ensure(settings)
    except Exception as error:  # noqa: BLE001 a cell must not fail because of its delivery
        _note_fault(settings, f"The delivery process could not be started: {error}")
        return False


def _ensure(settings: Settings) -> bool:
    _reap_children()
    lock = delivery_lock(settings)
    if is_held(lock):
        return False
    now = time.time()
    starts = lock.with_suffix(".starts")
    failures, last = _read_starts(starts)
    # Several kernels that begin at once need one process; one that dies at once is not started for every
    # cell.
    if last <= now < last + min(_FIRST_PAUSE * 2.0 ** min(failures, 10), _LONGEST_PAUSE):
        return False
    if importlib.util.find_spec("mlflow") is None:
        if str(lock) not in _without_mlflow:
            _without_mlflow.add(str(lock))
            _note_fault(settings, "MLflow is not installed in this environment: run `mlops sync` in one that has it.")
        return False
    starts.parent.mkdir(parents=True, exist_ok=True)
    _write_starts(starts, failures + 1, now)
    _start(settings)
    return True


def delivery_lives(settings: Settings) -> None:
    """Called by the delivery process once it works: what died before it does not count any more."""
    with suppress(OSError):
        _write_starts(delivery_lock(settings).with_suffix(".starts"), 0, 0.0)


def _start(settings: Settings) -> None:
    log = delivery_log(settings)
    log.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        process = subprocess.Popen(
            # -P: a file of the user's that is named like a library must not be imported instead of it.
            [sys.executable, "-P", "-m", "mlops_jupyter.tracking", "--home", str(settings.home)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=settings.root,
            env=_environment(settings),
            start_new_session=True,
        )
    _children.append(process.pid)
    process.returncode = 0  # it outlives us: no warning about that when the object goes; _reap_children waits for it


def _environment(settings: Settings) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
    environment["MLOPS_HOME"] = str(settings.home)
    if not settings.embedded_mlflow:
        environment["MLFLOW_TRACKING_URI"] = settings.tracking_uri
    if settings.registry_uri is not None:
        environment["MLFLOW_REGISTRY_URI"] = settings.registry_uri
    if settings.state != settings.home:
        environment["MLOPS_STATE_DIR"] = str(settings.state)
    package = Path(__file__).resolve().parents[2]
    if package.name not in {"site-packages", "dist-packages"}:
        # Imported from a source tree, perhaps only because of the current folder, which -P leaves out.
        environment["PYTHONPATH"] = os.pathsep.join([str(package), *filter(None, [environment.get("PYTHONPATH")])])
    return environment


def _reap_children() -> None:
    for pid in list(_children):
        try:
            done, _ = os.waitpid(pid, os.WNOHANG)
        except OSError:  # another part of the program has waited for it
            done = pid
        if done:
            _children.remove(pid)


def _read_starts(path: Path) -> tuple[int, float]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return int(document["failures"]), float(document["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0.0


def _write_starts(path: Path, failures: int, at: float) -> None:
    path.write_text(json.dumps({"failures": failures, "at": at}), encoding="utf-8")


def _note_fault(settings: Settings, message: str) -> None:
    from . import open_workspace_store

    with suppress(Exception):
        store = open_workspace_store(settings)
        try:
            store.execute(
                "INSERT INTO faults (at, session_id, place, message, detail) VALUES (?, NULL, 'delivery', ?, '')",
                (time.time(), message),
            )
        finally:
            store.close()
