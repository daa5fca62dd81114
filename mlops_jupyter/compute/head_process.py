"""``python -m mlops_jupyter.compute.head_process HOME ROOT``: starts Ray on this machine, watches it, and ends it.

While it lives it also keeps the records of the workspace's jobs up to date, so that results come home when no verb
runs. It ends itself, and Ray with all processes, when no job has been there for the idle time, when Ray dies, or on
SIGTERM; where it is killed, the system ends Ray (Linux).
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

from mlops_jupyter.config import Settings, load_settings
from mlops_jupyter.errors import MlopsError
from mlops_jupyter.notebook import write_atomically
from mlops_jupyter.store import Connection, FileLock, open_workspace_store
from mlops_jupyter.store.jobs import open_jobs

from .client import RayClient
from .head import document_of, head_folder, head_lock, start_lock
from .options import RayOptions, load_options
from .reconcile import reconcile

_BUSY, _IDLE = 1.0, 3.0
"""Seconds between two looks."""
_COMES_UP = 170.0
_GRACE = 10.0
_NOT_INHERITED = (
    "MLOPS_", "MLFLOW_", "JPY_", "IPY", "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_JOB_CONFIG", "PYTHONWARNINGS",
    "PYTHONBREAKPOINT", "PYTEST_",
)  # fmt: skip
_PREFIX = "mr-"
_SUBREAPER, _DEATH_SIGNAL = 36, 1
_stop = False


def main(home: Path, root: Path) -> int:
    """Start Ray and stay with it; the exit code of the process."""
    os.environ["MLOPS_HOME"] = str(home)
    settings = load_settings(root)
    lock = FileLock(head_lock(settings))
    if not lock.acquire():
        return 0  # another one was faster
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, _terminate)
    _adopt_orphans()
    folder = _new_folder(settings)
    try:
        return _watch(settings, load_options(settings), folder)
    finally:
        with suppress(FileNotFoundError):
            (head_folder(settings) / "head.json").unlink()
        _end_children()
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _new_folder(settings: Settings) -> Path:
    """A folder for Ray's files; that of a process of ours which was killed goes.

    It has a short name: Ray's sockets lie below it, and the name of a socket has at most 107 characters.
    """
    note = head_folder(settings) / "folder"
    note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(OSError):
        left = Path(note.read_text(encoding="utf-8"))
        if left.name.startswith(_PREFIX) and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp" if Path("/tmp").is_dir() else None))  # noqa: S108
    write_atomically(note, str(folder).encode())
    return folder


def _watch(settings: Settings, options: RayOptions, folder: Path) -> int:
    token_file = _token_file(settings)
    token = None if token_file is None else token_file.read_text(encoding="utf-8")
    deadline = time.monotonic() + _COMES_UP
    while True:
        process, address = _start_ray(options, folder, token_file)
        session = _await(process, address, token, deadline)
        if session is not None:
            break
        # Ray gives up after 30 seconds on a busy machine, and a port may have been taken meanwhile.
        _end_children()
        if _stop or time.monotonic() + _COMES_UP / 3 > deadline:
            return 1
    place = head_folder(settings) / "head.json"
    write_atomically(
        place,
        document_of(
            address=address, session=session, pid=os.getpid(), started_at=time.time(), folder=str(folder),
            token_file=None if token_file is None else str(token_file),
        ),
    )  # fmt: skip
    store = open_workspace_store(settings)
    try:
        while not _stop and process.poll() is None:
            busy = _look(settings, store, address)
            if not busy and _is_idle(settings, store, place, options, address):
                break
            _sleep(_BUSY if busy else _IDLE)
        with suppress(Exception):
            _look(settings, store, address)  # what jobs printed at the end would be lost with Ray
    finally:
        store.close()
    return 0


def _look(settings: Settings, store: Connection, address: str) -> bool:
    """Bring the records up to date; whether jobs of this cluster are under way."""
    try:
        reconcile(settings, store)
        return any(job.address == address for job in open_jobs(store))
    except (MlopsError, OSError) as error:
        print(f"mlops: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the log of this process
        return True


def _is_idle(settings: Settings, store: Connection, place: Path, options: RayOptions, address: str) -> bool:
    """Whether nobody has asked for the cluster for the idle time; then nobody may begin to until it has ended."""
    last = place.stat().st_mtime
    rows = store.execute("SELECT MAX(ended_at) FROM jobs")
    last = max(last, rows[0][0] or 0.0)
    if time.time() - last < options.idle_minutes * 60:
        return False
    lock = FileLock(start_lock(settings))
    if not lock.acquire():
        return False
    try:
        if time.time() - place.stat().st_mtime < options.idle_minutes * 60:
            return False
        if any(job.address == address for job in open_jobs(store)):
            return False
        place.unlink()
        return True
    finally:
        lock.release()


def _token_file(settings: Settings) -> Path | None:
    """A fresh token that only this user can read, where the installed Ray asks for one."""
    version = tuple(int(part) for part in importlib.metadata.version("ray").split(".")[:2])
    if version < (2, 52):
        return None
    path = head_folder(settings) / "token"
    with suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(secrets.token_hex(32))
    return path


def _start_ray(options: RayOptions, folder: Path, token_file: Path | None) -> tuple[subprocess.Popen[bytes], str]:
    dashboard, client = _free_ports(2)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)}
    environment |= {
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_USAGE_STATS_PROMPT_ENABLED": "0", "TMPDIR": str(folder),
        # Else it waits half a minute on SIGTERM for jobs that are to end with it.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    }  # fmt: skip
    if token_file is not None:
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file)}
    arguments = [
        "--head", "--block", "--disable-usage-stats", f"--temp-dir={folder}", "--include-dashboard=true",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--port=0", f"--ray-client-server-port={client}",
        "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0", "--include-log-monitor=false",
        "--log-color=false",
    ]  # fmt: skip
    if sys.platform == "linux":
        # Ray replaces 127.0.0.1 by the address of a network card; the rest of the loopback network it takes as it is.
        arguments.append("--node-ip-address=127.0.0.2")
    if options.cpus is not None:
        arguments.append(f"--num-cpus={options.cpus}")
    if options.gpus is not None:
        arguments.append(f"--num-gpus={options.gpus}")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", *arguments],
        stdin=subprocess.DEVNULL, cwd=folder, env=environment, preexec_fn=_die_with_parent,
    )  # fmt: skip
    return process, f"http://127.0.0.1:{dashboard}"


def _await(process: subprocess.Popen[bytes], address: str, token: str | None, deadline: float) -> str | None:
    """The session's name once the cluster takes jobs; None where it does not come up."""
    while not _stop and process.poll() is None and time.monotonic() < deadline:
        with suppress(MlopsError), RayClient(address, token) as client:
            session = client.session()
            if client.nodes():
                return session
        _sleep(0.2)
    return None


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


