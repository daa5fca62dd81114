"""Records of jobs, and the telemetry of one store in another."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_jupyter.compute.protocol import RESULT, Result, SentFile, encode
from mlops_jupyter.compute.reconcile import reconcile
from mlops_jupyter.compute.results import take_result
from mlops_jupyter.data.exchange import open_exchange
from mlops_jupyter.data.mailbox import post
from mlops_jupyter.entities import Digest, Job, JobState, Resources, RunUid
from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.store import Connection, executions, open_store, runs
from mlops_jupyter.store.jobs import (
    add_job,
    advance_job,
    end_job,
    get_job,
    list_jobs,
    open_jobs,
    resolve_job,
)
from mlops_jupyter.store.transfer import TABLES, dump_records, load_records
from mlops_jupyter.verbs.jobs import jobs_cancel, jobs_list, jobs_logs, jobs_show
from mlops_jupyter.workspace import Workspace, open_workspace
from tests.schemas import check
from tests.store import make

ID = "0123456789abcdef" * 2


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A fresh workspace."""
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "mlops.toml").touch()
    with open_workspace(tmp_path / "w") as opened:
        yield opened


def job(**changes: Any) -> Job:
    """A job on a cluster of this machine that ended long ago."""
    plain = Job(
        job_id=ID, name="n", notebook="n.ipynb", address="http://127.0.0.1:1", local=True, session="s", created_at=1.0,
        resources=Resources(gpus=0.5, memory=7), parameters={"a": [1, None]}, submitter="ada",
    )  # fmt: skip
    return replace(plain, **changes)


def recorded(folder: Path) -> tuple[dict[str, Any], RunUid]:
    """The records of a store with one run, as a job sends them."""
    folder.mkdir(parents=True, exist_ok=True)
    store = open_store(folder / "other.db")
    try:
        run = make.run(params={"a": "1"}, tags={"mlflow.user": "root"}, session_id=make.SESSION)
        executions.start_session(store, make.session(user="root"))
        runs.start_run(store, run)
        for step, value in enumerate((1.0, math.nan, math.inf, -math.inf)):
            runs.log_metrics(store, run.run_uid, [make.metric("m", value, step=step)])
        cell = make.execution(0, source="x = 1", run_uid=run.run_uid)
        executions.append_execution(store, cell, versions=[make.version("x", cell.execution_id)])
        runs.end_run(store, run.run_uid, make.RunStatus.FINISHED)
        return json.loads(json.dumps(dump_records(store), allow_nan=False)), run.run_uid
    finally:
        store.close()


def test_a_job_only_goes_forwards(workspace: Workspace) -> None:
    store = workspace.store
    add_job(store, job())
    add_job(store, job(name="again"))
    assert get_job(store, ID) == job() and resolve_job(store, ID[:8]) == job()
    assert advance_job(store, ID, JobState.QUEUED, reason="r") and not advance_job(
        store, ID, JobState.QUEUED, reason="r"
    )
    assert advance_job(store, ID, JobState.RUNNING, started_at=5.0)
    assert advance_job(store, ID, JobState.CANCEL_REQUESTED)
    assert not advance_job(store, ID, JobState.RUNNING), "a slow observer undid a cancellation"
    assert [j.job_id for j in open_jobs(store)] == [ID]
    with pytest.raises(UsageError):
        end_job(store, ID, JobState.RUNNING, at=1.0)
    assert end_job(store, ID, JobState.STOPPED, at=9.0, exit_code=130, result={"x": 1})
    assert not end_job(store, ID, JobState.FAILED, at=10.0) and not advance_job(store, ID, JobState.QUEUED)
    ended = get_job(store, ID)
    assert (ended.state, ended.started_at, ended.ended_at, ended.result) == (JobState.STOPPED, 5.0, 9.0, {"x": 1})
    assert open_jobs(store) == [] and list_jobs(store) == [ended]


def test_jobs_are_named_as_runs_are(workspace: Workspace) -> None:
    add_job(workspace.store, job())
    add_job(workspace.store, job(job_id=ID[:-1] + "0"))
    for text, error in ((ID[:4], UsageError), (ID[:8], UsageError), ("f" * 8, TargetNotFoundError), ("'", LookupError)):
        with pytest.raises(error):
            resolve_job(workspace.store, text)


def test_telemetry_is_the_same_in_another_store(workspace: Workspace, tmp_path: Path) -> None:
    document, run_uid = recorded(tmp_path)
    with workspace.store.transaction():
        counts = load_records(workspace.store, document)
    assert counts["metrics"] == 4 and counts["executions"] == 1 and set(counts) == set(TABLES)
    assert json.loads(json.dumps(dump_records(workspace.store))) == document
    values = [m.value for m in runs.metric_history(workspace.store, run_uid, "m")]
    assert values[0] == 1.0 and math.isnan(values[1]) and values[2:] == [math.inf, -math.inf]
    assert runs.get_run(workspace.store, run_uid).metrics == {"m": -math.inf}


@pytest.mark.parametrize(
    "part",
    [
        [], {}, {"columns": ["key"]}, {"columns": ["x; DROP TABLE runs"], "rows": []},
        {"columns": ["run_uid", "run_uid"], "rows": []}, {"columns": ["run_uid"], "rows": [["a", "b"]]},
        {"columns": ["run_uid"], "rows": [[["list"]]]}, {"columns": ["run_uid"], "rows": [[2**70]]},
        {"columns": ["run_uid"], "rows": [[{"float": "nan"}]]}, {"columns": ["run_uid"], "rows": ["a"]},
    ],
)  # fmt: skip
def test_records_that_are_none_are_refused(workspace: Workspace, part: Any) -> None:
    with pytest.raises(UsageError, match="malformed"):
        load_records(workspace.store, {"tags": part})


