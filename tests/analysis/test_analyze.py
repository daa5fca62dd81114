"""What the text of a cell says."""

from __future__ import annotations

import pytest

from mlops_jupyter.analysis import CallKind, TouchKind, ValueKind, analyze


def exposed(source: str) -> set[str]:
    return {load.name for load in analyze(source).loads if load.exposed}


def certain(source: str) -> set[str]:
    return {store.name for store in analyze(source).stores if store.certain}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("y = x", {"x"}),
        ("x = 1\ny = x", set()),
        ("y = x\nx = 1", {"x"}),
        ("x += 1", {"x"}),
        ("[i for i in xs if i < k]", {"xs", "k"}),
        ("(lambda a, b=c: a + d)(1)", {"c", "d"}),
        ("if f:\n    x = 1\ny = x", {"f", "x"}),
        ("if f:\n    x = 1\nelse:\n    x = 2\ny = x", {"f"}),
        ("for i in r:\n    x = i\ny = x", {"r", "x"}),
        ("try:\n    x = 1\nexcept ValueError as e:\n    x = 2\ny = x", {"ValueError"}),
        ("def f(a=k):\n    return g", {"k"}),
        ("class A(B):\n    x = y\n    z = x", {"B", "y"}),
        ("with open(p) as f:\n    f.read()", {"open", "p"}),
        ("del x", set()),
        ("print(f'{x:{w}}')", {"print", "x", "w"}),
        ("get_ipython().system('ls {d} $e')", {"d", "e"}),
        ("get_ipython().run_line_magic('time', 'y = x')", {"x"}),
        ("get_ipython().run_cell_magic('time', '', 'y = x\\n')", {"x"}),
        ("get_ipython().run_cell_magic('bash', '', 'echo x\\n')", set()),
        ("match v:\n    case [a, *b]:\n        c = a", {"v"}),
    ],
)
def test_exposed_loads(source: str, names: set[str]) -> None:
    assert exposed(source) == names


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("a, (b, *c) = v", {"a", "b", "c"}),
        ("import os.path, sys as s", {"os", "s"}),
        ("for i in r: j = 1", set()),
        ("while c: j = 1", set()),
        ("with o as f: g = 1", {"f", "g"}),
        ("x: int = 1", {"x"}),
        ("x: int", set()),
        ("print(y := 1)", {"print"} - {"print"} | {"y"}),
        ("get_ipython().run_cell_magic('timeit', '', 'y = x\\n')", set()),
    ],
)
def test_certain_stores(source: str, names: set[str]) -> None:
    assert certain(source) == names


def test_functions_tell_the_globals_they_use() -> None:
    (function,) = analyze("def f(a):\n    global n\n    n += 1\n    log.append(a)\n    return k").functions
    assert function.reads == {"n", "log", "k"}
    assert function.writes == {"n"}
    assert {(t.name, t.kind) for t in function.touches} == {
        ("n", TouchKind.AUGMENTED),
        ("log", TouchKind.RECEIVER),
    }


def test_a_local_that_stands_for_a_global_touches_it() -> None:
    (function,) = analyze("def f():\n    h = log\n    h.append(1)").functions
    assert [(t.name, t.direct) for t in function.touches] == [("log", False)]


def test_assignments_and_literals() -> None:
    analysis = analyze("lr = -0.1\nparams = {'a': [1, None]}\nn = len(x)\ns = df.shape[0]\nz = f()\nlr2: float = 1e-3")
    assert analysis.literals == {"lr": -0.1, "params": {"a": [1, None]}, "lr2": 1e-3}
    kinds = {a.name: a.kind for a in analysis.assignments}
    assert kinds["n"] is ValueKind.LEN
    assert kinds["s"] is ValueKind.SHAPE
    assert kinds["z"] is ValueKind.OTHER


def test_a_name_bound_again_to_no_literal_is_none() -> None:
    assert analyze("a = 1\na = f()").literals == {}


def test_keyword_literals_have_their_place() -> None:
    (found,) = analyze("m = Forest(max_depth=3, n=k)").keyword_literals
    assert (found.callee, found.keyword, found.value, found.column) == ("Forest", "max_depth", 3, 21)


def test_fits_and_scores() -> None:
    calls = analyze(
        "m.fit(X, y, sample_weight=w)\nacc = metrics.accuracy_score(y, m.predict(X))\nm.score(X, y)"
    ).known_calls
    assert [(c.kind, c.function, c.receiver, c.targets) for c in calls] == [
        (CallKind.FIT, "fit", "m", ()),
        (CallKind.SCORE, "accuracy_score", "metrics", ("acc",)),
        (CallKind.SCORE, "score", "m", ()),
    ]
    assert calls[1].arguments == ("y", "m.predict(X)")
    assert calls[0].keywords == (("sample_weight", "w"),)


def test_displayed_expression() -> None:
    shown = analyze("x = 1\nx").displayed
    assert shown is not None and shown.name == "x"
    assert analyze("x;").displayed is None
    assert analyze("x = 1").displayed is None


def test_paths_magics_and_imports() -> None:
    analysis = analyze(
        "import pandas as pd\ndf = pd.read_csv('data/a.csv')\nget_ipython().run_line_magic('run', 'f.py')"
    )
    assert [p.text for p in analysis.path_literals] == ["data/a.csv"]
    assert [(m.name, m.line) for m in analysis.magics] == [("run", "f.py")]
    assert [(i.module, i.bound) for i in analysis.imports] == [("pandas", "pd")]


@pytest.mark.parametrize("source", ["x = = 1", "\x00", "(" * 500, "x = '" + "a" * 10])
def test_bad_text_is_told(source: str) -> None:
    assert analyze(source).syntax_error


def test_a_deep_cell_is_known_by_its_names_or_told() -> None:
    analysis = analyze("x = " + "+".join(["a"] * 20_000))
    assert analysis.syntax_error or {x.name for x in analysis.loads} == {"a"}
    assert analysis.dynamic or not analysis.syntax_error


def test_a_large_literal_is_one_store() -> None:
    assert certain("x = [" + "1," * 100_000 + "]") == {"x"}
