"""Jobs: notebooks that run on a cluster, as the record that we keep of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ._ids import Digest, RunUid


class JobState(StrEnum):
    """Where a job is. The last four are ends: nothing changes a job after one of them."""

    SUBMITTING = "SUBMITTING"
    """Recorded; whether the cluster has it is not known yet."""
    QUEUED = "QUEUED"
    """The cluster has it and it waits; the reason is said beside."""
    RUNNING = "RUNNING"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"
    LOST = "LOST"
    """The cluster that had it is gone, and it left no result."""

    @property
    def is_end(self) -> bool:
        """Whether the job is over."""
        return self in _ENDS


_ENDS = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED, JobState.LOST})


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a job asks a cluster for. Fractions of processors and GPUs are shares of one."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0
    """Bytes that are reserved; 0: none are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One notebook sent to a cluster."""

    job_id: str
    """uuid4 as 32 hexadecimal digits; the cluster knows the job by it too, so that submitting again is harmless."""
    name: str
    notebook: str
    """Path relative to the workspace, ``/``-separated."""
    address: str
    """URL of the cluster's dashboard."""
    local: bool
    """Whether the cluster is the one that this workspace started."""
    session: str
    """Ray's name for this life of the cluster."""
    resources: Resources = Resources()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Those that were given, as plain JSON."""
    manifest: Digest | None = None
    """What travelled, in the exchange."""
    sent_files: int = 0
    sent_bytes: int = 0
    submitter: str = ""
    created_at: float
    """Seconds since the epoch."""
    state: JobState = JobState.SUBMITTING
    reason: str = ""
    """Why it waits, or how it ended, in one sentence."""
    started_at: float | None = None
    ended_at: float | None = None
    run_uid: RunUid | None = None
    """The run that it became, once the results are here."""
    exit_code: int | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    """What came back: the document of the run, files, warnings."""