def _terminate(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signature of a signal handler
    global _stop
    _stop = True


def _sleep(seconds: float) -> None:
    """Sleep, but not past a request to stop."""
    deadline = time.monotonic() + seconds
    while not _stop and time.monotonic() < deadline:
        time.sleep(min(0.1, seconds))


def _adopt_orphans() -> None:
    """Processes whose parent dies become ours, so that all of Ray's can be ended (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _die_with_parent() -> None:
    """In Ray's first process, before it starts: it is asked to end when we die, however that happens (Linux)."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)


def _end_children() -> None:
    """Ask all processes below us to end, then make them."""
    deadline = time.monotonic() + _GRACE
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if not _delivers(child):
                child.terminate()
    while children := _living():
        if time.monotonic() > deadline:
            for child in children:
                with suppress(psutil.Error):
                    child.kill()
        time.sleep(0.05)


def _living() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if child.status() == psutil.STATUS_ZOMBIE:
                if child.ppid() == os.getpid():
                    with suppress(ChildProcessError):
                        os.waitpid(child.pid, os.WNOHANG)
            elif not _delivers(child):
                found.append(child)
    return found


def _delivers(process: psutil.Process) -> bool:
    """Whether it is the process that brings runs to MLflow: a job's end started it, and it lives on its own."""
    return "mlops_jupyter.tracking" in process.cmdline()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
