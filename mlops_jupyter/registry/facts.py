"""What is known of where a model came from: the cells that make it, the data, the commit, the environment.

It travels with the registered version twice: in short as tags, which MLflow shows and searches, and in full as files
beside the model (``mlops/``), which stay readable without MLflow and without this package.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_jupyter.data.exchange import Exchange
from mlops_jupyter.entities import (
    CellExecution,
    DatasetVersion,
    Digest,
    EntityKind,
    EntityVersion,
    Run,
    RunUid,
    Session,
)
from mlops_jupyter.errors import MlopsError
from mlops_jupyter.notebook import GatheredSlice, read_notebook
from mlops_jupyter.notebook.gathered import slice_document
from mlops_jupyter.provenance import backward_slice
from mlops_jupyter.store import Connection, provenance
from mlops_jupyter.store import executions as records
from mlops_jupyter.store import runs as store_runs

FOLDER = "mlops"
"""Folder of these files inside of the package."""
TAG_LIMIT = 5000
"""Characters of a tag's value that every MLflow server keeps."""
_COMMIT = "mlflow.source.git.commit"
_DIRTY = "mlops.git.dirty"
_DIFF = "git/dirty.diff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is known of a model's origin; any part may be missing."""

    run: Run | None = None
    execution: CellExecution | None = None
    """The execution that fitted the model or wrote the file."""
    slice: GatheredSlice | None = None
    datasets: tuple[DatasetVersion, ...] = ()
    session: Session | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    """``python``, ``platform``, ``distributions`` as recorded with the session."""
    git: Mapping[str, str] = field(default_factory=dict)
    """``commit``, ``dirty``."""
    diff: bytes | None = None
    """Uncommitted changes of the workspace when the run began."""
    conversion: Mapping[str, Any] = field(default_factory=dict)
    """Of a run of a converted notebook: ``notebook`` it came from, ``grade`` of its verification."""

    @property
    def inputs(self) -> list[EntityVersion]:
        """Files that the code reads and that none of its cells makes."""
        return [v for v in self.slice.inputs if v.kind is EntityKind.FILE] if self.slice else []

    def tags(self) -> dict[str, str]:
        """The facts as flat tags; what is not known has none."""
        run, cell = self.run, self.execution
        data = [f"{d.name}@{d.digest}" for d in self.datasets]
        files = [f"{v.name}@{v.digest}" for v in self.inputs if v.digest]
        found: dict[str, object] = {
            "mlops.run_uid": run and run.run_uid,
            "mlops.experiment": run and run.experiment,
            "mlops.notebook": (cell and cell.notebook) or (run and run.notebook),
            "mlops.execution_id": cell and cell.execution_id,
            "mlops.cell_id": cell and cell.cell_id,
            "mlops.git.commit": self.git.get("commit"),
            "mlops.git.dirty": self.git.get("dirty"),
            "mlops.data": " ".join(dict.fromkeys(data)),
            "mlops.files": " ".join(dict.fromkeys(files)),
            "mlops.python": self.environment.get("python"),
            "mlops.environment": self.session and self.session.environment,
            "mlops.slice": self.slice and f"sha256:{hashlib.sha256(self.slice.source.encode()).hexdigest()}",
            "mlops.conversion.grade": self.conversion.get("grade"),
            "mlops.conversion.notebook": self.conversion.get("notebook"),
        }
        return {key: cut(str(value), TAG_LIMIT) for key, value in found.items() if value}

    def files(self, registration: Mapping[str, Any]) -> dict[str, bytes]:
        """Files to lay beside the model: path inside of the package -> bytes."""
        files = {f"{FOLDER}/lineage.json": _json(self.document(registration))}
        if self.slice is not None:
            files[f"{FOLDER}/slice.py"] = _script(self.slice).encode()
            files[f"{FOLDER}/slice.ipynb"] = _json(slice_document(self.slice))
        distributions = self.environment.get("distributions")
        if isinstance(distributions, dict):
            head = f"# Python {self.environment.get('python', '')}, everything that was installed where it was made\n"
            lines = (f"{name}=={version}\n" for name, version in sorted(distributions.items()))
            files[f"{FOLDER}/environment.txt"] = (head + "".join(lines)).encode()
        if self.diff:
            files[f"{FOLDER}/dirty.diff"] = self.diff
        return files

    def document(self, registration: Mapping[str, Any]) -> dict[str, Any]:
        """The facts as one JSON document."""
        run, cell = self.run, self.execution
        return {
            "version": 1,
            "registration": dict(registration),
            "run": run
            and {
                "run_id": run.run_uid, "mlflow_run_id": run.mlflow_run_id, "name": run.name,
                "experiment": run.experiment, "parent_run_id": run.parent_uid, "user": run.user,
                "start_time": round(run.started_at * 1000), "params": dict(run.params),
                "metrics": {key: _number(value) for key, value in run.metrics.items()},
            },
            "execution": cell
            and {
                "execution_id": cell.execution_id, "cell_id": cell.cell_id, "notebook": cell.notebook,
                "position": cell.position, "execution_count": cell.execution_count,
                "start_time": round(cell.started_at * 1000), "source_digest": cell.source_digest,
            },
            "slice": self.slice and self.slice.to_json(),
            "datasets": [
                {
                    "name": d.name, "digest": d.digest, "source": d.source, "context": d.context,
                    "shape": list(d.shape),
                }
                for d in self.datasets
            ],
            "inputs": [{"path": v.name, "digest": v.digest, "size": v.size} for v in self.inputs],
            "git": dict(self.git),
            "python": self.environment.get("python"),
            "platform": self.environment.get("platform"),
            "environment": self.session.environment if self.session else None,
            "conversion": dict(self.conversion),
        }  # fmt: skip


