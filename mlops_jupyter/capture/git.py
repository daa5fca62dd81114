"""Commit and uncommitted changes of the workspace, found in a thread so that no cell waits for git."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DIFF_LIMIT = 1_000_000
"""Characters of a diff that are kept."""
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
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._callback: Callable[[GitState], None] | None = None
        self._state: GitState | None = None
        threading.Thread(target=self._look, name="mlops-git", daemon=True).start()

    def result(self, timeout: float) -> GitState | None:
        """The state where it is known within ``timeout`` seconds."""
        self._done.wait(timeout)
        return self._state

    def when_ready(self, callback: Callable[[GitState], None]) -> None:
        """Call ``callback`` in the thread once the state is known, or now where it is."""
        with self._lock:
            if self._state is None:
                self._callback = callback
                return
        callback(self._state)

    def _look(self) -> None:
        try:
            state = read_git(self._root)
        except (OSError, subprocess.SubprocessError, ValueError):
            state = GitState(None, False, "")
        with self._lock:
            self._state = state
            callback = self._callback
        self._done.set()
        if callback is not None:
            callback(state)


def read_git(root: Path) -> GitState:
    """Commit, whether tracked files differ from it, and how. No commit outside of a repository."""
    if not any((folder / ".git").exists() for folder in (root, *root.parents)):
        return GitState(None, False, "")
    commit = _git(root, "rev-parse", "--verify", "-q", "HEAD").strip() or None
    if commit is None:
        return GitState(None, bool(_git(root, "status", "--porcelain").strip()), "")
    status = _git(root, "status", "--porcelain", "--untracked-files=normal")
    diff = _git(root, "diff", "HEAD", "--no-color", "--no-ext-diff") if status.strip() else ""
    return GitState(commit, bool(status.strip()), diff[:DIFF_LIMIT])


def _git(root: Path, *arguments: str) -> str:
    """Output of a git command that takes no lock and runs no hook, pager or prompt."""
    environ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    done = subprocess.run(  # noqa: S603 - fixed arguments
        ["git", "-c", "core.fsmonitor=false", *arguments],  # noqa: S607 - the user's own git
        cwd=root,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
    )
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
