"""Runs in MLflow's words: parameters, metrics, tags, artifacts, data sets and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ._ids import Digest, ExecutionId, RunUid, SessionId


class RunStatus(StrEnum):
    """MLflow's run states."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


class ParamSource(StrEnum):
    """How a parameter was found."""

    LITERAL = "literal"
    """A literal in the backward slice of the tracked cell."""
    INJECTED = "injected"
    """Given with ``-p`` to a headless run."""
    ESTIMATOR = "estimator"
    """A hyper-parameter of an estimator that the cell fitted."""
    DECLARED = "declared"
    """Named by ``%%track -p NAME``."""
    LOGGED = "logged"
    """``log_param`` was called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One parameter of a run. ``value`` is the text that MLflow shows; ``type_name`` the Python type it had."""

    key: str
    value: str
    type_name: str = "str"
    source: ParamSource = ParamSource.LOGGED


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One value of one metric. ``timestamp`` in milliseconds since the epoch, fixed when it was captured."""

    key: str
    value: float
    step: int
    timestamp: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file of a run; its bytes are in the exchange under ``digest``."""

    path: str
    """Path inside the run's artifacts, ``/``-separated, relative, without ``..``."""
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """A data set that a run used, in the shape of MLflow's Dataset."""

    name: str
    digest: Digest
    source: str
    """Path, URL or ``cell:EXECUTION_ID`` that it came from."""
    context: str
    """``training``, ``evaluation`` …"""
    shape: tuple[int, ...] = ()
    schema: str = ""
    """JSON: list of ``{"name": …, "type": …}``, or empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """A fitted model, serialised at the end of the cell and spooled to the exchange."""

    model_uid: str
    name: str
    """The variable that held it, or the class where none did."""
    class_name: str
    flavor: str
    """MLflow flavor, ``sklearn`` or ``pyfunc``."""
    digest: Digest | None
    """Key of the pickled bytes in the exchange; None where it could not be serialised (``error`` says why)."""
    size: int
    signature: str = ""
    """MLflow signature as JSON (``inputs``/``outputs``/``params``), or empty."""
    input_example: Digest | None = None
    """Key in the exchange of a JSON document in ``dataframe_split`` or ``inputs`` form."""
    requirements: Sequence[str] = ()
    """Pinned distributions, ``scikit-learn==1.9.1``."""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run with all that is shown of it."""

    run_uid: RunUid
    name: str
    experiment: str
    status: RunStatus
    started_at: float
    """Seconds since the epoch."""
    ended_at: float | None = None
    parent_uid: RunUid | None = None
    session_id: SessionId | None = None
    execution_id: ExecutionId | None = None
    notebook: str | None = None
    user: str = ""
    mlflow_run_id: str | None = None
    note: str = ""
    deleted_at: float | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Latest value of each metric: the one with the highest (step, timestamp), as in MLflow."""
    tags: Mapping[str, str] = field(default_factory=dict)
