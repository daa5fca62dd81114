"""``%%track`` and ``%track``: options, what a run records, and the line below the cell."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from mlops_jupyter.capture.findings import metric_text
from mlops_jupyter.capture.options import TrackOptions, find_track_line, parse_options, remove_track_line
from mlops_jupyter.capture.runs import RunRecord, status_bundle
from mlops_jupyter.entities import Metric, Param, ParamSource, Run, RunStatus, RunUid
from mlops_jupyter.errors import UsageError
from mlops_jupyter.store import open_store
from mlops_jupyter.store import runs as store_runs
from tests.capture.support import Kernel, run
from tests.capture.test_session import recorded, session


def runs() -> list[Run]:
    """All runs of the workspace, oldest first."""
    store = session().store
    return store_runs.load_runs(store, [uid for (uid,) in store.execute("SELECT run_uid FROM runs ORDER BY seq")])


def test_options() -> None:
    options = parse_options("'a name' -e exp -t k=v=w --tag x=1 -p lr -m acc --seed=7")
    assert options == TrackOptions("a name", "exp", {"k": "v=w", "x": "1"}, ("lr",), ("acc",), 7)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("--bad", "'--bad'"), ("-e", "-e expects"), ("-t novalue", "KEY=VALUE"), ("-p 1x", "variable"),
        ("--seed x", "whole number"), ("--seed -1", "whole number"), ("--seed 4294967296", "whole number"),
        ("a b", "one NAME"), ("'open", "cannot be read"), ("-e ''", "experiment"), ("-m", "variable"),
    ],
)  # fmt: skip
def test_bad_options_say_what_was_expected(line: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        parse_options(line)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("%%track\nx", "\nx"), ("\n%%track a\nx", "\nx"), ("%%track\n%%time\nx", "%%time\nx"),
        ("%%time\n%%track -e e\nx", "%%time\nx"), ("%%tracker\nx", "%%tracker\nx"), ("%%track?\n", "%%track?\n"),
        ("x = 1\n%%track\n", "x = 1\n%%track\n"), ("%%capture out\n%%track\n", "%%capture out\n"),
    ],
)  # fmt: skip
def test_the_line_is_removed(cell: str, expected: str) -> None:
    assert "".join(remove_track_line(cell.splitlines(keepends=True))) == expected


def test_help_is_not_tracking() -> None:
    assert find_track_line(["%%track??"]) is None


def test_bad_option_shows_one_sentence_and_runs_nothing(ipython: InteractiveShell) -> None:
    shown = run(ipython, "%%track --bad\nran = True")
    assert shown.stdout == ""
    assert shown.stderr.startswith("UsageError: %%track has no option '--bad'.")
    assert len(shown.stderr.strip().splitlines()) == 1
    assert "ran" not in ipython.user_ns
    assert runs() == []


def test_run_of_a_cell(ipython: InteractiveShell) -> None:
    run(ipython, "lr = 0.1\nunused = 5")
    run(
        ipython,
        "%%track first -e mine -t team=blue -p extra -m custom\nextra = 'e'\nloss = lr * 2\ncustom = loss + 1\nn = 3",
    )
    (found,) = runs()
    assert (found.name, found.experiment, found.status) == ("first", "mine", RunStatus.FINISHED)
    assert found.params == {"extra": "e", "n": "3", "lr": "0.1"}
    assert found.metrics == {"loss": 0.2, "custom": 1.2}
    assert found.tags["team"] == "blue"
    assert found.tags["mlops.origin"] == "interactive"
    executions = recorded()
    assert [e.run_uid for e in executions] == [None, found.run_uid]
    assert found.execution_id == executions[1].execution_id
    sources = {p.key: p.source for p in store_runs.run_params(session().store, found.run_uid)}
    assert sources == {"extra": ParamSource.DECLARED, "n": ParamSource.LITERAL, "lr": ParamSource.LITERAL}
    artifacts = {a.path: a for a in store_runs.run_artifacts(session().store, found.run_uid)}
    assert {"code/cell.py", "environment/requirements.txt"} <= artifacts.keys()
    assert session().tracker.exchange.get(artifacts["code/cell.py"].digest).decode() == executions[1].source


@pytest.mark.parametrize(
    ("code", "status"),
    [("1/0", RunStatus.FAILED), ("raise KeyboardInterrupt", RunStatus.KILLED), ("x = (", RunStatus.FAILED)],
)
def test_status_of_a_cell_that_did_not_finish(ipython: InteractiveShell, code: str, status: RunStatus) -> None:
    run(ipython, f"%%track\ngot = 1.5 + 1\n{code}")
    (found,) = runs()
    assert found.status is status
    assert found.ended_at is not None


def test_run_is_running_while_the_cell_runs(ipython: InteractiveShell) -> None:
    run(ipython, "import mlops_jupyter as mlops")
    run(ipython, "%%track inside\nstate = (mlops.active_run().info.status, mlops.active_run().info.run_name)")
    assert ipython.user_ns["state"] == ("RUNNING", "inside")
    assert run(ipython, "mlops.active_run()").result is None


def test_seed(ipython: InteractiveShell) -> None:
    run(ipython, "import random")
    for _ in range(2):
        run(ipython, "%%track --seed 3\nvalue = random.random()")
    expected = random.Random(3).random()
    assert [found.metrics["value"] for found in runs()] == [expected, expected]
    assert runs()[0].params["seed"] == "3"


def test_experiment_from_the_environment(ipython: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    run(ipython, "%%track\n1")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "from environment")
    run(ipython, "%%track\n1")
    assert [found.experiment for found in runs()] == ["Default", "from environment"]


def test_cells_of_one_millisecond_each_record_their_values(
    ipython: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that the cell before recorded in the same millisecond is none that this cell logged itself."""
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0)
    run(ipython, "%track on whole")
    run(ipython, "alpha = 0.5\nloss = alpha * 4")
    run(ipython, "loss = alpha * 3")
    run(ipython, "%track off")
    (whole,) = runs()
    assert [m.value for m in store_runs.metric_history(session().store, whole.run_uid, "loss")] == [2.0, 1.5]


