"""Names travel to MLflow and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_jupyter.tracking.names import KEY_LIMIT, escape_key, is_shortened, unescape_key

NASTY = st.text(alphabet="_x01F5./ a%\n-:é<", max_size=30)
LONG = st.text(alphabet="_x1/.%aé", min_size=200, max_size=300)
KEYS = st.one_of(st.text(max_size=40), NASTY, LONG)


@given(KEYS)
def test_mlflow_takes_every_escaped_name(key: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

    name = escape_key(key)
    for validate in (_validate_metric_name, _validate_param_name, _validate_tag_name):
        validate(name)
    assert 0 < len(name) <= KEY_LIMIT


@given(KEYS)
def test_what_fits_comes_back(key: str) -> None:
    assert is_shortened(key) or unescape_key(escape_key(key)) == key


@given(KEYS, KEYS)
def test_different_keys_have_different_names(one: str, other: str) -> None:
    assert (escape_key(one) == escape_key(other)) == (one == other)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("accuracy", "accuracy"),
        ("val/loss", "val/loss"),
        ("préc: 0.5", "préc: 0.5"),
        ("f1 (macro)", "f1 _x28_macro_x29_"),
        ("<script>", "_x3C_script_x3E_"),
        ("../a", "_x2E_./a"),
        ("a//b/", "a/_x2F_b_x2F_"),
        ("", "_x0_"),
        ("_x28_", "_x5F_x28_"),
    ],
)
def test_names_stay_readable(key: str, name: str) -> None:
    assert (escape_key(key), unescape_key(name)) == (name, key)


def test_a_long_name_keeps_its_beginning() -> None:
    name = escape_key("layer/" * 100)
    assert name.startswith("layer/layer/")
    assert len(name) <= KEY_LIMIT
    assert unescape_key(name).endswith("…")


@pytest.mark.parametrize("name", ["_xFFFFFF_", "_x", "_x_", "_xzz_"])
def test_a_foreign_name_is_left_as_it_is(name: str) -> None:
    assert unescape_key(name) == name
