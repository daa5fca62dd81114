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
from mlops_jupyter.runner import recover_runs
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
    source = make(folder / "nb.ipynb", *(CELL.replace("{i}", str(i)) for i in range(CELLS)))
    out = folder / "out.ipynb"
    runner = start_runner(source, out)
    # At random moments: while the kernel starts, between the first cells, in the middle, near the end.
    moment = random.Random(round_).uniform(0.0, 1.8)
    try:
        wait_for(lambda: (folder / ".mlops" / "lineage.db").exists())
        time.sleep(moment)
    finally:
        runner.kill()
        runner.communicate()
    before = {e["index"] for e in events(folder) if e["event"] == "cell_ended"}
    if out.exists():
        nbformat.validate(nbformat.read(out, as_version=4))  # at once, before anything is put right
    assert wait_for(lambda: not any(map(alive, kernel_pids(folder))), 10), "an orphaned kernel ends by itself"
    settings = load_settings(folder)
    with open_workspace(folder) as workspace:
        recovered = recover_runs(settings, workspace.store)
        assert recover_runs(settings, workspace.store) == [], "once is enough"
        rows = workspace.store.execute("SELECT run_uid, status, ended_at FROM runs WHERE parent_uid IS NULL")
    started = [e for e in events(folder) if e["event"] == "started"]
    finished_by_itself = any(e["event"] == "ended" for e in events(folder))
    if not started or (finished_by_itself and not recovered):
        return
    assert len(recovered) == 1
    assert recovered[0].output == out
    texts = outputs(out)
    for index in before:
        assert texts[index].startswith(f"cell {index} x"), f"the output of cell {index} is there"
    if not finished_by_itself:
        assert rows == [(recovered[0].run_id, "KILLED", rows[0][2])]
        assert rows[0][2] is not None
        document = nbformat.read(out, as_version=4)
        assert document.metadata.mlops.state == "cancelled"
        assert "was killed" in document.cells[0].source
    assert not list(folder.glob(".mlops-*")), "no half-written file is left"
    assert not list(settings.runs.glob("*/cells.jsonl"))


def test_an_output_that_another_run_replaced_is_left_alone(folder: Path) -> None:
    source = make(folder / "nb.ipynb", "print('first')", "import time; time.sleep(60)")
    out = folder / "out.ipynb"
    runner = start_runner(source, out)
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
