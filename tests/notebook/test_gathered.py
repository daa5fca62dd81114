"""A slice as a notebook: valid, deterministic, runs by itself, never takes somebody's file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from mlops_jupyter.entities import ExecutionStatus
from mlops_jupyter.errors import UsageError
from mlops_jupyter.notebook import GatheredSlice, read_notebook
from mlops_jupyter.provenance import backward_slice
from tests.lineage.histories import History


def gathered(history: History, target: str) -> GatheredSlice:
    found = backward_slice(history.source(), target=target, version=history.version(target))
    return GatheredSlice.of(found, origin="recorded", notebook=history.notebook)


@pytest.fixture
def messy() -> History:
    h = History()
    h.cell("%load_ext mlops_jupyter")
    h.cell("import math", writes=["math"], type_name="builtins.module")
    h.cell("a = [1]", writes=["a"])
    h.cell("a.append(2); raise ValueError('no')", mutates=["a"], status=ExecutionStatus.ERROR)
    h.cell("aside = 5", writes=["aside"])
    h.cell("%%track first\nb = math.sqrt(sum(a) + 1)", reads=["math", "a"], writes=["b"])
    return h


def test_the_notebook_is_valid_and_the_same_each_time(tmp_path: Path, messy: History) -> None:
    one = gathered(messy, "b").to_notebook(tmp_path / "one.ipynb").read_text()
    two = gathered(messy, "b").to_notebook(tmp_path / "two.ipynb").read_text()

    nbformat.validate(nbformat.reads(one, as_version=4))
    assert one == two
    document = json.loads(one)
    assert document["metadata"]["mlops"]["gathered"]["executions"] == [1, 2, 3, 5]
    assert "%%track" not in one
    assert "load_ext" not in one


def test_running_it_in_a_kernel_gives_the_value(tmp_path: Path, messy: History) -> None:
    path = gathered(messy, "b").to_notebook(tmp_path / "b.ipynb")
    document = nbformat.read(path, as_version=4)
    document.cells.append(nbformat.v4.new_code_cell("print(b)"))

    NotebookClient(document, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()

    assert document.cells[-1].outputs[0]["text"] == "2.0\n"


def test_an_earlier_slice_is_replaced_and_a_file_of_the_user_is_not(tmp_path: Path, messy: History) -> None:
    path = gathered(messy, "b").to_notebook(tmp_path / "out.ipynb")
    gathered(messy, "a").to_notebook(path)
    assert read_notebook(path).metadata["mlops"]["gathered"]["target"] == "a"

    own = tmp_path / "own.ipynb"
    own.write_text("mine")
    with pytest.raises(UsageError, match="exists and was not gathered"):
        gathered(messy, "b").to_notebook(own)
    assert own.read_text() == "mine"
    gathered(messy, "b").to_notebook(own, force=True)
    assert len(read_notebook(own).cells) == 4


def test_what_cannot_be_written_says_why_and_leaves_nothing(tmp_path: Path, messy: History) -> None:
    with pytest.raises(UsageError, match=r"folder .*none does not exist"):
        gathered(messy, "b").to_notebook(tmp_path / "none" / "x.ipynb")
    with pytest.raises(UsageError, match="is a folder"):
        gathered(messy, "b").to_notebook(tmp_path)
    assert os.listdir(tmp_path) == []


def test_shown_in_a_notebook_its_code_cannot_end_the_fence() -> None:
    h = History()
    h.cell("x = '''\n```\n<b>'''", writes=["x"])

    bundle = gathered(h, "x")._repr_mimebundle_()

    assert bundle["text/markdown"].startswith("````python\n")
    assert bundle["text/markdown"].endswith("\n````")
