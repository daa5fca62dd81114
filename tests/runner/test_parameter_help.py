"""``mlops run NB --help``, limits from the schema, bad values: before any kernel starts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_jupyter.cli._main import invoke
from mlops_jupyter.errors import UsageError
from mlops_jupyter.notebook.candidates import choose, find_candidates
from mlops_jupyter.notebook.lifting import lift, parameters_schema, parameters_source
from mlops_jupyter.runner.constraints import check_limits, limits_text
from mlops_jupyter.runner.listing import list_parameters
from tests.schemas import check

from .conftest import make, tagged

CELL = "lr: float = 0.1  # learning rate\ndepth: 'Optional[int]' = None\nnames = ['a',\n  'b']\nnow = time()"
SCHEMA = {
    "type": "object",
    "properties": {
        "lr": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "depth": {"type": ["integer", "null"], "minimum": 1, "description": "how deep"},
        "names": {"type": "array", "maxItems": 2},
        "now": "not a schema",
    },
}


@pytest.fixture
def notebook(folder: Path) -> Path:
    """A notebook with a parameters cell and a schema; running it leaves a file."""
    path = make(folder / "my nb é.ipynb", tagged(CELL, "parameters"), "open('ran', 'w')")
    document = nbformat.read(path, as_version=4)
    document.metadata["mlops"] = {"parameters": SCHEMA}
    path.write_text(nbformat.writes(document))
    return path


@pytest.fixture(autouse=True)
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may start a kernel."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a kernel was started")

    monkeypatch.setattr("mlops_jupyter.runner.kernel.Kernel.start", refuse)


def test_help_lists_the_parameters(notebook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", str(notebook), "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--cell-timeout" in text
    assert "Parameters of my nb é.ipynb, given as -p NAME VALUE" in text
    assert "lr float learning rate above 0, at most 1 [default: 0.1]" in text
    assert "depth int | None how deep at least 1 [default: None]" in text
    assert "names list [default: ['a', 'b']]" in text
    assert "now any [default: computed by the cell]" in text
    assert not (notebook.parent / "ran").exists()
    assert not (notebook.parent / ".mlops").exists()


@pytest.mark.parametrize(
    "arguments", [["--help", "NB"], ["-p", "lr", "0.5", "NB", "-h"], ["NB", "out.ipynb", "--help"]]
)
def test_help_wherever_it_stands(notebook: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert invoke(["run", *(str(notebook) if a == "NB" else a for a in arguments)]) == 0
    assert "learning rate" in capsys.readouterr().out


def test_help_without_a_notebook_is_the_command_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", "--help"]) == 0
    text = capsys.readouterr().out
    assert "NOTEBOOK" in text and "Parameters of" not in text


def test_help_as_a_document(notebook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", str(notebook), "--help", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    check(document, "run-parameters")
    assert [(p["name"], p["type"], p["default"]) for p in document["parameters"]] == [
        ("lr", "float", "0.1"), ("depth", "int | None", "None"), ("names", "list", "['a', 'b']"), ("now", "any", None),
    ]  # fmt: skip


def test_help_of_what_is_no_notebook(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", str(folder / "none.ipynb"), "--help"]) == 2
    assert "There is no notebook" in capsys.readouterr().err
    make(folder / "plain.ipynb", "x = 1")
    assert invoke(["run", str(folder / "plain.ipynb"), "--help"]) == 0
    assert "Parameters of plain.ipynb: none. It has no cell with the tag" in capsys.readouterr().out
    make(folder / "broken.ipynb", tagged("x = (", "parameters"))
    assert invoke(["run", str(folder / "broken.ipynb"), "--help"]) == 0
    assert "not valid Python" in capsys.readouterr().out


def test_a_hostile_notebook_cannot_drive_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(
        folder / "h.ipynb",
        tagged("x = '\x1b[31m\\x1b'  # \x1b]0;title\x07 help\ny = " + "[" + "9," * 3000 + "]", "parameters"),
    )
    document = nbformat.read(path, as_version=4)
    document.metadata["mlops"] = {
        "parameters": {"properties": {"y": {"description": "\x1b[2J" + "d" * 90_000, "enum": ["\x1b[1m"] * 9999}}}
    }
    path.write_text(nbformat.writes(document))
    assert invoke(["run", str(path), "--help"]) == 0
    text = capsys.readouterr().out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    assert len(text) < 20_000
    for metadata in (
        {"mlops": 3},
        {"mlops": {"parameters": []}},
        {"mlops": {"parameters": {"properties": {"x": {"minimum": "a", "enum": 3, "maxLength": True}}}}},
    ):
        document.metadata.update(metadata)
        path.write_text(nbformat.writes(document))
        assert list_parameters(path)["parameters"]


BAD = [
    (["-p", "lr", "0"], "'lr' must be above 0, got 0.0"),
    (["-p", "lr", "1.5"], "'lr' must be at most 1, got 1.5"),
    (["-p", "lr", "nan"], "'lr' must be above 0, got nan"),
    (["-p", "lr", "inf"], "'lr' must be at most 1, got inf"),
    (["-p", "lr", "fast"], "'lr' must be float, got 'fast'"),
    (["-p", "depth", "0"], "'depth' must be at least 1, got 0"),
    (["-p", "depth", "2026-01-01"], "'depth' must be int | None, got '2026-01-01'"),
    (["-p", "names", "[1, 2, 3]"], "'names' must be at most 2 items long"),
    (["-p", "no name", "1"], "'no name' is not an identifier of this notebook"),
    (["-p", "lr=1;import os", "1"], "is not an identifier"),
    (["-p", "class", "1"], "'class' is not an identifier"),
    (["-p", "rate", "1"], "'rate' is not a parameter of this notebook"),
    (["-f", "missing.yaml"], "missing.yaml cannot be read"),
    (["-y", "[1]"], "must be a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), BAD)
def test_bad_values_end_in_one_sentence(
    notebook: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    before = notebook.read_bytes()
    out = notebook.parent / "out.ipynb"
    assert invoke(["run", str(notebook), str(out), *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and len(captured.err.strip().splitlines()) == 1 and not captured.out
    assert not out.exists() and notebook.read_bytes() == before
    assert not list((notebook.parent / ".mlops").glob("runs/*"))


def test_the_output_is_not_the_input(notebook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = notebook.read_bytes()
    assert invoke(["run", str(notebook), str(notebook)]) == 2
    assert "is the notebook itself" in capsys.readouterr().err
    assert notebook.read_bytes() == before


def test_a_default_beyond_the_limits_is_the_author_s(folder: Path) -> None:
    check_limits({}, {"x": {"minimum": 3}})
    with pytest.raises(UsageError, match="at least 3"):
        check_limits({"x": 1}, {"x": {"minimum": 3}})


@pytest.mark.parametrize(
    ("value", "schema", "fits"),
    [
        ("a", {"enum": ["a", 1]}, True), (True, {"enum": [1]}, False), (1, {"enum": [True]}, False),
        ((1, 2), {"enum": [[1, 2]]}, True), (3, {"const": 3}, True), (4, {"const": 3}, False),
        ("abc", {"minLength": 4}, False), ("abc", {"maxLength": 2}, False), ("abc", {"pattern": "(a+)+$"}, True),
        (5, {"exclusiveMaximum": 5}, False), (True, {"minimum": 7}, True), (None, {"minimum": 7}, True),
        ([], {"minItems": 1}, False), (3, {"$ref": "http://127.0.0.1:9/x"}, True), (3, {"minimum": float("nan")}, True),
        (10**400, {"maximum": 5.0}, False), (10**400, {"maximum": 10**5000}, True),
    ],
)  # fmt: skip
def test_limits(value: Any, schema: dict[str, Any], fits: bool) -> None:
    if fits:
        check_limits({"x": value}, {"x": schema})
    else:
        with pytest.raises(UsageError, match="must be"):
            check_limits({"x": value}, {"x": schema})
    assert isinstance(limits_text(schema), str)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxItems"]
)


@given(JSON, st.dictionaries(KEYS, JSON, max_size=4))
def test_no_schema_breaks_the_check(value: Any, schema: dict[str, Any]) -> None:
    limits_text(schema)
    try:
        check_limits({"x": value}, {"x": schema})
    except UsageError as error:
        assert len(str(error)) < 2500


def test_files_repeat_and_the_last_one_counts(execute: Callable[..., Any], folder: Path) -> None:
    from mlops_jupyter.runner.parameters import read_values

    (folder / "a.yaml").write_text("lr: 1\nn: 1\n")
    (folder / "b b é.json").write_text('{"n": 2, "m": 5}')
    files = [folder / "a.yaml", folder / "b b é.json"]
    assert read_values(files=files, texts=["m: 6"], pairs=[("k", "7")]) == {"lr": 1, "n": 2, "m": 6, "k": "7"}


def test_a_lifted_notebook_is_listed_with_its_limits(folder: Path) -> None:
    cells = ["model = RandomForestClassifier(max_depth=3, n_estimators=100)  # the forest"]
    lifted = lift(cells, choose(find_candidates(cells)))
    path = make(folder / "c.ipynb", tagged(parameters_source(lifted.parameters), "parameters"), *lifted.cells)
    document = nbformat.read(path, as_version=4)
    document.metadata["mlops"] = {"parameters": parameters_schema(lifted.parameters)}
    path.write_text(nbformat.writes(document))
    listed = {p["name"]: (p["type"], p["default"], p["limits"]) for p in list_parameters(path)["parameters"]}
    assert listed == {"max_depth": ("int", "3", ""), "n_estimators": ("int", "100", "at least 1")}
