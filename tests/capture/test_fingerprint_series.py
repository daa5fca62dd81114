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
