"""Digests of values that mean the same in another process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mlops_jupyter.capture.values import ValueDigests

from .notebook import new_shell, notebook

_VALUES = """
import functools, re, datetime, random, collections, pathlib
import numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.ensemble import RandomForestClassifier
X = np.random.default_rng(0).normal(size=(60, 3)); y = X[:, 0] > 0
frame = pd.DataFrame(X, columns=list("abc")).assign(text=[str(i) for i in range(60)], when=pd.Timestamp("2024-01-01"))
class Thing:
    limit = 3
    def __init__(self): self.items = {"a", "b", ("c", 1), frozenset({1, "x"})}
def f(x, y=2): return x + y
values = dict(X=X, y=y, frame=frame, series=frame.a, index=frame.index, thing=Thing(), cls=Thing, f=f,
    nested={"a": [1, 2.5, {"x", "y"}], "b": (None, True)}, text="äöü", data=b"x" * 100, span=range(3), cut=slice(1, 2),
    pattern=re.compile("a+"), day=datetime.date(2024, 1, 1), path=pathlib.Path("a/b"), partial=functools.partial(f, 1),
    linear=LogisticRegression().fit(X, y), forest=RandomForestClassifier(n_estimators=3, random_state=0).fit(X, y),
    rng=np.random.default_rng(1), twister=random.Random(3), count=collections.Counter("abca"), number=np.float64(0.1))
"""


def _digests(source: str) -> dict[str, str | None]:
    code = f"""{source}
from mlops_jupyter.capture.values import ValueDigests
digests = ValueDigests(everything=True); digests.begin_cell()
print({{name: digests.digest(value) for name, value in values.items()}})"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, str | None] = eval(done.stdout)
    return found


def test_equal_values_have_equal_digests_in_another_process() -> None:
    first, second = _digests(_VALUES), _digests(_VALUES)

    assert None not in first.values()
    assert first == second


@pytest.fixture
def digests() -> ValueDigests:
    made = ValueDigests(everything=True)
    made.begin_cell()
    return made


@pytest.mark.parametrize(
    ("value", "other"),
    [
        ([1, 2, 3], [1, 2, 4]),
        ({"a": 1}, {"a": 1.0}),
        (np.arange(5), np.arange(5) + 1),
        (np.zeros(2), np.zeros((2, 1))),
        (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"b": [1, 2]})),
        ({"x", ("y", 1)}, {"x", ("y", 2)}),
        (range(3), range(4)),
    ],
)
def test_different_values_have_different_digests(digests: ValueDigests, value: object, other: object) -> None:
    assert digests.digest(value) != digests.digest(other)


@pytest.mark.parametrize("scale", [1 + 1e-12, 1 + 1e-6])
def test_the_second_digest_says_whether_floats_agree_to_seven_digits(digests: ValueDigests, scale: float) -> None:
    value = np.random.default_rng(0).normal(size=50)
    exact, _, rounded = str(digests.digest({"w": value})).partition("~")
    other, _, other_rounded = str(digests.digest({"w": value * scale})).partition("~")

    assert exact != other
    assert (rounded == other_rounded) == (scale - 1 < 1e-9)


def test_an_ordinary_session_looks_at_small_values_only() -> None:
    digests = ValueDigests(everything=False)

    def digest(value: object) -> str | None:
        digests.begin_cell()
        return digests.digest(value)

    assert digest(0.1) is None  # its summary says it exactly
    assert str(digest([0.1])).startswith("value1:")
    assert digest(np.zeros(1_000_000)) is None
    assert digest([[i] for i in range(10_000)]) is None
    everything = ValueDigests(everything=True)
    everything.begin_cell()
    small = pd.DataFrame({"a": [1.0, 2.0]})
    assert digest(small) == everything.digest(small)  # so that a record can be held against a replay


def test_a_secret_has_no_digest() -> None:
    with notebook(new_shell()) as book:
        seen = book.run("api_token = 'hunter2-hunter2'\nplain = 'hello there'")

    digests = {v.name: v.digest for v in seen.versions if v.execution_id is not None}
    assert digests["api_token"] is None
    assert str(digests["plain"]).startswith("value1:")
