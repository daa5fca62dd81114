"""The verbs of runs and their documents, on the local store and on the team's."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_jupyter.entities import (
    Artifact,
    DatasetVersion,
    Digest,
    ModelRecord,
    Param,
    ParamSource,
    RunStatus,
    RunUid,
    SessionId,
)
from mlops_jupyter.errors import TargetNotFoundError, UnreachableError, UsageError
from mlops_jupyter.store import Connection, executions, open_url, runs
from mlops_jupyter.verbs.runs import HISTORY_LIMIT, compare_runs, delete_run, list_runs, note_run, show_run
from mlops_jupyter.workspace import Workspace, open_workspace
from tests.schemas import check, names, validator
from tests.store import make

A, B = RunUid("a" * 32), RunUid("b" * 32)


@pytest.fixture
def workspace(home: Path) -> Iterator[Workspace]:
    with open_workspace(home) as opened:
        yield opened


def _two_runs(store: Connection) -> None:
    for session, env, numpy in (("1" * 32, "sha256:e1", "2.0"), ("2" * 32, "sha256:e2", "2.1")):
        document = json.dumps(
            {"python": "3.11", "platform": "linux-x86_64", "distributions": {"numpy": numpy, "pip": "1"}}
        )
        executions.start_session(store, make.session(session_id=session, environment=Digest(env)), environment=document)
    cell = make.execution(0, run_uid=A, session_id=SessionId("1" * 32), source="lr = 0.1 # <script>")
    executions.append_execution(store, cell)
    runs.start_run(
        store,
        make.run(
            run_uid=A, name="<b>tree</b>", session_id=SessionId("1" * 32), execution_id=cell.execution_id,
            notebook="a.ipynb", tags={"team": "red"}, started_at=1_700_000_000.25,
        ),
    )  # fmt: skip
    runs.log_params(
        store,
        A,
        [Param(key="lr", value="0.1", type_name="float", source=ParamSource.LITERAL), Param(key="n", value="5")],
    )
    runs.log_metrics(
        store, A, [make.metric("acc", 0.5), make.metric("acc", 0.75, step=1), make.metric("bad", math.nan)]
    )
    runs.log_metrics(store, A, [make.metric("up", math.inf), make.metric("down", -math.inf)])
    schema = json.dumps([{"name": "x", "type": "double"}])
    runs.add_dataset(
        store,
        A,
        DatasetVersion(
            name="d.csv", digest=Digest("sha256:1"), source="d.csv", context="training", shape=(3, 1), schema=schema
        ),
    )
    runs.add_model(
        store,
        A,
        ModelRecord(
            model_uid="m" * 32, name="clf", class_name="X", flavor="sklearn", digest=Digest("sha256:m"), size=9,
            requirements=("a==1",),
        ),
    )  # fmt: skip
    runs.add_artifact(store, A, Artifact(path="code/cell.py", digest=Digest("sha256:c"), size=3))
    runs.end_run(store, A, RunStatus.FINISHED, at=1_700_000_002.75)
    runs.start_run(
        store,
        make.run(
            run_uid=B, parent_uid=A, session_id=SessionId("2" * 32), params={"lr": "0.2", "n": "5"},
            started_at=1_700_000_010.0,
        ),
    )  # fmt: skip
    executions.append_execution(store, make.execution(0, run_uid=B, session_id=SessionId("2" * 32), source="lr = 0.2"))
    runs.log_metrics(store, B, [make.metric("acc", 0.8)])
    runs.add_dataset(
        store, B, DatasetVersion(name="d.csv", digest=Digest("sha256:2"), source="d.csv", context="training")
    )


def test_the_list_is_in_mlflows_words(workspace: Workspace) -> None:
    _two_runs(workspace.store)
    document = list_runs(workspace)
    check(document, "runs-list")
    assert (document["total"], [run["run_id"] for run in document["runs"]]) == (2, [B, A])
    first = document["runs"][1]
    assert first["name"] == "<b>tree</b>"
    assert (first["status"], first["start_time"], first["end_time"], first["duration"]) == (
        "FINISHED", 1_700_000_000_250, 1_700_000_002_750, 2.5,
    )  # fmt: skip
    assert first["metrics"] == {"acc": 0.75, "bad": "NaN", "down": "-Infinity", "up": "Infinity"}
    assert document["runs"][0]["duration"] is None


def test_the_list_is_filtered_sorted_and_paged(workspace: Workspace) -> None:
    _two_runs(workspace.store)
    assert [r["run_id"] for r in list_runs(workspace, filter="metrics.acc > 0.78")["runs"]] == [B]
    assert [r["run_id"] for r in list_runs(workspace, order_by=["metrics.acc ASC"])["runs"]] == [A, B]
    page = list_runs(workspace, limit=1, offset=1)
    assert ([r["run_id"] for r in page["runs"]], page["total"]) == ([A], 2)
    with pytest.raises(UsageError, match="at character"):
        list_runs(workspace, filter="metrics.acc >")


def test_an_empty_workspace_has_no_runs(workspace: Workspace) -> None:
    document = list_runs(workspace)
    check(document, "runs-list")
    assert document == {"runs": [], "total": 0}


def test_show_has_everything(workspace: Workspace) -> None:
    _two_runs(workspace.store)
    document = show_run(workspace, "aaaaaaaa")
    check(document, "run-show")
    assert document["param_details"] == [
        {"key": "lr", "value": "0.1", "type": "float", "source": "literal"},
        {"key": "n", "value": "5", "type": "str", "source": "logged"},
    ]
    assert [(v["value"], v["step"]) for v in document["metric_history"]["acc"]] == [(0.5, 0), (0.75, 1)]
    assert document["metric_history"]["bad"][0]["value"] == "NaN"
    assert document["datasets"][0]["schema"] == [{"name": "x", "type": "double"}]
    assert document["models"][0]["requirements"] == ["a==1"]
    assert document["artifacts"] == [{"path": "code/cell.py", "digest": "sha256:c", "size": 3}]
    assert document["executions"][0]["source"] == "lr = 0.1 # <script>"
    assert document["children"] == [B]
    check(show_run(workspace, B), "run-show")


def test_a_long_history_is_cut_to_its_end(workspace: Workspace) -> None:
    runs.start_run(workspace.store, make.run(run_uid=A))
    runs.log_metrics(workspace.store, A, [make.metric("m", float(n), step=n) for n in range(HISTORY_LIMIT + 3)])
    history = show_run(workspace, A)["metric_history"]["m"]
    assert (len(history), history[0]["step"], history[-1]["step"]) == (HISTORY_LIMIT, 3, HISTORY_LIMIT + 2)


def test_comparing_says_what_differs(workspace: Workspace) -> None:
    _two_runs(workspace.store)
    document = compare_runs(workspace, ["aaaaaaaa", B, A])
    check(document, "runs-compare")
    assert [run["run_id"] for run in document["runs"]] == [A, B]
    assert document["params"] == {"lr": {A: "0.1", B: "0.2"}, "n": {A: "5", B: "5"}}
    assert document["differing_params"] == ["lr"]
    assert document["metrics"]["acc"] == {A: 0.75, B: 0.8}
    assert document["differing_metrics"] == ["acc", "bad", "down", "up"]
    assert document["code_differs"]
    assert document["data"] == {"d.csv (training)": {A: "sha256:1", B: "sha256:2"}}
    assert document["differing_data"] == ["d.csv (training)"]
    assert document["environment"] == {A: "sha256:e1", B: "sha256:e2"}
    assert document["differing_packages"] == {"numpy": {A: "2.0", B: "2.1"}}


def test_comparing_needs_two_runs(workspace: Workspace) -> None:
    _two_runs(workspace.store)
    for ids in ([], ["aaaaaaaa"], [A, A]):
        with pytest.raises(UsageError, match="two different runs"):
            compare_runs(workspace, ids)
    with pytest.raises(TargetNotFoundError):
        compare_runs(workspace, [A, "0" * 32])


def test_runs_of_equal_code_and_environment_do_not_differ(workspace: Workspace) -> None:
    for uid in (A, B):
        runs.start_run(workspace.store, make.run(run_uid=uid))
        executions.append_execution(workspace.store, make.execution(0, run_uid=uid, source="x = 1"))
    document = compare_runs(workspace, [A, B])
    check(document, "runs-compare")
    assert not document["code_differs"]
    assert not document["environment_differs"]


def test_noting_and_deleting(workspace: Workspace) -> None:
    _two_runs(workspace.store)
    noted = note_run(workspace, "aaaaaaaa", "best so far <script>")
    check(noted, "run")
    assert noted["note"] == "best so far <script>"
    check(delete_run(workspace, B), "run")
    assert [r["run_id"] for r in list_runs(workspace)["runs"]] == [A]
    assert show_run(workspace, A)["children"] == []
    for verb in (lambda: note_run(workspace, "0" * 32, ""), lambda: delete_run(workspace, "0" * 32)):
        with pytest.raises(TargetNotFoundError):
            verb()


def test_the_team_needs_a_store(workspace: Workspace) -> None:
    for verb in (
        lambda: list_runs(workspace, team=True),
        lambda: show_run(workspace, A, team=True),
        lambda: compare_runs(workspace, [A, B], team=True),
    ):
        with pytest.raises(UsageError, match="MLOPS_STORE_URL"):
            verb()


@pytest.mark.postgres
def test_the_teams_runs_are_read_from_postgresql(
    home: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = open_url(postgres_url)
    _two_runs(team)
    team.close()
    monkeypatch.setenv("MLOPS_STORE_URL", postgres_url)
    with open_workspace(home) as workspace:
        assert list_runs(workspace) == {"runs": [], "total": 0}
        document = list_runs(workspace, team=True, filter="metrics.acc > 0.78", order_by=["params.lr"])
        check(document, "runs-list")
        assert [run["run_id"] for run in document["runs"]] == [B]
        check(show_run(workspace, "aaaaaaaa", team=True), "run-show")
        check(compare_runs(workspace, [A, B], team=True), "runs-compare")


def test_a_team_that_cannot_be_reached_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("MLOPS_STORE_URL", "postgresql://ada@127.0.0.1:1/db")
    with open_workspace(home) as workspace, pytest.raises(UnreachableError):
        list_runs(workspace, team=True)


@pytest.mark.parametrize("name", names())
def test_every_schema_is_one(name: str) -> None:
    assert validator(name).schema["title"]


def test_a_schema_takes_nothing_more(workspace: Workspace) -> None:
    _two_runs(workspace.store)
    document = list_runs(workspace)
    document["runs"][0]["extra"] = 1
    with pytest.raises(Exception, match="extra"):
        check(document, "runs-list")
