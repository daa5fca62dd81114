"""Comparison, reasons and other values: what needs no kernel."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_jupyter.verification.commands import dangerous_command
from mlops_jupyter.verification.compare import (
    Agreement,
    Facts,
    Value,
    compare_facts,
    compare_numbers,
    compare_texts,
    compare_values,
)
from mlops_jupyter.verification.documents import path_literals, track_of
from mlops_jupyter.verification.outputs import normalise
from mlops_jupyter.verification.perturb import other_values
from mlops_jupyter.verification.reasons import unstable_calls, unstable_names


def number(text: str, kind: str = "float") -> Value:
    return Value(digest=None, summary=text, type_name=kind)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_is_itself(value: float) -> None:
    assert compare_numbers(value, value) is Agreement.SAME
    assert compare_values(number(repr(value)), number(repr(value))) is Agreement.SAME


@given(st.floats(min_value=1e-200, max_value=1e200), st.sampled_from([1 + 1e-9, 1 - 1e-8, 1.01, 2]))
def test_numbers_agree_within_the_tolerance_only(value: float, factor: float) -> None:
    expected = Agreement.CLOSE if abs(factor - 1) < 1e-6 else Agreement.DIFFERENT
    assert compare_numbers(value, value * factor) in (expected, Agreement.SAME if factor != 2 else expected)
    assert compare_values(number(repr(value)), number(repr(value * factor))) in (expected, Agreement.SAME)


@pytest.mark.parametrize(
    ("expected", "got", "agreement"),
    [
        (number("3", "int"), number("4", "int"), Agreement.DIFFERENT),
        (number("3", "int"), number("3.0"), Agreement.DIFFERENT),
        (number("***", "str"), number("***", "str"), Agreement.UNKNOWN),
        (number("{'a': 1.0}", "dict"), number("{'a': 1.0000000001}", "dict"), Agreement.CLOSE),
        (number("[1, 2]", "list"), number("[1, 3]", "list"), Agreement.DIFFERENT),
        (number("ndarray 3", "numpy.ndarray"), number("ndarray 3", "numpy.ndarray"), Agreement.UNKNOWN),
        (number("ndarray 3", "numpy.ndarray"), number("ndarray 4", "numpy.ndarray"), Agreement.DIFFERENT),
        (Value(digest="value1:a~r", summary="x", type_name="t"), Value(digest="value1:b~r", summary="x", type_name="t"),
         Agreement.CLOSE),
        (Value(digest="value1:a~r", summary="x", type_name="t"), Value(digest="value1:b~s", summary="x", type_name="t"),
         Agreement.DIFFERENT),
        (Value(digest="value1:a", summary="x", type_name="t"), Value(digest="sample1:a", summary="x", type_name="t"),
         Agreement.UNKNOWN),
    ],
)  # fmt: skip
def test_values(expected: Value, got: Value, agreement: Agreement) -> None:
    assert compare_values(expected, got) is agreement
    assert compare_values(got, expected) is agreement


def test_texts_agree_but_for_numbers_with_a_point() -> None:
    assert compare_texts("loss 0.125000001 done", "loss 0.125 done") is Agreement.CLOSE
    assert compare_texts("3 rows", "4 rows") is Agreement.DIFFERENT
    assert compare_texts("1000000 rows", "1000001 rows") is Agreement.DIFFERENT


def test_a_name_that_moved_to_the_parameters_is_looked_up_there() -> None:
    facts = Facts(
        key="e", label="In [1]", cell_id="c", position=0, variables={"lr": number("0.1"), "x": number("1", "int")}
    )
    got = {"e": Facts(key="e", label="", cell_id="c", position=0, variables={"x": number("1", "int")})}

    assert compare_facts([facts], got, elsewhere={"lr": number("0.1")}).exact
    (missing,) = compare_facts([facts], got).differences
    assert (missing.name, missing.got) == ("lr", "not assigned")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("t = time.time()", "reads the clock"),
        ("now = datetime.datetime.now()", "reads the clock"),
        ("run = uuid.uuid4().hex", "makes a new id"),
        ("rng = np.random.default_rng()", "generator without a seed"),
        ("RandomForestClassifier(random_state=None)", "random_state=None"),
        ("requests.get(url)", "reads from the network"),
    ],
)
def test_reasons(source: str, reason: str) -> None:
    assert reason in unstable_calls(f"%matplotlib inline\n{source}")[0]


def test_no_reason_where_there_is_a_seed_or_no_python() -> None:
    assert unstable_calls("rng = np.random.default_rng(0)\nx = rng.normal()") == ()
    assert unstable_calls("%%bash\ndate") == ()
    assert unstable_names("a = time.time() - b\nc = 1\n(d, e) = f(uuid.uuid4())") == {"a", "d", "e"}


@pytest.mark.parametrize(
    ("default", "schema", "others"),
    [
        (3, {}, (4, 2)),
        (3, {"maximum": 3}, (2,)),
        (True, {}, (False,)),
        (0.0, {}, (0.1, -0.1)),
        ("a", {"enum": ["a", "b"]}, ("b",)),
        ("data.csv", {}, ()),
        (None, {}, ()),
        (math.inf, {}, ()),
        ([1, 2], {}, ([2, 2], [0, 2])),
    ],
)
def test_other_values(default: object, schema: dict[str, object], others: tuple[object, ...]) -> None:
    assert other_values(default, schema) == others


def test_outputs_without_what_differs_each_time() -> None:
    text = "\x1b[31mred\x1b[0m <A at 0x7f0011223344>\n 10%\r100%\nCPU times: user 3 ms\nWall time: 3 ms\nend  \n"
    assert normalise(text) == "red <A at 0x…>\n100%\nend"


def test_paths_and_track_lines_in_cells() -> None:
    assert path_literals("pd.read_csv('data/a b.csv')\nglob('x/*.csv')\nopen('/etc/x')\nf'in/{n}.txt'") == (
        "data/a b.csv", "x/*.csv", "in/", ".txt",
    )  # fmt: skip
    assert track_of("%%track fit -e exp\nx = 1") == "fit -e exp"
    assert track_of("x = 1") is None


def test_commands_that_name_the_users_files() -> None:
    assert dangerous_command("!rm -rf /home/ann/project/x", root="/home/ann/project") == "/home/ann/project/x"
    assert dangerous_command("%%bash\ncp a ~/b", root="/w") == "~/b"
    assert dangerous_command("!ls -l > out.txt && /usr/bin/env", root="/w") is None
    assert dangerous_command("open('/home/ann/project/x')", root="/home/ann/project") is None


@pytest.mark.parametrize(("recorded", "again"), [("'***'", "'hunter2'"), ("'hunter2'", "'u:***@h'"), ("***", "a")])
def test_where_a_secret_was_taken_out_nothing_is_told(recorded: str, again: str) -> None:
    def facts(text: str) -> Facts:
        value = Value(digest=f"sha256:{text}", summary=text, type_name="str")
        return Facts(
            key="c", label="In [1]", cell_id="c", position=0, variables={"tok": value}, params={"tok": text}, text=text
        )

    found = compare_facts([facts(recorded)], {"c": facts(again)})
    assert not found.differences
    assert found.unknown == 3


def test_files_in_a_temporary_folder_have_another_name_each_time() -> None:
    def facts(folder: str, digest: str) -> Facts:
        files = {f"/tmp/{folder}/a.py": digest}
        return Facts(key="1", label="In [1]", cell_id=None, position=0, files=files)

    expected = [facts("tmpjbslicxe", "sha256:1")]

    assert compare_facts(expected, {"1": facts("tmp0a_b1c2d", "sha256:1")}).exact
    assert not compare_facts(expected, {"1": facts("tmp0a_b1c2d", "sha256:2")}).exact
    assert not compare_facts([facts("results", "sha256:1")], {"1": facts("others", "sha256:1")}).exact
