"""What of a cell is a parameter and what is a metric."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

from mlops_jupyter import capture
from mlops_jupyter.analysis import analyze
from mlops_jupyter.capture.findings import (
    Found,
    found_metrics,
    literal_params,
    param_text,
    scalar,
    settle_params,
)
from mlops_jupyter.entities import ParamSource
from tests.capture.support import run
from tests.capture.test_track import runs


def _params(*cells: str) -> dict[str, str]:
    """Parameters of the last cell, with all earlier ones in its slice."""
    *before, tracked = cells
    steps: list[Any] = [(analyze(tracked), None, False)]
    steps += [(analyze(cell), frozenset(analyze(cell).literals), False) for cell in reversed(before)]
    return {param.key: param.value for param in settle_params(literal_params(steps))}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["lr = 0.1"], {"lr": "0.1"}),
        (["lr = 0.1", "x = lr"], {"lr": "0.1"}),
        (["f(a=1, b='t', c=None, d=x)"], {"a": "1", "b": "t", "c": "None"}),
        (["p = {'depth': 3, 'eta': 0.5}"], {"depth": "3", "eta": "0.5"}),
        (["features = ['a', 'b']"], {"features": "['a', 'b']"}),
        (["_hidden = 1\nfor i in range(3): pass\ntotal = 0\ntotal += i"], {}),
        (["found = []\nnothing = {}\nunset = None"], {}),
        (["print('a', sep='')\nplt.plot(x, color='red')\ndf.plot(kind='bar')\nax.set(title='t')"], {}),
        (["text = '" + "x" * 501 + "'"], {}),
        (["flag = True\nname = 'n'\nn = -5"], {"flag": "True", "name": "n", "n": "-5"}),
        (["split(random_state=0)\nForest(random_state=42)"], {"random_state": "0", "Forest_random_state": "42"}),
        (["split(random_state=1)\nForest(random_state=1)"], {"random_state": "1"}),
    ],
)
def test_literals_are_parameters(cells: list[str], expected: dict[str, str]) -> None:
    assert _params(*cells) == expected


def _metrics(cell: str, **given_values: Any) -> dict[str, float]:
    """Metrics of a cell that is run on these names."""
    namespace: dict[str, Any] = dict(given_values)
    analysis = analyze(cell)
    before = {name: id(value) for name, value in namespace.items()}
    *_, last = cell.strip().split("\n")
    exec(cell, namespace)
    namespace.pop("__builtins__")
    assigned = {name: value for name, value in namespace.items() if before.get(name) != id(value)}
    shown = eval(last, namespace) if analysis.displayed is not None else None
    return found_metrics(analysis, assigned, shown)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("acc = f(1)", {"acc": 0.5}),
        ("acc = 0.5", {}),
        ("n = len(data)\nrows = array.shape[0]\nsize = array.size", {}),
        ("ok = f(1) > 0", {}),
        ("_acc = f(1)", {}),
        ("for i in range(3):\n    loss = f(i)", {"loss": 0.5}),
        ("scores = {'a': f(1), 'b': f(2) * 2}", {"a": 0.5, "b": 1.0}),
        ("scores = {'a': f(1), 'b': 'text'}", {}),
        ("acc = f(1)\nacc", {"acc": 0.5}),
        ("f(1) * 2", {"f(1) * 2": 1.0}),
        ("len(data)", {}),
        ("3.5", {}),
        ("{'auc': f(1)}", {"auc": 0.5}),
        ("a, b = f(1), f(2)", {"a": 0.5, "b": 0.5}),
        ("acc = f(1)\nmetrics = {'acc': f(1) * 3}", {"acc": 0.5, "metrics_acc": 1.5}),
        ("x = 'text' + str(f(1))", {}),
        ("big = 10 ** 400 + int(f(1))", {}),
        ("bad = f(1) * float('nan')\nworse = f(1) * float('inf')", {"bad": math.nan, "worse": math.inf}),
    ],
)
def test_numbers_are_metrics(cell: str, expected: dict[str, float]) -> None:
    import numpy as np

    found = _metrics(cell, f=lambda _: 0.5, data=[1, 2], array=np.zeros((3, 2)))
    assert {k: str(v) for k, v in found.items()} == {k: str(v) for k, v in expected.items()}


def test_scalars_of_libraries() -> None:
    import numpy as np

    assert [scalar(v) for v in (np.float64(0.5), np.int8(3), np.array(2.5))] == [0.5, 3.0, 2.5]
    values: list[Any] = [np.bool_(True), np.array([1.0]), "1", True, None, 1j, np.timedelta64(1, "s"), object()]
    assert [scalar(v) for v in values] == [None] * len(values)


def test_parameters_of_odd_values_are_named_by_their_class() -> None:
    import numpy as np

    class Hostile:
        def __repr__(self) -> str:
            raise ValueError

    nested: list[Any] = []
    nested.append(nested)
    assert param_text(Hostile()) == "Hostile"
    assert param_text([Hostile()]) == "[Hostile]"
    assert param_text(nested) == "[[[[[list]]]]]"
    assert param_text(np.int64(3)) == "3"
    assert param_text(np.float64(0.5)) == "0.5"
    assert param_text(np.zeros(3)) == "ndarray"
    assert param_text(len) == "len"
    assert param_text(int) == "int"
    assert param_text("\ud800") == "?"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.sampled_from(["", "F", "G"]))))
def test_every_key_has_one_value_and_the_first_keeps_the_plain_key(items: list[tuple[str, int, str]]) -> None:
    found = [Found(key, value, ParamSource.LITERAL, prefix) for key, value, prefix in items]
    settled = settle_params(found)
    values = {param.key: param.value for param in settled}
    assert len(values) == len(settled)
    for key, value, _ in reversed(items):
        first = next(v for k, v, _ in items if k == key)
        assert values[key] == str(first)
        assert str(value) in {v for k, v in values.items() if k == key or k.endswith(f"_{key}")} or any(
            k == key and v != value for k, v, _ in items
        )


def test_parameters_come_from_the_backward_slice_alone(ipython: InteractiveShell) -> None:
    run(ipython, "lr = 0.1\nother = 9")
    run(ipython, "scale = 2\nrate = lr * scale")
    run(ipython, "noise = 7")
    run(ipython, "%%track\nloss = rate + sum([1])")
    assert runs()[0].params == {"lr": "0.1", "scale": "2"}


def test_an_item_put_into_an_earlier_dict_is_no_metric_of_all_of_it(ipython: InteractiveShell) -> None:
    run(ipython, "def score(x):\n    return x / 7\nresults = {}")
    run(ipython, "%%track one\nauc = score(3)\nresults['one'] = auc")
    run(ipython, "%%track two\nauc = score(5)\nresults['two'] = auc")
    run(ipython, "%%track three\nresults = {**results, 'three': score(6)}")
    assert [set(metrics) for _, metrics in _recorded()] == [{"auc"}, {"auc"}, {"one", "two", "three"}]


def _recorded() -> list[tuple[str, dict[str, float]]]:
    from tests.capture.test_session import session

    rows = session().store.execute(
        "SELECT r.name, m.key, m.value FROM runs r JOIN metrics m ON m.run_uid = r.run_uid ORDER BY r.started_at"
    )
    found: dict[str, dict[str, float]] = {}
    for name, key, value in rows:
        found.setdefault(str(name), {})[str(key)] = float(value)
    return list(found.items())


def test_keywords_of_functions_and_calls_that_are_not_needed_do_not_count() -> None:
    cell = analyze(
        "import numpy as np\n"
        "def unused():\n    return f(depth=9)\n"
        "def used():\n    return g(rate=0.1)\n"
        "X = load(rows=3, return_X_y=True)\n"
    )
    tracked = analyze("y = used()")
    needed = literal_params([(tracked, None, False), (cell, frozenset({"used", "X"}), False)])
    assert {item.key: item.value for item in needed} == {"rate": 0.1, "rows": 3}
    assert literal_params([(tracked, None, False), (cell, frozenset({"np"}), False)]) == []


def test_numbers_come_before_lists_and_what_was_set_before_defaults() -> None:
    found = [
        Found("columns", ["a", "b"], ParamSource.LITERAL),
        Found("alpha", 1.0, ParamSource.ESTIMATOR),
        Found("rows", 3, ParamSource.LITERAL),
    ]
    assert [param.key for param in settle_params(found)] == ["rows", "columns", "alpha"]


def test_a_point_in_time_is_no_metric() -> None:
    cell = analyze("start = time.time()\nelapsed = time.time() - start")
    assert found_metrics(cell, {"start": 1.7e9, "elapsed": 0.25}) == {"elapsed": 0.25}


def test_what_the_cell_logged_stands(ipython: InteractiveShell) -> None:
    run(ipython, "import mlops_jupyter as mlops, math")
    run(
        ipython,
        "%%track\nfor epoch in range(3):\n    loss = math.exp(-epoch)\n    mlops.log_metric('loss', loss, step=epoch)",
    )
    session = capture.current()
    assert session is not None
    rows = session.store.execute("SELECT step, value FROM metrics WHERE key = 'loss' ORDER BY step")
    assert rows == [(step, math.exp(-step)) for step in range(3)]
