"""Look at objects without running a line of their code.

No attribute of an unknown object is ever got the ordinary way: types come from ``type()``, attributes from
the type's own C-level slots, instance dictionaries through the getset descriptors that Python itself put
there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any

identity = object.__hash__
"""Identity as a number. Not ``id()``: that raises an audit event once a hook is installed."""

mro_of: Any = type.__dict__["__mro__"].__get__
"""The method resolution order of a type, past its metaclass."""

_type_dict: Any = type.__dict__["__dict__"].__get__
_module_of: Any = type.__dict__["__module__"].__get__
_qualname_of: Any = type.__dict__["__qualname__"].__get__
_basicsize_of: Any = type.__dict__["__basicsize__"].__get__
_dictoffset_of: Any = type.__dict__["__dictoffset__"].__get__
_weakrefoffset_of: Any = type.__dict__["__weakrefoffset__"].__get__
_flags_of: Any = type.__dict__["__flags__"].__get__
_HEAP_TYPE = 1 << 9
_PLAIN_SIZE = object.__basicsize__


def class_dict(cls: type) -> Mapping[str, Any]:
    """The class's own dictionary, past its metaclass."""
    found: Mapping[str, Any] = _type_dict(cls)
    return found


def module_name(cls: type) -> str:
    """``__module__`` of a type where it is a plain string, else an empty one."""
    try:
        found = _module_of(cls)
    except AttributeError:
        return ""
    return found if type(found) is str else ""


def qualified_name(cls: type) -> str:
    """``pandas.core.frame.DataFrame``; without the module for builtins."""
    module = module_name(cls)
    name = str(_qualname_of(cls))
    return name if module in ("builtins", "") else f"{module}.{name}"


def short_name(cls: type) -> str:
    """``DataFrame``"""
    return str(_qualname_of(cls))


def is_heap_type(cls: type) -> bool:
    """Whether the type was made at run time (``class`` statements, and some C extensions)."""
    return bool(_flags_of(cls) & _HEAP_TYPE)


def has_method(cls: type, name: str) -> bool:
    """Whether the type or one of its bases defines this name."""
    return any(name in class_dict(base) for base in mro_of(cls))


def instance_dict(value: object) -> dict[str, Any] | None:
    """The instance's ``__dict__``, or None where it has none or hides it behind code of its own."""
    for base in mro_of(type(value)):
        entry = _type_dict(base).get("__dict__")
        if entry is not None:
            if type(entry) is not GetSetDescriptorType:
                return None
            found = entry.__get__(value)
            return found if type(found) is dict else None
    return None


def slots_of(value: object) -> list[tuple[str, object]]:
    """Values of ``__slots__`` (and C members), without unset ones."""
    cls = type(value)
    found: list[tuple[str, object]] = []
    for base in mro_of(cls):
        for name, entry in _type_dict(base).items():
            if type(entry) is MemberDescriptorType:
                try:
                    found.append((name, entry.__get__(value, cls)))
                except AttributeError:
                    continue
    return found


def has_hidden_state(cls: type) -> bool:
    """Whether instances hold state in C that neither ``__dict__`` nor ``__slots__`` shows."""
    members = sum(type(entry) is MemberDescriptorType for base in mro_of(cls) for entry in _type_dict(base).values())
    size: int = _basicsize_of(cls)
    size -= 8 * members
    size -= 8 * (_dictoffset_of(cls) > 0) + 8 * (_weakrefoffset_of(cls) > 0)
    return size > _PLAIN_SIZE


def loaded(module: str) -> Mapping[str, Any]:
    """The namespace of a module that is imported already, else an empty one. Runs no ``__getattr__`` of
    it.
    """
    found = sys.modules.get(module)
    return found.__dict__ if type(found) is ModuleType else {}


def loaded_type(module: str, name: str) -> type | None:
    """A type from a module that is imported already."""
    found = loaded(module).get(name)
    return found if isinstance(found, type) else None
