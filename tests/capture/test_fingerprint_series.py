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


def test_a_pipeline_is_looked_into_and_predicting_leaves_it_as_it_was() -> None:
    sklearn_compose = pytest.importorskip("sklearn.compose")
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    table = pandas.DataFrame({"c": list("abcd") * 50, "v": range(200)})
    encode = sklearn_compose.make_column_transformer((OrdinalEncoder(), ["c"]), remainder="passthrough")
    model = make_pipeline(encode, HistGradientBoostingClassifier(max_iter=5, categorical_features=[0]))
    model.fit(table, table["v"] > 99)
    before = fingerprint(model, budget_nodes=6_000)
    model.predict_proba(table)
    assert before is not None
    assert before.grade is Grade.EXACT
    assert fingerprint(model, budget_nodes=6_000) == before
