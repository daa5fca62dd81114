"""Fingerprints of values, to see whether a cell changed them, and short descriptions. Neither runs user code.

A fingerprint is xxh3 over the bytes of buffers and over the structure of containers and instances. It is
*exact* when all was seen, *sampled* when large buffers were sampled, *assumed* when parts could not be looked into;
None when nothing could (generators, handles, modules …).
"""

from __future__ import annotations

import functools
import marshal
import types
from dataclasses import dataclass
from typing import Any

import xxhash

from mlops_jupyter.entities import Digest, Grade

from . import _buffers
from ._describe import Description, describe
from ._inspect import (
    class_dict,
    has_hidden_state,
    identity,
    instance_dict,
    is_heap_type,
    module_name,
    mro_of,
    qualified_name,
    slots_of,
)
from ._kinds import ATOMS, MARSHAL, MOST_ATOMS, feed_library_state, handlers

__all__ = ["BUDGET_BYTES", "Description", "Fingerprint", "Hasher", "describe", "fingerprint"]

BUDGET_BYTES = 24 * 1024 * 1024
"""About 3 to 5 milliseconds of hashing."""

_NODES = 4_000
_DEPTH = 20
_SAMPLE = 2_048

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
        if key in ATOMS:
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
        handler = handlers().get(key)
        if handler is not None:
            handler(self, value, depth)
        elif issubclass_of(cls, type):
            self._class(value, depth)
        else:
            self.instance(value, depth)

    def feed_made(self, value: Any, depth: int) -> None:
        """Feed what was made for this only, such as the list of an array's objects: its identity means nothing, so it
        must never stand for it."""
        handler = handlers().get(identity(type(value)))
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
            self._hash.update(marshal.dumps(_rounded(value) if self.rounded else value, MARSHAL))
        else:
            self._hash.update(marshal.dumps(value, MARSHAL))

    def sequence(self, tag: str, items: list[Any] | tuple[Any, ...], depth: int) -> None:
        """Items in their order; plain numbers and strings at once."""
        size = len(items)
        self.text(f"{tag}{size}")
        if size > MOST_ATOMS:
            self.sampled = True
            items = [*items[:: size // _SAMPLE], *items[-64:]]
        if ATOMS.issuperset(map(identity, map(type, items))):
            if self.portable and not _FLOATS.isdisjoint(map(type, items)):
                self.floats = True
                items = [_rounded(x) if type(x) in _FLOATS else x for x in items] if self.rounded else items
            self._hash.update(marshal.dumps(items, MARSHAL))
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
        if feed_library_state(self, value, cls, depth):
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
