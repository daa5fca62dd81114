"""In a replay: Python's own writes outside of the scratch copy are refused before they happen.

For systems that cannot refuse them themselves (macOS). It sees what raises an audit event: not shell commands, and not
libraries that open files in C. An audit hook cannot be removed, so this is for the kernel of a replay alone.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

ROOT = "MLOPS_REPLAY_FOLDER"
"""Environment variable: the scratch copy's folder."""
ALSO = "MLOPS_REPLAY_MAY_WRITE"
"""Environment variable: further folders, separated as in ``PATH``."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATHS = {
    "os.remove": (0,), "os.rmdir": (0,), "os.mkdir": (0,), "os.truncate": (0,), "os.rename": (0, 1), "os.link": (1,),
    "os.symlink": (1,), "os.chmod": (0,), "os.chown": (0,), "os.utime": (0,), "shutil.rmtree": (0,),
    "shutil.move": (0, 1), "shutil.copyfile": (1,),
}  # fmt: skip
"""Events that write, and which of their arguments are paths."""


def install_guard() -> bool:
    """Refuse writes elsewhere from here on, where the environment says that this is a replay."""
    folder = os.environ.get(ROOT)
    if not folder:
        return False
    places = [folder, tempfile.gettempdir(), "/dev", "/proc", *os.environ.get(ALSO, "").split(os.pathsep)]
    allowed = tuple(os.path.realpath(place) for place in places if place)
    sys.addaudithook(_make_hook(allowed))
    return True


def _make_hook(allowed: tuple[str, ...]) -> Any:
    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = args
            if isinstance(path, str | bytes) and (_writes(mode) or (isinstance(flags, int) and flags & _WRITING)):
                check(path)
        elif event in _PATHS:
            if event == "os.mkdir" and os.path.isdir(args[0]):  # noqa: PTH112 - no Path objects in an audit hook
                return  # it will say that it exists
            for index in _PATHS[event]:
                if index < len(args) and isinstance(args[index], str | bytes | os.PathLike):
                    check(args[index])

    def check(path: Any) -> None:
        name = os.path.realpath(os.fsdecode(path))
        if not any(name == place or name.startswith(place + os.sep) for place in allowed):
            raise PermissionError(13, "Permission denied", name)

    return hook


def _writes(mode: object) -> bool:
    return isinstance(mode, str) and any(letter in mode for letter in "wax+")
