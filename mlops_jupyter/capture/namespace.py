"""The notebook's namespace as identities: snapshots, names that are IPython's own, and which names share
objects.

Holds numbers only, never a reference to a user's object.
"""

from __future__ import annotations

import gc
import re
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import compress
from operator import ne
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Any
from weakref import ReferenceType

from ._buffers import ndarray_owner
from ._inspect import (
    class_dict,
    identity,
    instance_dict,
    is_heap_type,
    loaded,
    loaded_type,
    module_name,
    mro_of,
    slots_of,
)

HIDDEN = frozenset(
    {"In", "Out", "_ih", "_oh", "_dh", "get_ipython", "exit", "quit", "open", "__builtin__", "__builtins__",
     "__name__", "__doc__", "__package__", "__loader__", "__spec__", "__file__", "__annotations__",
     "__session__",
     "_exit_code", "_", "__", "___", "__vsc_ipynb_file__", "__conditional_annotations__", "__annotate__",
     "__warningregistry__"}
)  # fmt: skip
_HIDDEN_PATTERN = re.compile(r"_i{1,3}\Z|_i?\d+\Z|__pydevd|__mlops_")

CodeKey = tuple[str, int]
"""(qualified name, first line) of a code object; the line is negative for a generator that is under way."""

_NODES = 300
_DEPTH = 4
_ATOMS = frozenset(
    map(
        identity,
        (type(None), bool, int, float, complex, str, bytes, type(...), range, slice),
    )
)
_SKIPPED = frozenset(map(identity, (ModuleType, CodeType, FrameType, TracebackType)))
_VIEWS = frozenset(map(identity, (memoryview, bytearray)))
_AsyncKinds = (GeneratorType, type((lambda: (yield))()))


def is_hidden(name: object) -> bool:
    """Whether the name is IPython's or ours, so no lineage."""
    return type(name) is not str or name in HIDDEN or (name[:1] == "_" and _HIDDEN_PATTERN.match(name) is not None)


def snapshot(namespace: Mapping[str, Any], previous: dict[str, int] | None = None) -> dict[str, int]:
    """Identity of each value by name; ``previous`` itself where nothing differs from it.

    No step of it is a loop in Python: a notebook may have thousands of names.
    """
    frozen = dict(namespace)  # one step, so that a thread of the user's cannot change it under our hands
    numbers = list(map(identity, frozen.values()))
    if previous is not None and numbers == list(previous.values()) and list(frozen) == list(previous):
        return previous
    return dict(zip(frozen, numbers, strict=True))


def compare(before: dict[str, int], after: dict[str, int]) -> tuple[list[str], list[str]]:
    """(names of ``after`` that are new or bound to another object, names of ``before`` that are gone)."""
    if before is after:
        return [], []
    names, size = list(after), len(before)
    if names[:size] == list(before):  # new names come last and bound ones keep their place, unless one was deleted
        return [*compress(names, map(ne, after.values(), before.values())), *names[size:]], []
    get = before.get
    changed = [name for name, number in after.items() if get(name) != number]
    return changed, [name for name in before if name not in after]


def look(value: object) -> tuple[frozenset[int], frozenset[CodeKey]]:
    """(identities of the mutable objects, code of the notebook's functions) that a value reaches, to a
    bounded depth.
    """
    if identity(type(value)) in _ATOMS:
        return _NOTHING
    parts: set[int] = set()
    codes: set[CodeKey] = set()
    queue: deque[tuple[object, int]] = deque([(value, 0)])
    left = _NODES
    while queue and left > 0:
        left -= 1
        item, depth = queue.popleft()
        number = identity(item)
        if number in parts:
            continue
        try:
            inner = _inside(item, parts, codes, number)
        except Exception:  # noqa: BLE001, S112
            continue
        if depth < _DEPTH:
            for part in inner:
                if identity(type(part)) not in _ATOMS:
                    queue.append((part, depth + 1))
                    if len(queue) > _NODES:
                        break
    return frozenset(parts), frozenset(codes)


_NOTHING: tuple[frozenset[int], frozenset[CodeKey]] = (frozenset(), frozenset())


