"""Literals become parameters without a change of meaning, and without a change of any other byte."""

from __future__ import annotations

import ast
import contextlib
import io
import keyword
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from nbformat.v4 import new_code_cell
from papermill.translators import PythonTranslator

from mlops_jupyter.errors import UsageError
from mlops_jupyter.notebook._cell_text import read_cell
from mlops_jupyter.notebook.candidates import Candidate, Evidence, choose, find_candidates, places
from mlops_jupyter.notebook.lifting import lift, parameters_schema, parameters_source
from mlops_jupyter.runner.coercion import coerce
from mlops_jupyter.runner.parameters import infer_parameters

PRELUDE = """
class Made:
    def __init__(self, *a, **k): self.a, self.k = a, k
    def __eq__(self, other): return type(other).__name__ == "Made" and (self.a, self.k) == (other.a, other.k)
    def __hash__(self): return 1
    def __repr__(self): return f"Made{self.a}{self.k}"
    def fit(self, *a, **k): return Made(self, *a, **k)
    predict = transform = seed = fit
RandomForestClassifier = KMeans = Ridge = Made
def train_test_split(*a, **k): return [a, k]
def read_csv(*a, **k): return [a, k]
def helper(*a, **k): return [list(a), k]
"""


def executed(*cells: str) -> tuple[dict[str, Any], str]:
    """What plain cells leave behind and print."""
    namespace: dict[str, Any] = {}
    said = io.StringIO()
    exec(PRELUDE, namespace)
    known = set(namespace)
    with contextlib.redirect_stdout(said):
        for cell in cells:
            exec(compile(cell, "<cell>", "exec"), namespace)
    left = {name: value for name, value in namespace.items() if name not in known and not callable(value)}
    return {name: repr(value) if not isinstance(value, dict | list) else value for name, value in left.items()}, (
        said.getvalue()
    )


def check_meaning(cells: list[str], chosen: tuple[Candidate, ...]) -> None:
    """The lifted cells at their defaults do what the original ones did."""
    lifted = lift(cells, chosen)
    before, said_before = executed(*cells)
    after, said_after = executed(parameters_source(lifted.parameters), *lifted.cells)
    new = {p.name for p in lifted.parameters if p.statement is None}
    after = {name: value for name, value in after.items() if name not in new | {"__annotations__"}}
    before.pop("__annotations__", None)
    assert str(after) == str({name: before[name] for name in after})
    assert after.keys() == before.keys()
    assert said_after == said_before


def check_text(cells: list[str], chosen: tuple[Candidate, ...]) -> None:
    """Every byte outside of the places that were changed is still there, in order."""
    lifted = lift(cells, chosen)
    for index, (before, after) in enumerate(zip(cells, lifted.cells, strict=True)):
        mine = [place for candidate in chosen for place in places(candidate) if place[0] == index]
        if not mine:
            assert after == before
            continue
        assert ast.dump(_with(before, chosen, index)) == ast.dump(_tree(after))


class _Replace(ast.NodeTransformer):
    def __init__(self, names: dict[tuple[int, int, int, int], str], gone: set[tuple[int, int, int, int]]) -> None:
        self.names, self.gone = names, gone

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.expr | ast.stmt):
            span = (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)
            if isinstance(node, ast.stmt) and span in self.gone:
                return ast.Pass()
            if isinstance(node, ast.expr) and span in self.names:
                return ast.Name(self.names[span], ast.Load())  # type: ignore[index]
        return super().visit(node)


def _with(source: str, chosen: tuple[Candidate, ...], index: int) -> ast.Module:
    names = {span: c.name for c in chosen if c.statement is None for cell, span in places(c) if cell == index}
    gone = {span for c in chosen if c.statement is not None for cell, span in places(c) if cell == index}
    tree = read_cell(source).tree
    assert tree is not None
    return _without_pass(_Replace(names, gone).visit(tree))


def _tree(source: str) -> ast.Module:
    tree = read_cell(source).tree
    assert tree is not None
    return _without_pass(tree)


def _without_pass(tree: ast.Module) -> ast.Module:
    tree.body = [node for node in tree.body if not isinstance(node, ast.Pass)]
    return tree


