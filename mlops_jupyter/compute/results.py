"""What a job brought back becomes part of the workspace: its run with lineage, its notebook, its files, its log."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlops_jupyter.config import Settings
from mlops_jupyter.data.exchange import Exchange, open_exchange
from mlops_jupyter.data.mailbox import collect
from mlops_jupyter.entities import Digest, Job, JobState, RunUid
from mlops_jupyter.errors import CorruptObjectError, TargetNotFoundError, TransientError, UsageError
from mlops_jupyter.store import Connection
from mlops_jupyter.store.delivery_process import ensure_delivery
from mlops_jupyter.store.jobs import end_job
from mlops_jupyter.store.transfer import load_records

from .folders import job_folder, job_log
from .inputs import safe_place
from .protocol import RESULT, Result, decode_result

INFRASTRUCTURE_FAILED = 75


def fetch_result(settings: Settings, job: Job) -> bytes | None:
    """What the job left in its mailbox, or None. Raises ``UnreachableError`` where the exchange cannot be read."""
    return collect(open_exchange(settings), job.job_id, RESULT)


def take_result(settings: Settings, store: Connection, job: Job, content: bytes) -> bool:
    """Take a job's result in and end its record; whether this was the first to do so.

    A result that is damaged ends the job as failed, with the reason. Files of an earlier try are written again.

    Raises:
        UnreachableError: the exchange cannot be read now; the job stays as it is.
        TransientError: the workspace cannot be written; the job stays as it is.
    """
    try:
        result = decode_result(content)
        if result.job_id != job.job_id:
            raise UsageError(f"The result is that of another job, {result.job_id}.")
        exchange = open_exchange(settings)
        for digest in result.objects:
            exchange.path(digest)
        records = None if result.records is None else json.loads(exchange.get(result.records))
        if records is not None and not isinstance(records, dict):
            raise UsageError("The records of a job are malformed.")
        output = _keep_files(settings, exchange, result)
        ended = _record(settings, store, job, result, records, output)
    except (UsageError, TargetNotFoundError, CorruptObjectError, ValueError) as error:
        return end_job(
            store, job.job_id, JobState.FAILED, at=time.time(), exit_code=INFRASTRUCTURE_FAILED,
            reason=f"what the job brought back cannot be used: {error}",
        )  # fmt: skip
    except OSError as error:
        raise TransientError(
            f"The results of job {job.job_id} cannot be written: {error.strerror or error}.", hint="Make room."
        ) from error
    if ended:
        ensure_delivery(settings)
    return ended


def _record(
    settings: Settings,
    store: Connection,
    job: Job,
    result: Result,
    records: Mapping[str, Any] | None,
    output: Path | None,
) -> bool:
    document = None if result.document is None else dict(result.document)
    if document is not None:
        document |= {"notebook": str(settings.root / job.notebook), "output": None if output is None else str(output)}
    kept = {
        "document": document,
        "files": [{"path": file.path, "digest": file.digest, "size": file.size} for file in result.files],
        "warnings": list(result.warnings),
    }
    at = time.time()
    if document is not None:
        with suppress(KeyError, TypeError):
            at = document["start_time"] / 1000 + document["duration"]
    with store.transaction():
        ended = end_job(
            store, job.job_id, result.state, at=at, reason=result.reason, exit_code=result.exit_code, result=kept,
            run_uid=None if result.run_id is None else RunUid(result.run_id),
            started_at=None if document is None else document.get("start_time", at * 1000) / 1000,
        )  # fmt: skip
        if ended and records is not None:
            load_records(store, records)
            _name_submitter(store, job, records)
    return ended


def _name_submitter(store: Connection, job: Job, records: Mapping[str, Any]) -> None:
    """Runs and sessions are those of the person who submitted, not of whoever the cluster runs as."""
    runs = records.get("runs", {"columns": [], "rows": []})
    place = runs["columns"].index("run_uid")
    for row in runs["rows"]:
        store.execute("UPDATE runs SET actor = ? WHERE run_uid = ?", (job.submitter, row[place]))
        store.execute(
            "UPDATE tags SET value = ? WHERE run_uid = ? AND key = 'mlflow.user'", (job.submitter, row[place])
        )
        store.execute(
            "UPDATE sessions SET actor = ? WHERE session_id IN (SELECT session_id FROM runs WHERE run_uid = ?)",
            (job.submitter, row[place]),
        )


def _keep_files(settings: Settings, exchange: Exchange, result: Result) -> Path | None:
    """Put the executed notebook and the files where people look for them; the notebook's place."""
    folder = job_folder(settings, result.job_id)
    for file in result.files:
        _place(exchange, file.digest, safe_place(folder / "files", file.path))
    log = job_log(settings, result.job_id)
    if result.log is not None and not log.exists():  # the cluster was gone before anybody asked for it
        _place(exchange, result.log, log)
    if result.notebook is None or result.run_id is None:
        return None
    output = safe_place(settings.runs / result.run_id, result.notebook.path)
    _place(exchange, result.notebook.digest, output)
    return output


def _place(exchange: Exchange, digest: Digest, target: Path) -> None:
    source = exchange.path(digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:100]}.part")
    shutil.copyfile(source, temporary)
    temporary.replace(target)
