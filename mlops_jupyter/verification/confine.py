"""Confine a process and all that it starts to writing below given folders (Linux: Landlock).

Reading stays as it is. It cannot be undone in the process, so it is for a child process that does one thing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_VERSION = 1
_PATH_BENEATH = 1

# Rights to write, in the order of the versions of the interface that brought them.
_WRITE = 1 << 1 | 0b1_1111_1111 << 4  # write a file; remove and make files, folders, links, sockets, pipes, devices
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_OF_FILES = 1 << 1 | _TRUNCATE


_CACHES = (
    ".cache", ".config", ".local/share", ".ipython", ".jupyter", ".matplotlib", ".keras", ".torch", ".nv", ".triton",
    ".numba_cache", "scikit_learn_data", "Library/Caches",
)  # fmt: skip
_CACHE_VARIABLES = (
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR",
    "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "HF_HOME", "TORCH_HOME", "KERAS_HOME", "SCIKIT_LEARN_DATA",
)  # fmt: skip


def can_confine() -> bool:
    """Whether this system can keep a process from writing elsewhere."""
    return platform.system() == "Linux" and _version(ctypes.CDLL(None, use_errno=True)) >= 1


def _version(libc: ctypes.CDLL) -> int:
    return int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION)))


def confine(folders: Iterable[Path]) -> bool:
    """Allow this process and its children to write below ``folders`` alone; whether the system could."""
    if platform.system() != "Linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = _version(libc)
    if version < 1:
        return False
    handled = _WRITE | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    attribute = ctypes.create_string_buffer(struct.pack("=Q", handled), 8)
    ruleset = libc.syscall(_CREATE_RULESET, attribute, ctypes.c_size_t(8), ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    try:
        for folder in folders:
            with contextlib.suppress(OSError):
                _allow(libc, ruleset, folder, handled)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            return False
        return bool(libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, folder: Path, handled: int) -> None:
    descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        rights = handled if is_folder else handled & _OF_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor), 12)
        libc.syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(descriptor)


def die_with_parent(signum: int) -> None:
    """Receive ``signum`` when the parent process ends, however it ends (Linux)."""
    if platform.system() == "Linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)


def allowed_folders(scratch: Path, *, protected: Path, home: Path | None = None) -> list[Path]:
    """Where a replay may write: its scratch, devices, and the folders where libraries keep caches and settings.

    None of the latter counts where ``protected``, the user's workspace, lies in it.
    """
    home = Path.home() if home is None else home
    caches = [home / name for name in _CACHES]
    caches += [Path(os.environ[v]) for v in _CACHE_VARIABLES if os.environ.get(v)]
    kept = [c for c in caches if not protected.is_relative_to(os.path.realpath(c)) and home != c]
    return [scratch, Path("/dev"), Path("/proc"), *kept]
