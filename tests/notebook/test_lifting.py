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
    exec(PRELUDE, namespace)  # noqa: S102 - programs made by the test
    known = set(namespace)
    with contextlib.redirect_stdout(said):
        for cell in cells:
            exec(compile(cell, "<cell>", "exec"), namespace)  # noqa: S102
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
    gone = {c.statement for c in chosen if c.statement is not None and c.cell == index}
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
    st.text(alphabet=st.characters(codec="utf-8"), max_size=8), st.sampled_from(["é#=", 'a"b', "日本\n", "data/x.csv", "\\"]),
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
                "def f_{name}(lr={value}):\n    '''doc'''\n    {key} = 1\n    return helper({key}, {name}=0, alpha={other})\nz_{name} = f_{name}()",
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
    return ["\n".join(cell) for cell in draw(st.lists(st.lists(statements(), min_size=1, max_size=3), min_size=1, max_size=3))]


@settings(max_examples=300, deadline=None)
@given(notebooks())
def test_lifted_cells_at_their_defaults_do_the_same(cells: list[str]) -> None:
    try:
        executed(*cells)
    except Exception:  # noqa: BLE001 - a program that fails is another test's matter
        assume(False)
    check_all(cells)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="ab=1\"'()[]{}%!?#:\n\t ,.éfor_def\\\r", max_size=40), max_size=3))
def test_no_text_breaks_the_finder(cells: list[str]) -> None:
    for candidate in find_candidates(cells):
        assert candidate.name.isidentifier() and not keyword.iskeyword(candidate.name)
