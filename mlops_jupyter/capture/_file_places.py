# ruff: noqa: PTH100, PTH112, PTH116, PTH120
# As in the hook: strings in, strings out.
"""What a session itself made in the file system, and who depends on it without opening it.

A cell that asks whether a file is there, how large it is, or what a folder holds opens nothing. So each file that the
session wrote counts as read by a cell that lists its folder, or that looks at files at all and may mean this one; and
each folder that it made as needed by whoever writes into it.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable

from mlops_jupyter.entities import VersionId

from ._file_lineage import FolderState
from ._file_paths import PathRules
from ._file_touches import Touch, Touches
from .minting import new_version_id

LOOKS = frozenset(
    {"exists", "lexists", "getsize", "getmtime", "getctime", "isfile", "is_file", "stat", "lstat", "samefile", "access"}
)
"""Functions that look at a file without opening it."""

_MOST = 500


class Places:
    """The files and folders of one session's own making."""

    def __init__(self, rules: PathRules) -> None:
        self._rules = rules
        self.written: dict[str, None] = {}
        """Absolute paths, the latest last."""
        self._folders: dict[str, VersionId] = {}

    def look(self, touches: Touches, words: frozenset[str], named: Iterable[str]) -> None:
        """Count as read what the cell looked at without opening it."""
        looks = not LOOKS.isdisjoint(words)
        wanted: dict[str, str] = {}
        for path in list(self.written)[-_MOST:] if looks or touches.listed else ():
            if looks:
                wanted[path] = "it may be looked at"
            elif os.path.dirname(path) in touches.listed:
                wanted[path] = "its folder was listed"
        for text in named if looks else ():
            wanted.setdefault(os.path.abspath(text), "named where files are looked at")
        for path, reason in wanted.items():
            key = self._rules.key(path) if path not in touches.paths else None
            status = _stat(path) if key is not None else None
            if key is None or status is None or not stat.S_ISREG(status.st_mode):
                continue
            touch = touches.paths[path] = Touch(path, key, status)
            touch.read = True
            touch.reason = reason

    def settle(self, touches: Touches) -> tuple[FolderState, ...]:
        """Remember what the cell made; gives the folders that it made, and those of earlier cells that it needs."""
        now = time.time()
        made = [path for path in touches.made if self._rules.key(path) is not None and os.path.isdir(path)]
        users = [path for path, touch in touches.paths.items() if touch.wrote or touch.watched]
        users += [*made, *touches.listed]
        needed = {folder for path in users if (folder := self._nearest(os.path.dirname(path))) is not None}
        needed |= {f for path in (*touches.entered, *touches.listed) if (f := self._nearest(path)) is not None}
        states = [
            FolderState(self._key(path), self._folders[path], made=False, at=now) for path in sorted(needed - set(made))
        ]
        for path in made:
            version = self._folders[path] = new_version_id()
            states.append(FolderState(self._key(path), version, made=True, at=now))
        for path, touch in touches.paths.items():
            if touch.wrote or touch.watched:
                self.written.pop(path, None)
                self.written[path] = None
        return tuple(states)

    def _nearest(self, folder: str) -> str | None:
        """The innermost folder of the session's making that ``folder`` is, or is in."""
        while self._folders:
            if folder in self._folders:
                return folder
            above = os.path.dirname(folder)
            if above == folder:
                break
            folder = above
        return None

    def _key(self, path: str) -> str:
        return f"folder:{self._rules.key(path)}"


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None
