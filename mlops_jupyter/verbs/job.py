"""``python -m mlops_jupyter.verbs.job``: what a cluster runs for a submitted notebook.

It fetches the job's files through the exchange, runs the notebook in a workspace of its own, and leaves the executed
notebook, the record of the run, files that the notebook wrote, and the log in the exchange, with a note in the job's
mailbox that says where. The submitting side needs nothing else of the cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mlops_jupyter.compute.inputs import relative_name, safe_place
from mlops_jupyter.compute.protocol import (
    CANCEL,
    EXCHANGE_VARIABLE,
    ID_VARIABLE,
    MANIFEST_VARIABLE,
    RESULT,
    Manifest,
    Result,
    SentFile,
    decode_manifest,
    encode,
)
from mlops_jupyter.data.exchange import Exchange
from mlops_jupyter.data.mailbox import collect, post
from mlops_jupyter.entities import Digest, JobState, RunStatus, RunUid
from mlops_jupyter.errors import MlopsError, TargetNotFoundError, UnreachableError, UsageError

if TYPE_CHECKING:
    from mlops_jupyter.runner import Cancellation, RunResult
    from mlops_jupyter.workspace import Workspace

CANCELLED = 130
_LOOK = 1.0
"""Seconds between two looks for a wish to stop."""
_TRIES = 5
"""Tries to deliver the result before the job gives up."""


def main() -> int:
    """Run the job that the environment names; the exit code for the cluster."""
    try:
        return _main()
    except MlopsError as error:
        # The submitting side reads this line where no result came.
        print(f"mlops: {error}", flush=True)  # noqa: T201 - the job's log
        return error.exit_code


def _main() -> int:
    try:
        job_id, digest, url = (os.environ.pop(v) for v in (ID_VARIABLE, MANIFEST_VARIABLE, EXCHANGE_VARIABLE))
    except KeyError as error:
        raise UsageError(f"{error.args[0]} is not set.", hint="This runs on a cluster: use mlops submit.") from None
    folder = Path(tempfile.mkdtemp(prefix="mlops-job-"))
    try:
        return run_job(job_id, Digest(digest), url, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_job(job_id: str, digest: Digest, url: str, folder: Path) -> int:
    """Run one job in ``folder``, which is empty; the exit code of the notebook.

    Raises:
        UnreachableError: the exchange cannot be reached; nothing ran.
        UsageError: what came through it is not a job.
    """
    home = folder / ".mlops"
    exchange = Exchange(home / "cache", url)
    _reach(exchange)
    if collect(exchange, job_id, CANCEL) is not None:
        _post(exchange, _plain_end(job_id, JobState.STOPPED, CANCELLED, "cancelled before it began"))
        return CANCELLED
    try:
        manifest = decode_manifest(exchange.get(digest))
    except TargetNotFoundError as error:
        raise UnreachableError(
            "The cluster sees another exchange than the side that submitted, so nothing was run.",
            hint="MLOPS_DATA_URL must name the same place on both sides.",
        ) from error
    if manifest.job_id != job_id:
        raise UsageError(f"The manifest is that of another job, {manifest.job_id}.")
    notebook = _unpack(exchange, manifest, folder)
    _set_environment(manifest, home, url)
    with (folder / ".mlops-log").open("w", encoding="utf-8", errors="replace") as log:
        try:
            result = _run(manifest, exchange, folder, notebook, _Tee(sys.stdout, log))
        except MlopsError as error:
            _Tee(sys.stdout, log)(f"mlops: {error}\n")
            result = _plain_end(job_id, JobState.FAILED, error.exit_code, str(error))
    _post(exchange, result)
    return result.exit_code


class _Tee:
    """Writes to the cluster's log, and to a copy that survives the cluster."""

    def __init__(self, *streams: TextIO) -> None:
        self._streams = streams

    def __call__(self, text: str) -> None:
        for stream in self._streams:
            with suppress(OSError, UnicodeEncodeError):
                stream.write(text)
                stream.flush()


def _reach(exchange: Exchange) -> None:
    try:
        exchange.preflight()
    except MlopsError as error:
        raise UnreachableError(
            f"The cluster does not reach the exchange, so nothing was run: {error.message}",
            hint="MLOPS_DATA_URL must name a place that both sides can write, with what it needs installed on both.",
        ) from error


