"""A notebook's cells in a kernel of their own, with capture: from the kernel's start to its end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from nbformat import NotebookNode

from mlops_jupyter.config import Settings
from mlops_jupyter.errors import TransientError

from .cancellation import Cancellation
from .cells import CellLoop, Ending, Limits, Listener
from .kernel import Kernel
from .references import VARIABLE, scrubber
from .result import State

STARTUP_TIMEOUT = 60.0
"""Seconds that a kernel gets to answer."""

LOAD_TIMEOUT = 30.0
"""Seconds that capture gets to load."""

# In a namespace of its own: the notebook's must not gain a name.
_LOAD = 'exec("import mlops_jupyter.capture as capture; capture.load_headless()", {})'


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPlan:
    """Which kernel to start, and how."""

    name: str
    specs: KernelSpecManager
    is_python: bool
    cwd: Path
    env: dict[str, str]
    log: Path
    """File for the kernel process's own output."""
    startup_timeout: float = STARTUP_TIMEOUT
    secrets: tuple[str, ...] = ()
    """Environment variables whose values must not be in anything that is kept."""


def execute(
    notebook: NotebookNode,
    plan: KernelPlan,
    listener: Listener,
    *,
    limits: Limits,
    cancellation: Cancellation,
    meanwhile: Callable[[Ending], None] = lambda _: None,
) -> tuple[Ending, str | None]:
    """Start a kernel, load capture, execute the cells, stop the kernel.

    ``meanwhile`` is called with the ending of the cells while the kernel ends, which takes it some tenths of a second.
    Returns why it ended, and one sentence that says why there is no lineage (None: there is).
    """
    env = {**plan.env, VARIABLE: ",".join(plan.secrets)} if plan.secrets else plan.env
    kernel = Kernel(plan.name, log=plan.log, cancellation=cancellation, specs=plan.specs, scrub=scrubber(plan.secrets))
    kindly = False
    try:
        try:
            kernel.start(cwd=plan.cwd, env=env, timeout=plan.startup_timeout)
        except TransientError as error:
            return Ending(state=State.KERNEL_DIED, error=str(error)), "The kernel did not start, so no lineage."
        if cancellation.received is not None:
            kindly = True
            return Ending(state=State.CANCELLED, error="The run was cancelled."), None
        notebook.metadata["language_info"] = kernel.info.get("language_info", {})
        warning = load_capture(kernel, is_python=plan.is_python)
        ending = CellLoop(
            kernel, notebook, listener, limits=limits, cancellation=cancellation, captured=warning is None
        ).run()
        kindly = kernel.is_idle
        if kindly:
            kernel.ask_to_stop()
        meanwhile(ending)
        return ending, warning
    finally:
        kernel.stop(now=not kindly)


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
    if content.get("evalue") == "No module named 'mlops_jupyter'":
        return (
            f"The environment of the kernel {name!r} lacks mlops-jupyter: the notebook runs without lineage. "
            "Install it there."
        )
    return f"Capture failed to load ({content.get('ename')}: {content.get('evalue')}): no lineage is recorded."
