"""The words of the project as frozen types, without behaviour and without any import but the standard library's."""

from __future__ import annotations

from ._ids import Digest, ExecutionId, RunUid, SessionId, VersionId
from ._jobs import Job, JobState, Resources
from ._lineage import (
    CellExecution,
    EntityKind,
    EntityVersion,
    ExecutionStatus,
    Grade,
    Origin,
    Session,
    Used,
)
from ._runs import (
    Artifact,
    DatasetVersion,
    Metric,
    ModelRecord,
    Param,
    ParamSource,
    Run,
    RunStatus,
)

__all__ = [
    "Artifact",
    "CellExecution",
    "DatasetVersion",
    "Digest",
    "EntityKind",
    "EntityVersion",
    "ExecutionId",
    "ExecutionStatus",
    "Grade",
    "Job",
    "JobState",
    "Metric",
    "ModelRecord",
    "Origin",
    "Param",
    "ParamSource",
    "Resources",
    "Run",
    "RunStatus",
    "RunUid",
    "Session",
    "SessionId",
    "Used",
    "VersionId",
]
