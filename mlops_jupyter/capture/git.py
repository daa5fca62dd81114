"""Commit and uncommitted changes of the workspace, found in a thread so that no cell waits for git."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ._file_hook import unobserved

DIFF_LIMIT = 1_000_000
"""Characters of a diff that are kept."""
FRESH = 1.0
"""Seconds for which one look is good for the runs that start meanwhile."""
_TIMEOUT = 10.0
"""Seconds that one git command may take."""


@dataclass(frozen=True, slots=True)
class GitState:
    """What the working tree was."""

    commit: str | None
    dirty: bool
    diff: str
    """Text of ``git diff HEAD``, cut at ``DIFF_LIMIT``; secrets are not yet redacted."""


class GitWatch:
    """One look at the working tree, begun when it is made."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.begun = time.monotonic()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[GitState], None]] = []
        self._state: GitState | None = None
        threading.Thread(target=self._look, name="mlops-git", daemon=True).start()

    @property
    def state(self) -> GitState | None:
        """The state, or None while it is not known yet."""
        return self._state

    def when_ready(self, callback: Callable[[GitState], None]) -> None:
        """Call ``callback`` in the thread once the state is known, or now where it is."""
        with self._lock:
            if self._state is None:
                self._callbacks.append(callback)
                return
        callback(self._state)

    def _look(self) -> None:
        try:
            with unobserved():
                state = read_git(self._root)
        except (OSError, subprocess.SubprocessError, ValueError):
            state = GitState(None, False, "")
        with self._lock:
            self._state = state
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback(state)


def read_git(root: Path) -> GitState:
    """Commit, whether tracked files differ from it, and how. No commit outside of a repository."""
    if not any((folder / ".git").exists() for folder in (root, *root.parents)):
        return GitState(None, False, "")
    status = _git(root, "status", "--porcelain=v2", "--branch", "--untracked-files=normal").splitlines()
    oid = next((line.split()[-1] for line in status if line.startswith("# branch.oid")), "(initial)")
    changes = [line for line in status if not line.startswith("#")]
    if oid == "(initial)":
        return GitState(None, bool(changes), "")
    tracked = any(not line.startswith("?") for line in changes)
    diff = _git(root, "diff", "HEAD", "--no-color", "--no-ext-diff") if tracked else ""
    return GitState(oid, bool(changes), diff[:DIFF_LIMIT])


def _git(root: Path, *arguments: str) -> str:
    """Output of a git command that takes no lock and runs no hook, pager or prompt."""
    environ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    done = subprocess.run(
        ["git", "-c", "core.fsmonitor=false", *arguments],
        cwd=root,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
    )
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
