"""``gather`` from the recorded history, and from a notebook's text where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.verbs.gather import gather
from mlops_jupyter.workspace import Workspace, open_workspace
from tests.lineage.histories import History, training


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    for name in ("MLOPS_HOME", "MLOPS_STORE_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".mlops").mkdir()
    monkeypatch.chdir(tmp_path)
    with open_workspace(tmp_path) as opened:
        yield opened


def notebook(path: Path, *sources: str) -> Path:
    cells = [
        {"cell_type": "code", "metadata": {}, "source": s, "outputs": [], "execution_count": None} for s in sources
    ]
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells}))
    return path


def test_from_the_session_given(workspace: Workspace) -> None:
    training().save(workspace.store)

    found = gather(workspace, target="auc", session_id=training().session_id)

    assert (found.origin, found.executions, found.notebook) == ("recorded", (1, 2, 4, 5, 6, 8, 9, 10), "work.ipynb")


def test_from_the_latest_session_of_the_notebook_that_has_the_target(workspace: Workspace) -> None:
    training("old").save(workspace.store)
    newer = History("new", started=1_800_000_000.0)
    newer.cell("unrelated = 1", writes=["unrelated"])
    newer.save(workspace.store)

    assert len(gather(workspace, notebook="work.ipynb", target="auc").executions) == 8
    assert gather(workspace, notebook="work.ipynb", target="unrelated").executions == (0,)


def test_a_position_is_a_target(workspace: Workspace) -> None:
    training().save(workspace.store)

    assert gather(workspace, target=3).executions == (1, 2, 3)
    with pytest.raises(TargetNotFoundError, match="from 0 to 10"):
        gather(workspace, target=11)


def test_a_deleted_variable_is_gathered_as_it_last_was(workspace: Workspace) -> None:
    h = History()
    h.cell("x = 1", writes=["x"])
    h.cell("del x", deletes=["x"])
    h.save(workspace.store)

    assert gather(workspace, target="x").executions == (0,)


def test_a_notebook_without_history_is_sliced_by_its_text_and_says_so(workspace: Workspace, tmp_path: Path) -> None:
    path = notebook(tmp_path / "fresh.ipynb", "a = 1", "b = 2", "c = a + 1")

    found = gather(workspace, notebook=path, target="c")

    assert (found.origin, found.executions, found.notebook) == ("static", (0, 2), "fresh.ipynb")
    assert "notebook's text" in found.notes[0]
    assert gather(workspace, notebook=path, target=1).executions == (1,)


def test_a_target_that_nothing_writes_names_the_closest(workspace: Workspace, tmp_path: Path) -> None:
    path = notebook(tmp_path / "fresh.ipynb", "model = 1")
    training().save(workspace.store)

    with pytest.raises(TargetNotFoundError, match=r"fresh.ipynb.*Did you mean 'model'"):
        gather(workspace, notebook=path, target="modle")
    with pytest.raises(TargetNotFoundError, match="Did you mean 'auc'"):
        gather(workspace, target="acu")
    with pytest.raises(TargetNotFoundError, match="no code cell at position 7"):
        gather(workspace, notebook=path, target=7)


def test_what_is_no_notebook_is_told(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "bad.ipynb").write_text("{")

    with pytest.raises(UsageError, match="is not JSON"):
        gather(workspace, notebook="bad.ipynb", target="x")
    with pytest.raises(TargetNotFoundError, match="no notebook"):
        gather(workspace, notebook="none.ipynb", target="x")
    with pytest.raises(UsageError, match="not True"):
        gather(workspace, target=True)


def test_an_empty_workspace_says_where_lineage_begins(workspace: Workspace) -> None:
    with pytest.raises(TargetNotFoundError, match="%load_ext"):
        gather(workspace, target="x")
    with pytest.raises(TargetNotFoundError, match="No cell has been recorded"):
        gather(workspace, target=0)
