"""What runs inside the user's kernel: hooks around cells, ``%%track``, the logging functions.

It writes to one place, the local store, and never changes what a cell does: a fault in here is recorded,
warned of once, and the cell goes on. Nothing heavy is imported: mlflow, pandas, numpy and the like are
looked up in ``sys.modules``, because what the user has not imported cannot be among the values that are
looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .session import CaptureSession

__all__ = ["current", "load", "load_headless", "unload"]

_current: CaptureSession | None = None


def current() -> CaptureSession | None:
    """The capture session of this process, or None where ``%load_ext mlops_jupyter`` has not run."""
    return _current


def load(shell: Any) -> None:
    """Start to capture the cells of ``shell`` (an ``InteractiveShell``). Idempotent. Never raises."""
    _load(shell)


def load_headless() -> None:
    """Start to capture in the kernel of a headless run; silent, and set up by the environment.

    Read are ``MLOPS_HOME``, ``MLOPS_ORIGIN``, ``MLOPS_PARENT_RUN`` and ``MLOPS_NOTEBOOK``; in a replay also
    ``MLOPS_REPLAY_FOLDER`` (see ``guard``).
    """
    import os

    from IPython.core.getipython import get_ipython

    if os.environ.get("MLOPS_REPLAY_FOLDER"):
        from .guard import install_guard

        install_guard()

    shell = get_ipython()
    if shell is not None:
        _load(shell)
        from .headless import add_late_magics, end_in_order

        add_late_magics(shell)
        end_in_order(shell)


def unload(shell: Any) -> None:
    """Stop to capture and put everything back as it was. Idempotent. Never raises."""
    global _current
    session = _current
    if session is not None and session.shell is shell:
        _current = None
        session.detach()
        session.close()


def _load(shell: Any) -> None:
    global _current
    from .session import CaptureSession

    if _current is not None:
        if _current.shell is shell:
            return
        unload(_current.shell)
    session = CaptureSession(shell)
    _current = session
    session.attach()