def check_cell(chosen: tuple[Candidate, ...]) -> None:
    """The parameters cell says the same to our runner, to papermill, and to the schema."""
    source = parameters_source(chosen)
    read = infer_parameters(source)
    assert [p.name for p in read] == [c.name for c in chosen]
    for parameter, candidate in zip(read, chosen, strict=True):
        assert parameter.known_default
        assert repr(parameter.default) == repr(candidate.default)
        assert coerce(candidate.default, parameter.kind) == candidate.default or candidate.default != candidate.default
    papermill = PythonTranslator.inspect(new_code_cell(source))
    assert [p.name for p in papermill] == [c.name for c in chosen]
    for theirs, candidate in zip(papermill, chosen, strict=True):
        assert repr(ast.literal_eval(theirs.default)) == repr(candidate.default)
    schema = parameters_schema(chosen)
    Draft202012Validator.check_schema(schema)
    defaults = {c.name: _listed(c.default) for c in chosen}
    problems = list(Draft202012Validator(schema).iter_errors(defaults))
    assert not problems, problems


def _listed(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _listed(item) for key, item in value.items()}
    return value


def check_all(cells: list[str], *, run: bool = True) -> tuple[Candidate, ...]:
    """Every invariant, for all candidates at once and for each by itself."""
    candidates = find_candidates(cells)
    names = [c.name for c in candidates]
    assert len(names) == len(set(names))
    for chosen in [choose(candidates, limit=1000), *((c,) for c in candidates if not c.secret)]:
        check_text(cells, chosen)
        check_cell(chosen)
        if run:
            check_meaning(cells, chosen)
    return candidates


# ---- programs ------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["lr", "n", "max_depth", "seed", "epochs", "alpha", "x", "config", "path", "test_size", "data"])
SCALARS = st.one_of(
    st.integers(-3, 10**20), st.floats(), st.booleans(), st.none(),
    st.text(alphabet=st.characters(codec="utf-8"), max_size=8),
    st.sampled_from(["é#=", 'a"b', "日本\n", "data/x.csv", "\\"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def literal_text(value: Any) -> str:
    text = repr(value)
    return text.replace("nan", "1e999").replace("inf", "1e999") if isinstance(value, float) else text


def _is_literal(value: Any) -> bool:
    try:
        ast.literal_eval(repr(value))
    except ValueError:
        return False
    return True


LITERALS = VALUES.filter(_is_literal).map(repr) | st.sampled_from(["1e-3", "-1", "- 2.5", "0x10", "1_000", "+3", "(4)"])


@st.composite
def statements(draw: st.DrawFn) -> str:
    name, value, other = draw(NAMES), draw(LITERALS), draw(LITERALS)
    key = draw(NAMES)
    comment = draw(st.sampled_from(["", "", "  # how many, é", "  # a = 'b' # c"]))
    form = draw(
        st.sampled_from(
            [
                "{name} = {value}{comment}",
                "{name}: object = {value}{comment}",
                "é{name} = RandomForestClassifier(max_depth={value}, n_estimators={other}, random_state=42){comment}",
                "m_{name} = KMeans({value}).fit(alpha={other}).seed(7)",
                "s_{name} = train_test_split([1], test_size={value}, random_state=42){comment}",
                "config_{name} = {{'{key}': {value}, 'é': {other}}}",
                "param_grid = {{'{key}': [1, 2], 'C': ({value},)}}",
                "for {name} in range(2):\n    r_{name} = helper(lr={value}, seed=3)",
                "def f_{name}(lr={value}):\n    '''doc'''\n    {key} = 1\n"
                "    return helper({key}, {name}=0, alpha={other})\nz_{name} = f_{name}()",
                "w_{name} = [helper({name}, n={value}) for {name} in [1, 2]]",
                "g_{name} = (lambda {name}: helper(n_iter={name}, k={value}))(2)",
                "print(f'{{helper(alpha=1)}}', {value})",
                "if True:\n    {name} = {value}",
                "{name} = {value}; q_{name} = helper(lr={other})",
                "t_{name} = helper('a' 'b', sep='x' 'y', C=-1)",
                "with __import__('contextlib').nullcontext(3) as {name}: pass",
                "d_{name} = read_csv('data/x.csv', sep={value}, nrows=5){comment}",
                "class K_{name}:\n    depth = helper(max_depth={value})\nk_{name} = K_{name}.depth",
                "while True:\n    u_{name} = helper(grid={value}, lr=0.5)\n    break",
                "if (v_{name} := helper(epochs=3 if {value} else 4)): pass",
                "import math as {name}",
                "match 3:\n    case 3:\n        y_{name} = helper(alpha={value})",
                "del_{name} = {value}\ndel del_{name}",
                "globals_{name} = 'lr' in globals()",
                "p_{name} = helper(**{{'lr': {value}}}, alpha=2)",
                "@(lambda f: f)\ndef h_{name}():\n    global {key}\n    return helper(beta=2)",
            ]
        )
    )  # fmt: skip
    return form.format(name=name, key=key, value=value, other=other, comment=comment)


@st.composite
def notebooks(draw: st.DrawFn) -> list[str]:
    drawn = draw(st.lists(st.lists(statements(), min_size=1, max_size=3), min_size=1, max_size=3))
    made = ["\n".join(cell) for cell in drawn]
    return made + [made[index] for index in draw(st.lists(st.integers(0, len(made) - 1), max_size=1))]


@settings(max_examples=300, deadline=None)
@given(notebooks())
def test_lifted_cells_at_their_defaults_do_the_same(cells: list[str]) -> None:
    try:
        executed(*cells)
    except Exception:
        assume(False)
    check_all(cells)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="ab=1\"'()[]{}%!?#:\n\t ,.éfor_def\\\r", max_size=40), max_size=3))