def test_steps_of_one_run(ipython: InteractiveShell) -> None:
    run(ipython, "%track on whole")
    run(ipython, "alpha = 0.5\nloss = alpha * 4")
    run(ipython, "loss = alpha * 3")
    run(ipython, "%%track inner\ngain = alpha + 1")
    assert "2 steps" in run(ipython, "%track status").stdout
    run(ipython, "%track off")
    run(ipython, "later = 1 + alpha")
    whole, inner = runs()
    assert (whole.name, whole.status, whole.params["alpha"]) == ("whole", RunStatus.FINISHED, "0.5")
    assert [m.value for m in store_runs.metric_history(session().store, whole.run_uid, "loss")] == [2.0, 1.5]
    assert inner.parent_uid == whole.run_uid
    assert "later" not in whole.metrics


@pytest.mark.parametrize("line", ["sideways", "off now", "on a b", "on --bad"])
def test_bad_track_line(ipython: InteractiveShell, line: str) -> None:
    shown = run(ipython, f"%track {line}")
    assert shown.stderr.startswith("UsageError: %track")
    assert "Traceback" not in shown.stderr


def test_git_state(workspace: Path, ipython: InteractiveShell) -> None:
    (workspace / "a.py").write_text("x = 1\n")
    git = ["git", "-c", "user.email=a@example.org", "-c", "user.name=a"]
    for words in (["init", "-q"], ["add", "a.py"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True, cwd=workspace)
    (workspace / "a.py").write_text("password = 'hunter2hunter2'\n")
    run(ipython, "import time")
    run(ipython, "%%track\ntime.sleep(0.3)")
    (found,) = runs()
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, cwd=workspace, capture_output=True, text=True)
    assert found.tags["mlflow.source.git.commit"] == head.stdout.strip()
    assert found.tags["mlops.git.dirty"] == "true"
    artifacts = {a.path: a.digest for a in store_runs.run_artifacts(session().store, found.run_uid)}
    diff = session().tracker.exchange.get(artifacts["git/dirty.diff"]).decode()
    assert "-x = 1" in diff
    assert "hunter2" not in diff


