"""What a pickle names, read from its opcodes. Nothing is imported and nothing is executed."""

from __future__ import annotations

import pickletools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_BY_VALUE = frozenset(
    {"_make_skeleton_class", "_make_skeleton_enum", "_make_function", "_make_empty_cell", "_builtin_type", "subimport"}
)
"""Functions of cloudpickle that put code together which travels inside of the pickle."""
_MEMO_GET = frozenset({"GET", "BINGET", "LONG_BINGET"})
_MEMO_PUT = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_TEXT = frozenset(
    {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"}
)


@dataclass(frozen=True, slots=True)
class Named:
    """The classes and functions that unpickling would look up."""

    names: frozenset[tuple[str, str]]
    """(module, qualified name)."""

    @property
    def modules(self) -> frozenset[str]:
        """Modules that unpickling imports."""
        return frozenset(module for module, _ in self.names)

    @property
    def by_value(self) -> bool:
        """Whether code travels inside: classes or functions that a notebook defined."""
        return any(module.startswith("cloudpickle") and name in _BY_VALUE for module, name in self.names)


def named(data: bytes) -> Named:
    """What the pickle in ``data`` names.

    Raises:
        ValueError: it is no pickle, or is cut short.
    """
    found: set[tuple[str, str]] = set()
    memo: dict[int, Any] = {}
    last: list[Any] = []  # the texts on top of the stack, as far as a global's two names need
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in _TEXT:
            last.append(argument)
        elif name == "MEMOIZE":
            memo[len(memo)] = last[-1] if last else None
            continue
        elif name in _MEMO_PUT:
            memo[int(str(argument))] = last[-1] if last else None
            continue
        elif name in _MEMO_GET:
            last.append(memo.get(int(str(argument))))
        elif name in ("GLOBAL", "INST"):
            module, _, attribute = str(argument).partition(" ")
            found.add((module, attribute))
            last.append(None)
        elif name == "STACK_GLOBAL":
            names = (last[-2], last[-1]) if len(last) > 1 else (None, None)
            found.add((str(names[0] or "?"), str(names[1] or "?")))
            last.append(None)
        elif name not in ("PROTO", "FRAME"):
            last.append(None)
        del last[:-4]
    return Named(frozenset(found))


def top_modules(names: Iterable[str]) -> set[str]:
    """First parts of dotted names."""
    return {name.partition(".")[0] for name in names}