def _unpack(exchange: Exchange, manifest: Manifest, folder: Path) -> Path:
    for file in manifest.files:
        target = safe_place(folder, file.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(exchange.path(file.digest), target)
    return safe_place(folder, manifest.notebook)


def _set_environment(manifest: Manifest, home: Path, url: str) -> None:
    os.environ.update({k: v for k, v in manifest.environment.items() if k.startswith(("MLOPS_", "MLFLOW_"))})
    # The run is delivered by the side that submitted it.
    os.environ.update({"MLOPS_HOME": str(home), "MLOPS_DATA_URL": url, "MLOPS_DELIVER": "false"})
    for name in ("MLOPS_STATE_DIR", "MLOPS_STORE_URL", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        os.environ.pop(name, None)
    os.environ.pop("PYTHONBREAKPOINT", None)  # Ray's debugger would wait for somebody for ever


def _run(manifest: Manifest, exchange: Exchange, folder: Path, notebook: Path, tell: Callable[[str], None]) -> Result:
    from mlops_jupyter.runner import Cancellation, run_notebook
    from mlops_jupyter.verbs.run import as_document
    from mlops_jupyter.workspace import open_workspace

    def on_cell(index: int, total: int, state: object, preview: str) -> None:
        if str(state) != "running":
            tell(f"cell {index + 1}/{total} {state}: {preview[:70]}\n")

    cancellation = Cancellation()
    with open_workspace(folder) as workspace, _heeding(exchange, manifest.job_id, cancellation):
        result = run_notebook(
            workspace,
            notebook,
            parameter_yaml=(manifest.parameters,) if manifest.parameters else (),
            on_cell=on_cell,
            on_output=lambda _, text: tell(text),
            cancellation=cancellation,
        )
        for warning in result.warnings:
            tell(f"mlops: {warning}\n")
        tell(f"run {result.run_id} {result.state}{'' if result.error is None else ': ' + result.error}\n")
        return _bring_home(manifest, exchange, folder, workspace, result, as_document(result))


@contextmanager
def _heeding(exchange: Exchange, job_id: str, cancellation: Cancellation) -> Iterator[None]:
    """While the notebook runs, a thread looks for the note that asks the job to stop."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK):
            with suppress(MlopsError):  # an exchange that is away for a while is no wish to stop
                if collect(exchange, job_id, CANCEL) is not None and not done.is_set():
                    with suppress(OSError):  # the run ended just now
                        cancellation.request()
                    return

    thread = threading.Thread(target=watch, name="mlops-cancel", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()


def _bring_home(
    manifest: Manifest,
    exchange: Exchange,
    folder: Path,
    workspace: Workspace,
    result: RunResult,
    document: dict[str, Any],
) -> Result:
    from mlops_jupyter.store.runs import set_tags
    from mlops_jupyter.store.transfer import dump_records

    run_uid = RunUid(result.run_id)
    set_tags(workspace.store, run_uid, {"mlops.job": manifest.job_id})
    _close(workspace)
    records = dump_records(workspace.store)
    notebook = SentFile(
        path=result.output.name, digest=exchange.put_file(result.output), size=result.output.stat().st_size
    )
    files, warnings = _written(workspace, exchange, folder, manifest, result.output)
    objects = tuple(_objects(records, exchange))
    kept = exchange.put_bytes(json.dumps(records, ensure_ascii=False).encode("utf-8", "replace"))
    log = exchange.put_file(folder / ".mlops-log")
    _insist(lambda: exchange.push([kept, notebook.digest, log, *objects, *(file.digest for file in files)]))
    states = {"succeeded": JobState.SUCCEEDED, "cancelled": JobState.STOPPED}
    return Result(
        job_id=manifest.job_id, state=states.get(str(result.state), JobState.FAILED), exit_code=result.exit_code,
        reason=_reason(result), run_id=result.run_id, document=document, records=kept, notebook=notebook,
        files=files, objects=objects, log=log, warnings=(*result.warnings, *warnings),
    )  # fmt: skip


def _reason(result: RunResult) -> str:
    if result.failed_cell is not None:
        return f"cell {result.failed_cell.index + 1}: {result.failed_cell.error}"
    return result.error or ""


def _close(workspace: Workspace) -> None:
    """No run or session is open any more: their kernel is gone, and nobody will watch over them elsewhere."""
    from mlops_jupyter.store.runs import end_run

    for (uid,) in workspace.store.execute("SELECT run_uid FROM runs WHERE status = 'RUNNING'"):
        end_run(workspace.store, uid, RunStatus.KILLED)
    workspace.store.execute("UPDATE sessions SET ended_at = ? WHERE ended_at IS NULL", (time.time(),))


def _written(
    workspace: Workspace, exchange: Exchange, folder: Path, manifest: Manifest, output: Path
) -> tuple[tuple[SentFile, ...], list[str]]:
    """Files of the workspace that the notebook wrote, as they are now, up to the limit."""
    rows = workspace.store.execute(
        "SELECT DISTINCT name FROM versions WHERE kind = 'file' AND execution_id IS NOT NULL ORDER BY name"
    )
    sent = {file.path: file.digest for file in manifest.files}
    found: list[SentFile] = []
    warnings: list[str] = []
    total = 0
    for (name,) in rows:
        path = folder / name
        if "://" in name or relative_name(folder, path) is None or not path.is_file() or path == output:
            continue
        size = path.stat().st_size
        if total + size > manifest.output_limit:
            warnings.append(f"{name} stayed on the cluster: with it the job would bring back too much.")
            continue
        digest = exchange.put_file(path)
        if sent.get(name) != digest:
            total += size
            found.append(SentFile(path=name, digest=digest, size=size))
    return tuple(found), warnings


def _objects(records: dict[str, Any], exchange: Exchange) -> Iterable[Digest]:
    """Keys of the exchange that the records name and that are here."""
    seen: set[str] = set()
    named = (("artifacts", ("digest",)), ("models", ("digest", "input_example")), ("snapshots", ("object",)))
    for table, columns in named:
        part = records[table]
        for column in columns:
            place = part["columns"].index(column)
            for row in part["rows"]:
                digest = row[place]
                if isinstance(digest, str) and digest.startswith("sha256:") and digest not in seen:
                    seen.add(digest)
                    if exchange.contains(Digest(digest), local_only=True):
                        yield Digest(digest)


def _plain_end(job_id: str, state: JobState, exit_code: int, reason: str) -> Result:
    """The result of a job that had no run."""
    return Result(
        job_id=job_id, state=state, exit_code=exit_code, reason=reason, run_id=None, document=None, records=None,
        notebook=None, files=(), objects=(), log=None, warnings=(),
    )  # fmt: skip


def _post(exchange: Exchange, result: Result) -> None:
    _insist(lambda: post(exchange, result.job_id, RESULT, encode(result)))


def _insist(action: Callable[[], object]) -> None:
    """A network may be away for a moment; what was computed for hours is not given up for that."""
    for attempt in range(_TRIES):
        try:
            action()
        except UnreachableError:
            if attempt == _TRIES - 1:
                raise
            time.sleep(2.0**attempt)
        else:
            return


if __name__ == "__main__":
    sys.exit(main())
