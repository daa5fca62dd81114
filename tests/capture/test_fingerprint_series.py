"""A long Series is looked into as a short one is."""

from __future__ import annotations

import pytest

from mlops_jupyter.capture.fingerprint import fingerprint
from mlops_jupyter.entities import Grade

pandas = pytest.importorskip("pandas")


def test_a_long_series_is_known_exactly() -> None:
    series = pandas.Series(range(30_000), name="late")

    before = fingerprint(series)
    assert before is not None
    assert before.grade is Grade.EXACT
    assert fingerprint(series) == before
    series.iloc[17] = -1
    assert fingerprint(series) != before


def test_arrays_of_objects_compare_alike_whatever_the_memory_held_before() -> None:
    """The lists that stand in for such arrays are freed at once, and their addresses come back at random."""
    import numpy

    deep: object = numpy.array([float], dtype=object)
    for _ in range(12):
        deep = [deep]
    value = [numpy.array([name], dtype=object) for name in "abcdef"]
    found = set()
    for number in range(30):
        kept = [[] for _ in range(number)]
        found.add((fingerprint(value), fingerprint(numpy.array([deep, value], dtype=object))))
        del kept
    assert len(found) == 1
    one, other = [numpy.array([x], dtype=object) for x in "aa"], [numpy.array([x], dtype=object) for x in "ab"]
    assert fingerprint(one) != fingerprint(other)
