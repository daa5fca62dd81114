# ruff: noqa: PTH100, PTH109, PTH111, PTH113, PTH118
# Inside of the user's open(): strings in, strings out, no Path objects are made.
"""Files of commands: ``!cmd``, ``%%bash``, ``subprocess``.

What a command does is not observable from here, so all of this is assumed: words of the command that name a
file which was there are read, and what changed in the working tree while a cell with a command ran was
written by it.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from ._file_hook import emit
from ._file_paths import PathRules
from ._file_touches import Touch, Touches

MAX_ENTRIES = 3_000
"""Files that a snapshot of the working tree holds at most."""

MAX_DEPTH = 3

_SEPARATORS = r"[\0\s|&;<>()=,:'\"]+"
_SHELL_MODULES = ("IPython.core.interactiveshell", "ipykernel.zmqshell")
_SHELL_FUNCTIONS = ("system", "getoutput", "get_output_error_code")

Snapshot = dict[str, tuple[int, int, int]]
"""path -> (size, mtime in ns, inode); a folder's path ends with a separator."""

_FOLDER = (0, 0, 0)


def snapshot(root: Path, rules: PathRules) -> Snapshot:
    """The data files in and below the current folder and the workspace's root, shallow and capped."""
    found: Snapshot = {}
    places = [str(root)]
    try:
        here = os.getcwd()
        if not here.startswith(rules.roots):
            places.append(here)
    except OSError:
        pass
    for place in places:
        _scan(place, found, rules, MAX_DEPTH)
    return found


def _scan(folder: str, found: Snapshot, rules: PathRules, depth: int) -> None:
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if len(found) >= MAX_ENTRIES:
                    return
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    if not entry.name.startswith("."):
                        folders.append(entry.path)
                        found[entry.path + os.sep] = _FOLDER
                elif stat.S_ISREG(status.st_mode) and rules.key(entry.path) is not None:
                    found[entry.path] = (status.st_size, status.st_mtime_ns, status.st_ino)
    except OSError:
        return
    if depth > 1:
        for inner in folders:
            if rules.key(os.path.join(inner, "x")) is not None:
                _scan(inner, found, rules, depth - 1)


def add_effects(touches: Touches, before: Snapshot, root: Path, rules: PathRules) -> None:
    """Add to ``touches`` what the commands of a cell seem to have read and written."""
    after = snapshot(root, rules)
    for path in after.keys() | before.keys():
        if before.get(path) == after.get(path) or path in touches.paths:
            continue
        if path.endswith(os.sep):
            if path in after and len(before) < MAX_ENTRIES:
                touches.folder_made(path)
            continue
        if path not in before and len(before) >= MAX_ENTRIES:
            continue  # it may have been there, beyond the cap
        if path not in after and len(after) >= MAX_ENTRIES:
            continue
        touch = touches.paths[path] = Touch(path, rules.key(path) or path, None)
        touch.watched = True
        touch.replaced = path not in before
        touch.first = _as_stat(before[path]) if path in before else None
        touch.reason = "changed in the working tree while a command ran"
    for command in touches.commands:
        if "mkdir" in command:  # asked for, and there already
            for word in re.split(_SEPARATORS, command)[:200]:
                touches.folder_made(os.path.expanduser(word))
        for path in named_files(command):
            if rules.key(path) is None:
                continue
            known = touches.paths.get(path)
            if known is None:
                if path not in before and path.startswith(rules.roots) and path in after:
                    continue
                touches.watch(path, "named in a command")
            elif known.first is not None and not known.wrote:
                known.watched = True


def _as_stat(entry: tuple[int, int, int]) -> os.stat_result:
    size, modified, inode = entry
    seconds = modified // 1_000_000_000
    return os.stat_result(
        (stat.S_IFREG, inode, 0, 1, 0, 0, size, seconds, seconds, seconds),
        {"st_mtime_ns": modified, "st_mtime": modified / 1e9},
    )


def named_files(command: str) -> list[str]:
    """Absolute paths of existing regular files that the words of a command name."""
    import shlex  # few cells have commands

    try:
        words = set(shlex.split(command.replace("\0", " "), comments=False))
    except ValueError:  # an open quote
        words = set()
    words |= {word for part in tuple(words) for word in re.split(_SEPARATORS, part)}
    words |= set(re.split(_SEPARATORS, command))
    found = []
    for word in sorted(words)[:200]:
        if not word or word.startswith("-") or len(word) > 4096 or word in {".", "..", "/"}:
            continue
        path = os.path.abspath(os.path.expanduser(word))
        if os.path.isfile(path) and not os.access(path, os.X_OK):
            found.append(path)
    return found


def wrap_shell() -> Callable[[], None]:
    """Hear of the final text of ``!cmd`` and ``x = !cmd``; returns what undoes it.

    The functions that IPython calls with the expanded command are replaced, not ``shell.system``: that one
    looks up ``{names}`` in its caller's frame, which a wrapper would be.
    """
    undo: list[Callable[[], None]] = []
    for module_name in _SHELL_MODULES:
        module = sys.modules.get(module_name)
        if module is None:
            continue
        for name in _SHELL_FUNCTIONS:
            original = getattr(module, name, None)
            if original is not None and not hasattr(original, "__wrapped_by_mlops__"):
                replacement = _announcing(original)
                setattr(module, name, replacement)
                undo.append(_putting_back(module, name, replacement, original))

    def undo_all() -> None:
        for step in reversed(undo):
            step()

    return undo_all


def _announcing(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def run(cmd: Any, *args: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        if isinstance(cmd, str):
            emit("mlops.command", cmd)
        return original(cmd, *args, **options)

    run.__wrapped_by_mlops__ = True  # type: ignore[attr-defined]
    return run


def _putting_back(module: Any, name: str, replacement: object, original: object) -> Callable[[], None]:
    def put_back() -> None:
        if getattr(module, name, None) is replacement:  # someone else's wrapper around ours stays
            setattr(module, name, original)

    return put_back
