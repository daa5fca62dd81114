"""The graph as one OpenLineage run event (specification 2-0-2).

OpenLineage knows runs, jobs and data sets but no cells: files are the inputs and outputs, and the graph of
cells goes into a run facet of our own.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from mlops_jupyter.entities import EntityKind, EntityVersion, RunStatus

from .graph import LineageGraph

PRODUCER = "https://pypi.org/project/mlops-jupyter/"
_SPEC = "https://openlineage.io/spec"
_EVENT_TYPES = {
    RunStatus.RUNNING: "RUNNING",
    RunStatus.FINISHED: "COMPLETE",
    RunStatus.FAILED: "FAIL",
    RunStatus.KILLED: "ABORT",
}


def to_openlineage(graph: LineageGraph) -> dict[str, Any]:
    """A run event: of the run that the target is, else of the target's making.

    Without a run the event's id is made from the target's node (a UUID of version 5), so that the same target
    is the same run however often it is sent.
    """
    run = next((r for r in graph.runs if f"run:{r.run_uid}" in graph.focus), None)
    ended = max((e.started_at + e.duration for e in graph.executions), default=0.0)
    notebooks = list(dict.fromkeys(e.notebook for e in graph.executions if e.notebook))
    inputs, outputs = _boundary(graph)
    if run is not None:
        run_id, name, kind = str(uuid.UUID(run.run_uid)), run.name, _EVENT_TYPES[run.status]
        at = run.ended_at if run.ended_at is not None else max(ended, run.started_at)
        notebook = run.notebook or next(iter(notebooks), None)
    else:
        run_id, name, kind = (
            str(uuid.uuid5(uuid.NAMESPACE_OID, "|".join(graph.focus))),
            graph.target,
            "COMPLETE",
        )
        at, notebook = ended, next(iter(notebooks[-1:]), None)
    return {
        "eventType": kind,
        "eventTime": _time(at),
        "producer": PRODUCER,
        "schemaURL": f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {
            "runId": run_id,
            "facets": {
                "mlopsJupyter_cellGraph": _facet(
                    f"{PRODUCER}#cell-graph-1",
                    target=graph.target,
                    **{key: value for key, value in graph.to_json().items() if key in ("nodes", "edges", "truncated")},
                )
            },
        },
        "job": {
            "namespace": "mlops-jupyter",
            "name": f"{notebook}.{name}" if notebook else name,
            "facets": {
                "jobType": _facet(
                    f"{_SPEC}/facets/2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet",
                    processingType="BATCH",
                    integration="JUPYTER",
                    jobType="NOTEBOOK",
                ),
                "sourceCode": _facet(
                    f"{_SPEC}/facets/1-0-1/SourceCodeJobFacet.json#/$defs/SourceCodeJobFacet",
                    language="python",
                    sourceCode="\n\n".join(e.source for e in graph.executions),
                ),
            },
        },
        "inputs": [_dataset(v) for v in inputs],
        "outputs": [_dataset(v) for v in outputs],
    }


def _boundary(graph: LineageGraph) -> tuple[list[EntityVersion], list[EntityVersion]]:
    """Files that came from outside of these executions, and files that they wrote."""
    made_here = {e.execution_id for e in graph.executions}
    files = [v for v in graph.versions if v.kind is EntityKind.FILE]
    used = {u.version_id for u in graph.uses}
    inputs = [v for v in files if v.execution_id not in made_here and v.version_id in used]
    outputs = [v for v in files if v.execution_id in made_here]
    return _once(inputs), _once(outputs)


def _once(files: Iterable[EntityVersion]) -> list[EntityVersion]:
    return list({v.name: v for v in files}.values())


def _dataset(version: EntityVersion) -> dict[str, Any]:
    parts = urlsplit(version.name)
    # A drive letter is no scheme.
    if len(parts.scheme) > 1 and parts.netloc:
        namespace, name = f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/") or "/"
    else:
        namespace, name = "file", version.name
    facets: dict[str, Any] = {}
    if version.digest:
        url = f"{_SPEC}/facets/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"
        facets["version"] = _facet(url, datasetVersion=version.digest)
    return {"namespace": namespace, "name": name, "facets": facets}


def _facet(schema: str, **fields: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": schema, **fields}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
