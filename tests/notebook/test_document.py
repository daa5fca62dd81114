"""Reading notebooks: what is read, and one clear sentence for each way in which a file can be none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.notebook import document, read_notebook


def notebook(**changes: object) -> dict[str, object]:
    cells = [
        {"cell_type": "markdown", "id": "m", "metadata": {}, "source": ["# T\n", "text"]},
        {
            "cell_type": "code", "id": "c", "metadata": {"tags": ["parameters"]}, "execution_count": 3,
            "source": "x = 'ü'", "outputs": [],
        },
    ]  # fmt: skip
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells, **changes}


def written(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def test_reads_cells_with_tags_and_counts(tmp_path: Path) -> None:
    read = read_notebook(written(tmp_path / "n.ipynb", notebook()))

    assert [c.cell_type for c in read.cells] == ["markdown", "code"]
    assert read.cells[0].source == "# T\ntext"
    (code,) = read.code_cells
    assert (code.source, code.tags, code.execution_count, code.cell_id) == (
        "x = 'ü'",
        ("parameters",),
        3,
        "c",
    )
    assert read.language == "python"


def test_reads_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(notebook()).encode())

    assert len(read_notebook(path).cells) == 2


def test_names_another_language(tmp_path: Path) -> None:
    metadata = {"kernelspec": {"name": "ir", "language": "R"}}

    assert read_notebook(written(tmp_path / "n.ipynb", notebook(metadata=metadata))).language == "r"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("{", "is not JSON (line 1"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "not a notebook"),
        ('{"a": 1}', "not a notebook"),
        (notebook(nbformat=3, worksheets=[]), "notebook format 3"),
        (notebook(nbformat=5), "notebook format 5"),
        (notebook(cells=None), "no list of cells"),
        (notebook(cells=[{"cell_type": "heading"}]), "Cell 1"),
        (notebook(cells=[{"cell_type": "code", "source": 5}]), "source that is not text"),
        (notebook(cells=["x"]), "Cell 1"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, content: object, says: str) -> None:
    path = written(tmp_path / "n.ipynb", content)

    with pytest.raises(UsageError) as caught:
        read_notebook(path)

    assert says in str(caught.value)
    assert "n.ipynb" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_says_that_text_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "n.ipynb").write_bytes(b'{"a": "\xff\xfe"}')

    with pytest.raises(UsageError, match="not UTF-8"):
        read_notebook(tmp_path / "n.ipynb")


def test_says_that_there_is_no_file_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(TargetNotFoundError, match="no notebook"):
        read_notebook(tmp_path / "none.ipynb")
    with pytest.raises(UsageError, match="is a folder"):
        read_notebook(tmp_path)


def test_refuses_what_is_too_large_without_reading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "SIZE_LIMIT", 100)

    with pytest.raises(UsageError, match="notebooks up to"):
        read_notebook(written(tmp_path / "n.ipynb", notebook()))
