"""Capture in the kernel of a headless run: what it is told through its environment, and how it is started."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from mlops_jupyter.config import Settings

if TYPE_CHECKING:
    from .kernel import Kernel

LOAD_TIMEOUT = 30.0
"""Seconds that capture gets to load."""

# In a namespace of its own: the notebook's must not gain a name.
_LOAD = 'exec("import mlops_jupyter.capture as capture; capture.load_headless()", {})'


def kernel_environment(settings: Settings, *, run_uid: str, notebook: str) -> dict[str, str]:
    """Environment of the kernel process; ``notebook`` is its path in the workspace."""
    return {
        **os.environ,
        "MLOPS_HOME": str(settings.home),
        "MLOPS_ORIGIN": "headless",
        "MLOPS_PARENT_RUN": run_uid,
        "MLOPS_NOTEBOOK": notebook,
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


def load_capture(kernel: Kernel, *, is_python: bool) -> str | None:
    """Start capture silently in the kernel; None where it runs, else one sentence that says why it does not."""
    if not is_python or kernel.info.get("language_info", {}).get("name", "python") != "python":
        return f"The kernel {kernel.name!r} is not Python: the notebook runs without lineage."
    message_id = kernel.request(_LOAD, silent=True)
    deadline = time.monotonic() + LOAD_TIMEOUT
    while time.monotonic() < deadline:
        received = kernel.wait(1.0)
        for message in received.shell:
            if message["parent_header"].get("msg_id") == message_id:
                return _reason(kernel.name, message["content"])
        if received.dead:
            return None  # the first cell finds the kernel dead and says how
    return f"Capture did not load in {LOAD_TIMEOUT:g} seconds: the notebook runs without lineage."


def _reason(name: str, content: dict[str, object]) -> str | None:
    if content.get("status") == "ok":
        return None
    if content.get("ename") in {"ModuleNotFoundError", "ImportError"}:
        return (
            f"The kernel {name!r} lacks mlops-jupyter ({content.get('evalue')}): the notebook runs without lineage. "
            "Install it in the kernel's environment."
        )
    return f"Capture failed to load ({content.get('ename')}: {content.get('evalue')}): no lineage is recorded."
