"""Fingerprints of values, to see whether a cell changed them, and short descriptions. Neither runs user code.

A fingerprint is xxh3 over the bytes of buffers and over the structure of containers and instances. It is
*exact* when
all was seen, *sampled* when large buffers were sampled, *assumed* when parts could not be looked into; None
when
nothing could (generators, handles, modules …).
"""

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
import threading
import types
import uuid
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import xxhash

from mlops_jupyter.entities import Digest, Grade

from . import _buffers
from ._describe import Description, describe
from ._inspect import (
    class_dict,
    has_hidden_state,
    has_method,
    identity,
    instance_dict,
    is_heap_type,
    loaded,
    loaded_type,
    module_name,
    mro_of,
    qualified_name,
    slots_of,
)

__all__ = ["BUDGET_BYTES", "Description", "Fingerprint", "Hasher", "describe", "fingerprint"]

BUDGET_BYTES = 24 * 1024 * 1024
"""About 3 to 5 milliseconds of hashing."""

_NODES = 4_000
_DEPTH = 20
_MOST_ATOMS = 65_536
_SAMPLE = 2_048

_ATOMS: frozenset[int] = frozenset(map(identity, (type(None), bool, int, float, complex, str, bytes, type(...))))
_MARSHAL = 2  # without references: later versions write what depends on reference counts

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

