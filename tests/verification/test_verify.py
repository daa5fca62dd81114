"""Verification of converted notebooks that were worked in, in real kernels."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mlops_jupyter.store import open_store
from mlops_jupyter.verbs.convert import convert
from mlops_jupyter.verbs.verification import stored_verification
from mlops_jupyter.verification.result import Verification
from mlops_jupyter.verification.scratch import sweep
from mlops_jupyter.workspace import open_workspace
from tests import schemas

from .sessions import check, converted, tree, work, write_notebook

TRAINING = (
    "import pandas as pd\nfrom helper import FACTOR",
    "frame = pd.read_csv('data/points.csv')",
    "frame['c'] = frame.a * FACTOR",
    "%%track fit\nscale = 3\nunused = 5\ntotal = float((frame.c * scale).sum())\nprint(total)",
    "frame.to_csv('out/frame.csv', index=False)",
)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook in a folder of its workspace, with data, a local module and an output."""
    root = tmp_path_factory.mktemp("training")
    for folder in (".mlops", "notes/data", "notes/out"):
        (root / folder).mkdir(parents=True)
    (root / "notes/data/points.csv").write_text("a,b\n1.5,2\n3.25,4\n")
    (root / "notes/helper.py").write_text("FACTOR = 0.1\n")
    return work(root / "notes", *TRAINING, home=root)


def parameterized(notebook: Path, target: str | None = None) -> dict[str, Any]:
    """The converted notebook with ``scale`` and ``unused`` as parameters."""
    document, _ = converted(notebook, target)
    for cell in document["cells"]:
        text = "".join(cell["source"])
        cell["source"] = text.replace("scale = 3\nunused = 5\n", "")
    cell = {
        "cell_type": "code", "id": "parameters", "metadata": {"tags": ["parameters"]}, "outputs": [],
        "execution_count": None, "source": "scale: int = 3\nunused: int = 5",
    }  # fmt: skip
    document["cells"].insert(1, cell)
    properties = {name: {"type": "integer", "default": value} for name, value in (("scale", 3), ("unused", 5))}
    document["metadata"]["mlops"]["parameters"] = {"type": "object", "properties": properties}
    return document


def states(found: Verification) -> dict[str, str]:
    return {each.name: each.state for each in found.checks}


def test_grade_a_with_all_checks_and_the_dead_parameter_named(training: Path) -> None:
    before, told = tree(training.parent), []

    found = check(training, document=parameterized(training), level="full", on_progress=lambda *each: told.append(each))

    assert (found.grade, found.diverging, found.unseeded) == ("A", None, ()), found
    assert states(found) == {"V0": "passed", "V1": "passed", "V2": "passed", "V3": "failed"}
    assert {p.name: p.state for p in found.parameters} == {"scale": "alive", "unused": "dead"}
    assert found.dead_parameters == ("unused",)
    assert found.compared > 8
    assert ("V0", 1, 5) in told
    assert {check for check, _, _ in told} >= {"V0", "V1", "V3-scale", "V3-unused"}
    assert tree(training.parent) == before  # the notebook's own output too: replays wrote theirs elsewhere
    assert not list((training.parents[1] / ".mlops/scratch").iterdir())
    schemas.check(found.to_json(), "verification")


def test_grade_b_where_a_recorded_number_is_a_little_another(training: Path) -> None:
    store = open_store(training.parents[1] / ".mlops/lineage.db")
    ((recorded,),) = store.execute("SELECT summary FROM versions WHERE name = 'total'")
    store.execute("UPDATE versions SET summary = ? WHERE name = 'total'", (repr(float(recorded) * (1 + 1e-12)),))
    try:
        found = check(training)
    finally:
        store.execute("UPDATE versions SET summary = ? WHERE name = 'total'", (recorded,))
        store.close()

    assert (found.grade, found.diverging) == ("B", None), found
    assert "within the tolerance" in found.reason


def test_grade_c_where_the_data_changed(training: Path) -> None:
    data = training.parent / "data/points.csv"
    kept = data.read_text()
    data.write_text(kept.replace("3.25", "9"))
    try:
        found = check(training)
    finally:
        data.write_text(kept)

    assert found.grade == "C"
    assert found.diverging is not None
    assert (found.diverging.check, found.diverging.cell_id, found.diverging.variable) == ("V0", "c2", "frame")
    assert "points.csv has changed since it was read" in found.reason
    assert states(found)["V1"] == "passed"  # the conversion itself changes nothing


def test_grade_c_where_a_lifted_value_is_another(training: Path) -> None:
    document = parameterized(training)
    document["cells"][1]["source"] = "scale: int = 4\nunused: int = 5"
    document["metadata"]["mlops"]["parameters"]["properties"]["scale"]["default"] = 4

    found = check(training, document=document)

    assert (states(found)["V0"], states(found)["V1"], found.grade) == ("passed", "failed", "C")
    assert found.diverging is not None
    assert (found.diverging.check, found.diverging.cell_id, found.diverging.variable) == ("V1", "c4", "scale")
    assert (found.diverging.expected, found.diverging.got) == ("3", "4")


def test_what_was_not_reached_in_the_budget_is_skipped(training: Path) -> None:
    found = check(training, level="full", budget=0.01)

    assert found.grade is None
    assert set(states(found).values()) <= {"skipped", "unknown"}
    assert "budget" in found.reason