def _inside(item: Any, parts: set[int], codes: set[CodeKey], number: int) -> Iterable[object]:
    cls = type(item)
    if cls is ModuleType or cls is CodeType:
        return ()
    if cls is list or cls is tuple or cls is deque or cls is set or cls is frozenset:
        parts.add(number)
        size = len(item)
        return item[:_NODES] if cls in (list, tuple) else list(item)[:_NODES] if size < 10 * _NODES else ()
    if cls is dict:
        parts.add(number)
        return list(item.values())[:_NODES] if len(item) < 10 * _NODES else ()
    if cls is FunctionType:
        return _function(item, parts, codes, number)
    if cls is MethodType:
        return (item.__self__, item.__func__)
    if cls is CellType:
        parts.add(number)  # two functions that share a nonlocal number
        return (item.cell_contents,)
    if cls is ReferenceType:
        return (ReferenceType.__call__(item),)
    if cls is BuiltinFunctionType:  # ``add = results.append``
        return (item.__self__,)
    if cls in _AsyncKinds:
        parts.add(number)
        codes.add((item.gi_code.co_qualname, -item.gi_code.co_firstlineno))
        return _referents(item)  # what it was made of: ``(f(v) for v in rows)`` uses ``rows`` up
    if any(base is type for base in mro_of(cls)):
        return _class(item, parts, number)
    array = loaded_type("numpy", "ndarray")
    if array is not None and any(base is array for base in mro_of(cls)):
        owner = ndarray_owner(item)
        parts.add(number)
        if identity(type(owner)) in _VIEWS:  # ``np.frombuffer(raw)``
            return (owner,)
        parts.add(identity(owner))
        return item.reshape(-1)[:64].tolist() if item.dtype.hasobject and cls is array else ()
    pandas = loaded("pandas")
    if pandas and any(base is pandas.get("DataFrame") or base is pandas.get("Series") for base in mro_of(cls)):
        parts.add(number)
        return [getattr(b.values, "_ndarray", b.values) for b in (instance_dict(item) or {})["_mgr"].blocks]
    return _instance(item, cls, parts, number)


def _referents(item: object) -> Iterable[object]:
    """What an object in C holds, as the garbage collector sees it: no code of anybody runs."""
    return [part for part in gc.get_referents(item)[:_NODES] if identity(type(part)) not in _SKIPPED]


def _function(item: Any, parts: set[int], codes: set[CodeKey], number: int) -> Iterable[object]:
    if item.__module__ == "__main__":
        codes.add((item.__code__.co_qualname, item.__code__.co_firstlineno))
    if item.__closure__ or item.__defaults__ or item.__kwdefaults__ or item.__dict__:
        parts.add(number)
        return [
            *(item.__closure__ or ()),
            *(item.__defaults__ or ()),
            *(item.__kwdefaults__ or {}).values(),
            *item.__dict__.values(),
        ]
    return ()


def _class(item: type, parts: set[int], number: int) -> Iterable[object]:
    if module_name(item) != "__main__" or not is_heap_type(item):
        return ()
    parts.add(number)
    values = [v.__func__ if type(v) in (staticmethod, classmethod) else v for v in class_dict(item).values()]
    accessors = [f for v in values if type(v) is property for f in (v.fget, v.fset, v.fdel)]
    return [*values, *accessors, *mro_of(item)[1:-1]]


def _instance(item: Any, cls: type, parts: set[int], number: int) -> Iterable[object]:
    parts.add(number)
    inner: list[object] = []
    for base in mro_of(cls):
        if base is dict:
            inner += list(dict.values(item))[:_NODES]
        elif base is list:
            inner += list(list.__iter__(item))[:_NODES]
        elif base is tuple:
            inner += list(tuple.__iter__(item))[:_NODES]
    attributes = instance_dict(item)
    if attributes:
        inner += list(attributes.values())[:_NODES]
    elif attributes is None and (
        module_name(cls).partition(".")[0] in sys.stdlib_module_names or module_name(cls).startswith("numpy.random")
    ):
        inner += _referents(item)  # iterators, views of dicts, cursors, a SimpleNamespace, a Generator's bits
    if is_heap_type(cls):
        inner += [value for _, value in slots_of(item)][:_NODES]
        if module_name(cls) == "__main__":
            inner.append(cls)
    if cls.__name__ == "partial" and module_name(cls) == "functools":
        inner += [item.func, *item.args, *item.keywords.values()]
    return inner


class AliasIndex:
    """Which names reach which objects, and which functions of the notebook. Updated as names are written."""

    def __init__(self) -> None:
        self._parts: dict[str, frozenset[int]] = {}
        self._codes: dict[str, frozenset[CodeKey]] = {}
        self._names: dict[int, set[str]] = {}

    def refresh(self, name: str, value: object) -> None:
        """Look at the value of a name anew."""
        parts, codes = look(value)
        if parts != self._parts.get(name, frozenset()):
            self.remove(name)
            if parts:
                self._parts[name] = parts
                for part in parts:
                    self._names.setdefault(part, set()).add(name)
        if codes:
            self._codes[name] = codes
        else:
            self._codes.pop(name, None)

    def remove(self, name: str) -> None:
        """Forget a name."""
        self._codes.pop(name, None)
        for part in self._parts.pop(name, ()):
            names = self._names.get(part)
            if names is not None:
                names.discard(name)
                if not names:
                    del self._names[part]

    def aliases(self, name: str) -> set[str]:
        """Names that share an object with this one, itself included."""
        found = {name}
        for part in self._parts.get(name, ()):
            found |= self._names.get(part, set())
        return found

    def codes(self, name: str) -> frozenset[CodeKey]:
        """The notebook's functions that the value of a name reaches."""
        return self._codes.get(name, frozenset())
