"""What a pickle names is read without running it, and nothing that unpickling looks up is missed."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import io
import pickle
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_jupyter.registry.pickled import named

LEAVES = st.one_of(
    st.none(), st.integers(), st.text(), st.floats(allow_nan=False), st.binary(),
    st.builds(decimal.Decimal, st.integers()), st.builds(fractions.Fraction, st.integers()),
    st.dates(), st.timedeltas(), st.just(np.arange(3)), st.just(np.float32(1)), st.sampled_from([len, dict, datetime]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=3), inner, max_size=4),
        st.builds(collections.deque, st.lists(inner, max_size=3)),
        st.builds(lambda v: collections.OrderedDict(a=v, b=v), inner),
    ),
    max_leaves=12,
)


class Witness(pickle.Unpickler):
    """Notes what it looks up."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.found: set[tuple[str, str]] = set()

    def find_class(self, module: str, name: str, /) -> Any:
        self.found.add((module, name))
        return super().find_class(module, name)


@given(VALUES, st.integers(0, 5))
def test_nothing_that_is_looked_up_is_missed(value: Any, protocol: int) -> None:
    data = cloudpickle.dumps(value, protocol=max(protocol, 2))
    witness = Witness(data)
    witness.load()
    assert named(data).names == frozenset(witness.found)


def test_code_of_a_notebook_is_told_from_a_name() -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("class Inside:\n    pass\ndef f(x): return x", space)
    assert named(cloudpickle.dumps(space["Inside"]())).by_value
    assert named(cloudpickle.dumps(space["f"])).by_value
    assert not named(cloudpickle.dumps(decimal.Decimal(1))).by_value


@pytest.mark.parametrize("data", [b"", b"no pickle", pickle.dumps([1])[:-1]])
def test_what_is_no_pickle_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        named(data)
