"""Differences between two states of a namespace."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mlops_jupyter.capture.namespace import compare, snapshot

VALUES = [[number] for number in range(4)]
NAMESPACES = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(VALUES))


@given(NAMESPACES, NAMESPACES)
def test_any_two_namespaces(one: dict[str, Any], other: dict[str, Any]) -> None:
    before, after = snapshot(one), snapshot(other)
    changed, gone = compare(before, after)
    assert changed == [name for name in other if one.get(name) is not other[name]]
    assert gone == [name for name in one if name not in other]


@given(NAMESPACES, st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.sampled_from(VALUES)), max_size=4))
def test_a_namespace_that_cells_work_on(space: dict[str, Any], steps: list[tuple[str, Any]]) -> None:
    before, old = snapshot(space), dict(space)
    for name, value in steps:
        if value is None:
            space.pop(name, None)
        else:
            space[name] = value
    after = snapshot(space, before)
    changed, gone = compare(before, after)
    assert set(changed) == {name for name in space if old.get(name) is not space[name]}
    assert set(gone) == old.keys() - space.keys()
    assert list(after) == list(space)
    if list(old.items()) == list(space.items()):
        assert after is before