def test_mlflow_environment_of_a_tracked_cell(ipython: InteractiveShell) -> None:
    run(ipython, "import os")
    run(ipython, "%%track\ncontext = os.environ['MLFLOW_RUN_CONTEXT']")
    (found,) = runs()
    assert json.loads(ipython.user_ns["context"]) == {"mlops.run_uid": found.run_uid}
    assert run(ipython, "os.environ.get('MLFLOW_RUN_CONTEXT')").result is None
    assert run(ipython, "os.environ['MLFLOW_TRACKING_URI']").result == session().settings.tracking_uri


def test_headless_runs_nest(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.capture.support import shell

    monkeypatch.setenv("MLOPS_ORIGIN", "headless")
    monkeypatch.setenv("MLOPS_PARENT_RUN", "f" * 32)
    monkeypatch.setenv("MLOPS_NOTEBOOK", "n.ipynb")
    with shell() as made:
        run(made, "# Parameters\nalpha = 0.25\n", cell_id="injected-parameters")
        run(made, "%%track\nbeta = alpha * 2")
        run(made, "import mlops_jupyter as mlops\nrun_id = mlops.active_run()._at.run_uid")
        (found,) = runs()
        assert (found.parent_uid, found.notebook, found.experiment) == ("f" * 32, "n.ipynb", "n.ipynb")
        (param,) = store_runs.run_params(session().store, found.run_uid)
        assert (param.key, param.value, param.source) == ("alpha", "0.25", ParamSource.INJECTED)
        assert made.user_ns["run_id"] == "f" * 32
        assert [e.run_uid for e in recorded()] == ["f" * 32, found.run_uid, "f" * 32]


def test_status_line_is_escaped_and_short() -> None:
    record = RunRecord(
        run_uid=RunUid("a1b2c3d4" * 4),
        name="<b>",
        experiment="e",
        status=RunStatus.FINISHED,
        params=[Param(key="<script>", value="<img>")],
        metrics=[Metric(key="<script>alert(1)</script>", value=0.97, step=0, timestamp=1)],
        headline="LogisticRegression",
    )
    bundle = status_bundle(record)
    assert bundle["text/plain"].startswith("run a1b2c3d4 · LogisticRegression · <script>")
    assert bundle["text/plain"].endswith("0.97 · 1 parameter")
    assert "<script>" not in bundle["text/html"]
    document = bundle["application/vnd.mlops.status.v1+json"]
    assert document["run_id"] == record.run_uid
    assert document["metrics"] == {"<script>alert(1)</script>": 0.97}


@pytest.mark.parametrize(
    ("value", "text"), [(0.97, "0.97"), (3.0, "3"), (float("nan"), "nan"), (1234567.8, "1.235e+06")]
)
def test_metric_text(value: float, text: str) -> None:
    assert metric_text(value) == text


def test_status_line_and_figures_in_a_kernel(workspace: Path, start_kernel: Callable[..., Kernel]) -> None:
    pytest.importorskip("matplotlib")
    kernel = start_kernel()
    kernel.execute("%load_ext mlops_jupyter\n%matplotlib inline\nimport matplotlib.pyplot as plt")
    reply = kernel.execute("%%track\nacc = sum([0.5, 0.25])\n_ = plt.plot([1, 2])\nacc")
    assert reply.result == "0.75"
    assert reply.stderr == ""
    assert [sorted(data) for data in reply.displays] == [
        ["image/png", "text/plain"], ["application/vnd.mlops.status.v1+json", "text/html", "text/plain"],
    ]  # fmt: skip
    assert reply.displays[1]["text/plain"].endswith("acc 0.75 · 0 parameters")
    store = open_store(workspace / ".mlops" / "lineage.db")
    artifacts = [path for (path,) in store.execute("SELECT path FROM artifacts ORDER BY path")]
    store.close()
    assert artifacts == ["code/cell.py", "environment/requirements.txt", "figures/cell-1-1.png"]
