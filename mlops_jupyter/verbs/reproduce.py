"""``mlops runs reproduce``: the recorded code of a run on the recorded data, in a scratch copy, and each difference."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlops_jupyter.errors import UsageError
from mlops_jupyter.store import runs as store_runs
from mlops_jupyter.store.reproductions import Reproduction, add_reproduction
from mlops_jupyter.workspace import Workspace

from .runs import number

if TYPE_CHECKING:
    import threading

    from mlops_jupyter.verification.reproduce import Reproduced

TOLERANCE = 1e-6
"""Relative difference up to which two values count as the same."""


def reproduce(
    workspace: Workspace,
    run_id: str,
    *,
    timeout: float | None = None,
    tolerance: float = TOLERANCE,
    repeat: bool = True,
    keep: bool = False,
    on_step: Callable[[int, int, int], None] | None = None,
    cancelled: threading.Event | None = None,
) -> dict[str, Any]:
    """Run a run again and say how it compares; fits ``runs-reproduce.json``.

    ``run_id``: ours, MLflow's, or a unique prefix of at least 8 characters. ``timeout``: seconds a replay.
    ``tolerance``: relative. ``repeat``: where a metric differs, replay once more, to tell what never gives the same
    twice. ``keep``: leave the scratch copy. ``on_step`` is called with (attempt, cell, cells), each from 1.
    ``exit_code`` in the document is what the command line ends with. The result is stored and shown with the run.

    Raises:
        TargetNotFoundError: there is no such run.
        UsageError: it cannot be run again (no code, a blanked secret, data that is gone), or a limit is no number.
        TransientError: no room for the scratch copy, or the replay could not be started.
    """
    from mlops_jupyter.verification.reproduce import reproduce_run  # starts kernels: only this verb pays for it

    if timeout is not None and not timeout > 0:
        raise UsageError("The time limit must be a number of seconds above 0.")
    if not 0 <= tolerance < 1:
        raise UsageError(f"The tolerance must be at least 0 and below 1, got {tolerance}.")
    uid = store_runs.resolve_run(workspace.store, run_id)
    done = reproduce_run(
        workspace.settings, workspace.store, uid, timeout=timeout, tolerance=tolerance, repeat=repeat, keep=keep,
        on_step=on_step, cancelled=cancelled,
    )  # fmt: skip
    at = time.time()
    document = as_document(done, at=at, tolerance=tolerance)
    add_reproduction(workspace.store, Reproduction(run_uid=uid, at=at, verdict=done.verdict, document=document))
    return document


def as_document(done: Reproduced, *, at: float, tolerance: float) -> dict[str, Any]:
    """The result as JSON."""
    run = done.recorded.run
    return {
        "run_id": run.run_uid,
        "name": run.name,
        "kind": done.recorded.shape,
        "notebook": run.notebook,
        "at": int(at * 1000),
        "verdict": done.verdict,
        "exit_code": done.exit_code,
        "state": done.replay.state,
        "error": done.replay.error,
        "failed_cell": done.failed_cell,
        "failed_before": done.failed_before,
        "tolerance": tolerance,
        "metrics": [
            {
                "run_id": m.run_id,
                "run_name": m.run_name,
                "key": m.key,
                "recorded": _number(m.recorded),
                "reproduced": _number(m.reproduced),
                "difference": _number(m.difference),
                "relative": _number(m.relative),
                "verdict": m.verdict,
                "again": _number(m.again),
                "stable": m.stable,
            }
            for m in done.metrics
        ],
        "params": [{"key": key, "recorded": before, "reproduced": after} for key, before, after in done.params],
        "inputs": [
            {
                "name": i.name,
                "recorded": i.recorded,
                "current": i.current,
                "used": i.used,
                "state": i.state,
                "as_recorded": i.as_recorded,
                "reason": i.reason,
            }
            for i in done.inputs
        ],
        "code": [
            {
                "name": c.name,
                "recorded": c.recorded,
                "current": c.current,
                "used": c.used,
                "as_recorded": c.as_recorded,
            }
            for c in done.code
        ],
        "cells": [
            {"position": c.execution.position, "execution_count": c.execution.execution_count}
            for c in done.recorded.cells
        ],
        "environment": {
            "python": {"recorded": done.python[0], "current": done.python[1]},
            "packages": [
                {"name": p.name, "recorded": p.recorded, "current": p.current, "imported": p.imported}
                for p in done.packages
            ],
        },
        "unpinned": [{"kind": u.kind, "what": u.what, "where": u.where} for u in done.unpinned],
        "confined": done.replay.confined,
        "notes": [*done.notes, *done.replay.warnings],
        "attempts": done.attempts,
        "duration": done.seconds,
        "scratch": done.scratch,
    }


def _number(value: float | None) -> float | str | None:
    return None if value is None else number(value)
