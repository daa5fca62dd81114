"""``metadata.mlops.track``: a cell of a headless run that is tracked without a line in its text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell
from papermill.engines import papermill_engines
from papermill.execute import execute_notebook

from mlops_jupyter.cli.run import show_result
from mlops_jupyter.errors import UsageError
from mlops_jupyter.runner import RunResult, State, run_notebook
from mlops_jupyter.runner.engine import MlopsEngine
from mlops_jupyter.runner.tracked import track_words
from mlops_jupyter.verbs.run import run
from mlops_jupyter.workspace import Workspace, open_workspace
from tests.schemas import check

from .conftest import make, outputs

Execute = Callable[..., RunResult]


def asking(source: str, track: Any, **ours: Any) -> nbformat.NotebookNode:
    """A code cell whose metadata ask for ``%%track``."""
    return new_code_cell(source, metadata={"mlops": {**ours, "track": track}})


def children(workspace: Workspace, run_id: str) -> list[tuple[Any, ...]]:
    """(name, status) of a run's children, in order."""
    sql = "SELECT name, status FROM runs WHERE parent_uid = ? ORDER BY seq"
    return [tuple(row) for row in workspace.store.execute(sql, (run_id,))]


def test_cells_that_ask_are_child_runs_and_their_text_stays(execute: Execute, workspace: Workspace) -> None:
    sources = [
        "rate = 0.5",
        "accuracy = rate * 1.8",
        "%%time\nx = 1",
        "    # indented as a whole\n    y = 2",
        "%%track own\nz = 3",
        "%lineage accuracy\n%gather accuracy\n%mlops --help",
        "1 +\\\n1\nraise ValueError('line three')",
    ]
    cells = [
        sources[0],
        asking(sources[1], "fit -t stage=test --seed 3", cell_id="abc", position=4),
        asking(sources[2], "timed"),
        asking(sources[3], "indented"),
        asking(sources[4], "other"),
        sources[5],
        asking(sources[6], "failing"),
    ]
    result = execute(*cells)
    assert (result.state, result.lineage, result.warnings) == (State.FAILED, "full", ())
    assert children(workspace, result.run_id) == [
        ("fit", "FINISHED"), ("timed", "FINISHED"), ("indented", "FINISHED"), ("own", "FINISHED"),
        ("failing", "FAILED"),
    ]  # fmt: skip
    document = nbformat.read(result.output, as_version=4)
    executed = [cell for cell in document.cells if cell.cell_type == "code"]
    assert [cell.source for cell in executed] == sources
    ours = executed[1].metadata.mlops
    assert (ours.track, ours.cell_id, ours.position) == ("fit -t stage=test --seed 3", "abc", 4)
    assert "Usage" in str(executed[5].outputs)
    traceback = "\n".join(next(o for o in executed[6].outputs if o.output_type == "error").traceback)
    assert "line 3" in traceback, "lines are counted as in the notebook"
    recorded = dict(
        workspace.store.execute("SELECT cell_id, text FROM executions JOIN sources ON digest = source_digest")
    )
    assert recorded[executed[1].id] == f"%%track fit -t stage=test --seed 3\n{sources[1]}"
    assert recorded[executed[0].id] == sources[0]


BAD: dict[str, Any] = {
    "number": 3,
    "list": ["fit"],
    "second line": "fit\nopen('smuggled', 'w')",
    "other line breaks": "fit\u2028open('smuggled', 'w')",
    "carriage return": "fit\ropen('smuggled', 'w')",
    "help": "fit?",
    "no options": "--delete-all",
    "open quote": "'fit",
    "huge": "x" * 5_000_000,
    "escape": "fit \x1b[2J",
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_line_of_track_is_refused(case: str) -> None:
    with pytest.raises(UsageError) as caught:
        track_words(asking("1", BAD[case]))
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_hostile_metadata_run_untracked_and_are_told(execute: Execute, workspace: Workspace, folder: Path) -> None:
    odd = [new_code_cell("4", metadata={"mlops": value}) for value in ("text", [1], {"track": None}, {})]
    result = execute(*(asking("1", value) for value in BAD.values()), *odd)
    assert (result.state, result.lineage) == (State.SUCCEEDED, "full")
    assert len(result.warnings) == len(BAD)
    assert result.warnings[0].startswith("Cell 1 runs without being tracked: ")
    assert children(workspace, result.run_id) == []
    assert not (folder / "smuggled").exists()


def test_without_capture_the_cell_just_runs(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_jupyter.runner.in_kernel._LOAD", "raise ModuleNotFoundError('gone')")
    result = run_notebook(workspace, make(folder / "nb.ipynb", asking("print(1)", "fit")), folder / "out.ipynb")
    assert (result.state, result.lineage, outputs(result.output)) == (State.SUCCEEDED, "none", ["1\n"])
    assert children(workspace, result.run_id) == []


@pytest.mark.peer
def test_with_papermill(folder: Path) -> None:
    papermill_engines.register("mlops", MlopsEngine)
    source = make(folder / "nb.ipynb", asking("accuracy = 0.9", "fit"))
    document = nbformat.read(source, as_version=4)
    document.metadata["mlops"] = {"converted": {"version": 1}, "state": "failed", "error": "of an earlier run"}
    nbformat.write(document, source)
    executed = execute_notebook(str(source), str(folder / "out.ipynb"), engine_name="mlops", progress_bar=False)
    assert executed.cells[0].source == "accuracy = 0.9"
    assert (executed.metadata.mlops.converted, executed.metadata.mlops.state) == ({"version": 1}, "succeeded")
    assert "error" not in executed.metadata.mlops
    with open_workspace(folder) as workspace:
        assert children(workspace, executed.metadata.mlops.run_id) == [("fit", "FINISHED")]


@pytest.mark.parametrize(
    ("told", "expected", "line"),
    [
        (
            {"notebook": "a.ipynb", "target": "model", "grade": "A"},
            {"notebook": "a.ipynb", "target": "model", "grade": "A"},
            "  made      from a.ipynb by mlops convert, grade A",
        ),
        ({"notebook": "\x1b[2Jb.ipynb", "grade": "Z"}, {"notebook": "\x1b[2Jb.ipynb", "target": "", "grade": None},
         "b.ipynb by mlops convert, not verified"),
        ({"grade": ["A"], "notebook": 3}, {"notebook": "", "target": "", "grade": None}, "from a notebook by"),
        ("text", None, None),
    ],
)  # fmt: skip
def test_a_converted_notebook_says_so(
    told: object, expected: object, line: str | None, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make(folder / "nb.ipynb", kernel="python3")
    document = nbformat.read(source, as_version=4)
    document.metadata["mlops"] = {"converted": told}
    nbformat.write(document, source)
    result = run(source, folder / "out.ipynb")
    check(result, "run-result")
    assert result["converted"] == expected
    show_result(result)
    shown = capsys.readouterr().out
    assert "\x1b[2J" not in shown
    assert ("mlops convert" in shown) == (line is not None)
    assert line is None or line in shown
