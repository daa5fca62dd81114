"""Slices of notebooks that were never tracked, from their text alone."""

from __future__ import annotations

import pytest

from mlops_jupyter.notebook import Cell, NotebookDocument, StaticHistory, static_records
from mlops_jupyter.provenance import MemorySource, backward_slice


def history(*sources: str, counts: tuple[int | None, ...] = ()) -> StaticHistory:
    counts = counts or (None,) * len(sources)
    cells = tuple(
        Cell(cell_id=None, cell_type="code", source=source, execution_count=count, tags=(), metadata={})
        for source, count in zip(sources, counts, strict=True)
    )
    return static_records(NotebookDocument(cells=cells, metadata={}, minor=5), notebook="n.ipynb")


def kept(target: str, *sources: str, certainty: str = "safe") -> tuple[int, ...]:
    found = history(*sources)
    return backward_slice(
        MemorySource.of(found.records), target=target, version=found.latest[target], certainty=certainty  # type: ignore[arg-type]
    ).executions  # fmt: skip


@pytest.mark.parametrize(
    ("target", "sources", "expected"),
    [
        ("c", ["a = 1", "b = 2", "c = a + 1"], (0, 2)),
        ("x", ["x = 1", "x = 2"], (1,)),
        ("b", ["a = [1]", "a.append(2)", "b = len(a)"], (0, 1, 2)),
        ("b", ["a = [1]", "a[0] = 5", "print(a)", "b = a"], (0, 1, 3)),
        ("n", ["import numpy as np", "np.random.seed(0)", "other = 1", "n = np.random.rand()"], (0, 1, 3)),
        ("y", ["k = 2", "def f(v):\n    return v * k", "y = f(3)"], (0, 1, 2)),
        ("y", ["items = []", "def add(v):\n    items.append(v)", "add(1)", "y = items[0]"], (0, 1, 2, 3)),
        ("y", ["b = a = [1]", "c = a", "c.append(2)", "y = a"], (0, 1, 2, 3)),
        (
            "df",
            ["import pandas as pd", "pd.DataFrame().to_csv('d.csv')", "z = 1", "df = pd.read_csv('d.csv')"],
            (0, 1, 3),
        ),
        ("y", ["from math import *", "y = sqrt(4)"], (0, 1)),
        ("y", ["x = 1", "if maybe():\n    x = 2", "y = x"], (0, 1, 2)),
        ("y", ["x = 1", "del x", "x = 3", "y = x"], (2, 3)),
        ("y", ["%time x = 1", "y = x"], (0, 1)),
        ("y", ["f = open('a.txt', 'w')", "f.write('x')", "f.close()", "y = open('a.txt').read()"], (0, 1, 2, 3)),
        ("y", ["f = open('a.txt', 'w')", "print('x', file=f)", "f.close()", "y = open('a.txt').read()"], (0, 1, 2, 3)),
        (
            "y",
            ["import csv, io\nb = io.StringIO()", "w = csv.writer(b)", "w.writerow([1])", "y = b.getvalue()"],
            (0, 1, 2, 3),
        ),
        ("y", ["import copy\na = [[1]]", "b = copy.copy(a)", "b[0].append(2)", "y = a"], (0, 1, 2, 3)),
        (
            "y",
            [
                "import zipfile\nz = zipfile.ZipFile('a.zip', 'w')",
                "z.close()",
                "y = zipfile.ZipFile('a.zip').namelist()",
            ],
            (0, 1, 2),
        ),
        ("y", ["import numpy as np\na = np.zeros(2)", "np.add.at(a, 0, 1)", "y = a.sum()"], (0, 1, 2)),
    ],
)
def test_keeps_what_the_text_says(target: str, sources: list[str], expected: tuple[int, ...]) -> None:
    assert kept(target, *sources) == expected


def test_a_call_that_may_change_its_argument_is_only_in_the_safe_slice() -> None:
    sources = ["from lib import load, look", "a = load()", "look(a)", "b = a"]

    assert kept("b", *sources) == (0, 1, 2, 3)
    assert kept("b", *sources, certainty="proven") == (0, 1, 3)


def test_methods_that_change_nothing_are_left_out() -> None:
    assert kept("b", "from lib import load", "a = load()", "a.head()", "print(a)", "b = a") == (0, 1, 4)


def test_what_cannot_be_read_is_told() -> None:
    notes = history("x = (", "exec('y = 1')", "z = 1", counts=(3, 1, 2)).notes

    assert "another order" in notes[0]
    assert notes[1].startswith("Code cell 1 cannot be read")
    assert notes[2].startswith("Code cell 2 runs code that its text does not show")


def test_a_deleted_name_is_no_target() -> None:
    assert "x" not in history("x = 1", "del x").latest
