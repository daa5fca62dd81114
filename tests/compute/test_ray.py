"""Notebooks on a real Ray head of this machine, started by the first submit and gone after the last test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from mlops_jupyter.compute.client import RayClient
from mlops_jupyter.compute.head import ensure_head, find_head, head_folder, head_lock, stop_head
from mlops_jupyter.config import Settings, load_settings
from mlops_jupyter.entities import RunStatus
from mlops_jupyter.errors import UsageError
from mlops_jupyter.store import is_held, runs
from mlops_jupyter.verbs.jobs import jobs_cancel, jobs_list, jobs_logs, jobs_show
from mlops_jupyter.verbs.lineage import lineage
from mlops_jupyter.verbs.submit import submit
from mlops_jupyter.workspace import open_workspace
from tests.conftest import STRICT
from tests.schemas import check

pytestmark = [pytest.mark.ray, pytest.mark.timeout(290)]
ROOT = Path(__file__).parents[2]

TRAIN = (
    ("alpha = 0.5  # strength", ["parameters"]),
    ("import csv, os, shared.deep\nrows = list(csv.reader(open('../data/in.csv')))", []),
    ("%load_ext mlops_jupyter", []),
    (
        "%%track fit\nscore = alpha * len(rows) + shared.deep.VALUE\nwith open('out.txt', 'w') as f:\n"
        "    f.write(str(score))\nprint('gpu', os.environ['CUDA_VISIBLE_DEVICES'], 'ümlaut')",
        [],
    ),
)


_started: list[subprocess.Popen[str]] = []


@dataclass(frozen=True)
class Cluster:
    """A workspace with a head of its own, and the jobs that started it."""

    settings: Settings
    first: list[dict[str, Any]]

    def notebook(self, name: str, *cells: str | tuple[str, list[str]]) -> Path:
        """Write a notebook of these cells; its path."""
        return write(self.settings.root / "work" / name, *cells)


def write(path: Path, *cells: str | tuple[str, list[str]]) -> Path:
    """Write a notebook; its path."""
    made = [
        new_code_cell(c) if isinstance(c, str) else new_code_cell(c[0], metadata={"tags": c[1]} if c[1] else {})
        for c in cells
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(new_notebook(cells=made, metadata={"kernelspec": kernel})), encoding="utf-8")
    return path


def mlops(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mlops_jupyter", *arguments], cwd=folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT), "MLOPS_DELIVER": "false", **environment},
    )  # fmt: skip
    _started.append(process)
    return process


@pytest.fixture(autouse=True, scope="module")
def no_process_stays() -> Iterator[None]:
    """Processes of a test that failed halfway end with the module."""
    yield
    for process in _started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    _started.clear()


def wait_until(settings: Settings, job_id: str, *states: str, seconds: float = 120.0) -> dict[str, Any]:
    """Look at a job until it is in one of these states."""
    deadline = time.monotonic() + seconds
    while True:
        with open_workspace(settings.root) as workspace:
            shown = jobs_show(workspace, job_id)["job"]
        if shown["state"] in states:
            return dict(shown)
        assert time.monotonic() < deadline, shown
        time.sleep(0.2)


def processes_of(folder: str) -> list[psutil.Process]:
    """Living processes that have something to do with a head's folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and folder in " ".join(
                [*process.cmdline(), *process.environ().values()]
            ):
                found.append(process)
    return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head that two submits at once have started, with two GPUs that are not there."""
    if not STRICT:
        pytest.importorskip("ray", reason="Ray is not installed")
    root = tmp_path_factory.mktemp("w") / "a workspace"
    (root / "data").mkdir(parents=True)
    (root / "data" / "in.csv").write_text("1\n2\n")
    (root / "work" / "shared").mkdir(parents=True)
    (root / "work" / "shared" / "__init__.py").touch()
    (root / "work" / "shared" / "deep.py").write_text("VALUE = 10\n")
    (root / "mlops.toml").write_text("[ray]\ngpus = 2\ncpus = 2\nidle_minutes = 10\n")
    settings = load_settings(root, {})
    notebook = write(root / "work" / "train.ipynb", *TRAIN)
    both = [
        mlops(root, "submit", str(notebook), "--wait", "--json", "-p", "alpha", alpha, "--gpus", "1")
        for alpha in ("1.5", "2.5")
    ]
    try:
        answers = [process.communicate(timeout=270) for process in both]
        assert [process.returncode for process in both] == [0, 0], answers
        yield Cluster(settings, [json.loads(out) for out, _ in answers])
    finally:
        stop_head(settings)


def test_two_submits_at_once_start_one_cluster_and_their_runs_come_home(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for document in cluster.first:
        check(document, "submit")
        assert [file["path"] for file in document["sent"]["files"]] == [
            "work/train.ipynb", "data/in.csv", "work/shared/__init__.py", "work/shared/deep.py",
        ]  # fmt: skip
    assert len({document["job"]["address"] for document in cluster.first}) == 1
    settings = cluster.settings
    assert not (settings.root / "work" / "out.txt").exists()
    with open_workspace(settings.root) as workspace:
        used = set()
        for document, alpha, score in zip(cluster.first, ("1.5", "2.5"), (13.0, 15.0), strict=True):
            parent = runs.get_run(workspace.store, document["job"]["run_id"])
            assert (parent.status, parent.params["alpha"]) == (RunStatus.FINISHED, alpha)
            assert (parent.notebook, parent.tags["mlops.job"]) == ("work/train.ipynb", document["job"]["job_id"])
            (child,) = runs.load_runs(workspace.store, runs.child_runs(workspace.store, parent.run_uid))
            assert (child.name, child.metrics["score"]) == ("fit", score)
            shown = jobs_show(workspace, document["job"]["job_id"])
            check(shown, "jobs-show")
            (written,) = shown["files"]
            assert written["path"] == "work/out.txt" and Path(written["at"]).read_text() == str(score)
            executed = nbformat.read(shown["run"]["output"], as_version=4)
            assert Path(shown["run"]["output"]).parent == settings.runs / parent.run_uid
            printed = executed.cells[-1].outputs[0].text
            assert "ümlaut" in printed and printed in jobs_logs(workspace, document["job"]["job_id"])["log"]
            used.add(printed.split()[1])
        assert used <= {"0", "1"}, "CUDA_VISIBLE_DEVICES names one GPU"
        monkeypatch.chdir(settings.root)
        graph = json.dumps(lineage(workspace, f"run:{cluster.first[1]['job']['run_id']}").to_json())
        assert all(text in graph for text in ("data/in.csv", "work/out.txt", "alpha = 2.5"))
        # In a process of its own: MLflow's import warns, and warnings are errors here.
        delivered, said = mlops(settings.root, "sync", "--json").communicate(timeout=200)
        report = json.loads(delivered)
        assert (report["error"], report["remaining"], report["dead_letters"]) == (None, {}, []), said
        assert all(
            run.mlflow_run_id for run in runs.load_runs(workspace.store, [d["job"]["run_id"] for d in cluster.first])
        )


def test_a_failing_notebook_fails_the_command(cluster: Cluster) -> None:
    name = "a b';$(touch x) ü.ipynb"
    notebook = cluster.notebook(name, "x = 1", "1 / 0", "y = 2")
    process = mlops(cluster.settings.root, "submit", str(notebook), "--wait", "--name", "<b>\x1b[31m'; x")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 1, err
    assert "\x1b" not in out + err and "cell 2: ZeroDivisionError: division by zero" in out
    assert "cell 2/3 failed: 1 / 0" in err
    with open_workspace(cluster.settings.root) as workspace:
        job = jobs_list(workspace)["jobs"][0]
        shown = jobs_show(workspace, job["job_id"])
        assert shown["run"]["failed_cell"]["index"] == 1 and shown["run"]["output"].endswith(name)
        assert runs.get_run(workspace.store, job["run_id"]).status is RunStatus.FAILED


def test_what_cannot_be_is_refused_with_both_numbers(cluster: Cluster) -> None:
    notebook = cluster.notebook("never.ipynb", "1")
    with pytest.raises(UsageError, match=r"asks for 8 GPUs.*largest node of this machine has 2 GPUs"):
        submit(notebook, gpus=8)
    with pytest.raises(UsageError, match="takes no parameter"):
        submit(notebook, parameters=[("alpha", "1")])
    with open_workspace(cluster.settings.root) as workspace:
        assert "never" not in {job["name"] for job in jobs_list(workspace)["jobs"]}


def test_waiting_and_running_jobs_are_cancelled(cluster: Cluster) -> None:
    slow = cluster.notebook("slow.ipynb", "print('begun', flush=True)", "import time\ntime.sleep(120)")
    running = submit(slow, cpus=2)["job"]["job_id"]
    wait_until(cluster.settings, running, "RUNNING")
    waiting = submit(slow)["job"]["job_id"]
    reason = wait_until(cluster.settings, waiting, "QUEUED")["reason"]
    deadline = time.monotonic() + 20
    while "waits for" not in reason and time.monotonic() < deadline:
        reason = wait_until(cluster.settings, waiting, "QUEUED")["reason"]
    assert reason == f"waits for 1 CPU: 0 of 2 free, queued behind {running[:8]}"
    deadline = time.monotonic() + 120
    with open_workspace(cluster.settings.root) as workspace:
        while "begun" not in jobs_logs(workspace, running)["log"]:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        for job_id, run in ((waiting, False), (running, True)):
            document = jobs_cancel(workspace, job_id)
            check(document, "job")
            ended = wait_until(cluster.settings, job_id, "STOPPED")
            assert ended["exit_code"] == 130 and (ended["run_id"] is not None) == run
        assert runs.get_run(workspace.store, ended["run_id"]).status is RunStatus.KILLED
    # Ray starts the one that waited nevertheless; it must not run anything.
    head = find_head(cluster.settings)
    assert head is not None
    with RayClient(head.address, head.token) as client:
        while (client.info(waiting) or {"status": "SUCCEEDED"})["status"] in {"PENDING", "RUNNING"}:
            assert time.monotonic() < deadline
            time.sleep(0.3)
        assert "begun" not in client.logs(waiting)


def test_another_folder_and_only_the_exchange_between(cluster: Cluster, tmp_path: Path) -> None:
    """As on a cluster elsewhere: our package travels, and nothing is shared but the exchange."""
    head = find_head(cluster.settings)
    assert head is not None and head.token is not None
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mlops.toml").write_text(f'[ray]\npython = "{sys.executable}"\n')
    notebook = write(
        tmp_path / "here" / "n.ipynb", "%load_ext mlops_jupyter", "%%track t\nloss = sum([0.25])",
        "import mlops_jupyter\nprint(mlops_jupyter.__file__)",
    )  # fmt: skip
    (tmp_path / "token").write_text(head.token)
    reached = {"MLOPS_DATA_URL": f"file://{tmp_path}/shared", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    arguments = ("submit", str(notebook), "--wait", "--json", "--address", head.address)
    good = mlops(tmp_path / "here", *arguments, **reached)
    apart = mlops(tmp_path / "here", *arguments, **{**reached, "MLOPS_DATA_URL": "memory://of-one-process"})
    stranger = mlops(tmp_path / "here", *arguments, MLOPS_DATA_URL=reached["MLOPS_DATA_URL"])
    _, refusal = stranger.communicate(timeout=200)
    assert stranger.returncode == 2 and "refused the token" in refusal
    out, err = good.communicate(timeout=200)
    assert good.returncode == 0, err
    job = json.loads(out)["job"]
    assert job["local"] is False
    with open_workspace(tmp_path / "here") as workspace:
        (child,) = runs.load_runs(workspace.store, runs.child_runs(workspace.store, job["run_id"]))
        assert child.metrics == {"loss": 0.25}
        assert "py_modules_files" in jobs_logs(workspace, job["job_id"])["log"]
    out, err = apart.communicate(timeout=200)
    assert apart.returncode == 5, err
    assert "sees another exchange" in json.loads(out)["job"]["reason"]


def test_interrupting_the_wait_leaves_the_job(cluster: Cluster) -> None:
    notebook = cluster.notebook("wait.ipynb", "import time\ntime.sleep(60)")
    process = mlops(cluster.settings.root, "submit", str(notebook), "--wait")
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("job "):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "the job goes on" in err, (lines, err)
    job_id = lines[-1].split()[1]
    assert wait_until(cluster.settings, job_id, "QUEUED", "RUNNING")["run_id"] is None
    with open_workspace(cluster.settings.root) as workspace:
        jobs_cancel(workspace, job_id)


def test_the_clusters_death_loses_jobs_but_no_log_and_leaves_no_process(cluster: Cluster) -> None:
    """Last, because the cluster does not survive it."""
    settings = cluster.settings
    notebook = cluster.notebook("lost.ipynb", "print('before the end', flush=True)", "import time\ntime.sleep(120)")
    head, started = ensure_head(settings)
    assert not started
    job_id = submit(notebook)["job"]["job_id"]
    deadline = time.monotonic() + 120
    with open_workspace(settings.root) as workspace:
        while "before the end" not in jobs_logs(workspace, job_id)["log"]:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    folder = (head_folder(settings) / "folder").read_text()
    of_ray = processes_of(folder)
    assert len(of_ray) > 5
    os.kill(head.pid, signal.SIGKILL)
    lost = wait_until(settings, job_id, "LOST")
    assert lost["exit_code"] == 75 and "left no result" in lost["reason"]
    with open_workspace(settings.root) as workspace:
        assert "before the end" in jobs_logs(workspace, job_id)["log"]
    _, alive = psutil.wait_procs(of_ray, timeout=30)
    assert alive == [] and processes_of(folder) == []
    assert not is_held(head_lock(settings)) and find_head(settings) is None
    assert not stop_head(settings)


def test_a_cluster_ends_when_nobody_needs_it(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the one before: a new one starts where the old one died, and tidies up after it."""
    settings = cluster.settings
    old = Path((head_folder(settings) / "folder").read_text())
    monkeypatch.setenv("MLOPS_RAY_IDLE_MINUTES", "0")
    head, started = ensure_head(settings)
    assert started
    folder = (head_folder(settings) / "folder").read_text()
    assert not old.exists() and Path(folder) != old
    process = psutil.Process(head.pid)
    assert stat_mode(head_folder(settings) / "token") == 0o600
    assert process.wait(timeout=40) == 0 or not process.is_running()
    assert processes_of(folder) == [] and not Path(folder).exists()
    with open_workspace(settings.root) as workspace:
        assert {job["state"] for job in jobs_list(workspace)["jobs"]} <= {"SUCCEEDED", "FAILED", "STOPPED", "LOST"}


def stat_mode(path: Path) -> int:
    """Permission bits of a file."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:  # the cluster has ended already
        return 0o600
