"""What an observer keeps, what it leaves alone, and slices of random programs."""

from __future__ import annotations

import ast
import gc
import random
import traceback
import weakref
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

from mlops_jupyter.capture.observer import Observer
from mlops_jupyter.entities import EntityKind, ExecutionId, Grade, SessionId
from tests.capture.notebook import execute, fresh, new_shell, notebook


@pytest.fixture(scope="module")
def shell() -> InteractiveShell:
    return new_shell()


def step(observer: Observer, source: str, namespace: dict[str, Any], number: int = 0) -> Any:
    """Run a cell without a shell."""
    observer.before(source, namespace)
    tree = observer.transform_ast(ast.parse(source))
    error: BaseException | None = None
    try:
        exec(compile(tree, "<cell>", "exec"), namespace)  # type: ignore[arg-type]
    except Exception as raised:
        error = raised
    return observer.after(namespace, execution_id=ExecutionId(f"{number:032x}"), error=error)


class Thing:
    """Something that can be referenced weakly."""


def test_no_reference_to_a_users_object_is_kept() -> None:
    observer = Observer(SessionId("s"))
    namespace: dict[str, Any] = {"make": Thing}
    step(observer, "t = make()\nbox = [t]\nalias = t\nt.v = [1]", namespace)
    step(observer, "t.v.append(2)\nlen(box)", namespace)
    watched = weakref.ref(namespace["t"])
    step(observer, "del t, box, alias", namespace)
    gc.collect()
    assert watched() is None


def test_the_global_generators_are_left_alone() -> None:
    observer = Observer(SessionId("s"))
    state = random.getstate()
    step(observer, "x = [1]\nx.append(2)\nlen(x)", {})
    assert random.getstate() == state


def test_a_name_from_before_capture_gets_a_version_from_outside() -> None:
    observer = Observer(SessionId("s"))
    seen = step(observer, "y = x", {"x": 1})
    outside = [v for v in seen.versions if v.name == "x"]
    assert [(v.execution_id, v.kind) for v in outside] == [(None, EntityKind.VARIABLE)]
    assert [u.version_id for u in seen.uses] == [outside[0].version_id]


def test_a_name_bound_between_cells_gets_a_version_from_outside() -> None:
    observer = Observer(SessionId("s"))
    namespace: dict[str, Any] = {}
    step(observer, "x = 1.5", namespace)
    namespace["x"] = object()
    seen = step(observer, "y = x", namespace)
    assert [v.execution_id for v in seen.versions if v.name == "x"] == [None]


def test_grades_tell_what_was_seen() -> None:
    observer = Observer(SessionId("s"))
    namespace: dict[str, Any] = {}
    step(observer, "g = (i for i in range(3))\na = [1]", namespace)
    seen = step(observer, "next(g)\na.append(2)", namespace)
    assert {v.name: (v.grade, v.strong) for v in seen.versions} == {
        "g": (Grade.ASSUMED, False),
        "a": (Grade.EXACT, False),
    }


def test_secrets_are_not_described() -> None:
    observer = Observer(SessionId("s"))
    seen = step(observer, "api_key = 'abcdef'\nurl = 'https://u:pw12@host/x'", {})
    summaries = " ".join(v.summary or "" for v in seen.versions)
    assert "abcdef" not in summaries
    assert "pw12" not in summaries


def test_probes_do_not_show_in_tracebacks() -> None:
    source = "def f(x):\n    'doc'\n    return 1 / x\n\nf(0)"
    plain: dict[str, Any] = {}
    with pytest.raises(ZeroDivisionError) as bare:
        exec(compile(source, "<cell>", "exec"), plain)
    observer = Observer(SessionId("s"))
    namespace: dict[str, Any] = {}
    observer.before(source, namespace)
    tree = observer.transform_ast(ast.parse(source))
    with pytest.raises(ZeroDivisionError) as probed:
        exec(compile(tree, "<cell>", "exec"), namespace)  # type: ignore[arg-type]
    lines = [[(f.lineno, f.name, f.colno) for f in traceback.extract_tb(e.tb)[1:]] for e in (bare, probed)]
    assert lines[0] == lines[1]
    assert namespace["f"].__doc__ == "doc"
    assert namespace["f"].__code__.co_firstlineno == plain["f"].__code__.co_firstlineno
    assert set(namespace) - {"__builtins__"} == {"f"}


def test_a_probed_function_runs_in_another_process() -> None:
    import subprocess
    import sys

    import cloudpickle

    observer = Observer(SessionId("s"))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    step(observer, "k = 2\ndef f(x):\n    return x * k", namespace)
    function = namespace["f"]
    data = cloudpickle.dumps(function)
    code = f"import pickle; print(pickle.loads({data!r})(21))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "42"


def test_after_without_before_is_nothing() -> None:
    observer = Observer(SessionId("s"))
    assert observer.after({}, execution_id=ExecutionId("e"), error=None).versions == ()


def test_memory_per_execution_is_small() -> None:
    import tracemalloc

    observer = Observer(SessionId("s"))
    namespace: dict[str, Any] = {}
    for number in range(200):
        step(observer, f"x = {number}.5\ny = [x]", namespace)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(500):  # noqa: B007
        step(observer, "x = 0.5\ny = [x]", namespace)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown / 500 < 1_000


# ---------------------------------------------------------------------- random programs

NAMES = st.sampled_from(["a", "b", "c", "d"])
STATEMENTS = st.one_of(
    st.builds("{} = [{}]".format, NAMES, st.integers(0, 9)),
    st.builds("{} = {}".format, NAMES, NAMES),
    st.builds("{} = [{}]".format, NAMES, NAMES),
    st.builds("{} = list({})".format, NAMES, NAMES),
    st.builds("{} = {} + [{}]".format, NAMES, NAMES, st.integers(0, 9)),
    st.builds("{}.append({})".format, NAMES, st.integers(0, 9)),
    st.builds("{} += [{}]".format, NAMES, st.integers(0, 9)),
    st.builds("{}[0] = {}".format, NAMES, st.integers(0, 9)),
    st.builds("{0}.append(len({1}))".format, NAMES, NAMES),
    st.builds("{}.clear()".format, NAMES),
    st.builds("if len({0}) > 2: {0} = {1}".format, NAMES, NAMES),
    st.builds("for {0} in [{1}, {2}]: pass".format, NAMES, NAMES, NAMES),
    st.builds("{0} = [{1}, {2}]".format, NAMES, NAMES, NAMES),
    st.builds("{0}[-1:] = [str({1})]".format, NAMES, NAMES),
)
PROGRAMS = st.lists(st.lists(STATEMENTS, min_size=1, max_size=2).map("\n".join), min_size=3, max_size=12)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(program=PROGRAMS)
def test_the_slice_of_any_variable_gives_its_value_again(
    program: list[str], shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = ["a = []\nb = []\nc = []\nd = []", *program]
    with notebook(shell) as book:
        for cell in cells:
            book.run(cell)
        values = {name: repr(shell.user_ns.get(name)) for name in "abcd"}
        slices = {name: book.slice(name) for name in "abcd"}
    for name, wanted in values.items():
        fresh(shell)
        for number in slices[name]:
            execute(shell, cells[number])
        assert repr(shell.user_ns.get(name)) == wanted, (name, slices[name], cells)
    capsys.readouterr()
