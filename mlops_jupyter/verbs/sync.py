"""``mlops sync``: deliver what is recorded to MLflow now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlops_jupyter.tracking import SyncReport
from mlops_jupyter.tracking import sync as deliver
from mlops_jupyter.workspace import Workspace

DONE, UNREACHABLE, LEFT = 0, 5, 75


def sync(
    workspace: Workspace,
    *,
    watch: bool = False,
    timeout: float | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> dict[str, Any]:
    """Deliver the outbox; the document of ``mlops sync --json``.

    ``watch``: go on until interrupted. ``timeout``: seconds to try a server that does not answer, or to wait
    for another process that delivers. ``progress`` is called with a kind and how many of it were just
    delivered.

    Raises:
        TransientError: the local store cannot be read.
    """
    return document(deliver(workspace.settings, watch=watch, timeout=timeout, progress=progress))


def document(report: SyncReport) -> dict[str, Any]:
    """The report as JSON."""
    error = report.error
    return {
        "target": report.target,
        "delivered": dict(report.delivered),
        "remaining": dict(report.remaining),
        "dead_letters": [
            {
                "stream": letter.stream,
                "position": letter.position,
                "run_id": letter.run_uid,
                "error": letter.error,
                "attempts": letter.attempts,
                "time": int(letter.at * 1000),
            }
            for letter in report.dead_letters
        ],
        "killed": list(report.killed),
        "error": None
        if error is None
        else {"message": error.message, "hint": error.hint, "exit_code": error.exit_code},
    }


def exit_code(document: Mapping[str, Any]) -> int:
    """0 all was delivered, 5 MLflow cannot be reached, 75 something is left and a retry may help."""
    error = document["error"]
    if error is None:
        return LEFT if document["remaining"] else DONE
    if error["exit_code"] == UNREACHABLE:
        return UNREACHABLE
    return LEFT if error["exit_code"] in {75, 124} else int(error["exit_code"])
