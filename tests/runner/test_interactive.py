"""A notebook played as a person works: out of order, edited between executions, recorded as an interactive session."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mlops_jupyter.config import load_settings
from mlops_jupyter.errors import UsageError
from mlops_jupyter.runner.interactive import Play, play
from mlops_jupyter.runner.result import State
from mlops_jupyter.workspace import open_workspace

CELLS = {"load": "%load_ext mlops_jupyter", "a": "x = 1", "b": "y = x + 1\nprint(y)", "bad": "1 / 0"}


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLOPS_DELIVER", "false")
    monkeypatch.setenv("MLOPS_ORIGIN", "headless")  # of a run that this process may be part of: not this session's
    (tmp_path / ".mlops").mkdir()
    path = tmp_path / "a session.ipynb"
    document = new_notebook(
        cells=[new_markdown_cell("# Title"), *(new_code_cell(source, id=name) for name, source in CELLS.items())]
    )
    nbformat.write(document, path)
    return path


def test_records_what_ran_in_its_order_with_the_text_that_it_had(notebook: Path) -> None:
    told: list[tuple[int, int, str]] = []
    steps = [Play("load"), Play("a", "x = 41"), Play("b"), Play("a"), Play("bad"), Play("b")]

    settings = load_settings(notebook.parent)
    ending = play(settings, notebook, steps, on_cell=lambda i, n, state, _: told.append((i, n, str(state))))

    assert (ending.state, ending.index) == (State.FAILED, 4), "what comes after an error is not executed"
    assert told[-1] == (4, 6, "failed")
    with open_workspace(notebook.parent) as workspace:
        rows = workspace.store.execute(
            "SELECT e.cell_id, s.text, e.status, e.notebook FROM executions e "
            "JOIN sources s ON s.digest = e.source_digest ORDER BY e.position"
        )
        (origin,) = {row[0] for row in workspace.store.execute("SELECT origin FROM sessions")}
    assert origin == "interactive"
    assert [(cell, text) for cell, text, *_ in rows] == [
        ("a", "x = 41"), ("b", CELLS["b"]), ("a", "x = 1"), ("bad", "1 / 0"),
    ]  # fmt: skip
    assert {row[3] for row in rows} == {"a session.ipynb"}
    saved = nbformat.read(notebook, as_version=4)
    assert [cell.source for cell in saved.cells] == ["# Title", *CELLS.values()]
    shown = {cell.id: cell for cell in saved.cells}
    assert shown["b"].outputs[0].text == "42\n"
    assert (shown["b"].execution_count, shown["a"].execution_count) == (3, 4)


def test_a_cell_that_is_not_there_is_told_before_anything_runs(notebook: Path) -> None:
    before = notebook.read_bytes()

    with pytest.raises(UsageError, match="no code cell with the id 'c'"):
        play(load_settings(notebook.parent), notebook, [Play("load"), Play("c")])

    assert notebook.read_bytes() == before
