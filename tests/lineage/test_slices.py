"""Backward slices over recorded histories: what is kept, in which order, and with which certainty."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_jupyter.entities import EntityKind, ExecutionStatus, Grade
from mlops_jupyter.provenance import MemorySource, Slice, backward_slice, without_magics

from .histories import History, training


def sliced(history: History, target: str, **options: object) -> Slice:
    return backward_slice(history.source(), target=target, version=history.version(target), **options)  # type: ignore[arg-type]


def test_keeps_what_the_target_needs_in_the_order_it_ran() -> None:
    found = sliced(training(), "auc")

    assert found.executions == (1, 2, 4, 5, 6, 8, 9, 10)
    assert "aside" not in found.source
    assert found.source.index("read_csv('data/flights.csv')") < found.source.index("model = ")


def test_leaves_out_what_came_later() -> None:
    h = History()
    h.cell("x = 1", writes=["x"])
    h.cell("y = x + 1", reads=["x"], writes=["y"])
    h.cell("x = 5", writes=["x"])

    assert sliced(h, "y").executions == (0, 1)
    assert sliced(h, "x").executions == (2,)


def test_a_mutation_needs_what_it_changed() -> None:
    h = History()
    h.cell("a = []", writes=["a"])
    h.cell("a.append(1)", mutates=["a"])
    h.cell("b = a", reads=["a"], writes=["b"])

    assert sliced(h, "b").executions == (0, 1, 2)


def test_a_mutation_leads_to_the_version_before_even_without_a_recorded_read() -> None:
    h = History()
    h.cell("a = []", writes=["a"])
    h.cell("grow()", mutates=["a"])
    h.uses.clear()

    found = sliced(h, "a")

    assert found.executions == (0, 1)
    assert (1, "a") in found.grade


def test_an_assumed_mutation_is_in_the_safe_slice_and_not_in_the_proven_one() -> None:
    h = History()
    h.cell("a = make()", writes=["a"])
    h.cell("look(a)", mutates=["a"], grade=Grade.ASSUMED)
    h.cell("b = a", reads=["a"], writes=["b"])

    assert sliced(h, "b").executions == (0, 1, 2)
    proven = sliced(h, "b", certainty="proven")
    assert proven.executions == (0, 2)
    assert [(e.user, e.maker) for e in proven.edges if e.name == "a"] == [(2, 0)]
    assert proven.inputs == ()


def test_a_cell_that_ran_twice_is_kept_as_often_as_it_is_needed() -> None:
    h = History()
    h.cell("n = 0", writes=["n"])
    h.cell("n = n + 1", reads=["n"], writes=["n"])
    h.cell("n = n + 10", reads=["n"], writes=["n"])

    found = sliced(h, "n")

    assert found.executions == (0, 1, 2)
    namespace: dict[str, int] = {}
    exec(found.source, namespace)
    assert namespace["n"] == 11


def test_a_failed_execution_that_left_something_is_kept_and_told() -> None:
    h = History()
    h.cell("a = []", writes=["a"])
    h.cell("a.append(1); 1/0", mutates=["a"], status=ExecutionStatus.ERROR)

    found = sliced(h, "a")

    assert found.executions == (0, 1)
    assert "In [2] failed (ValueError: no)" in found.notes[0]


def test_hidden_state_is_followed() -> None:
    h = History()
    h.cell("np.random.seed(0)", writes=["state:numpy.random"])
    h.cell("x = np.random.rand()", mutates=["state:numpy.random"], writes=["x"])
    h.cell("unrelated = 1", writes=["unrelated"])
    h.cell("y = np.random.rand()", mutates=["state:numpy.random"], writes=["y"])

    assert sliced(h, "y").executions == (0, 1, 3)


def test_a_file_written_in_the_session_is_followed_and_one_from_outside_is_an_input() -> None:
    found = sliced(training(), "df")

    assert 4 in found.executions
    assert [(v.kind, v.name) for v in found.inputs] == [(EntityKind.FILE, "data/flights.csv")]


def test_a_file_of_another_session_is_an_input_unless_asked_for() -> None:
    first = History("first", notebook="prepare.ipynb")
    first.cell("write()", writes=["file:shared.csv"])
    second = History("second", notebook="train.ipynb", started=first.started + 100)
    second.shared = {"file:shared.csv": first.version("file:shared.csv")}
    second.cell("df = read()", reads=["file:shared.csv"], writes=["df"])
    source = MemorySource(
        first.executions + second.executions, first.versions + second.versions, first.uses + second.uses
    )

    alone = backward_slice(source, target="df", version=second.version("df"))
    across = backward_slice(source, target="df", version=second.version("df"), across_sessions=True)

    assert [e.notebook for e in alone.kept] == ["train.ipynb"]
    assert [v.name for v in alone.inputs] == ["shared.csv"]
    assert "written by another session" in alone.notes[0]
    assert [e.notebook for e in across.kept] == ["prepare.ipynb", "train.ipynb"]
    assert across.inputs == ()


def test_a_variable_from_before_capture_is_told() -> None:
    h = History()
    h.cell("y = old + 1", reads=["old"], writes=["y"])

    assert sliced(h, "y").notes == ("old was there before capture started; no recorded cell makes it.",)


def test_an_execution_as_target_ends_the_slice() -> None:
    h = training()

    found = backward_slice(h.source(), target="3", execution=h.executions[3])

    assert found.executions == (1, 2, 3)


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("%load_ext mlops_jupyter", ""),
        ("%load_ext mlops_jupyter\nx = 1", "x = 1"),
        ("%load_ext other", "%load_ext other"),
        ("%%track logistic -p C\nx = 1", "x = 1"),
        ("\n%%track\nx = 1", "x = 1"),
        ("x = 1\n%lineage x", "x = 1"),
        ("%track on\nx = 1\n%mlops runs", "x = 1"),
        ("%trackers\nx = 1", "%trackers\nx = 1"),
        ("%%bash\n%lineage x", "%%bash\n%lineage x"),
        ("text = '''\n%lineage x\n'''", "text = '''\n%lineage x\n'''"),
        ("%%track\n%%time\nx = 1", "%%time\nx = 1"),
        ("", ""),
    ],
)
def test_lines_for_this_package_are_left_out(source: str, kept: str) -> None:
    assert without_magics(source) == kept


_NAMES = "abcde"


@given(st.data())
def test_running_the_slice_gives_the_value_that_the_whole_program_gave(data: st.DataObject) -> None:
    h = History()
    statements = []
    for name in _NAMES:
        statements.append(f"{name} = [{ord(name)}]")
        h.cell(statements[-1], writes=[name])
    for step in range(data.draw(st.integers(0, 12))):
        one, two = data.draw(st.sampled_from(_NAMES)), data.draw(st.sampled_from(_NAMES))
        if data.draw(st.booleans()):
            statements.append(f"{one} = {one} + {two} + [{step}]")
            h.cell(statements[-1], reads=[one, two], writes=[one])
        else:
            statements.append(f"{one}.append(len({two}))")
            h.cell(statements[-1], reads=[two], mutates=[one])
    target = data.draw(st.sampled_from(_NAMES))
    whole: dict[str, object] = {}
    exec("\n".join(statements), whole)

    part: dict[str, object] = {}
    exec(sliced(h, target).source, part)

    assert part[target] == whole[target]
