"""The logging functions: values, errors, and where records land."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

import mlops_jupyter as mlops
from mlops_jupyter.errors import UsageError
from mlops_jupyter.store import open_store
from mlops_jupyter.store import runs as store_runs
from tests.capture.support import run
from tests.capture.test_session import session
from tests.capture.test_track import runs

ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def started(ipython: InteractiveShell) -> InteractiveShell:
    """A shell in which the test itself logs, outside of any cell."""
    return ipython


def test_values_of_every_kind(started: InteractiveShell) -> None:
    import numpy as np

    mlops.log_metric("float", 1.5)
    mlops.log_metric("int", 2)
    mlops.log_metric("bool", True)
    mlops.log_metric("scalar", np.float32(0.5))
    mlops.log_metric("array", np.array(3))
    mlops.log_metric("nan", math.nan)
    mlops.log_metric("inf", -math.inf)
    mlops.log_metrics({"a": 1, "b": 2}, step=4)
    assert mlops.log_param("p", [1, 2]) == [1, 2]
    mlops.log_params({"q": None, "r": "text"})
    mlops.set_tag("t", 5)
    mlops.set_tags({"u": "v"})
    run_ = mlops.active_run()
    assert run_ is not None
    data = run_.data
    assert {k: v for k, v in data.metrics.items() if k != "nan"} == {
        "float": 1.5, "int": 2.0, "bool": 1.0, "scalar": 0.5, "array": 3.0, "inf": -math.inf, "a": 1.0, "b": 2.0,
    }  # fmt: skip
    assert math.isnan(data.metrics["nan"])
    assert data.params == {"p": "[1, 2]", "q": "None", "r": "text"}
    assert (data.tags["t"], data.tags["u"]) == ("5", "v")
    assert run_.info.status == "RUNNING"
    assert [m.step for m in store_runs.metric_history(session().store, runs()[0].run_uid, "a")] == [4]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mlops.log_metric("a", "1"), "expects a number, got str '1'"),
        (lambda: mlops.log_metric("a", None), "got NoneType"),
        (lambda: mlops.log_metric("a", [1, 2]), "got list"),
        (lambda: mlops.log_metric(3, 1), "must be text, got int"),
        (lambda: mlops.log_metric("", 1), "1 to 250 characters"),
        (lambda: mlops.log_metric("a" * 251, 1), "1 to 250 characters"),
        (lambda: mlops.log_metric("a", 1, step="x"), "whole number"),
        (lambda: mlops.log_metric("a", 1, step=1.5), "whole number"),
        (lambda: mlops.log_metrics([1]), "expects a dict"),
        (lambda: mlops.log_params("a"), "expects a dict"),
        (lambda: mlops.set_tags(None), "expects a dict"),
        (lambda: mlops.log_artifact("no such file"), "there is no file"),
        (lambda: mlops.log_artifact(5), "expects a path"),
        (lambda: mlops.log_figure(object(), "x.png"), "matplotlib or plotly"),
        (lambda: mlops.log_predictions([1, 2], labels=[1]), "one length"),
        (lambda: mlops.log_predictions(5), "sequence of predictions"),
    ],
)
def test_wrong_values_say_what_was_expected(started: InteractiveShell, call: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call()  # type: ignore[operator]
    assert runs() == []


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../b", "", "C:/x", "a\\b", "a\0b"])
def test_artifact_paths_stay_in_the_run(started: InteractiveShell, workspace: Path, path: str) -> None:
    (workspace / "f.txt").write_text("x")
    with pytest.raises(UsageError, match="path of an artifact"):
        mlops.log_artifact("f.txt", path)


def test_parameter_cannot_change(started: InteractiveShell) -> None:
    mlops.log_param("a", 1)
    mlops.log_param("a", 1)
    with pytest.raises(UsageError, match="cannot become '2'"):
        mlops.log_params({"b": 1, "a": 2})
    assert runs()[0].params == {"a": "1"}


def test_artifacts(started: InteractiveShell, workspace: Path) -> None:
    (workspace / "d" / "e").mkdir(parents=True)
    (workspace / "d" / "e" / "f.txt").write_text("inner")
    (workspace / "g.txt").write_text("outer")
    mlops.log_artifact("g.txt", "data")
    mlops.log_artifact(workspace / "d")
    mlops.log_predictions([1, 0], labels=["yes", "no"], ids=[7, 8])
    store, exchange = session().store, session().tracker.exchange
    found = {a.path: exchange.get(a.digest) for a in store_runs.run_artifacts(store, runs()[0].run_uid)}
    assert found == {
        "data/g.txt": b"outer",
        "d/e/f.txt": b"inner",
        "predictions.csv": b"id,prediction,label\n7,1,yes\n8,0,no\n",
    }


def test_figures(started: InteractiveShell) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    figure.add_subplot().plot([1, 2])
    mlops.log_figure(figure, "plots/a.png")
    with pytest.raises(UsageError, match="cannot be written"):
        mlops.log_figure(figure, "a.nonsense")
    plotly = pytest.importorskip("plotly.graph_objects").Figure()
    mlops.log_figure(plotly, "b.json")
    with pytest.raises(UsageError, match=r"\.html or \.json"):
        mlops.log_figure(plotly, "b.png")
    found = {a.path: a.digest for a in store_runs.run_artifacts(session().store, runs()[0].run_uid)}
    assert sorted(found) == ["b.json", "plots/a.png"]
    assert session().tracker.exchange.get(found["plots/a.png"]).startswith(b"\x89PNG")


def test_logging_in_an_untracked_cell_makes_one_run_of_it(ipython: InteractiveShell) -> None:
    run(ipython, "import mlops_jupyter as mlops\nmlops.log_metric('a', 1)\nmlops.log_metric('b', 2)")
    run(ipython, "1/0")
    run(ipython, "mlops.log_metric('a', 3)\n1/0")
    first, second = runs()
    assert (first.metrics, str(first.status)) == ({"a": 1.0, "b": 2.0}, "FINISHED")
    assert (second.metrics, str(second.status)) == ({"a": 3.0}, "FAILED")
    assert first.execution_id != second.execution_id


def test_log_metric_is_fast(started: InteractiveShell) -> None:
    mlops.log_metric("warm", 1)
    times = []
    for i in range(10_000):
        began = time.perf_counter()
        mlops.log_metric("loss", 1.0, step=i)
        times.append(time.perf_counter() - began)
    assert statistics.median(times) <= 50e-6 * (4 if os.environ.get("CI") else 1) * max(1, os.getloadavg()[0] / 2)
    assert len(store_runs.metric_history(session().store, runs()[0].run_uid, "loss")) == 10_000


def _script(workspace: Path, code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    path = workspace / "train.py"
    path.write_text("import mlops_jupyter as mlops\n" + textwrap.dedent(code))
    return subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, "PYTHONPATH": ROOT, **environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("code", "status"), [("", "FINISHED"), ("1/0", "FAILED")])
def test_script_has_a_run_until_it_ends(workspace: Path, code: str, status: str) -> None:
    done = _script(workspace, f"mlops.log_metric('a', 1)\nprint(mlops.active_run().info.status)\n{code}")
    assert done.stdout == "RUNNING\n"
    store = open_store(workspace / ".mlops" / "lineage.db")
    rows = store.execute(
        "SELECT r.status, r.experiment, s.origin, s.ended_at IS NULL FROM runs r JOIN sessions s USING (session_id)"
    )
    store.close()
    assert rows == [(status, "train.py", "script", 0)]


def test_worker_logs_into_the_run_that_it_was_given(workspace: Path, started: InteractiveShell) -> None:
    mlops.log_metric("a", 1)
    (own,) = runs()
    done = _script(workspace, "mlops.log_metric('b', 2)", MLOPS_RUN_UID=own.run_uid)
    assert (done.returncode, done.stderr) == (0, "")
    (own,) = runs()
    assert (own.metrics, str(own.status)) == ({"a": 1.0, "b": 2.0}, "RUNNING")
