"""Named points after which a delivery can be made to die, so that tests prove that it resumes.

``MLOPS_FAULT=run_created:2`` kills the process (SIGKILL, so that nothing is cleaned up) the second time that
it comes to that point. Costs one dictionary look-up where the variable is not set.
"""

from __future__ import annotations

import os
import signal

FAULT_POINTS: tuple[str, ...] = (
    "experiment_created",
    "run_created",
    "run_remembered",
    "tags_sent",
    "params_sent",
    "metrics_sent",
    "artifact_sent",
    "long_values_sent",
    "datasets_sent",
    "model_created",
    "model_linked",
    "model_uploaded",
    "model_finalized",
    "model_measured",
    "model_remembered",
    "executions_sent",
    "note_sent",
    "status_sent",
    "run_deleted",
    "cursor_advanced",
    "killed_run_ended",
    "killed_session_ended",
)
"""Every effect of a delivery, on MLflow and on our store, in about the order in which they happen."""

REGISTRATION_POINTS: tuple[str, ...] = (
    "registration_model_created",
    "registration_uploaded",
    "registration_finalized",
    "registered_model_created",
    "version_created",
    "version_linked",
    "registration_audited",
    "registration_kept",
)
"""Every effect of a registration, in the order in which they happen."""

_passed: dict[str, int] = {}


def fault_point(name: str) -> None:
    """Die here if ``MLOPS_FAULT`` says so."""
    wanted = os.environ.get("MLOPS_FAULT")
    if wanted is None:
        return
    point, _, count = wanted.partition(":")
    if point == name:
        _passed[name] = _passed.get(name, 0) + 1
        if _passed[name] == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
