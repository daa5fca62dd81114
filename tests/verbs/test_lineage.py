"""``lineage`` on a real store: every kind of target, across sessions, and targets that do not exist."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_jupyter.entities import Digest, ModelRecord, Run, RunStatus, RunUid
from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.store.runs import add_model, start_run
from mlops_jupyter.verbs.lineage import lineage
from mlops_jupyter.workspace import Workspace, open_workspace
from tests.lineage.histories import History, training

RUN, PARENT = RunUid("1" * 32), RunUid("2" * 32)


def run(uid: RunUid, name: str, parent: RunUid | None = None) -> Run:
    return Run(
        run_uid=uid, name=name, experiment="e", status=RunStatus.FINISHED, started_at=1.0, parent_uid=parent,
        mlflow_run_id=f"f{uid[1:]}",
    )  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    for name in ("MLOPS_HOME", "MLOPS_STORE_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".mlops").mkdir()
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path)
    with open_workspace(tmp_path) as opened:
        training().save(opened.store)
        start_run(opened.store, run(RUN, "logistic", PARENT))
        start_run(opened.store, run(PARENT, "headless"))
        model = ModelRecord(
            model_uid="m1", name="model", class_name="Logistic", flavor="sklearn", digest=Digest("sha256:0"), size=1
        )
        add_model(opened.store, RUN, model)
        yield opened


def cells(workspace: Workspace, target: str | int, **options: object) -> list[int]:
    return [e.position for e in lineage(workspace, target, **options).executions]  # type: ignore[arg-type]


def test_a_variable_both_ways_and_each_way(workspace: Workspace) -> None:
    assert cells(workspace, "df") == [1, 2, 4, 5, 6, 7, 8, 9, 10]
    assert cells(workspace, "df", direction="up") == [1, 2, 4, 5, 6]
    assert cells(workspace, "df", direction="down") == [7, 8, 9, 10]


@pytest.mark.parametrize("target", ["delays.csv", "./delays.csv", "deep/../delays.csv"])
def test_a_file_however_its_path_is_written(workspace: Workspace, target: str) -> None:
    assert cells(workspace, target, direction="up") == [1, 2, 4]


def test_a_file_by_its_path_from_another_folder(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.settings.root / "deep")

    assert cells(workspace, "../delays.csv", direction="up") == [1, 2, 4]
    assert cells(workspace, str(workspace.settings.root / "delays.csv"), direction="up") == [1, 2, 4]


def test_a_run_by_any_of_its_ids(workspace: Workspace) -> None:
    for text in (RUN, RUN[:8], "f" + "1" * 31):
        graph = lineage(workspace, f"run:{text}")
        assert graph.focus[0] == f"run:{RUN}"
        assert [m.name for _, m in graph.models] == ["model"]
        assert [e.position for e in graph.upstream().executions] == [1, 2, 4, 5, 6, 8, 9]


def test_a_headless_run_stands_for_the_runs_nested_in_it(workspace: Workspace) -> None:
    graph = lineage(workspace, f"run:{PARENT}")

    assert {r.name for r in graph.runs} == {"headless", "logistic"}
    assert 9 in [e.position for e in graph.executions]


def test_a_cell_by_execution_and_by_notebook(workspace: Workspace) -> None:
    execution = training().executions[8]

    assert cells(workspace, f"cell:{execution.execution_id[:10]}", direction="up") == [1, 2, 4, 5, 6, 8]
    assert cells(workspace, "cell:work.ipynb#cell-8", direction="up") == [1, 2, 4, 5, 6, 8]
    assert cells(workspace, 8, direction="up") == [1, 2, 4, 5, 6, 8]


def test_lineage_crosses_notebooks_through_files(workspace: Workspace) -> None:
    first = training("first-again")
    second = History("b", notebook="report.ipynb", started=first.started + 1000)
    first.save(workspace.store)
    second.shared = {"file:delays.csv": first.version("file:delays.csv")}
    second.cell("table = read('delays.csv')", reads=["file:delays.csv"], writes=["table"])
    second.save(workspace.store)

    up = lineage(workspace, "table", direction="up")

    assert [(e.notebook, e.position) for e in up.executions] == [
        ("work.ipynb", 1), ("work.ipynb", 2), ("work.ipynb", 4), ("report.ipynb", 0),
    ]  # fmt: skip
    assert ("report.ipynb", 0) in [(e.notebook, e.position) for e in lineage(workspace, "raw").downstream().executions]


def test_the_latest_session_wins_unless_one_is_given(workspace: Workspace) -> None:
    later = History("later", notebook="later.ipynb", started=1_800_000_000.0)
    later.cell("df = 1", writes=["df"])
    later.save(workspace.store)

    assert [e.notebook for e in lineage(workspace, "df").executions] == ["later.ipynb"]
    assert lineage(workspace, "df", session_id=training().session_id).executions[0].notebook == "work.ipynb"


def test_a_limit_keeps_the_nearest_and_says_so(workspace: Workspace) -> None:
    graph = lineage(workspace, "auc", direction="up", limit=3)

    assert graph.truncated
    assert "There is more" in graph.to_text()
    assert not lineage(workspace, "auc").truncated


@pytest.mark.parametrize(
    ("target", "error", "says"),
    [
        ("dff", TargetNotFoundError, "Did you mean 'df'"),
        ("delay.csv", TargetNotFoundError, "Did you mean 'delays.csv'"),
        ("zzzzzz", TargetNotFoundError, "%load_ext"),
        ("", UsageError, "empty"),
        ("run:abcdefabcdef", TargetNotFoundError, "no run"),
        ("run:12", UsageError, "too short"),
        ("cell:xyz", UsageError, "names no execution"),
        ("cell:0123456789", TargetNotFoundError, "no execution"),
        ("cell:work.ipynb#none", TargetNotFoundError, "No execution of cell"),
        ("model:churn@champion", TargetNotFoundError, "no registered model 'churn'"),
        ("model:churn", UsageError, "model:NAME@ALIAS"),
        (99, TargetNotFoundError, "from 0 to 10"),
        (-1, TargetNotFoundError, "position -1"),
        ("../../etc/passwd", TargetNotFoundError, "No recorded cell"),
        ("'; DROP TABLE versions; --", TargetNotFoundError, "No recorded cell"),
    ],
)
def test_what_does_not_exist_is_told(
    workspace: Workspace, target: str | int, error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        lineage(workspace, target)

    assert says in str(caught.value)
