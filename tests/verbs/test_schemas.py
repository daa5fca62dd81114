"""The documents of the other verbs fit the schemas that ship with the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_jupyter.entities import EntityKind, Grade, RunUid, Used
from mlops_jupyter.errors import UnreachableError
from mlops_jupyter.runner.result import CellResult, FailedCell, KernelDeath, RunResult, State
from mlops_jupyter.store import executions, runs
from mlops_jupyter.store.outbox import DeadLetter
from mlops_jupyter.tracking.report import SyncReport
from mlops_jupyter.verbs.doctor import doctor
from mlops_jupyter.verbs.gather import gather
from mlops_jupyter.verbs.init import init
from mlops_jupyter.verbs.lineage import lineage
from mlops_jupyter.verbs.run import as_document
from mlops_jupyter.verbs.sync import document as sync_document
from mlops_jupyter.workspace import Workspace, open_workspace
from tests.schemas import check
from tests.store import make


@pytest.fixture
def workspace(home: Path) -> Iterator[Workspace]:
    with open_workspace(home) as opened:
        yield opened


def _history(workspace: Workspace) -> RunUid:
    store = workspace.store
    run = make.run(params={"a": "1"})
    runs.start_run(store, run)
    runs.log_metrics(store, run.run_uid, [make.metric("m", float("nan"))])
    executions.start_session(store, make.session())
    first = make.execution(0, source="x = 1")
    second = make.execution(1, source="y = x", run_uid=run.run_uid)
    x = make.version("x", first.execution_id, summary="1")
    y = make.version("y", second.execution_id, strong=False, grade=Grade.ASSUMED, previous=None)
    data = make.version("d.csv", None, kind=EntityKind.FILE, size=3)
    used = [
        Used(execution_id=second.execution_id, version_id=v.version_id, grade=Grade.EXACT, reason="read")
        for v in (x, data)
    ]
    executions.append_execution(store, first, versions=[x, data])
    executions.append_execution(store, second, versions=[y], uses=used)
    return run.run_uid


def test_lineage(workspace: Workspace) -> None:
    uid = _history(workspace)
    for target in ("y", "d.csv", f"run:{uid}"):
        document = lineage(workspace, target).to_json()
        check(document, "lineage")
        assert document["nodes"]


def test_gather(workspace: Workspace) -> None:
    _history(workspace)
    document = gather(workspace, target="y", notebook="a.ipynb").to_json()
    check(document, "gather")
    assert document["executions"] == [0, 1]


def test_init_and_doctor(home: Path) -> None:
    check(init(home), "init")
    document = doctor(home)
    check(document, "doctor")
    assert document["checks"]


def test_sync() -> None:
    letter = DeadLetter("mlflow", "params", 3, None, "too long", 1, 1.5)
    full = SyncReport(
        target="sqlite:///x", delivered={"runs": 1}, remaining={"metrics": 2}, dead_letters=(letter,),
        killed=(RunUid("a" * 32),), error=UnreachableError("no", hint="try"),
    )  # fmt: skip
    for report in (SyncReport(target="x"), full):
        check(sync_document(report), "sync")


def test_run_result() -> None:
    ended = RunResult(
        run_id=RunUid("a" * 32), state=State.SUCCEEDED, notebook=Path("a.ipynb"), output=Path("b.ipynb"),
        exit_code=0, started_at=1.0, duration=2.0, parameters={"x": float("inf"), "y": [1, {"z"}]},
        cells=(CellResult(index=0, cell_id="c", state=State.SUCCEEDED, duration=1.0),),
    )  # fmt: skip
    died = RunResult(
        run_id=RunUid("a" * 32), state=State.KERNEL_DIED, notebook=Path("a.ipynb"), output=Path("b.ipynb"),
        exit_code=75, started_at=1.0, duration=2.0, cells=(), error="The kernel died.", lineage="none",
        failed_cell=FailedCell(index=0, cell_id="c", source_preview="x", error="no"),
        death=KernelDeath(exit_code=None, signal=9, peak_memory=5, out_of_memory=None),
    )  # fmt: skip
    for result in (ended, died):
        check(as_document(result), "run-result")


def test_error() -> None:
    check({"message": "There is no run 'x'.", "hint": ""}, "error")
