"""How values of each kind go into a fingerprint, by their exact type; libraries' kinds once the library is imported."""

from __future__ import annotations

import datetime
import decimal
import fractions
import functools
import logging
import marshal
import pathlib
import random
import re
import sys
import threading
import types
import uuid
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _buffers
from ._inspect import (
    class_dict,
    has_method,
    identity,
    instance_dict,
    loaded,
    loaded_type,
    module_name,
    mro_of,
    qualified_name,
)

if TYPE_CHECKING:
    from .fingerprint import Hasher

MOST_ATOMS = 65_536
ATOMS: frozenset[int] = frozenset(map(identity, (type(None), bool, int, float, complex, str, bytes, type(...))))
MARSHAL = 2  # without references: later versions write what depends on reference counts

_CONSTANT_TYPES: tuple[type, ...] = (
    datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone, decimal.Decimal,
    fractions.Fraction, uuid.UUID, range, slice, re.Pattern, pathlib.PosixPath, pathlib.PurePosixPath,
    pathlib.WindowsPath, pathlib.PureWindowsPath, type(NotImplemented), types.BuiltinFunctionType,
    types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    functools._lru_cache_wrapper, property, staticmethod, classmethod,
    type(threading.Lock()), type(threading.RLock()), types.ModuleType, types.CodeType, types.MappingProxyType,
)  # fmt: skip
"""Immutable, or with nothing inside that is data. Told apart by identity."""

Handler = Callable[["Hasher", Any, int], None]


def _function(hasher: Hasher, value: types.FunctionType, depth: int) -> None:
    code = value.__code__
    hasher.text(f"def {code.co_qualname}")
    if not hasher.portable:  # in another process its text is compared, and probes have other numbers there
        hasher.raw(code.co_code)
        hasher.text(",".join(code.co_names))
        constants = [c for c in code.co_consts if identity(type(c)) in ATOMS]
        hasher.sequence("consts", constants, depth)
    if value.__module__ != "__main__" and value.__closure__ is None and not value.__dict__:
        return
    for part in (value.__defaults__, value.__kwdefaults__, value.__dict__):
        if part:
            hasher.feed(part, depth + 1)
    for cell in value.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError:  # not bound yet
            continue
        hasher.feed(content, depth + 1)


def _method(hasher: Hasher, value: types.MethodType, depth: int) -> None:
    hasher.feed(value.__func__, depth + 1)
    hasher.feed(value.__self__, depth + 1)


def _partial(hasher: Hasher, value: Any, depth: int) -> None:
    hasher.feed([value.func, value.args, value.keywords], depth + 1)


def _logger(hasher: Hasher, value: logging.Logger, depth: int) -> None:  # noqa: ARG001
    # Its settings; not what it hands on, or each line that is logged would change it.
    hasher.text(f"logger {value.name} {value.level} {value.propagate} {len(value.handlers)}")
    for handler in value.handlers:
        hasher.text(qualified_name(type(handler)) if hasher.portable else str(identity(handler)))


def _random(hasher: Hasher, value: random.Random, depth: int) -> None:
    hasher.feed(random.Random.getstate(value), depth + 1)


def _generator(hasher: Hasher, value: Any, depth: int) -> None:
    hasher.feed(value.bit_generator.state, depth + 1)


def _random_state(hasher: Hasher, value: Any, depth: int) -> None:
    hasher.feed(value.get_state(legacy=False), depth + 1)


def _bit_generator(hasher: Hasher, value: Any, depth: int) -> None:
    hasher.feed(value.state, depth + 1)


def _set(hasher: Hasher, value: set[Any] | frozenset[Any], depth: int) -> None:
    items = list(value)
    if ATOMS.issuperset(map(identity, map(type, items))) and len(items) <= MOST_ATOMS:
        hasher.sequence("set", sorted(marshal.dumps(item, MARSHAL) for item in items), depth)
    elif hasher.portable:  # their order depends on identities and on the seed of string hashes
        parts = [type(hasher)(1 << 16, 64, portable=True, rounded=hasher.rounded) for _ in items[:256]]
        for part, item in zip(parts, items, strict=False):
            part.feed(item)
        hasher.partial = hasher.partial or len(items) > 256 or any(part.partial for part in parts)
        hasher.sequence("set", sorted(part.digest() for part in parts) if len(items) <= 256 else [len(items)], depth)
    else:
        hasher.sequence("set", items, depth)


def _constant(hasher: Hasher, value: object, depth: int) -> None:
    cls = type(value)
    hasher.text(qualified_name(cls))
    if cls is types.ModuleType:
        hasher.unknown = hasher.unknown or depth == 0
    if cls in _PRINTABLE:
        hasher.text(cls.__repr__(value))
    elif not hasher.portable:
        hasher.text(str(identity(value)))
    elif cls in (range, slice, re.Pattern) or module_name(cls).startswith("pandas."):
        hasher.text(cls.__repr__(value))
    elif cls in (types.BuiltinFunctionType, types.ModuleType):
        hasher.text(str(value.__name__))  # type: ignore[attr-defined]