_CACHED_PROPERTY = functools.cached_property


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A digest of a value, and how much of the value it stands for."""

    digest: Digest
    grade: Grade
    """EXACT, SAMPLED, or ASSUMED where parts could not be looked into."""


class Hasher:
    """One fingerprint in the making: the hash, what is left of the budget, and what has been seen."""

    __slots__ = (
        "_divide", "_hash", "_nodes", "_seen", "bytes_left", "floats", "partial", "portable", "rounded", "sampled",
        "strict", "unknown",
    )  # fmt: skip

    def __init__(self, budget_bytes: int, nodes: int, *, portable: bool = False, rounded: bool = False) -> None:
        self.portable = portable
        """Whether the digest must be the same in another process: then nothing is told apart by its identity."""
        self.rounded = rounded
        """Whether floats count to 7 digits."""
        self.strict = False
        """Whether a value beyond the budget is given up instead of sampled."""
        self.floats = False
        self._hash = xxhash.xxh3_128()
        self._nodes = nodes
        self._seen: dict[int, tuple[int, object]] = {}
        self._divide = 1
        self.bytes_left = budget_bytes
        self.sampled = False
        self.partial = False
        self.unknown = False

    def raw(self, data: Any) -> None:
        """Feed bytes."""
        self._hash.update(data)

    def text(self, text: str) -> None:
        """Feed a tag."""
        self._hash.update(text.encode("utf-8", "surrogatepass") + b"\0")

    def share(self, parts: int) -> None:
        """What follows is one of ``parts``: samples get smaller accordingly."""
        self._divide = max(1, parts)

    def chunk_size(self) -> int:
        """Bytes of one sample."""
        return max(512, _buffers.CHUNK // self._divide)

    def digest(self) -> str:
        """The digest so far."""
        return str(self._hash.hexdigest())

    def nodes_used(self, before: int) -> int:
        """How many nodes were looked at since ``before`` were left."""
        return before - self._nodes

    def opaque(self, value: object) -> None:
        """A part that cannot be looked into: its identity stands for it."""
        self.partial = True
        self.text(f"?{qualified_name(type(value)) if self.portable else identity(value)}")

    def feed(self, value: Any, depth: int = 0) -> None:
        """Feed one value with all that it holds."""
        self._nodes -= 1
        cls = type(value)
        key = identity(cls)
        if key in _ATOMS:
            self._atom(value)
            return
        if self._nodes < 0 or depth > _DEPTH:
            if self.strict:
                raise OverflowError("more parts than the budget allows")
            self.opaque(value)
            return
        known = self._seen.get(identity(value))
        if known is not None:
            self.text(f"@{known[0]}")
            return
        # Kept until the digest is made: the address of a freed one could come back as another part of the value.
        self._seen[identity(value)] = (len(self._seen), value)
        handler = _handlers().get(key)
        if handler is not None:
            handler(self, value, depth)
        elif issubclass_of(cls, type):
            self._class(value, depth)
        else:
            self.instance(value, depth)

    def feed_made(self, value: Any, depth: int) -> None:
        """Feed what was made for this only, such as the list of an array's objects: its identity means nothing, so it
        must never stand for it."""
        handler = _handlers().get(identity(type(value)))
        if handler is None:
            self.feed(value, depth)
        else:
            handler(self, value, depth)

    def _atom(self, value: Any) -> None:
        if type(value) is str or type(value) is bytes:
            data = value.encode("utf-8", "surrogatepass") if type(value) is str else value
            self.text(f"{type(value).__name__}{len(data)}")
            _buffers.feed_bytes(self, data)
        elif value is ...:
            self.text("...")
        elif type(value) is float or type(value) is complex:
            self.floats = True
            self._hash.update(marshal.dumps(_rounded(value) if self.rounded else value, _MARSHAL))
        else:
            self._hash.update(marshal.dumps(value, _MARSHAL))

    def sequence(self, tag: str, items: list[Any] | tuple[Any, ...], depth: int) -> None:
        """Items in their order; plain numbers and strings at once."""
        size = len(items)
        self.text(f"{tag}{size}")
        if size > _MOST_ATOMS:
            self.sampled = True
            items = [*items[:: size // _SAMPLE], *items[-64:]]
        if _ATOMS.issuperset(map(identity, map(type, items))):
            if self.portable and not _FLOATS.isdisjoint(map(type, items)):
                self.floats = True
                items = [_rounded(x) if type(x) in _FLOATS else x for x in items] if self.rounded else items
            self._hash.update(marshal.dumps(items, _MARSHAL))
            self._nodes -= len(items) // 64
            return
        if size > 2 * self._nodes and size > 1_000:
            self.sampled = True
            items = items[:: max(1, size // 256)]
        for item in items:
            self.feed(item, depth + 1)

    def mapping(self, tag: str, pairs: list[tuple[Any, Any]], depth: int) -> None:
        """Keys and values in their order."""
        self.sequence(f"{tag}k", [key for key, _ in pairs], depth)
        self.sequence(f"{tag}v", [value for _, value in pairs], depth)

    def instance(self, value: object, depth: int) -> None:
        """An instance by its ``__dict__``, ``__slots__`` and the builtin container that it extends."""
        cls = type(value)
        name = qualified_name(cls)
        library = module_name(cls) not in ("__main__", "")
        self.text(name)
        if self.portable and module_name(cls).partition(".")[0] in _DRAWING:
            self.opaque(value)
            return
        seen = self._builtin_base(value, cls, depth)
        attributes = instance_dict(value)
        if attributes is not None:
            seen = True
            for key, item in list(attributes.items()):
                if (
                    type(key) is not str
                    or (library and "cache" in key)
                    or ((library or self.portable) and _is_cached_property(cls, key))
                ):
                    continue
                self.text(key)
                self.feed(item, depth + 1)
        if module_name(cls).partition(".")[0] in _DRAWING:
            self.opaque(value)
            return
        if is_heap_type(cls):
            for key, item in slots_of(value):
                seen = True
                self.text(key)
                self.feed(item, depth + 1)
        if _library_state(self, value, cls, depth):
            return
        if has_hidden_state(cls) and not self._known_base(cls):
            if seen:
                self.opaque(value)
            else:
                self.unknown = self.unknown or depth == 0
                self.opaque(value)

    def _builtin_base(self, value: Any, cls: type, depth: int) -> bool:
        for base in mro_of(cls):
            if base is list:
                self.sequence("list", list(list.__iter__(value)), depth)
            elif base is dict:
                self.mapping("dict", list(dict.items(value)), depth)
            elif base is tuple:
                self.sequence("tuple", list(tuple.__iter__(value)), depth)
            elif base is set:
                self.sequence("set", list(set.__iter__(value)), depth)
            elif base is frozenset:
                self.sequence("set", list(frozenset.__iter__(value)), depth)
            elif base is str:
                self._atom(str.__str__(value) if type(value) is str else str.__getitem__(value, slice(None)))
            elif base is int:
                self._atom(int.__add__(value, 0))
            elif base is float:
                self._atom(float.__add__(value, 0.0))
            elif base is BaseException:
                self.feed(BaseException.args.__get__(value), depth + 1)  # type: ignore[attr-defined]
            else:
                continue
            return True
        return False

    def _known_base(self, cls: type) -> bool:
        return any(base in _KNOWN_BASES for base in mro_of(cls))

    def _class(self, cls: type, depth: int) -> None:
        """A class of the notebook by its attributes; other classes by their name."""
        self.text(f"class {qualified_name(cls)}")
        if module_name(cls) != "__main__" or not is_heap_type(cls):
            if not self.portable:
                self.text(str(identity(cls)))
            return
        for name, item in list(class_dict(cls).items()):
            if type(item) in (types.GetSetDescriptorType, types.MemberDescriptorType) or name in _CLASS_NOISE:
                continue
            self.text(name)
            self.feed(item.__func__ if type(item) in (staticmethod, classmethod) else item, depth + 1)


_FLOATS = frozenset({float, complex})


def _rounded(value: Any) -> Any:
    """A float or complex number to 7 digits."""
    if type(value) is complex:
        return (_rounded(value.real), _rounded(value.imag))
    return float(f"{value:.6e}") + 0.0  # no negative zero


_KNOWN_BASES = frozenset({list, dict, tuple, set, frozenset, str, int, float, bytes, BaseException})
_CLASS_NOISE = frozenset(
    {"__doc__", "__module__", "__abstractmethods__", "_abc_impl", "__annotations__", "__annotate_func__",
     "__annotations_cache__", "__firstlineno__", "__static_attributes__", "__weakref__", "__dict__"}
)  # fmt: skip
_DRAWING = frozenset({"matplotlib", "plotly", "ipywidgets", "bokeh", "altair", "seaborn"})
"""Their objects are large graphs that nearly every call changes."""


def fingerprint(value: object, *, budget_bytes: int = BUDGET_BYTES, budget_nodes: int = _NODES) -> Fingerprint | None:
    """The fingerprint of a value, or None where it cannot be looked into.

    ``budget_bytes``: buffers beyond it are sampled (64 samples of 64 KiB). ``budget_nodes``: objects
    looked at. Two calls with the same budgets on an unchanged value give the same digest. Runs no user code
    and raises nothing.
    """
    return measure(value, budget_bytes=budget_bytes, budget_nodes=budget_nodes)[0]


def measure(
    value: object, *, budget_bytes: int = BUDGET_BYTES, budget_nodes: int = _NODES
) -> tuple[Fingerprint | None, int, int]:
    """As ``fingerprint``, with the bytes and nodes that it took."""
    hasher = Hasher(budget_bytes, budget_nodes)
    try:
        hasher.feed(value)
    except Exception:  # noqa: BLE001
        return None, 0, 1
    used = max(0, budget_bytes - hasher.bytes_left), hasher.nodes_used(budget_nodes)
    if hasher.unknown:
        return None, *used
    grade = Grade.ASSUMED if hasher.partial else Grade.SAMPLED if hasher.sampled else Grade.EXACT
    return Fingerprint(Digest(f"xxh3:{hasher.digest()}"), grade), *used


def issubclass_of(cls: type, base: type) -> bool:
    """``issubclass`` past ``__subclasscheck__`` and the metaclass."""
    return any(entry is base for entry in mro_of(cls))


def _is_cached_property(cls: type, name: str) -> bool:
    return any(type(class_dict(base).get(name)) is _CACHED_PROPERTY for base in mro_of(cls))


# ---------------------------------------------------------------------- handlers by exact type

Handler = Callable[[Hasher, Any, int], None]


def _function(hasher: Hasher, value: types.FunctionType, depth: int) -> None:
    code = value.__code__
    hasher.text(f"def {code.co_qualname}")
    if not hasher.portable:  # in another process its text is compared, and probes have other numbers there
        hasher.raw(code.co_code)
        hasher.text(",".join(code.co_names))
        constants = [c for c in code.co_consts if identity(type(c)) in _ATOMS]
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
    if _ATOMS.issuperset(map(identity, map(type, items))) and len(items) <= _MOST_ATOMS:
        hasher.sequence("set", sorted(marshal.dumps(item, _MARSHAL) for item in items), depth)
    elif hasher.portable:  # their order depends on identities and on the seed of string hashes
        parts = [Hasher(1 << 16, 64, portable=True, rounded=hasher.rounded) for _ in items[:256]]
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


def _handlers() -> dict[int, Handler]:
    """The table, made anew when one of the libraries has been imported since."""
    import sys

    global _state
    present = tuple([name in sys.modules and not _initializing(sys.modules[name]) for name in _MODULES])
    if present != _state[0]:
        _state = (present, _table())
    return _state[1]


def _initializing(module: object) -> bool:
    spec = instance_dict(module)
    return bool(spec and getattr(spec.get("__spec__"), "_initializing", False))


def _library_state(hasher: Hasher, value: object, cls: type, depth: int) -> bool:
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
