"""``mlops runs reproduce``: recorded code on recorded data gives the recorded numbers, or it is told why not."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_jupyter.cli import invoke
from mlops_jupyter.entities import Run, RunUid
from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.store import runs as store_runs
from mlops_jupyter.verbs.reproduce import reproduce
from mlops_jupyter.verbs.run import run
from mlops_jupyter.verbs.runs import show_run
from mlops_jupyter.workspace import Workspace, open_workspace
from tests.schemas import check
from tests.store import make
from tests.verification.sessions import tree, work, write_notebook

CELLS = (
    "import os, random, signal, time\nimport pandas as pd\nimport own_helpers\ndf = pd.read_csv('data/data.csv')",
    "lr = 0.5",
    "%%track first\ntotal = own_helpers.scaled(df['a'].sum()) * lr",
    "big = pd.read_csv('data/big.csv')",
    "%%track large\nmean = big['a'].mean()",
    "%%track unseeded\nnoise = random.random() + 0 * time.time()",
    "%%track seeded --seed 3\ndraw = random.random()",
    "%%track fragile\nif os.environ.get('CRASH'): os.kill(os.getpid(), signal.SIGKILL)\n"
    "if os.environ.get('HANG'): time.sleep(600)\nsolid = 1.5 * lr",
    "import mlops_jupyter as mlops\nmlops.log_metric('depth', 3.0 * lr)",
    "%track on stepwise",
    "start = 2.0 * lr",
    "end = start + 1",
    "%track off",
    "%%track secret\npassword = 'hunter22-and-more'\nwidth = len(password) * 1.0",
    "%%track overwriting\nlog = pd.read_csv('data/log.csv')\nlines = len(log) * 1.5\n"
    "log.assign(b=1).to_csv('data/log.csv')",
    "%%track absolute\nspread = pd.read_csv('ROOT/data/data.csv')['b'].sum() * 1.0",
    "%%track failing\nbefore = 1.5 * lr\nafter = before / 0",
)
TRAIN = ("rate = 0.1", "%%track fit\nloss = rate * 3", "import mlops_jupyter as mlops\nmlops.log_metric('whole', rate)")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which a person worked and a notebook ran headless."""
    root = tmp_path_factory.mktemp("recorded")
    (root / "mlops.toml").write_text("deliver = false\n[data]\nsnapshot_limit = 1000\n")
    (root / "data").mkdir()
    (root / "own_helpers.py").write_text("def scaled(x):\n    return x * 2.0\n")
    (root / "data" / "data.csv").write_text("a,b\n1,2\n3,4\n")
    (root / "data" / "log.csv").write_text("a,b\n5,6\n")
    (root / "data" / "big.csv").write_text("a\n" + "1\n" * 2000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLOPS_DELIVER", "false")
        work(root, *(cell.replace("ROOT", str(root)) for cell in CELLS))
        notebook = write_notebook(root / "train.ipynb", *TRAIN)
        document = json.loads(notebook.read_text())
        document["cells"][0]["metadata"]["tags"] = ["parameters"]
        notebook.write_text(json.dumps(document))
        assert run(notebook, parameters=[("rate", "0.25")])["exit_code"] == 0
    return root


@pytest.fixture
def root(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it at the same place for each test, so that tests may change files."""
    kept = tmp_path / "kept"
    shutil.copytree(recorded, kept)
    monkeypatch.chdir(recorded)
    return recorded


@pytest.fixture(autouse=True)
def put_back(request: pytest.FixtureRequest, recorded: Path, tmp_path: Path) -> Iterator[None]:
    """What a test changed in the shared workspace, as it was."""
    yield
    kept = tmp_path / "kept"
    if kept.exists():
        shutil.rmtree(recorded)
        shutil.copytree(kept, recorded)


@pytest.fixture
def workspace(root: Path) -> Iterator[Workspace]:
    with open_workspace(root) as opened:
        yield opened


def _runs(workspace: Workspace) -> list[Run]:
    uids = [RunUid(row[0]) for row in workspace.store.execute("SELECT run_uid FROM runs ORDER BY seq")]
    return store_runs.load_runs(workspace.store, uids)


def _named(workspace: Workspace, name: str) -> Run:
    return next(r for r in _runs(workspace) if r.name == name)


def _reproduce(workspace: Workspace, name: str, **options: Any) -> dict[str, Any]:
    document = reproduce(workspace, _named(workspace, name).run_uid, **options)
    check(document, "runs-reproduce")
    return document


def _metric(document: dict[str, Any], key: str) -> dict[str, Any]:
    return next(m for m in document["metrics"] if m["key"] == key)


def test_equal_and_nothing_is_left_behind(workspace: Workspace, root: Path) -> None:
    before, runs = tree(root), len(_runs(workspace))
    steps: list[tuple[int, int, int]] = []
    document = _reproduce(workspace, "first", on_step=lambda *step: steps.append(step))
    assert (document["verdict"], document["exit_code"], document["attempts"]) == ("equal", 0, 1), document["error"]
    metric = _metric(document, "total")
    assert (metric["recorded"], metric["reproduced"], metric["difference"]) == (4.0, 4.0, 0.0)
    assert [i["name"] for i in document["inputs"]] == ["data/data.csv"]
    assert document["inputs"][0]["state"] == "unchanged"
    assert document["inputs"][0]["used"] == document["inputs"][0]["recorded"]
    assert document["params"] == document["code"] == []
    assert steps == [(1, 1, 3), (1, 2, 3), (1, 3, 3)]
    assert tree(root) == before
    assert len(_runs(workspace)) == runs
    assert not any((root / ".mlops" / "scratch").iterdir())
    shown = show_run(workspace, document["run_id"])
    check(shown, "run-show")
    assert shown["reproduced"]["verdict"] == "equal"


def test_data_and_code_as_they_were(workspace: Workspace, root: Path) -> None:
    (root / "data" / "data.csv").write_text("a,b\n100,200\n")
    (root / "own_helpers.py").write_text("def scaled(x):\n    return x * 7.0\n")
    (root / "work.ipynb").unlink()
    document = _reproduce(workspace, "first")
    assert document["verdict"] == "equal"
    assert [(i["name"], i["state"], i["as_recorded"]) for i in document["inputs"]] == [
        ("data/data.csv", "snapshot", True)
    ]
    assert [(c["name"], c["as_recorded"]) for c in document["code"]] == [("own_helpers.py", True)]
    assert (root / "data" / "data.csv").read_text() == "a,b\n100,200\n", "the file of the user is left alone"


def test_data_that_changed_and_was_too_large_to_keep(workspace: Workspace, root: Path) -> None:
    (root / "data" / "big.csv").write_text("a\n" + "2\n" * 2000)
    document = _reproduce(workspace, "large")
    assert (document["verdict"], document["exit_code"]) == ("differs", 3)
    metric = _metric(document, "mean")
    assert (metric["recorded"], metric["reproduced"], metric["difference"], metric["relative"]) == (1.0, 2.0, 1.0, 1.0)
    assert metric["stable"] is True
    (changed,) = [i for i in document["inputs"] if i["name"] == "data/big.csv"]
    assert (changed["state"], changed["as_recorded"]) == ("changed", False)
    assert "snapshot_limit" in changed["reason"]


def test_data_that_is_gone(workspace: Workspace, root: Path) -> None:
    (root / "data" / "big.csv").unlink()
    with pytest.raises(UsageError, match=r"data/big\.csv is not there any more.*snapshot_limit"):
        _reproduce(workspace, "large")


def test_a_file_that_is_named_by_its_absolute_path(workspace: Workspace, root: Path) -> None:
    (root / "data" / "data.csv").write_text("a,b\n100,200\n")
    document = _reproduce(workspace, "absolute", repeat=False)
    assert document["exit_code"] == 3
    (item,) = [i for i in document["inputs"] if i["name"] == "data/data.csv"]
    assert (item["state"], item["as_recorded"], item["used"]) == ("snapshot", False, item["current"])
    assert ("absolute_path", f"{root}/data/data.csv") in {(u["kind"], u["what"]) for u in document["unpinned"]}


def test_a_cell_that_overwrites_its_own_input(workspace: Workspace) -> None:
    document = _reproduce(workspace, "overwriting")
    (log,) = [i for i in document["inputs"] if i["name"] == "data/log.csv"]
    assert (log["state"], log["as_recorded"]) == ("changed", False)
    assert "before it could be copied" in log["reason"]


def test_randomness_without_a_seed_is_told_apart(workspace: Workspace) -> None:
    document = _reproduce(workspace, "unseeded")
    assert (document["verdict"], document["exit_code"], document["attempts"]) == ("differs", 3, 2)
    assert _metric(document, "noise")["stable"] is False
    told = {(u["kind"], u["what"]) for u in document["unpinned"]}
    assert ("randomness", "random.random() without a seed") in told
    assert ("time", "time.time()") in told
    seeded = _reproduce(workspace, "seeded")
    assert seeded["verdict"] == "equal"
    assert "randomness" not in {u["kind"] for u in seeded["unpinned"]}


def test_cells_of_track_on(workspace: Workspace) -> None:
    document = _reproduce(workspace, "stepwise")
    assert (document["kind"], document["verdict"]) == ("steps", "equal")
    assert {m["key"]: m["reproduced"] for m in document["metrics"]} == {"start": 1.0, "end": 2.0}


def test_a_run_that_log_metric_began(workspace: Workspace) -> None:
    (logged,) = [r for r in _runs(workspace) if "depth" in r.metrics]
    document = reproduce(workspace, logged.run_uid)
    assert document["verdict"] == "equal"
    assert _metric(document, "depth")["reproduced"] == 1.5


def test_a_headless_run_as_a_whole_and_one_cell_of_it(workspace: Workspace, root: Path) -> None:
    write_notebook(root / "train.ipynb", "raise SystemExit(1)")
    whole = _reproduce(workspace, "train")
    assert (whole["kind"], whole["verdict"]) == ("notebook", "equal")
    assert {m["key"]: m["reproduced"] for m in whole["metrics"]} == {"loss": 0.75, "whole": 0.25}
    assert whole["params"] == []
    child = _reproduce(workspace, "fit")
    assert (child["kind"], child["verdict"]) == ("cell", "equal")
    assert _metric(child, "loss")["reproduced"] == 0.75


def test_code_that_failed_fails_again(workspace: Workspace) -> None:
    document = _reproduce(workspace, "failing")
    assert (document["verdict"], document["exit_code"], document["failed_before"]) == ("failed", 1, True)
    assert "ZeroDivisionError" in document["error"]
    assert document["failed_cell"].startswith("In [")


def test_a_dead_kernel_and_a_time_limit(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRASH", "1")
    document = _reproduce(workspace, "fragile")
    assert (document["state"], document["exit_code"], document["failed_before"]) == ("kernel_died", 75, False)
    assert {u["what"] for u in document["unpinned"] if u["kind"] == "environment"} == {"CRASH", "HANG"}
    monkeypatch.delenv("CRASH")
    monkeypatch.setenv("HANG", "1")
    document = _reproduce(workspace, "fragile", timeout=8.0)
    assert (document["state"], document["exit_code"]) == ("timed_out", 124)


def test_code_with_a_blanked_secret_is_refused(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="secret"):
        _reproduce(workspace, "secret")


def test_a_run_without_code(workspace: Workspace) -> None:
    script = make.run(params={"a": "1"}, tags={"mlops.origin": "script"})
    store_runs.start_run(workspace.store, script)
    with pytest.raises(UsageError, match="has not ended"):
        reproduce(workspace, script.run_uid)
    store_runs.end_run(workspace.store, script.run_uid, make.run().status.__class__.FINISHED)
    with pytest.raises(UsageError, match="logged by a script"):
        reproduce(workspace, script.run_uid)
    with pytest.raises(TargetNotFoundError):
        reproduce(workspace, "0123456789abcdef")
    with pytest.raises(UsageError, match="time limit"):
        reproduce(workspace, script.run_uid, timeout=0)
    with pytest.raises(UsageError, match="tolerance"):
        reproduce(workspace, script.run_uid, tolerance=2)


def _command(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = invoke(list(arguments))
    return code, out.getvalue(), err.getvalue()


def test_the_command(workspace: Workspace, root: Path) -> None:
    (root / "data" / "big.csv").write_text("a\n" + "2\n" * 2000)
    uid = _named(workspace, "large").run_uid
    code, out, err = _command("runs", "reproduce", uid[:8])
    assert code == 3
    assert "not reproduced: a metric differs" in out
    assert "data/big.csv changed since: recorded sha256:" in out
    assert "snapshot_limit" in out
    assert "cell 1/" in err
    code, out, _ = _command("runs", "show", uid[:8])
    assert (code, "reproduced  20" in out, ", differs" in out) == (0, True, True)
    assert _command("runs", "delete", uid)[0] == 0
    assert "deleted     20" in _command("runs", "show", uid)[1]
    code, out, _ = _command("runs", "reproduce", uid, "--once", "--keep", "--json")
    document = json.loads(out)
    check(document, "runs-reproduce")
    assert code == document["exit_code"] == 3
    assert document["attempts"] == 1
    assert any("deleted" in note for note in document["notes"])
    assert os.path.isdir(document["scratch"])
    assert _command("runs", "reproduce", "nothing-like-that")[0] == 2