def test_no_text_breaks_the_finder(cells: list[str]) -> None:
    for candidate in find_candidates(cells):
        assert candidate.name.isidentifier() and not keyword.iskeyword(candidate.name)


# ---- what is never lifted ------------------------------------------------------------------------------------------

NEVER = [
    # cells, name or literal that must not become a parameter
    (["lr = 0.1", "lr = 0.2"], "lr"),
    (["lr = 0.1", "lr += 1"], "lr"),
    (["lr = 0.1", "for lr in [1, 2]: pass"], "lr"),
    (["n = 3", "with open('f') as n: pass"], "n"),
    (["n = 3", "import numpy as n"], "n"),
    (["n = 3", "from m import n"], "n"),
    (["n = 3", "def f():\n    global n\n    n = 4"], "n"),
    (["n = 3", "del n"], "n"),
    (["n = 3", "if (n := 4): pass"], "n"),
    (["n = 3", "[(n := y) for y in [1]]"], "n"),
    (["n = 3", "try: pass\nexcept Exception as n: pass"], "n"),
    (["n = 3", "match x:\n    case {'a': n}: pass"], "n"),
    (["n = 3", "def n(): pass"], "n"),
    (["n = 3", "class n: pass"], "n"),
    (["n = 3", "(n, m) = (1, 2)"], "n"),
    (["n = 3", "%time n = 4"], "n"),
    (["n = 3", "n = !ls"], "n"),
    (["n = 3", "%%bash --out n\nls"], "n"),
    (["n = 3", "%%capture n\nprint(1)"], "n"),
    (["n = 3", "exec('n = 5')"], "n"),
    (["n = 3", "globals()['n'] = 5"], "n"),
    (["n = 3", "from module import *"], "n"),
    (["n = 3", "%run other.py"], "n"),
    (["n = 3", "this is ( not python n"], "n"),
    (["n: int = 3", "n: int = 4"], "n"),
    (["if x:\n    lr = 0.1"], "lr"),
    (["try:\n    lr = 0.1\nexcept E: pass"], "lr"),
    (["lr = mr = 0.1"], "lr"),
    (["list = [1]"], "list"),
    (["id = 3"], "id"),
    (["match = 3"], "match"),
    (["_ = 3"], "_"),
    (["__version__ = '1.0'"], "__version__"),
    (["In = 3"], "In"),
    (["x = b'bytes'"], "x"),
    (["x = {1, 2}"], "x"),
    (["x = 1j"], "x"),
    (["x = ..."], "x"),
    (["f = f'{lr:.3f}'"], "f"),
    (["path = 'data/' 'x.csv'"], "path"),
    (["f(path='data/' 'x.csv')"], "path"),
    (["def f(): 'max_depth'"], "f"),
    (["@g(max_depth=3)\ndef f(): pass"], "max_depth"),
    (["x: C(max_depth=3) = g()"], "max_depth"),
    (["def f(a: C(max_depth=3)): pass"], "max_depth"),
    (["print(f'{C(max_depth=3)}')"], "max_depth"),
    (["%time f(max_depth=3)"], "max_depth"),
    (["%%timeit\nf(max_depth=3)"], "max_depth"),
    (["%%bash\nf(max_depth=3)"], "max_depth"),
    (["!run max_depth=3"], "max_depth"),
    (["for i in y:\n    f(param_grid={'C': [1]})"], "param_grid"),
    (["f(max_depth=3)\nprint(globals())"], "max_depth"),
    (["from m import *\nf(max_depth=3)"], "max_depth"),
]


