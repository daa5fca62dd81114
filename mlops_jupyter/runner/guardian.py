"""A process that waits for the runner's death, to put right at once what a killed one leaves behind.

It is a shell that waits on a pipe: one word means that the runner ended by itself. The end of the pipe without it
means that the runner was killed, and the shell becomes ``python -m mlops_jupyter.runner.guardian``. Where it is
killed too, as with a whole container, the next run in the workspace recovers.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from mlops_jupyter.config import Settings, load_settings
from mlops_jupyter.errors import MlopsError
from mlops_jupyter.store import open_workspace_store

_WAIT = f'read -r word || exec "$0" -m {__name__} "$1"'
_ATTEMPTS = 20
_PAUSE = 0.1
"""Seconds between looks at whether the dead runner's lock is free: its files are closed one after the other."""


class Guardian:
    """Watches over this process from ``start`` to ``dismiss``."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to watch. Where there is no shell there is no watching; does not raise."""
        if os.name != "posix":
            return
        environment = {**os.environ, "MLOPS_HOME": str(self._settings.home)}
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _WAIT, sys.executable, str(self._folder)],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
                start_new_session=True,  # neither Ctrl-C nor a kill of the runner's process group means it
            )  # fmt: skip

    def dismiss(self) -> None:
        """The runner ends by itself. Idempotent."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.write(b"done\n")
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1.0)


def recover(folder: Path) -> bool:
    """Recover the killed run whose folder this is; whether there is nothing left to recover."""
    from .record import SKELETON
    from .recover import recover_runs

    settings = load_settings(folder)
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(MlopsError):
            store = open_workspace_store(settings)
            try:
                recover_runs(settings, store)
            finally:
                store.close()
        if not (folder / SKELETON).exists():
            return True
        time.sleep(_PAUSE)
    return False


if __name__ == "__main__":
    sys.exit(0 if recover(Path(sys.argv[1])) else 1)
