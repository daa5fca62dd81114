"""Limits on parameters from the JSON Schema in a notebook's metadata. Read, never trusted: what is malformed is
left out, and no pattern or reference in it is followed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from nbformat import NotebookNode

from mlops_jupyter.errors import UsageError

_LIMITS: tuple[tuple[str, str, Callable[[float, float], bool]], ...] = (
    ("minimum", "at least", operator.ge),
    ("exclusiveMinimum", "above", operator.gt),
    ("maximum", "at most", operator.le),
    ("exclusiveMaximum", "below", operator.lt),
)


def _shown(limit: float) -> str:
    return f"{limit:g}" if isinstance(limit, float) else hex(limit)[:40] if abs(limit) > 2**64 else str(limit)


def schema_properties(notebook: NotebookNode) -> dict[str, dict[str, Any]]:
    """Schema of each parameter, by name; empty where the notebook has none."""
    ours = notebook.metadata.get("mlops")
    schema = ours.get("parameters") if isinstance(ours, dict) else None
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return {}
    return {str(name): dict(each) for name, each in properties.items() if isinstance(each, dict)}


def check_limits(values: Mapping[str, Any], properties: Mapping[str, Mapping[str, Any]]) -> None:
    """Check values against ``enum``, ``const``, ``minimum`` and its like, ``minLength`` …, ``minItems`` …

    Raises:
        UsageError: a value beyond a limit; it names the limit.
    """
    for name, value in values.items():
        reason = _reason(value, properties.get(name, {}))
        if reason:
            shown = repr(value)
            shown = shown if len(shown) <= 80 else shown[:79] + "…"
            raise UsageError(f"Parameter {name!r} must be {reason}, got {shown}.")


def _reason(value: Any, schema: Mapping[str, Any]) -> str | None:
    """What the value should have been, or None where it is that."""
    choices = schema.get("enum")
    if isinstance(choices, list) and choices and not any(_same(value, choice) for choice in choices):
        return "one of " + ", ".join(repr(choice)[:40] for choice in choices[:20])
    if "const" in schema and not _same(value, schema["const"]):
        return repr(schema["const"])[:80]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value, schema)
    if isinstance(value, str):
        return _size(len(value), schema, "minLength", "maxLength", "characters")
    if isinstance(value, list | tuple | set):
        return _size(len(value), schema, "minItems", "maxItems", "items")
    return None


def _same(value: Any, choice: Any) -> bool:
    return isinstance(value, bool) == isinstance(choice, bool) and bool(_listed(value) == choice)


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _number(value: float, schema: Mapping[str, Any]) -> str | None:
    limits = {key: limit for key, limit in schema.items() if isinstance(limit, int | float) and type(limit) is not bool}
    for key, words, holds in _LIMITS:
        limit = limits.get(key)
        # A limit that is NaN says nothing. A value that is NaN keeps no limit: every comparison with it is false.
        if limit is not None and limit == limit and not holds(value, limit):
            return f"{words} {_shown(limit)}"
    return None


def _size(size: int, schema: Mapping[str, Any], least: str, most: str, unit: str) -> str | None:
    low, high = schema.get(least), schema.get(most)
    if type(low) is int and size < low:
        return f"at least {low} {unit} long"
    if type(high) is int and size > high:
        return f"at most {high} {unit} long"
    return None


def limits_text(schema: Mapping[str, Any]) -> str:
    """The limits in words, for help: ``at least 1, at most 10``; empty where there are none."""
    words = []
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        words.append("one of " + ", ".join(repr(choice)[:40] for choice in choices[:20]))
    for key, text, _ in _LIMITS:
        limit = schema.get(key)
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            words.append(f"{text} {_shown(limit)}")
    return ", ".join(words)