@pytest.mark.parametrize(("cells", "name"), NEVER)
def test_what_could_change_the_meaning_is_never_offered(cells: list[str], name: str) -> None:
    assert name not in {c.name for c in find_candidates(cells)}


def test_a_tagged_cell_may_be_worked_on_later() -> None:
    cells = ["lr = 0.1", "lr = lr / 2", "n = 2"]
    tagged = Evidence(tagged=frozenset({0}))
    found = {c.name: c for c in find_candidates(cells, evidence=tagged)}
    assert found["lr"].origin == "tagged"
    assert lift(cells, [found["lr"]]).cells == ("", "lr = lr / 2", "n = 2")
    for earlier in (["print(lr)", "lr = 0.1", "lr = 2"], ["def f(): return lr", "lr = 0.1", "lr = 2"]):
        again = find_candidates(earlier, evidence=Evidence(tagged=frozenset({1})))
        assert "lr" not in {c.name for c in again}


# ---- names, types, help --------------------------------------------------------------------------------------------


def found(*cells: str, evidence: Evidence | None = None) -> dict[str, Candidate]:
    return {c.name: c for c in find_candidates(cells, evidence=evidence)}


def test_colliding_names_are_prefixed() -> None:
    names = found(
        "rf = RandomForestClassifier(max_depth=3)\nRandomForestRegressor(max_depth=4).fit(x)\nmax_leaf_nodes = g()\n"
        "f(max_leaf_nodes=7)\nlr = 0.1\nAdam(lr=0.2)"
    )
    assert {"rf_max_depth", "random_forest_max_depth", "f_max_leaf_nodes", "lr", "adam_lr"} <= names.keys()
    assert names["rf_max_depth"].argument == "max_depth"


def test_a_keyword_of_python_gets_an_underscore() -> None:
    assert found("c = LGBMClassifier(**{'lambda': 0.1})\nparams = {'lambda': 0.1}")["lambda_"].annotation == "float"


def test_one_seed_given_in_several_places_is_one_parameter() -> None:
    cells = [
        "np.random.seed(42)\na = train_test_split(x, random_state=42)",
        "m = RandomForestClassifier(random_state=42)",
    ]
    seeds = [c for c in find_candidates(cells) if c.origin == "seed"]
    assert len(seeds) == 1
    assert len(places(seeds[0])) == 3
    lifted = lift(cells, seeds)
    assert not any("42" in cell for cell in lifted.cells)
    other = [c.name for c in find_candidates([*cells, "KMeans(random_state=7)"]) if c.origin == "seed"]
    assert len(other) == 2


