"""The records of a run as one value, written in one transaction, and the line that the notebook shows of
it."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mlops_jupyter.entities import (
    Artifact,
    DatasetVersion,
    Metric,
    ModelRecord,
    Param,
    Run,
    RunStatus,
    RunUid,
)
from mlops_jupyter.errors import MlopsError
from mlops_jupyter.store import SQLiteConnection
from mlops_jupyter.store import runs as store_runs

MIME_TYPE = "application/vnd.mlops.status.v1+json"


@dataclass(slots=True, kw_only=True)
class RunRecord:
    """What one cell adds to a run, and how the run ended where it did."""

    run_uid: RunUid
    name: str
    experiment: str
    status: RunStatus
    ended_at: float | None = None
    """None: the run goes on."""
    params: list[Param] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    datasets: list[DatasetVersion] = field(default_factory=list)
    models: list[ModelRecord] = field(default_factory=list)
    headline: str = ""
    """Class of the model, for people."""
    visible: bool = False
    """Whether the notebook shows a line about it."""

    def write(self, store: SQLiteConnection) -> None:
        """Add everything; called inside of a transaction."""
        store_runs.log_params(store, self.run_uid, self.params, found=True)
        store_runs.log_metrics(store, self.run_uid, self.metrics)
        store_runs.set_tags(store, self.run_uid, self.tags)
        for artifact in self.artifacts:
            store_runs.add_artifact(store, self.run_uid, artifact)
        for dataset in self.datasets:
            store_runs.add_dataset(store, self.run_uid, dataset)
        for model in self.models:
            store_runs.add_model(store, self.run_uid, model)
        self.write_end(store)

    def write_end(self, store: SQLiteConnection) -> None:
        """Say how the run ended, where it did."""
        if self.ended_at is not None:
            store_runs.end_run(store, self.run_uid, self.status, at=self.ended_at)

    def show(self, shell: Any, store: SQLiteConnection) -> None:
        """Show one line below the cell, where a notebook listens: what was found and what ``log_*`` wrote."""
        if not self.visible or getattr(shell, "kernel", None) is None:
            return
        logged = None
        with suppress(MlopsError):  # where the run waits for room on the disk the line says what was found
            logged = store_runs.get_run(store, self.run_uid)
        shell.display_pub.publish(status_bundle(self, logged), metadata={})


def status_bundle(record: RunRecord, logged: Run | None = None) -> dict[str, Any]:
    """The line as text and HTML, and the document that the notebook's own renderer draws. Everything is
    escaped. ``logged``: the run as it is stored."""
    latest = {metric.key: metric.value for metric in record.metrics}
    params = {param.key: param.value for param in record.params}
    if logged is not None:
        latest |= logged.metrics
        params |= logged.params
    text = status_line(record, latest, len(params))
    document = {
        "kind": "run",
        "run_id": record.run_uid,
        "name": record.name,
        "experiment": record.experiment,
        "status": str(record.status),
        "model": record.headline,
        "params": params,
        "metrics": {key: _json_number(value) for key, value in latest.items()},
    }
    style = "color:var(--jp-ui-font-color2,#666);font-size:var(--jp-ui-font-size1,13px)"
    return {
        "text/plain": text,
        "text/html": f'<div class="mlops-run" style="{style}">{html.escape(text)}</div>',
        MIME_TYPE: document,
    }


def status_line(record: RunRecord, metrics: Mapping[str, float], count: int) -> str:
    """``run a1b2c3d4 · LogisticRegression · accuracy 0.97 · 4 parameters``"""
    from .findings import metric_text  # here, because it loads the analysis

    parts = [f"run {record.run_uid[:8]}"]
    if record.status is not RunStatus.FINISHED:
        parts.append(record.status.lower())
    if record.headline:
        parts.append(record.headline)
    shown = list(metrics.items())[:3]
    parts += [f"{_one_line(key)} {metric_text(value)}" for key, value in shown]
    if len(metrics) > len(shown):
        parts.append(f"{len(metrics) - len(shown)} more metrics")
    parts.append(f"{count} parameter{'' if count == 1 else 's'}")
    return " · ".join(parts)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:60]


def _json_number(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
