"""Parameters: read from a cell, coerced to their types, injected as literals. Tables are the specification."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_notebook

from mlops_jupyter.errors import UsageError
from mlops_jupyter.runner.coercion import coerce, from_annotation, from_value, literal
from mlops_jupyter.runner.parameters import (
    INJECTED_TAG,
    Text,
    check_values,
    effective_values,
    infer_parameters,
    inject,
    read_values,
)

from .conftest import tagged

INFERRED = [
    # cell, name, type, default, help
    ("lr = 0.1  # learning rate", "lr", "float", 0.1, "learning rate"),
    ("n = 3", "n", "int", 3, ""),
    ("n: int = 3 # rows", "n", "int", 3, "rows"),
    ("n = 3  # type: float  a factor", "n", "float", 3, "a factor"),
    ("flag = True", "flag", "bool", True, ""),
    ("name = 'a # b'", "name", "str", "a # b", ""),
    ("neg = -1.5", "neg", "float", -1.5, ""),
    ("nothing = None", "nothing", "any", None, ""),
    ("maybe: int | None = None", "maybe", "int | None", None, ""),
    ("maybe: Optional[float] = None", "maybe", "float | None", None, ""),
    ("maybe: 'Optional[str]' = None", "maybe", "str | None", None, ""),
    ("names: typing.List[str] = []", "names", "list[str]", [], ""),
    ("grid = {'a': [1, 2]}", "grid", "dict", {"a": [1, 2]}, ""),
    ("pair: tuple[int, ...] = (1, 2)", "pair", "tuple[int]", (1, 2), ""),
    ("mode: Literal['a', 'b'] = 'a'", "mode", "one of 'a', 'b'", "a", ""),
    ("x = float('nan')", "x", "float", math.nan, ""),
    ("path = Path('x')", "path", "any", None, ""),
    ("many = [\n    1,\n    2,\n]  # several lines", "many", "list", [1, 2], "several lines"),
    ("a = b = 1", "b", "int", 1, ""),
    ("x = 1\nx = 'last'", "x", "str", "last", ""),
    ("%matplotlib inline\n!ls\nx = 1", "x", "int", 1, ""),
]


@pytest.mark.parametrize(("cell", "name", "kind", "default", "help_text"), INFERRED)
def test_inference(cell: str, name: str, kind: str, default: Any, help_text: str) -> None:
    found = {p.name: p for p in infer_parameters(cell)}[name]
    assert (found.type_name, found.help) == (kind, help_text)
    assert found.default == default or (math.isnan(default) and math.isnan(found.default))


def test_only_top_level_names_are_parameters() -> None:
    cell = (
        "import os\nfor i in range(3):\n    y = i\ndef f():\n    z = 1\na, b = 1, 2\nobject.x = 1\nd['k'] = 1\nx: int\n"
    )
    assert infer_parameters(cell) == []


COERCED = [
    # annotation, text on the command line, value (None of `raises`: an error)
    ("int", "3", 3), ("int", " -3 ", -3), ("int", "1_000", 1000), ("int", "3.0", ValueError), ("int", "", ValueError),
    ("int", "True", ValueError), ("int", "0x10", ValueError), ("int", "9" * 5000, ValueError), ("int", "٣", ValueError),
    ("float", "3", 3.0), ("float", "1e-3", 0.001), ("float", "inf", math.inf), ("float", "abc", ValueError),
    ("bool", "true", True), ("bool", "False", False), ("bool", "1", True), ("bool", "maybe", ValueError),
    ("str", "1", "1"), ("str", "None", "None"), ("str", "2024-01-31", "2024-01-31"),
    ("str", "'; import os", "'; import os"),
    ("int | None", "None", None), ("int | None", "4", 4), ("int | None", "x", ValueError),
    ("Optional[str]", "null", None),
    ("int | str", "5", 5), ("str | int", "five", "five"),
    ("list", "[1, 2]", [1, 2]), ("list[int]", "[1, 'x']", ValueError), ("list[float]", "[1, 2]", [1.0, 2.0]),
    ("list", "{}", ValueError), ("list", "nonsense: [", ValueError), ("list[str]", "['a']", ["a"]),
    ("list", "(1, 2)", [1, 2]),
    ("dict", '{"a": null}', {"a": None}), ("dict[str, int]", "{a: 1}", {"a": 1}), ("dict", "[1]", ValueError),
    ("tuple[int, int]", "[1, 2]", (1, 2)), ("set[int]", "[1, 1]", {1}), ("set", "[[1]]", ValueError),
    ("Literal['a', 2]", "2", 2), ("Literal['a']", "b", ValueError),
    ("np.float64", "0.5", 0.5), ("Path", "data/x.csv", "data/x.csv"), ("Any", "True", True), ("Any", "007", 7),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "text", "expected"), COERCED)
def test_text_becomes_a_value_of_the_type(annotation: str, text: str, expected: Any) -> None:
    kind = from_annotation(annotation)
    if expected is ValueError:
        with pytest.raises(ValueError):
            coerce(text, kind, is_text=True)
        return
    value = coerce(text, kind, is_text=True)
    assert (value, type(value)) == (expected, type(expected))


DATA = [
    ("int", 3.0, 3), ("int", 3.5, ValueError), ("int", True, ValueError), ("int", "7", 7), ("int", None, ValueError),
    ("float", 1, 1.0), ("float", None, ValueError), ("bool", 1, ValueError), ("bool", "yes", True),
    ("str", 3, ValueError), ("int | str", "5", "5"), ("float | None", None, None), ("any", {"a": [1]}, {"a": [1]}),
    ("any", b"x", ValueError), ("list", "[1]", [1]), ("float", 10**400, ValueError),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "data", "expected"), DATA)
def test_data_from_yaml_becomes_a_value_of_the_type(annotation: str, data: Any, expected: Any) -> None:
    if expected is ValueError:
        with pytest.raises(ValueError):
            coerce(data, from_annotation(annotation))
        return
    value = coerce(data, from_annotation(annotation))
    assert (value, type(value)) == (expected, type(expected))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Equal with equal types, NaN equal to itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


@given(PLAIN)
def test_what_is_injected_is_what_was_given(value: Any) -> None:
    notebook = new_notebook(cells=[tagged("x = None", "parameters")])
    (parameter,) = infer_parameters("x = None")
    inject(notebook, check_values([parameter], {"x": value}))
    source = notebook.cells[1].source
    assert len(source.split("\n")) == 2, "one assignment a line"
    namespace: dict[str, Any] = {}
    exec(compile(source.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass"), "cell", "exec"), namespace)
    assert same(namespace["x"], value)


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.text(), st.lists(st.integers())))
def test_a_value_spelled_as_text_comes_back(value: Any) -> None:
    """What ``str`` makes of a value is what ``-p`` takes for a parameter whose default has the same type."""
    assert same(coerce(str(value), from_value(value), is_text=True), value)


@given(st.text(), st.text())
def test_no_name_and_no_value_gets_into_code_as_code(name: str, value: str) -> None:
    parameters = infer_parameters("x = 'a'")
    try:
        checked = check_values(parameters, {name: Text(value), "x": Text(value)})
    except UsageError:
        assert name != "x"
        return
    assert checked == {"x": value}
    assert literal(value).isprintable()


def test_precedence_and_dates(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.json"
    first.write_text("a: 1\nb: 1\nc: 1\nd: 2024-01-31\n")
    second.write_text('{"b": 2, "c": 2}')
    values = read_values(files=[first, second], texts=["{c: 3}"], pairs=[("e", "5")])
    assert values == {"a": 1, "b": 2, "c": 3, "d": "2024-01-31", "e": "5"}
    assert read_values(files=[], texts=[""]) == {}


def test_an_injected_cell_is_replaced_and_huge_values_pass() -> None:
    notebook = new_notebook(cells=[tagged("x = ''", "parameters"), tagged("x = 1", INJECTED_TAG), tagged("x")])
    inject(notebook, {"x": "é" * 5_000_000})
    assert [cell.metadata.tags for cell in notebook.cells] == [["parameters"], [INJECTED_TAG], []]
    assert len(notebook.cells[1].source) > 5_000_000


def test_papermill_reads_the_parameters_as_we_do() -> None:
    from papermill.inspection import _infer_parameters

    notebook = new_notebook(cells=[tagged("lr: float = 0.1  # rate\nname = 'x'", "parameters")])
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python"}
    theirs = {p.name: p.help for p in _infer_parameters(nbformat.from_dict(notebook))}
    ours = {p.name: p.help for p in infer_parameters(notebook.cells[0].source)}
    assert theirs == ours


def test_effective_values_leave_out_what_only_code_knows() -> None:
    parameters = infer_parameters("a = 1\nb = now()\nc = now()")
    assert effective_values(parameters, {"c": 2}) == {"a": 1, "c": 2}