_PRINTABLE = frozenset(
    {datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone, decimal.Decimal,
     fractions.Fraction, uuid.UUID, pathlib.PosixPath, pathlib.PurePosixPath}
)  # fmt: skip


def _numpy_scalar(hasher: Hasher, value: Any, depth: int) -> None:  # noqa: ARG001
    hasher.text(f"np.{type(value).__name__}")
    if hasher.portable and value.dtype.kind in "fc":
        hasher.floats = True
        if hasher.rounded:
            hasher.feed(value.astype("c16" if value.dtype.kind == "c" else "f8").item())
            return
    hasher.raw(value.tobytes())


def _table() -> dict[int, Handler]:
    table: dict[type | None, Handler] = dict.fromkeys(_CONSTANT_TYPES, _constant)
    table |= {
        list: lambda h, v, d: h.sequence("list", v, d),
        tuple: lambda h, v, d: h.sequence("tuple", v, d),
        dict: lambda h, v, d: h.mapping("dict", list(v.items()), d),
        OrderedDict: lambda h, v, d: h.mapping("dict", list(dict.items(v)), d),
        defaultdict: lambda h, v, d: h.mapping("dict", list(v.items()), d),
        deque: lambda h, v, d: h.sequence(f"deque{v.maxlen}", list(v), d),
        set: _set,
        frozenset: _set,
        bytearray: lambda h, v, d: _buffers.feed_bytes(h, memoryview(v)),  # noqa: ARG005
        types.FunctionType: _function,
        types.MethodType: _method,
        functools.partial: _partial,
        random.Random: _random,
        logging.Logger: _logger,
        logging.RootLogger: _logger,
        types.SimpleNamespace: lambda h, v, d: h.feed(v.__dict__, d + 1),
        types.CellType: lambda h, v, d: h.opaque(v),  # noqa: ARG005
    }
    numpy = loaded("numpy")
    for name in ("ndarray", "memmap", "matrix", "recarray"):
        table[numpy.get(name)] = _buffers.feed_ndarray
    for scalar in set(numpy.get("sctypeDict", {}).values()):
        if scalar is not numpy.get("object_"):
            table[scalar] = _numpy_scalar
    table[loaded_type("numpy.random._generator", "Generator")] = _generator
    table[loaded_type("numpy.random.mtrand", "RandomState")] = _random_state
    for name in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"):
        table[loaded("numpy.random").get(name)] = _bit_generator
    pandas = loaded("pandas")
    for name in ("DataFrame", "Series"):
        table[pandas.get(name)] = _buffers.feed_frame
    for name in (
        "Index", "RangeIndex", "MultiIndex", "DatetimeIndex", "TimedeltaIndex", "PeriodIndex",
        "CategoricalIndex",
        "IntervalIndex",
    ):  # fmt: skip
        table[pandas.get(name)] = _buffers.feed_index
    for name in ("Timestamp", "Timedelta", "Period", "Interval"):
        table[pandas.get(name)] = _constant
    arrays = loaded("pandas.core.arrays")
    for array in list(arrays.values()):
        if isinstance(array, type) and array.__module__.partition(".")[0] == "pandas":
            table[array] = _buffers.feed_extension_array
    for name in ("Table", "RecordBatch", "ChunkedArray"):
        table[loaded_type("pyarrow.lib", name)] = _buffers.feed_arrow
    for name in ("DataFrame", "Series"):
        table[loaded("polars").get(name)] = _buffers.feed_polars
    table[loaded("torch").get("Tensor")] = _buffers.feed_tensor
    table[loaded("torch.nn.parameter").get("Parameter")] = _buffers.feed_tensor
    return {identity(kind): handler for kind, handler in table.items() if isinstance(kind, type)}


_MODULES = (
    "numpy",
    "numpy.random",
    "numpy.random.mtrand",
    "pandas",
    "pyarrow.lib",
    "polars",
    "torch.nn.parameter",
)
_state: tuple[tuple[bool, ...], dict[int, Handler]] = ((), {})


def handlers() -> dict[int, Handler]:
    """The table, made anew when one of the libraries has been imported since."""
    global _state
    present = tuple([name in sys.modules and not _initializing(sys.modules[name]) for name in _MODULES])
    if present != _state[0]:
        _state = (present, _table())
    return _state[1]


def _initializing(module: object) -> bool:
    spec = instance_dict(module)
    return bool(spec and getattr(spec.get("__spec__"), "_initializing", False))


def feed_library_state(hasher: Hasher, value: object, cls: type, depth: int) -> bool:
    """State of scikit-learn's compiled objects (trees, neighbour indexes) through their own pickling."""
    module = module_name(cls)
    if not module.startswith("sklearn.") or loaded_type(module, cls.__name__) is not cls:
        return False
    if instance_dict(value) is not None or not has_method(cls, "__getstate__"):
        return instance_dict(value) is None and not has_method(cls, "__dict__")
    getstate = next((class_dict(b)["__getstate__"] for b in mro_of(cls) if "__getstate__" in class_dict(b)), None)
    if getstate is None or getstate is object.__getstate__:
        return True  # a compiled loss or criterion without state
    hasher.feed(getstate(value), depth + 1)
    return True
