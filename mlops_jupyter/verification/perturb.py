"""Another value for a parameter, near its default. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def other_values(default: Any, schema: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
    """Values to try instead of ``default``, the likeliest to be in range first; empty where none can be known.

    Whole numbers one more or less, floats a tenth more or less, truth values the other one; lists of numbers in
    their first item. Texts may be paths or one of a few choices, so none is made up.
    """
    schema = schema or {}
    choices = schema.get("enum")
    if isinstance(choices, list):
        return tuple(choice for choice in choices if choice != default)[:2]
    if isinstance(default, bool):
        return (not default,)
    if isinstance(default, int):
        return _within((default + 1, default - 1), schema)
    if isinstance(default, float) and math.isfinite(default):
        return _within((default * 1.1, default * 0.9) if default else (0.1, -0.1), schema)
    if isinstance(default, list) and default and not isinstance(default[0], list):
        return tuple([value, *default[1:]] for value in other_values(default[0]))
    return ()


def _within(values: tuple[Any, ...], schema: Mapping[str, Any]) -> tuple[Any, ...]:
    least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    return tuple(value for value in values if least <= value <= most)
