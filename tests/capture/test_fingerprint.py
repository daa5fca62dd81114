"""Fingerprints see changes, stay equal without one, and run no code of the user's."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_jupyter.capture.fingerprint import describe, fingerprint
from mlops_jupyter.entities import Grade


class Hostile:
    """Every hook raises what no handler would expect."""

    def _refuse(self, *_: object, **__: object) -> Any:
        raise SystemError("user code ran")

    __eq__ = __ne__ = __lt__ = __hash__ = __repr__ = __str__ = __len__ = __iter__ = _refuse  # type: ignore[assignment]
    __bool__ = __sizeof__ = __reduce__ = __reduce_ex__ = __getstate__ = __dir__ = __format__ = _refuse  # type: ignore[assignment]
    __getattribute__ = __class_getitem__ = __array__ = __index__ = __call__ = _refuse  # type: ignore[assignment]
    __class__ = property(_refuse)  # type: ignore[assignment]


class HostileMeta(type):
    def _refuse(cls, *_: object) -> Any:
        raise SystemError("user code ran")

    __hash__ = __eq__ = __getattribute__ = __instancecheck__ = __subclasscheck__ = _refuse  # type: ignore[assignment]
    mro_ok = True


def hostile_class() -> Any:
    return HostileMeta("Nasty", (), {})


def digest(value: object) -> str:
    found = fingerprint(value)
    assert found is not None
    return found.digest


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "list": (lambda: [1, [2]], lambda v: v[1].append(3)),
    "dict": (lambda: {"a": {"b": 1}}, lambda v: v["a"].update(b=2)),
    "set": (lambda: {1, 2}, lambda v: v.add(3)),
    "bytearray": (lambda: bytearray(b"ab"), lambda v: v.append(1)),
    "array": (lambda: np.zeros(10), lambda v: v.__setitem__(9, 1.0)),
    "strided array": (lambda: np.zeros((10, 3))[:, 1], lambda v: v.__setitem__(9, 1.0)),
    "fortran array": (lambda: np.zeros((10, 3), order="F"), lambda v: v.__setitem__((9, 2), 1.0)),
    "object array": (lambda: np.array([1, "a", None], dtype=object), lambda v: v.__setitem__(0, 2)),
    "dates": (lambda: np.array(["2020-01-01"], dtype="M8[D]"), lambda v: v.__setitem__(0, "2021-01-01")),
    "scalar array": (lambda: np.array(1.0), lambda v: v.__setitem__((), 2.0)),
    "frame": (lambda: pd.DataFrame({"a": [1, 2]}), lambda v: v.__setitem__("b", 1)),
    "frame value": (lambda: pd.DataFrame({"a": [1, 2]}), lambda v: v.loc.__setitem__((0, "a"), 9)),
    "frame text": (lambda: pd.DataFrame({"a": ["x", "y"]}), lambda v: v.loc.__setitem__((0, "a"), "z")),
    "frame index": (lambda: pd.DataFrame({"a": [1, 2]}), lambda v: setattr(v, "index", [5, 6])),
    "frame columns": (lambda: pd.DataFrame({"a": [1, 2]}), lambda v: setattr(v, "columns", ["q"])),
    "categorical": (lambda: pd.Series(["a", "b"], dtype="category"), lambda v: v.__setitem__(0, "b")),
    "nullable": (lambda: pd.Series([1, None], dtype="Int64"), lambda v: v.__setitem__(0, 7)),
    "generator": (lambda: np.random.default_rng(0), lambda v: v.random()),
    "random": (lambda: random.Random(1), lambda v: v.random()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen_and_no_change_is_not(name: str) -> None:
    make, change = CHANGES[name]
    value = make()
    before = fingerprint(value)
    assert before is not None
    assert fingerprint(value) == before
    change(value)
    assert digest(value) != before.digest


def test_reading_a_frame_does_not_change_it() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    frame["c"] = ["x", "y"]
    frame["d"] = 5
    before = fingerprint(frame)
    frame.describe()
    _ = frame.values
    frame.groupby("a").sum()
    frame.sort_values("b")
    assert fingerprint(frame) == before
    assert before is not None and before.grade is Grade.EXACT


@pytest.mark.parametrize(
    "value", [(i for i in ()), threading, iter([1]), Path(__file__).open()], ids=["generator", "module",  # noqa: SIM115
    "iterator", "file"]
)  # fmt: skip
def test_opaque_values(value: Any) -> None:
    found = fingerprint(value)
    assert found is None or found.grade is Grade.ASSUMED
    if hasattr(value, "close"):
        value.close()


def test_large_buffers_are_sampled() -> None:
    found = fingerprint(np.zeros(10_000_000), budget_bytes=1_000_000)
    assert found is not None
    assert found.grade is Grade.SAMPLED


def test_cycles_end() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert digest(value) == digest(value)


def test_deep_nesting_ends() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert fingerprint(value) is not None
    while value:  # taken apart by hand: a deep chain would overflow the stack when it is freed
        value = value[0]


def test_no_user_code_runs() -> None:
    hostile = Hostile()
    for value in (hostile, [hostile], {"k": hostile}, (hostile,), hostile_class(), [hostile_class()]):
        assert fingerprint(value) is not None
        assert describe(value).type_name


def test_estimators_are_exact_and_predicting_changes_nothing() -> None:
    from sklearn.ensemble import RandomForestClassifier

    features = np.arange(20.0).reshape(10, 2)
    target = np.array([0, 1] * 5)
    model = RandomForestClassifier(3, random_state=0)
    unfitted = digest(model)
    model.fit(features, target)
    fitted = fingerprint(model)
    assert fitted is not None and fitted.grade is Grade.EXACT
    assert fitted.digest != unfitted
    model.predict(features)
    assert fingerprint(model) == fitted


@pytest.mark.parametrize(
    ("value", "summary"),
    [
        (0.1, "0.1"),
        ("a", "'a'"),
        ([1, 2], "[1, 2]"),
        ({"a": 1}, "{'a': 1}"),
        (list(range(100)), "list of 100"),
        (np.zeros((150, 4)), "ndarray 150 × 4 float64"),
        (pd.DataFrame({"a": [1], "b": [2]}), "DataFrame 1 × 2"),
        (pd.Series([1, 2]), "Series of 2 int64"),
        (random, "module random"),
        (None, "None"),
    ],
    ids=str,
)
def test_descriptions(value: Any, summary: str) -> None:
    assert describe(value).summary == summary


def test_description_of_a_frame_has_shape_and_columns() -> None:
    found = describe(pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}))
    assert found.shape == (2, 2)
    assert found.schema == (("a", "int64"), ("b", "float64"))
    assert found.type_name == "pandas.DataFrame" or found.type_name.endswith("frame.DataFrame")


def test_long_texts_are_cut() -> None:
    assert len(describe("x" * 10_000).summary) <= 200
    assert len(describe("\x00" * 10_000).summary) <= 200
