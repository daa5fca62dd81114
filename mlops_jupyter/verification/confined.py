"""Run a command that may write below a scratch copy alone.

``python -m mlops_jupyter.verification.confined SCRATCH WORKSPACE COMMAND…``
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from .confine import allowed_folders, confine, die_with_parent

if __name__ == "__main__":
    scratch, workspace, *command = sys.argv[1:]
    die_with_parent(signal.SIGTERM)
    confine(allowed_folders(Path(scratch), protected=Path(workspace)))
    os.execv(command[0], command)  # noqa: S606 - the command of the verification itself