def of_model(store: Connection, exchange: Exchange, root: Path, run: Run, variable: str) -> Facts:
    """Facts of the model that a run fitted and held in ``variable``."""
    cells = records.run_executions(store, run.run_uid)
    made = [
        v
        for v in records.versions_generated(store, [c.execution_id for c in cells])
        if v.kind is EntityKind.VARIABLE and v.name == variable and not v.deleted
    ]
    version = max(made, key=lambda v: v.at, default=None)
    cell = next((c for c in cells if version is not None and c.execution_id == version.execution_id), None)
    return _facts(store, exchange, root, run, cell or (cells[-1] if cells else None), version, variable)


def of_file(store: Connection, exchange: Exchange, root: Path, names: Sequence[str], digest: Digest) -> Facts:
    """Facts of a file that a recorded cell wrote with these very bytes; empty where none did."""
    for name in names:
        for version in reversed(provenance_of_file(store, name)):
            if version.digest != digest or version.execution_id is None or version.deleted:
                continue
            found = records.get_executions(store, [version.execution_id])
            if found:
                uid = found[0].run_uid
                run = store_runs.get_run(store, uid) if uid is not None else None
                return _facts(store, exchange, root, run, found[0], version, name)
    return Facts()


def provenance_of_file(store: Connection, name: str) -> list[EntityVersion]:
    """All recorded versions of a file, oldest first."""
    rows = store.execute(
        "SELECT version_id FROM versions WHERE kind = ? AND name = ? ORDER BY at", (EntityKind.FILE, name)
    )
    return sorted(records.get_versions(store, [row[0] for row in rows]), key=lambda v: v.at)


def _facts(
    store: Connection,
    exchange: Exchange,
    root: Path,
    run: Run | None,
    cell: CellExecution | None,
    version: EntityVersion | None,
    target: str,
) -> Facts:
    session = records.get_session(store, cell.session_id) if cell is not None else None
    if session is None and run is not None and run.session_id is not None:
        session = records.get_session(store, run.session_id)
    family = _family(store, run)
    git, diff = _git(store, exchange, family)
    return Facts(
        run=run,
        execution=cell,
        slice=_slice(store, version, cell, target),
        datasets=tuple(store_runs.run_datasets(store, run.run_uid)) if run is not None else (),
        session=session,
        environment=_environment(store, session),
        git=git,
        diff=diff,
        conversion=_conversion(root, family),
    )


def _family(store: Connection, run: Run | None) -> list[Run]:
    """The run and those that it is nested in, innermost first."""
    found: list[Run] = []
    while run is not None and len(found) < 10:
        found.append(run)
        parents = store_runs.load_runs(store, [RunUid(run.parent_uid)]) if run.parent_uid else []
        run = parents[0] if parents else None
    return found


def _slice(
    store: Connection, version: EntityVersion | None, cell: CellExecution | None, target: str
) -> GatheredSlice | None:
    source = provenance.StoreSource(store)
    if version is not None and version.execution_id is not None:
        found = backward_slice(source, target=target, version=version)
    elif cell is not None:
        found = backward_slice(source, target=str(cell.position), execution=cell)
    else:
        return None
    notebook = next((e.notebook for e in found.kept if e.notebook), None)
    return GatheredSlice.of(found, origin="recorded", notebook=notebook)


def _git(store: Connection, exchange: Exchange, family: Sequence[Run]) -> tuple[dict[str, str], bytes | None]:
    for run in family:
        if _COMMIT not in run.tags:
            continue
        found = {"commit": run.tags[_COMMIT], "dirty": run.tags.get(_DIRTY, "false")}
        diff = next((a for a in store_runs.run_artifacts(store, run.run_uid) if a.path == _DIFF), None)
        if diff is None:
            return found, None
        try:
            return found, exchange.get(diff.digest)
        except MlopsError:
            return found, None  # collected since; the commit and the digest of the code remain
    return {}, None


def _environment(store: Connection, session: Session | None) -> dict[str, Any]:
    if session is None or session.environment is None:
        return {}
    text = records.environment(store, session.environment)
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def _conversion(root: Path, family: Sequence[Run]) -> dict[str, Any]:
    """What the notebook of a run says of its own conversion."""
    for run in family:
        if not run.notebook:
            continue
        try:
            ours = read_notebook(root / run.notebook).metadata.get("mlops")
        except (MlopsError, OSError):
            continue
        converted = ours.get("converted") if isinstance(ours, dict) else None
        if isinstance(converted, dict):
            keys = ("notebook", "grade", "origin", "target", "source_digest")
            return {key: str(converted[key]) for key in keys if converted.get(key)}
    return {}


def _script(found: GatheredSlice) -> str:
    head = f"# What makes {found.target!r}: {len(found.kept)} cells"
    notes = "".join(f"# {note}\n" for note in found.notes)
    inputs = "".join(f"# reads {v.name!r} {v.digest or ''}\n" for v in found.inputs if v.kind is EntityKind.FILE)
    return f"{head}{f' of {found.notebook!r}' if found.notebook else ''}\n{notes}{inputs}\n{found.source}\n"


def cut(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` characters, without control characters."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _json(document: Any) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode("utf-8", "replace")


def _number(value: float) -> float | str:
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    return value