def test_the_verb_keeps_the_grade(training: Path) -> None:
    out = training.parent / "clean.ipynb"

    document = convert(training, out, force=True)

    schemas.check(document, "convert")
    assert document["verification"]["grade"] == "A", document["verification"]
    assert json.loads(out.read_text())["metadata"]["mlops"]["converted"]["grade"] == "A"
    with open_workspace(training.parent) as workspace:
        kept = stored_verification(workspace, out)
        assert kept is not None
        assert (kept.grade, kept.output, kept.notebook) == ("A", "notes/clean.ipynb", "notes/work.ipynb")
        edited = json.loads(out.read_text())
        edited["cells"][-1]["source"] = "1 + 1"
        out.write_text(json.dumps(edited))
        assert stored_verification(workspace, out) is None  # not what was verified
    out.unlink()


def test_randomness_without_a_seed_is_told_from_a_divergence(tmp_path: Path) -> None:
    notebook = work(
        tmp_path,
        "import random, time\nimport numpy as np",
        "started = time.time()",
        "noise = np.random.normal(size=4)\nlucky = bool(noise[0] > 0)",
        "%%track fit\nelapsed = started * 0 + 1.5\nsize = len(noise)\nspread = float(noise.std() * 0) + size + elapsed",
    )

    found = check(notebook, "spread")

    assert found.grade == "B", found
    unstable = {(each.cell_id, each.name): each.reason for each in found.unseeded}
    assert "without a seed" in unstable["c3", "noise"]
    assert "reads the clock" in unstable["c2", "started"]
    assert not any(cell_id == "c4" for cell_id, _ in unstable)

    of_the_noise = check(notebook, "noise")

    assert of_the_noise.grade == "C"
    assert "draws random numbers without a seed" in of_the_noise.reason
    assert of_the_noise.diverging is not None
    assert (of_the_noise.diverging.cell_id, of_the_noise.diverging.variable) == ("c3", "noise")


def test_what_writes_to_the_users_files_is_not_run_or_stopped(tmp_path: Path) -> None:
    root = tmp_path / "work"
    root.mkdir()
    (root / "mine.txt").write_text("mine")
    beside = tmp_path / "beside.txt"
    notebook = work(
        root,
        f"from pathlib import Path\nPath('../beside.txt').write_text('from the notebook')\nplace = {str(root)!r}",
        "Path(place, 'mine.txt').write_text('changed')\ndone = 1",
    )
    (root / "mine.txt").write_text("mine again")
    beside.write_text("beside")
    before = tree(tmp_path)

    found = check(notebook, "done")

    assert found.grade is None
    assert "In [3] would have written to" in found.reason
    assert "mine.txt" in found.reason
    assert tree(tmp_path) == before  # also the file beside the workspace: ``..`` leads into the scratch


def test_a_kernel_that_dies_says_nothing_of_the_values(tmp_path: Path) -> None:
    notebook = work(
        tmp_path, "import os, signal", "if os.environ.get('MLOPS_REPLAY_ROOT'):\n    os.kill(os.getpid(), 9)\nx = 1"
    )

    found = check(notebook, "x")

    assert found.grade is None
    assert "killed by SIGKILL" in found.reason
    assert states(found) == {"V0": "unknown", "V1": "unknown"}


def test_a_notebook_that_was_never_tracked(tmp_path: Path) -> None:
    (tmp_path / ".mlops").mkdir()
    (tmp_path / "d.txt").write_text("4")
    notebook = write_notebook(tmp_path / "old.ipynb", "n = int(open('d.txt').read())", "m = n * 2\nprint(m)")

    nothing_saved = check(notebook, "m")

    assert nothing_saved.grade == "B"
    assert "nothing was recorded to compare with" in nothing_saved.reason

    document = json.loads(notebook.read_text())
    document["cells"][1] |= {
        "execution_count": 2, "outputs": [{"output_type": "stream", "name": "stdout", "text": "9\n"}],
    }  # fmt: skip
    notebook.write_text(json.dumps(document))
    other_saved = check(notebook, "m")

    assert other_saved.grade == "C"
    assert other_saved.diverging is not None
    assert (other_saved.diverging.cell_id, other_saved.diverging.expected, other_saved.diverging.got) == (
        "c1",
        "9",
        "8",
    )


def test_a_killed_verification_leaves_the_users_files_and_its_scratch_is_swept(tmp_path: Path) -> None:
    notebook = work(
        tmp_path,
        "import os, time\nopen('result.txt', 'w').write('1')",
        "if os.environ.get('MLOPS_REPLAY_ROOT'):\n    open('started', 'w').close()\n    time.sleep(60)\nx = 1",
    )
    before, base = tree(tmp_path), tmp_path / ".mlops/scratch"
    code = (
        f"from pathlib import Path\nfrom tests.verification.sessions import check\ncheck(Path({str(notebook)!r}), 'x')"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2]) as process:
        deadline = time.monotonic() + 60
        while not list(base.glob("*/files/**/started")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.kill()

    assert tree(tmp_path) == before
    assert [p for p in base.iterdir() if p.is_dir()]
    sweep(base)
    assert not [p for p in base.iterdir() if p.is_dir()]
    assert tree(tmp_path) == before