_JSON = st.recursive(st.none() | st.integers() | st.text(max_size=5) | st.booleans(), st.lists, max_leaves=5)


@given(part=st.dictionaries(st.sampled_from(["columns", "rows", "x"]), _JSON))
def test_no_document_breaks_the_store(tmp_path_factory: pytest.TempPathFactory, part: Any) -> None:
    store: Connection = open_store(tmp_path_factory.mktemp("s") / "s.db")
    try:
        with pytest.raises(UsageError):
            load_records(store, {"runs": part})
    finally:
        store.close()


def _result(workspace: Workspace, tmp_path: Path, **changes: Any) -> tuple[bytes, RunUid]:
    document, run_uid = recorded(tmp_path)
    exchange = open_exchange(workspace.settings)
    notebook = exchange.put_bytes(b"{}")
    plain = Result(
        job_id=ID, state=JobState.SUCCEEDED, exit_code=0, reason="", run_id=run_uid, document=None,
        records=exchange.put_bytes(json.dumps(document).encode()), log=exchange.put_bytes(b"printed\n"),
        notebook=SentFile(path="n.ipynb", digest=notebook, size=2),
        files=(SentFile(path="out/x.txt", digest=exchange.put_bytes(b"x"), size=1),), objects=(notebook,),
        warnings=("w",),
    )  # fmt: skip
    return encode(replace(plain, **changes)), run_uid


def test_a_result_is_taken_once(workspace: Workspace, tmp_path: Path) -> None:
    settings, store = workspace.settings, workspace.store
    (settings.root / "out").mkdir()
    (settings.root / "out" / "x.txt").write_text("the user's own")
    add_job(store, job())
    content, run_uid = _result(workspace, tmp_path)
    assert take_result(settings, store, get_job(store, ID), content)
    assert not take_result(settings, store, get_job(store, ID), content)
    run = runs.get_run(store, run_uid)
    assert (run.user, run.tags["mlflow.user"]) == ("ada", "ada")
    assert len(runs.metric_history(store, run_uid, "m")) == 4
    assert (settings.runs / run_uid / "n.ipynb").read_bytes() == b"{}"
    assert (settings.root / "out" / "x.txt").read_text() == "the user's own"
    shown = jobs_show(workspace, ID)
    check(shown, "jobs-show")
    assert Path(shown["files"][0]["at"]).read_text() == "x" and shown["warnings"] == ["w"]
    printed = jobs_logs(workspace, ID)
    check(printed, "jobs-logs")
    assert printed == {"job_id": ID, "state": shown["job"]["state"], "log": "printed\n"}


@pytest.mark.parametrize(
    "changes",
    [
        {"job_id": "f" * 32},
        {"records": Digest("sha256:" + "0" * 64)},
        {"files": (SentFile(path="../../x", digest=Digest("sha256:" + "0" * 64), size=1),)},
        {"notebook": SentFile(path="/etc/x", digest=Digest("sha256:" + "0" * 64), size=1)},
        {"objects": (Digest("sha256:" + "1" * 64),)},
    ],
)
def test_a_damaged_result_ends_the_job_and_says_why(workspace: Workspace, tmp_path: Path, changes: Any) -> None:
    add_job(workspace.store, job())
    content, run_uid = _result(workspace, tmp_path, **changes)
    assert take_result(workspace.settings, workspace.store, job(), content)
    ended = get_job(workspace.store, ID)
    assert (ended.state, ended.exit_code, ended.run_uid) == (JobState.FAILED, 75, None)
    assert "cannot be used" in ended.reason
    assert runs.load_runs(workspace.store, [run_uid]) == []


def test_a_job_whose_cluster_ended_is_lost_unless_it_left_a_result(workspace: Workspace, tmp_path: Path) -> None:
    settings, store = workspace.settings, workspace.store
    content, run_uid = _result(workspace, tmp_path)
    add_job(store, job(state=JobState.RUNNING))
    add_job(store, job(job_id="f" * 32, state=JobState.RUNNING))
    add_job(store, job(job_id="e" * 32, state=JobState.CANCEL_REQUESTED))
    post(open_exchange(settings), ID, RESULT, content)
    document = jobs_list(workspace)
    check(document, "jobs-list")
    states = {found["job_id"][0]: (found["state"], found["exit_code"]) for found in document["jobs"]}
    assert states == {"0": ("SUCCEEDED", 0), "f": ("LOST", 75), "e": ("STOPPED", 130)}
    assert runs.get_run(store, run_uid).run_uid == run_uid
    assert reconcile(settings, store) == []
    check(jobs_cancel(workspace, "f" * 32), "job")
    assert get_job(store, "f" * 32).state is JobState.LOST


def test_a_cluster_that_does_not_answer_leaves_its_jobs(workspace: Workspace) -> None:
    add_job(workspace.store, job(local=False, state=JobState.RUNNING))
    (found,) = jobs_list(workspace)["jobs"]
    assert found["state"] == "RUNNING" and "does not answer" in found["reason"]
