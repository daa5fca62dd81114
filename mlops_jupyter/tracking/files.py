"""Files of a run in MLflow: artifacts, data sets, what fits into no field, and the cells behind the run."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from mlops_jupyter.entities import Digest, EntityVersion, RunUid
from mlops_jupyter.errors import UsageError
from mlops_jupyter.store import executions as store_executions
from mlops_jupyter.store import outbox

from .faults import fault_point
from .link import Link
from .names import escape_key, is_shortened
from .runs import PARAM_LIMIT, TAG_LIMIT
from .target import REQUEST_TIMEOUT, mlflow_environment

EXECUTIONS_PATH = "lineage/executions.json"
LONG_VALUES_PATH = "mlops/full_values.json"
_SLOWEST_UPLOAD = 2_000_000
"""Bytes a second that a server is allowed to be slow at."""
_DIGEST_LIMIT = 32
_NAME_LIMIT = 500
_SOURCE_LIMIT = 60_000
_SCHEMA_LIMIT = 1_000_000


def send_artifact(link: Link, run_id: str, row: outbox.Item) -> None:
    """One file from the exchange, under its path in the run; replaces an earlier one.

    Raises:
        UsageError: a path that leads out of the run's artifacts.
        TargetNotFoundError: the exchange has lost the bytes.
    """
    digest = Digest(row.data["digest"])
    link.exchange.push([digest])
    send_file(link, run_id, row.data["path"], link.exchange.path(digest))
    fault_point("artifact_sent")


def send_file(link: Link, run_id: str, path: str, source: Path) -> None:
    """Upload ``source`` as artifact ``path`` of the run."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.name or "\\" in path:
        raise UsageError(f"{path!r} is no path inside a run's artifacts.")
    folder = str(pure.parent)
    with _named(source, pure.name) as named, upload_environment(source.stat().st_size):
        link.client.log_artifact(run_id, str(named), None if folder == "." else folder)


def send_document(link: Link, run_id: str, path: str, document: Any) -> None:
    """Upload a JSON document as artifact ``path``: the same bytes for the same content."""
    with tempfile.TemporaryDirectory(prefix="mlops-") as folder:
        source = Path(folder) / "document.json"
        source.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        send_file(link, run_id, path, source)


@contextmanager
def upload_environment(size: int) -> Iterator[None]:
    """MLflow's settings with time enough to upload ``size`` bytes."""
    with mlflow_environment(REQUEST_TIMEOUT + size // _SLOWEST_UPLOAD):
        yield


@contextmanager
def _named(source: Path, name: str) -> Iterator[Path]:
    # The client names an artifact after its local file, and the exchange names files after their bytes.
    with tempfile.TemporaryDirectory(prefix="mlops-") as folder:
        named = Path(folder) / name
        try:
            named.symlink_to(source)
        except OSError:
            shutil.copyfile(source, named)
        yield named


def send_long_values(link: Link, run_id: str, run_uid: str) -> bool:
    """Keep parameters, tags and names that MLflow cuts in a file of the run; whether there were any."""
    document: dict[str, dict[str, str]] = {}
    for kind, limit in (("params", PARAM_LIMIT), ("tags", TAG_LIMIT)):
        for key, value in link.store.execute(f"SELECT key, value FROM {kind} WHERE run_uid = ?", (run_uid,)):
            if len(value) > limit or is_shortened(key):
                document.setdefault(kind, {})[key] = value
    for (key,) in link.store.execute("SELECT DISTINCT key FROM latest_metrics WHERE run_uid = ?", (run_uid,)):
        if is_shortened(key):
            document.setdefault("metric_names", {})[escape_key(key)] = key
    if document:
        send_document(link, run_id, LONG_VALUES_PATH, document)
        fault_point("long_values_sent")
    return bool(document)


def send_datasets(link: Link, run_id: str, rows: Sequence[outbox.Item]) -> None:
    """Data sets as inputs of the run. MLflow knows them by name and digest, so again is once."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(
                name=row.data["name"][:_NAME_LIMIT],
                digest=short_digest(row.data["digest"]),
                **_source(row.data["source"][:_SOURCE_LIMIT]),
                schema=_schema(row.data["schema"]),
                profile=json.dumps({"shape": row.data["shape"], "digest": row.data["digest"]}),
            ),
            [InputTag("mlflow.data.context", row.data["context"][:500])] if row.data["context"] else [],
        )
        for row in rows
    ]
    link.client.log_inputs(run_id, inputs)
    fault_point("datasets_sent")


def short_digest(digest: str) -> str:
    """A digest as MLflow takes it: the first 32 hexadecimal digits, without the algorithm."""
    return digest.rpartition(":")[2][:_DIGEST_LIMIT] or "unknown"


def _source(source: str) -> dict[str, str]:
    """Where a data set came from, as one of the kinds that MLflow can resolve."""
    if source.startswith(("http://", "https://")):
        return {"source_type": "http", "source": json.dumps({"url": source})}
    if source.startswith("cell:"):
        return {"source_type": "code", "source": json.dumps({"tags": {"mlops.source": source}})}
    return {"source_type": "local", "source": json.dumps({"uri": source})}


_COLUMN_TYPES = {"int": "long", "uint": "long", "float": "double", "bool": "boolean", "datetime": "datetime"}


def _schema(text: str) -> str | None:
    """Our list of columns as MLflow's interface shows it (``mlflow_colspec``)."""
    if not text:
        return None
    columns = [
        {
            "type": _column_type(str(column.get("type", ""))),
            "name": str(column.get("name", "")),
            "required": True,
        }
        for column in json.loads(text)
        if isinstance(column, dict)
    ]
    schema = json.dumps({"mlflow_colspec": columns})
    return schema if len(schema) <= _SCHEMA_LIMIT else None


def _column_type(name: str) -> str:
    return next((theirs for ours, theirs in _COLUMN_TYPES.items() if name.lower().startswith(ours)), "string")


def send_executions(link: Link, run_id: str, run_uid: str) -> None:
    """The cells of the run with what they read and wrote, so that the lineage is there without us."""
    executions = store_executions.run_executions(link.store, RunUid(run_uid))
    ids = [execution.execution_id for execution in executions]
    written = store_executions.versions_generated(link.store, ids)
    uses = store_executions.uses_by(link.store, ids)
    read = {v.version_id: v for v in store_executions.get_versions(link.store, [use.version_id for use in uses])}
    document = {
        "run_uid": run_uid,
        "executions": [
            {
                "execution_id": e.execution_id,
                "notebook": e.notebook,
                "cell_id": e.cell_id,
                "position": e.position,
                "execution_count": e.execution_count,
                "source": e.source,
                "status": str(e.status),
                "error": e.error,
                "start_time": int(e.started_at * 1000),
                "duration": e.duration,
                "reads": [
                    _entity(read[use.version_id], str(use.grade))
                    for use in uses
                    if use.execution_id == e.execution_id and use.version_id in read
                ],
                "writes": [_entity(v, str(v.grade)) for v in written if v.execution_id == e.execution_id],
            }
            for e in executions
        ],
    }
    send_document(link, run_id, EXECUTIONS_PATH, document)
    fault_point("executions_sent")


def _entity(version: EntityVersion, grade: str) -> dict[str, Any]:
    return {
        "kind": str(version.kind),
        "name": version.name,
        "type": version.type_name,
        "summary": version.summary,
        "digest": version.digest,
        "generated_by": version.execution_id,
        "grade": grade,
    }