TYPES = [
    ("RandomForestClassifier(max_depth=None)", "max_depth", "int | None"),
    ("RandomForestClassifier(max_depth=3)", "max_depth", "int"),
    ("Ridge(alpha=1)", "alpha", "float"),
    ("f(learning_rate=1e-3)", "learning_rate", "float"),
    ("train_test_split(X, test_size=100)", "test_size", "int"),
    ("train_test_split(X, test_size=0.25)", "test_size", "float"),
    ("SVC(gamma='scale')", "gamma", "float | str"),
    ("hidden = (64, 32)", "hidden", "tuple[int, ...]"),
    ("sizes = [1, 2.5]", "sizes", "list[float]"),
    ("levels = ['a', None]", "levels", "list[str | None]"),
    ("grid = {'C': [1, 10]}", "grid", "dict[str, list[int]]"),
    ("lr: float = 1", "lr", "float"),
    ("import typing as t\nlr: t.Optional[int] = None", "lr", "int | None"),
    ("mode: 'Literal[\"a\"]' = 'a'", "mode", "str"),
    ("n: int = 'no int'", "n", "str"),
    ("flag = True", "flag", "bool"),
    ("threshold = -0.5", "threshold", "float"),
]


@pytest.mark.parametrize(("cell", "name", "annotation"), TYPES)
def test_types(cell: str, name: str, annotation: str) -> None:
    candidate = found(cell)[name]
    assert candidate.annotation == annotation
    check_cell((candidate,))


HELP = [
    ("lr = 0.1  # learning rate", "lr", "learning rate"),
    ("# how many rows\nn = 3\n", "n", "how many rows"),
    ("# a heading\na = 3\nb = 4", "a", ""),
    ("# one\n# two\nn = 3\n", "n", ""),
    ("n = 3  # noqa: E501", "n", ""),
    ("n = 3  # type: int", "n", ""),
    ("n = 3  # old_n = 4", "n", ""),
    ("x = '# no comment'", "x", ""),
    ("f(\n    lr=0.1,  # step\n    epochs=3,  # times\n)", "lr", "step"),
    ("f(\n    lr=0.1,  # step\n    epochs=3,  # times\n)", "epochs", "times"),
    ("f(test_size=0.2, random_state=1)  # held back", "test_size", "held back"),
    ("f(test_size=0.2, random_state=1)  # held back", "random_state", ""),
    ("%matplotlib inline\nn = 3  # é ✓", "n", "é ✓"),
]


@pytest.mark.parametrize(("cell", "name", "text"), HELP)
def test_help(cell: str, name: str, text: str) -> None:
    assert found(cell)[name].help == text


# ---- text ----------------------------------------------------------------------------------------------------------

EDITS = [
    ("é = f('ü', lr=0.1)  # ß", "lr", "é = f('ü', lr=lr)  # ß"),
    ("%matplotlib inline\nx = !ls\ny = f(\n  lr = 1e-3,\n)\n%time z\n", "lr",
     "%matplotlib inline\nx = !ls\ny = f(\n  lr = lr,\n)\n%time z\n"),
    ("%%time\nf(lr=-1)\n", "lr", "%%time\nf(lr=lr)\n"),
    ("f(lr=-1)\r\ng()\r\n", "lr", "f(lr=lr)\r\ng()\r\n"),
    ("f(lr=(0.1))", "lr", "f(lr=(lr))"),
    ("x = f(alpha=1if y else 2)", "alpha", None),
    ("a = 1; lr = 0.1; b = 2", "lr", "a = 1; pass; b = 2"),
    ("lr = 0.1  # rate\nb = g()\n", "lr", "b = g()\n"),
    ("a = g()\nlr = 0.1", "lr", "a = g()\n"),
    ("grid = {\n  'C': [1],  # c\n}  # g\nb = g()\n", "grid", "b = g()\n"),
    ("f(a)(b, lr=0.1).g(h(i(1)))", "lr", "f(a)(b, lr=lr).g(h(i(1)))"),
    ("def f(x):\n    return g(x, max_depth=3)\n", "max_depth", "def f(x):\n    return g(x, max_depth=max_depth)\n"),
    ("def f(max_depth=3): return max_depth", "f_max_depth", "def f(max_depth=f_max_depth): return max_depth"),
    ("text = '''\n%d\n'''\nf(lr=0.1)", "lr", "text = '''\n%d\n'''\nf(lr=lr)"),
    ("await g(lr=0.1)", "lr", "await g(lr=lr)"),
    ("g?\nf(lr=0.1)", "lr", "g?\nf(lr=lr)"),
]  # fmt: skip


