"""kill -9 and SIGTERM of the runner: the output is always whole, and no finished cell's output is lost."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import nbformat
import pytest

from mlops_jupyter.config import load_settings
from mlops_jupyter.entities import RunStatus, RunUid
from mlops_jupyter.errors import UsageError
from mlops_jupyter.runner import recover_runs, run_notebook
from mlops_jupyter.runner.guardian import Guardian
from mlops_jupyter.store import runs
from mlops_jupyter.workspace import open_workspace

from .conftest import events, make, outputs, start_runner

ROUNDS = int(os.environ.get("MLOPS_TEST_ROUNDS", "4"))
CELLS = 40

# Each cell leaves a mark on disk when it is done, so the test knows better than any log what had finished.
CELL = """import os
print("cell {i} " + "x" * 50_000)
with open("done", "a") as marks:
    marks.write("{i}\\n")
import time; time.sleep(0.01)"""


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def wait_for(condition: object, seconds: float = 20.0) -> bool:
    """Whether ``condition()`` becomes true in time."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def kernel_pids(folder: Path) -> list[int]:
    """Kernels that were started for runs of this workspace, by what they were given in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if f"MLOPS_HOME={folder / '.mlops'}".encode() in variables:
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_killed_runner_loses_no_finished_cell(folder: Path, round_: int) -> None:
    kill_round(folder, round_)


def kill_round(folder: Path, seed: int) -> str:
    """Kill one run at a random moment and check what it leaves; which moment it was, in words."""
    random_ = random.Random(seed)
    source = make(folder / "nb.ipynb", *(CELL.replace("{i}", str(i)) for i in range(CELLS)))
    out = folder / "out.ipynb"
    victim = random_.choice(["runner", "runner", "runner", "kernel", "everything"])
    runner = start_runner(source, out, guarded=victim != "everything")
    # At random moments: most while cells run, in the first ones, in the middle or near the end, some before.
    early, moment = random_.random() < 0.25, random_.uniform(0.0, 1.0)
    try:
        wait_for(lambda: (folder / ".mlops" / "lineage.db").exists())
        if not early:
            wait_for(lambda: any(e["event"] == "cell_started" for e in events(folder)))
        time.sleep(moment)
    finally:
        for pid in kernel_pids(folder) if victim != "runner" else []:
            if victim == "everything" or pid != runner.pid:
                os.kill(pid, signal.SIGKILL)
        if victim != "kernel":
            runner.kill()
        runner.communicate()
    before = {e["index"] for e in events(folder) if e["event"] == "cell_ended" and e["state"] == "succeeded"}
    ended = any(e["event"] == "ended" for e in events(folder))
    if out.exists():
        nbformat.validate(nbformat.read(out, as_version=4))  # at once, before anything is put right
    assert wait_for(lambda: not any(map(alive, kernel_pids(folder))), 60), "kernel and guardian end by themselves"
    settings = load_settings(folder)
    left = list(settings.runs.glob("*/notebook.json"))
    started = [e for e in events(folder) if e["event"] == "started"]
    if victim == "runner" and started:
        assert left == [], "recovered already"
    with open_workspace(folder) as workspace:
        recover_runs(settings, workspace.store)
        assert recover_runs(settings, workspace.store) == [], "once is enough"
        rows = workspace.store.execute("SELECT status, ended_at FROM runs WHERE parent_uid IS NULL")
        executed = workspace.store.execute("SELECT COUNT(*) FROM executions WHERE status = 'ok'")
    if not started:
        return f"{victim} before the run began"
    assert len(executed) == 1
    texts = outputs(out)
    for index in before:
        assert texts[index].startswith(f"cell {index} x"), f"the output of cell {index} is there"
    assert not list(folder.glob(".mlops-*")), "no half-written file is left"
    assert not list(settings.runs.glob("*/cells.jsonl"))
    ((status, ended_at),) = rows
    assert ended_at is not None
    document = nbformat.read(out, as_version=4)
    if victim == "kernel" or ended:
        expected = ("FINISHED", "succeeded") if len(before) == CELLS else ("FAILED", "kernel_died")
        assert (status, document.metadata.mlops.state) in (expected, ("KILLED", "cancelled"))
    else:
        assert (status, document.metadata.mlops.state) == ("KILLED", "cancelled")
        assert "was killed" in document.cells[0].source
    return f"{victim} after {len(before)} cells, {status}"


def test_an_output_that_another_run_replaced_is_left_alone(folder: Path) -> None:
    source = make(folder / "nb.ipynb", "print('first')", "import time; time.sleep(60)")
    out = folder / "out.ipynb"
    runner = start_runner(source, out, guarded=False)
    assert wait_for(lambda: any(e["event"] == "cell_started" and e["index"] == 1 for e in events(folder)))
    runner.kill()
    runner.communicate()
    make(out, "print('of somebody else')")
    text = out.read_bytes()
    with open_workspace(folder) as workspace:
        (recovered,) = recover_runs(workspace.settings, workspace.store)
        assert runs.get_run(workspace.store, recovered.run_id).status is RunStatus.KILLED
    assert out.read_bytes() == text
    assert recovered.output.parent == folder / ".mlops" / "runs" / recovered.run_id
    assert (outputs(recovered.output)[0], recovered.cells) == ("first\n", 1)


def test_two_runs_to_one_output_at_once(folder: Path) -> None:
    source = make(folder / "nb.ipynb", "print('first')", "import time; time.sleep(60)")
    out, link = folder / "out.ipynb", folder / "link.ipynb"
    link.symlink_to(out)
    runner = start_runner(source, out)
    try:
        assert wait_for(lambda: any(e["event"] == "cell_started" and e["index"] == 1 for e in events(folder)))
        with open_workspace(folder) as workspace:
            other = make(folder / "other.ipynb", "print('other')")
            for path in (out, link):
                with pytest.raises(UsageError, match="Another run is writing to the output"):
                    run_notebook(workspace, other, path)
            assert len(list(workspace.settings.runs.iterdir())) == 1, "nothing was started"
            assert run_notebook(workspace, other).exit_code == 0, "its own folder is free"
    finally:
        runner.kill()
        runner.communicate()
    assert wait_for(lambda: not any(map(alive, kernel_pids(folder))), 10)
    assert outputs(out)[0] == "first\n", "recovered without a further run"
    with open_workspace(folder) as workspace:
        assert run_notebook(workspace, other, out).exit_code == 0, "the lock went with the runner"
    assert outputs(out) == ["other\n"]


def test_the_guardian_ends_with_the_run(folder: Path) -> None:
    guardian = Guardian(load_settings(folder), folder)
    guardian.start()
    process = guardian._process
    assert process is not None
    assert process.poll() is None
    guardian.dismiss()
    assert process.returncode == 0
    guardian.dismiss()


def test_a_living_run_is_not_recovered_and_sigterm_ends_it_well(folder: Path) -> None:
    source = make(
        folder / "nb.ipynb",
        "import atexit\natexit.register(lambda: open('atexit', 'w').close())\nprint('first')",
        "import time\nprint('second', flush=True)\ntime.sleep(60)",
        "print('third')",
    )
    out = folder / "out.ipynb"
    runner = start_runner(source, out)
    try:
        assert wait_for(lambda: any(e["event"] == "cell_started" and e["index"] == 1 for e in events(folder)))
        with open_workspace(folder) as workspace:
            assert recover_runs(workspace.settings, workspace.store) == []
        time.sleep(0.3)
        runner.send_signal(signal.SIGTERM)
        printed, _ = runner.communicate(timeout=20)
    finally:
        runner.kill()
    assert runner.returncode == 143
    document = json.loads(printed)
    assert document["state"] == "cancelled"
    assert outputs(out) == ["first\n", "second\nKeyboardInterrupt", ""]
    assert (folder / "atexit").exists(), "the kernel could clean up"
    with open_workspace(folder) as workspace:
        run = runs.get_run(workspace.store, RunUid(document["run_id"]))
    assert (run.status, run.tags["mlops.state"]) == (RunStatus.KILLED, "cancelled")
    assert not any(map(alive, kernel_pids(folder)))


def test_a_second_signal_does_not_wait(folder: Path) -> None:
    source = make(
        folder / "nb.ipynb", "import signal, time\nsignal.signal(2, signal.SIG_IGN)\nwhile True: time.sleep(0.1)"
    )
    runner = start_runner(source, folder / "out.ipynb")
    try:
        assert wait_for(lambda: any(e["event"] == "cell_started" for e in events(folder)))
        time.sleep(0.3)
        runner.send_signal(signal.SIGINT)
        time.sleep(0.3)
        began = time.monotonic()
        runner.send_signal(signal.SIGINT)
        runner.communicate(timeout=20)
    finally:
        runner.kill()
    assert runner.returncode == 130
    assert time.monotonic() - began < 4
    assert not any(map(alive, kernel_pids(folder)))


def test_a_full_disk_ends_the_run_with_75_and_an_old_output_stays(folder: Path) -> None:
    """The file size limit stands in for a full disk: the same errors at the same calls."""
    import sys

    from .conftest import ROOT, RUNNER

    source = make(folder / "nb.ipynb", "print('x' * 3_000_000)", "print('y')")
    out = make(folder / "out.ipynb", "print('what was there')")
    before = out.read_bytes()
    code = (
        "import resource, signal, sys\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))\n"
        "from mlops_jupyter.errors import MlopsError\n"
        f"code = {RUNNER!r}\n"
        "try:\n    exec(code)\nexcept MlopsError as error:\n    print(error)\n    sys.exit(error.exit_code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(source), str(out)], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.returncode == 75, done.stdout + done.stderr
    assert re.search("cannot be written: File too large", done.stdout)
    document = nbformat.read(out, as_version=4)
    assert out.read_bytes() == before or document.metadata.mlops.state == "running", "never half a file"
    with open_workspace(folder) as workspace:
        ((status,),) = workspace.store.execute("SELECT status FROM runs")
    assert status in {"FAILED", "KILLED"}
