"""What the kernel of a headless run gets besides capture."""

from __future__ import annotations

import atexit
import importlib
from collections.abc import Callable
from typing import Any

_LATE = ("lineage", "gather", "mlops")
_ORDERLY_SECONDS = 2.0


def add_late_magics(shell: Any) -> None:
    """``%lineage``, ``%gather`` and ``%mlops``, each of which is found when it is first used."""
    for name in _LATE:
        if name not in shell.magics_manager.magics["line"]:
            shell.register_magic_function(_late(name), magic_kind="line", magic_name=name)


def _late(name: str) -> Callable[[str], Any]:
    def magic(line: str) -> Any:
        module = importlib.import_module("mlops_jupyter.magics")  # a layer above this one, so it is not imported here
        return getattr(module, name)(line)

    return magic


def end_in_order(shell: Any) -> None:
    """Let a kernel that was asked to end do so at once.

    ipykernel's control thread flushes the output streams after it has told the main thread to end; where the main
    thread has ended the thread that does the flushing by then, each flush waits for ten seconds and the kernel with
    it. So the main thread waits for the control thread first.
    """
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return

    def wait() -> None:
        thread = getattr(kernel, "control_thread", None)
        # Without a request to end, as after exit(), that thread would go on.
        if thread is not None and getattr(kernel, "_shutdown_message", None) is not None:
            thread.join(timeout=_ORDERLY_SECONDS)

    atexit.register(wait)


class TrackRequests:
    """The words of ``%%track`` that come beside a cell, with the request to execute it."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._taken: str | None = None

    def take(self) -> str | None:
        """Those of the request that is executed, or None; once a request, for other cells may run inside of it."""
        get_parent = getattr(self._shell, "get_parent", None)
        request = get_parent() if get_parent is not None else {}
        words = request.get("metadata", {}).get("mlops", {}).get("track")
        message_id = request.get("header", {}).get("msg_id")
        if not isinstance(words, str) or message_id == self._taken:
            return None
        self._taken = message_id
        return words