@pytest.mark.parametrize(("cell", "name", "expected"), EDITS)
def test_text_of_a_lifted_cell(cell: str, name: str, expected: str | None) -> None:
    candidates = found(cell)
    if expected is None:
        assert name not in candidates
    else:
        assert lift([cell], [candidates[name]]).cells == (expected,)


def test_hostile_help_and_values_stay_on_their_line() -> None:
    cell = "path = 'data/#=x\\u2028.csv'  # a = b\x0c; import os\nC = 3  # type: x"
    chosen = choose(find_candidates([cell]), limit=9)
    assert len(parameters_source(chosen).splitlines()) == len(chosen)
    check_cell(chosen)


# ---- evidence, secrets, choice -------------------------------------------------------------------------------------


def test_evidence_ranks() -> None:
    cells = ["width = 3\nheight = 4\nf(zeta=1, eta_=2)", "c = 5"]
    evidence = Evidence(changed={"height": (3, 4)}, run_params={"zeta": "1"}, earlier={1: ["c = 4"]})
    candidates = find_candidates(cells, evidence=evidence)
    reasons = {c.name: c.reason for c in candidates}
    assert [c.name for c in candidates][:2] == ["height", "c"]
    assert reasons["height"] == reasons["c"] == "changed between executions"
    assert reasons["zeta"] == "recorded as a parameter of runs"


@pytest.mark.parametrize(
    "cell",
    ["api_key = 'q7w8e9r0'", "f(password='hunter22')", "t = 'ghp_0123456789abcdefghij0123'",
     "config = {'token': 'abcdefgh'}",
     "connect('x', key='sk-abcdefghijklmnopqrstuvwx')", "url = 'postgresql://me:hunter2@host/db'"],
)  # fmt: skip
def test_a_secret_is_never_a_default(cell: str) -> None:
    candidates = find_candidates([cell])
    secrets = [c for c in candidates if c.secret]
    assert len(secrets) == 1
    (secret,) = secrets
    assert secret.default == f"env:{secret.name.upper()}"
    literal = next(n.value for n in ast.walk(ast.parse(cell)) if isinstance(n, ast.Constant) and len(str(n.value)) > 7)
    shown = repr(candidates) + parameters_source([secret]) + str(parameters_schema([secret]))
    assert literal not in shown
    assert not [c for c in choose(candidates) if c.secret]
    assert choose(candidates, names=[secret.name]) == (secret,)
    assert literal not in "".join(lift([cell], [secret]).cells)


def test_choice() -> None:
    cells = ["config = {'lr': 0.1, 'epochs': 3}", "n_clusters = 4", *(f"v{i} = {i + 1}" for i in range(12))]
    candidates = find_candidates(cells)
    assert len(choose(candidates)) == 8
    assert {"config", "lr", "epochs"} <= {c.name for c in candidates}
    assert "config" not in {c.name for c in choose(candidates, limit=100)}
    assert [c.name for c in choose(candidates, names=["v3", "config", "v3"])] == ["v3", "config"]
    with pytest.raises(UsageError, match="'nothing' is no literal"):
        choose(candidates, names=["nothing"])
    with pytest.raises(UsageError, match="part of another"):
        choose(candidates, names=["config", "lr"])
    assert choose([]) == () == find_candidates([])


def test_a_cell_that_is_there_twice_has_one_parameter() -> None:
    cell = "lr = 0.1\nm = f(max_depth=3)\nfilled = [1]"
    names = found(cell, "g(lr)", cell)
    assert len(places(names["lr"])) == len(places(names["max_depth"])) == 2
    assert "filled" not in names
    after = "m = f(max_depth=max_depth)\nfilled = [1]"
    assert lift([cell, "g(lr)", cell], [names["lr"], names["max_depth"]]).cells == (after, "g(lr)", after)
    assert "lr" not in found(cell, "lr = 0.2", cell)


def test_a_star_import_before_the_parameters_overwrites_none() -> None:
    cells = ["from m import *", "print(n)\nf(max_depth=3)", "n = 3\nk = 4"]
    assert not find_candidates(cells)
    assert {c.name for c in find_candidates(cells, before=1)} == {"max_depth", "k"}
