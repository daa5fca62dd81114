"""Short descriptions of values for people. Runs no user code: no ``repr`` of types that are not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._inspect import identity, instance_dict, loaded, loaded_type, mro_of, qualified_name, short_name

_LONGEST = 200
_SHORT = 120
_MOST_COLUMNS = 1_000


@dataclass(frozen=True, slots=True)
class Description:
    """What a value is, in a few words."""

    type_name: str
    """``pandas.core.frame.DataFrame``"""
    summary: str
    """At most 200 characters: ``DataFrame 150 × 5``."""
    shape: tuple[int, ...] | None = None
    schema: tuple[tuple[str, str], ...] = ()
    """(column, type), for frames."""


def describe(value: object) -> Description:
    """Type, summary, shape and columns of a value. Runs no user code and raises nothing."""
    cls = type(value)
    name = qualified_name(cls)[:_LONGEST]
    try:
        summary, shape, schema = _describe(value, cls)
    except Exception:  # noqa: BLE001
        summary, shape, schema = short_name(cls), None, ()
    return Description(name, summary[:_LONGEST], shape, schema)


def _describe(value: Any, cls: type) -> tuple[str, tuple[int, ...] | None, tuple[tuple[str, str], ...]]:
    if value is None or cls in (bool, float, complex):
        return repr(value), None, ()
    if cls is int:
        return (repr(value) if -(2**200) < value < 2**200 else f"int of {value.bit_length()} bits"), None, ()
    if cls is str:
        return _text(value), None, ()
    if cls is bytes or cls is bytearray:
        return f"{cls.__name__} of {len(value)}", None, ()
    if cls in (list, tuple, set, frozenset, dict):
        return _container(value, cls), (len(value),), ()
    bases = set(map(identity, mro_of(cls)))
    array = loaded_type("numpy", "ndarray")
    if array is not None and identity(array) in bases:
        shape = tuple(array.shape.__get__(value))  # type: ignore[attr-defined]
        kind = array.dtype.__get__(value)  # type: ignore[attr-defined]
        return f"{short_name(cls)} {_times(shape)} {kind}", shape, ()
    generic = loaded_type("numpy", "generic")
    if generic is not None and identity(generic) in bases and cls.__module__ == "numpy":
        return str(value)[:_SHORT], None, ()
    pandas = loaded("pandas")
    for kind in ("DataFrame", "Series", "Index"):
        if kind in pandas and identity(pandas[kind]) in bases:
            return _pandas(value, cls, kind)
    if cls is loaded("polars").get("DataFrame"):
        shape = tuple(value.shape)
        return f"DataFrame {_times(shape)}", shape, tuple((str(n), str(t)) for n, t in value.schema.items())
    if cls is loaded("torch").get("Tensor"):
        shape = tuple(value.shape)
        return f"Tensor {_times(shape)} {value.dtype}", shape, ()
    if identity(type) in bases:
        return f"class {short_name(value)}", None, ()
    if cls.__name__ in ("function", "builtin_function_or_method", "method"):
        return f"{cls.__name__} {_name_of(value)}", None, ()
    if cls.__name__ == "module" and type(value.__dict__.get("__name__")) is str:
        return f"module {value.__dict__['__name__']}"[:_LONGEST], None, ()
    return short_name(cls), None, ()


def _name_of(value: Any) -> str:
    found = value.__func__ if type(value).__name__ == "method" else value
    name = found.__qualname__ if type(found).__name__ in ("function", "builtin_function_or_method") else ""
    return name if type(name) is str else ""


def _text(value: str) -> str:
    shown = repr(value[:_SHORT])
    return shown if len(value) <= _SHORT else f"{shown}… ({len(value)} characters)"


def _container(value: Any, cls: type) -> str:
    size = len(value)
    plain = (bool, int, float, type(None))
    if size <= 8:
        items = list(value.values()) if cls is dict else list(value)
        keys = list(value) if cls is dict else []
        if all(type(i) in plain or (type(i) is str and len(i) < 20) for i in items) and all(
            type(k) is str and len(k) < 30 for k in keys
        ):
            shown = repr(value)
            if len(shown) <= _LONGEST:
                return shown
    return f"{cls.__name__} of {size}"


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) if shape else "scalar"


def _pandas(value: Any, cls: type, kind: str) -> tuple[str, tuple[int, ...] | None, tuple[tuple[str, str], ...]]:
    if kind == "Index":
        data = (instance_dict(value) or {}).get("_data")
        size = len(data) if data is not None else 0
        return f"{short_name(cls)} of {size}", (size,), ()
    manager = (instance_dict(value) or {})["_mgr"]
    shape = tuple(len(axis) for axis in reversed(manager.axes)) if kind == "DataFrame" else (len(manager.axes[0]),)
    if kind == "Series":
        return f"{short_name(cls)} of {shape[0]} {manager.blocks[0].values.dtype}", shape, ()
    shape = (len(manager.axes[1]), len(manager.axes[0]))
    kinds: dict[int, str] = {}
    for block in manager.blocks:
        for position in block.mgr_locs.as_array.tolist():
            kinds[position] = str(block.values.dtype)
    names = manager.axes[0]
    schema = tuple(
        (
            label if type(label) is str else str(label) if type(label) in (int, float, bool) else "?",
            kinds.get(i, "?"),
        )
        for i, label in enumerate(list(names)[:_MOST_COLUMNS])
    )
    return f"{short_name(cls)} {_times(shape)}", shape, schema
