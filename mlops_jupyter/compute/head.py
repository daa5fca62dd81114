"""The cluster on this machine: found, started where there is none, stopped. One for each workspace.

A process of ours (``head_process``) starts Ray, watches it, and ends it when nobody needs it any more. It holds a lock
for as long as it lives, and says in a file where its cluster is. We never stop a cluster that we did not start.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_jupyter.config import Settings
from mlops_jupyter.errors import MlopsError, TransientError, UsageError
from mlops_jupyter.store import FileLock, is_held

from .client import RayClient
from .options import RayOptions
from .package import source_folder

START_TIMEOUT = 180.0
"""Seconds that Ray gets to come up; it takes about ten, many more on a busy machine."""
_STOP_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A living cluster of ours."""

    address: str
    session: str
    token: str | None
    pid: int
    """Of the process of ours that watches it."""


def head_folder(settings: Settings) -> Path:
    """Where the cluster's whereabouts and its token are kept."""
    return settings.state / "ray"


def head_lock(settings: Settings) -> Path:
    """Held while the watching process lives."""
    return settings.locks / "ray-head.lock"


def head_log(settings: Settings) -> Path:
    """What the watching process and Ray's start have said."""
    return settings.home / "logs" / "ray-head.log"


def start_lock(settings: Settings) -> Path:
    """Held while a cluster is started, or stopped for want of work."""
    return settings.locks / "ray-start.lock"


def find_head(settings: Settings) -> Head | None:
    """The cluster that this workspace started, where it lives and has come up."""
    if not is_held(head_lock(settings)):
        return None
    try:
        document = json.loads((head_folder(settings) / "head.json").read_text(encoding="utf-8"))
        token = document["token_file"]
        return Head(
            address=str(document["address"]),
            session=str(document["session"]),
            token=None if token is None else Path(token).read_text(encoding="utf-8").strip(),
            pid=int(document["pid"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ensure_head(settings: Settings) -> tuple[Head, bool]:
    """The cluster of this workspace, started where there is none; whether it was started just now.

    Two callers at once start one. From this call on it stays for at least the idle time.

    Raises:
        UsageError: Ray is not installed.
        TransientError: Ray did not come up; the message says what it said.
    """
    lock = FileLock(start_lock(settings))
    if not lock.acquire(timeout=START_TIMEOUT + 30.0):
        raise TransientError("Another process is starting Ray on this machine for too long.", hint="Try again.")
    try:
        head = find_head(settings)
        if head is not None and _answers(head):
            with suppress(OSError):
                os.utime(head_folder(settings) / "head.json")
            return head, False
        require_ray()
        return _start(settings), True
    finally:
        lock.release()


def require_ray() -> None:
    """Refuse where Ray is not installed, before anything is begun.

    Raises:
        UsageError: it is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError(
            "A cluster on this machine needs Ray, which is not installed here.",
            hint="Install it with: pip install 'mlops-jupyter[ray]', or name a cluster with --address.",
        )


def local_capacity(options: RayOptions) -> dict[str, float]:
    """What the cluster on this machine will offer, told without starting it. Memory is left to Ray."""
    cpus = options.cpus if options.cpus is not None else os.cpu_count() or 1
    gpus = options.gpus if options.gpus is not None else _count_gpus()
    return {"CPU": float(cpus), "GPU": float(gpus), "memory": float(_physical_memory())}


def stop_head(settings: Settings, *, timeout: float = _STOP_TIMEOUT) -> bool:
    """End the cluster of this workspace with all its processes, and wait for it; whether there was one.

    Raises:
        TransientError: it does not end.
    """
    head = find_head(settings)
    if head is None:
        return False
    os.kill(head.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while is_held(head_lock(settings)):
        if time.monotonic() > deadline:
            raise TransientError(f"The cluster on this machine (process {head.pid}) does not end.", hint="Try again.")
        time.sleep(0.05)
    return True


def _answers(head: Head) -> bool:
    try:
        with RayClient(head.address, head.token) as client:
            return client.session() == head.session
    except MlopsError:
        return False


def _start(settings: Settings) -> Head:
    log = head_log(settings)
    log.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        (head_folder(settings) / "head.json").unlink()
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    deadline = time.monotonic() + START_TIMEOUT
    while is_held(head_lock(settings)):  # one that lives but does not answer is about to end
        if time.monotonic() > deadline:
            raise TransientError("The cluster on this machine hangs.", hint=f"See {log}.")
        time.sleep(0.1)
    with log.open("wb") as output:
        process = subprocess.Popen(
            # -P: a file of the user's that is named like a library must not be imported instead of it.
            [sys.executable, "-P", "-m", "mlops_jupyter.compute.head_process", str(settings.home), str(settings.root)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=settings.root, start_new_session=True,
            env=watcher_environment(settings),
        )  # fmt: skip
    while time.monotonic() < deadline:
        head = find_head(settings)
        if head is not None:
            process.returncode = 0  # it outlives us: no warning about that when the object goes
            return head
        if process.poll() is not None:
            break
        time.sleep(0.1)
    with suppress(OSError):
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    raise TransientError(f"Ray did not come up on this machine: {_said(log)}", hint=f"All that it said is in {log}.")


def watcher_environment(settings: Settings) -> dict[str, str]:
    """Environment of the watching process: the workspace's places, and our package where it is a source tree."""
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONWARNINGS", "RAY_ADDRESS", "RAY_AUTH_TOKEN"}}
    environment["MLOPS_HOME"] = str(settings.home)
    if settings.state != settings.home:
        environment["MLOPS_STATE_DIR"] = str(settings.state)
    package = source_folder()
    if package is not None:
        environment["PYTHONPATH"] = os.pathsep.join([str(package), *filter(None, [environment.get("PYTHONPATH")])])
    return environment


def _said(log: Path) -> str:
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        lines = []
    return next((line for line in reversed(lines) if line), "it said nothing")[:300]


def _count_gpus() -> int:
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        return len(
            [d for d in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if d.strip() not in {"", "-1", "NoDevFiles"}]
        )
    with suppress(OSError):
        return sum(1 for _ in Path("/proc/driver/nvidia/gpus").iterdir())
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=1.5, check=False)
        return sum(1 for line in done.stdout.splitlines() if line.startswith("GPU "))
    return 0


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):  # no such name on this system: Ray itself will say
        return 2**62


def document_of(**values: Any) -> bytes:
    """The file that says where the cluster is."""
    return (json.dumps(values, indent=1) + "\n").encode()
