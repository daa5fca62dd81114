"""How much memory a process had, and whether the system killed it for that. Linux; elsewhere: not known."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

_NEAR_LIMIT = 0.8
"""Fraction of the limit from which a SIGKILL is taken for the out-of-memory killer's."""


def peak_memory(pid: int) -> int | None:
    """Largest resident memory so far of a living process, bytes."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def oom_kills() -> int | None:
    """Processes killed for memory in this process's control group (or on this host) so far."""
    for path in (_cgroup() / "memory.events", Path("/proc/vmstat")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in path.read_text(encoding="ascii").splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return None


def memory_limit() -> int | None:
    """Bytes that this process's control group, else the host, has."""
    with contextlib.suppress(OSError, ValueError):
        return int((_cgroup() / "memory.max").read_text(encoding="ascii"))
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    return None


def ran_out_of_memory(before: int | None, *, peak: int | None, signum: int | None) -> bool | None:
    """Whether a process that ended by ``signum`` was killed for memory. None where that cannot be told.

    ``before`` is ``oom_kills()`` from before it started, ``peak`` its largest resident memory in bytes.
    """
    if signum != signal.SIGKILL:
        return False
    after = oom_kills()
    if before is not None and after is not None and after > before:
        return True
    limit = memory_limit()
    if peak is not None and limit is not None and peak >= _NEAR_LIMIT * limit:
        return True
    return None if before is None or after is None else False


def _cgroup() -> Path:
    base = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            if line.startswith("0::"):
                folder = base / line[3:].lstrip("/")
                return folder if (folder / "memory.events").exists() else base
    return base
