"""What modules beside the notebook keep in their own variables: a list that a function of theirs appends to."""

from __future__ import annotations

import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from ._inspect import identity, mro_of
from .fingerprint import measure as fingerprint

_MOST = 20
"""Modules that are looked at, those imported last."""
_BYTES, _NODES = 128 * 1024, 300

_CODE = frozenset(map(identity, (ModuleType, FunctionType, BuiltinFunctionType)))
_INSTALLED = ("site-packages", "dist-packages", "mlops_jupyter")
_module_dict: Any = vars(ModuleType)["__dict__"]


class LocalModules:
    """The user's own modules among those that are imported."""

    __slots__ = ("_found", "_seen")

    def __init__(self) -> None:
        self._seen: tuple[int, str] = (0, "")
        self._found: tuple[str, ...] = ()

    def measure(self) -> dict[str, int]:
        """A number for the data of each module; equal numbers mean unchanged data."""
        seen = (len(sys.modules), next(reversed(sys.modules)))
        if seen != self._seen:
            self._seen = seen
            self._found = tuple(name for name, module in list(sys.modules.items()) if _is_local(name, module))[-_MOST:]
        found: dict[str, int] = {}
        for name in self._found:
            module = sys.modules.get(name)
            if type(module) is not ModuleType:
                continue
            data = {
                key: value
                for key, value in _module_dict.__get__(module).items()
                if key[:2] != "__" and identity(type(value)) not in _CODE and type not in mro_of(type(value))
            }
            digest = fingerprint(data, budget_bytes=_BYTES, budget_nodes=_NODES)[0] if data else None
            if digest is not None:
                found[name] = hash(digest.digest)
        return found


def _is_local(name: str, module: object) -> bool:
    if type(module) is not ModuleType or name == "__main__":
        return False
    file = _module_dict.__get__(module).get("__file__")
    return (
        type(file) is str
        and file.endswith(".py")
        and not file.startswith((sys.prefix, sys.base_prefix))
        and not any(word in file for word in _INSTALLED)
    )
