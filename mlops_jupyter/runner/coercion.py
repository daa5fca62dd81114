"""Types of parameters as notebooks write them, and values checked against them. Pure: nothing is evaluated.

Strict where papermill guesses: ``"1"`` for a ``str`` stays text, ``"abc"`` for an ``int`` is an error. Text is always
welcome where it spells a value of the type, because schedulers' templates turn every value into text.
"""

from __future__ import annotations

import ast
import json
import math
import re
from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Kind:
    """A type: a name, its arguments where it has some, and the values where those are listed (``Literal``)."""

    name: str
    arguments: tuple[Kind, ...] = ()
    choices: tuple[Any, ...] = ()

    def __str__(self) -> str:
        if self.name == "union":
            return " | ".join(str(argument) for argument in self.arguments)
        if self.name == "literal":
            return "one of " + ", ".join(map(repr, self.choices))
        return self.name + (f"[{', '.join(map(str, self.arguments))}]" if self.arguments else "")


ANY = Kind("any")
NONE = Kind("None")

_INTEGER = re.compile(r"[+-]?[0-9]+(_[0-9]+)*")
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_NONE = frozenset({"none", "null"})
_PLAIN = {"int", "float", "bool", "str", "list", "dict", "tuple", "set"}
_ALIASES = {
    "List": "list", "Sequence": "list", "Iterable": "list", "Collection": "list", "Dict": "dict", "Mapping": "dict",
    "MutableMapping": "dict", "Tuple": "tuple", "Set": "set", "AbstractSet": "set", "Text": "str",
}  # fmt: skip


def from_annotation(text: str) -> Kind:
    """The type that an annotation means; ``any`` where it is none that plain data has (``Path``, ``np.float64``)."""
    try:
        return _kind(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError):
        return ANY


def _kind(node: ast.expr) -> Kind:
    if isinstance(node, ast.Constant):
        if node.value is None:
            return NONE
        return from_annotation(node.value) if isinstance(node.value, str) else ANY
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([_kind(node.left), _kind(node.right)])
    name = _last_name(node.value if isinstance(node, ast.Subscript) else node)
    if not isinstance(node, ast.Subscript):
        name = _ALIASES.get(name, name)
        return Kind(name) if name in _PLAIN else ANY
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        if all(isinstance(item, ast.Constant) for item in inner):
            return Kind("literal", choices=tuple(item.value for item in inner if isinstance(item, ast.Constant)))
        return ANY
    if name == "Optional":
        return _union([_kind(inner[0]), NONE])
    if name == "Union":
        return _union([_kind(item) for item in inner])
    if name in {"Annotated", "Final", "ClassVar"}:
        return _kind(inner[0])
    name = _ALIASES.get(name, name)
    if name not in {"list", "dict", "tuple", "set"}:
        return Kind(name) if name in _PLAIN else ANY
    if name == "tuple" and len(inner) == 2 and isinstance(inner[1], ast.Constant) and inner[1].value is Ellipsis:
        return Kind("tuple", (_kind(inner[0]),))
    arguments = tuple(_kind(item) for item in inner)
    if name == "tuple" and len(set(arguments)) > 1:
        return Kind("tuple")
    return Kind(name, () if all(argument == ANY for argument in arguments) else arguments)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _union(kinds: list[Kind]) -> Kind:
    flat: list[Kind] = []
    for kind in kinds:
        flat += kind.arguments if kind.name == "union" else (kind,)
    if ANY in flat:
        return ANY
    unique = tuple(dict.fromkeys(flat))
    return unique[0] if len(unique) == 1 else Kind("union", unique)


def from_value(value: Any) -> Kind:
    """The type that a default of this value means. None says nothing, so anything fits."""
    name = type(value).__name__
    return Kind(name) if name in _PLAIN else ANY


def coerce(value: Any, kind: Kind, *, is_text: bool = False) -> Any:
    """``value`` as data of ``kind``; ``is_text``: it came from a command line, so its quotes are gone.

    Raises:
        ValueError: it does not fit; the message says why where that is not plain.
    """
    value = str(value) if is_text else value
    if kind.name == "any":
        return infer_text(value) if is_text else _plain(value)
    if kind.name == "union":
        return _coerce_union(value, kind, is_text=is_text)
    if kind.name == "None":
        if value is None or (is_text and value.lower() in _NONE):
            return None
        raise ValueError
    if kind.name == "literal":
        return _choose(value, kind, is_text=is_text)
    if kind.name in {"list", "dict", "tuple", "set"}:
        return _container(value, kind)
    return _SCALARS[kind.name](value)


def _coerce_union(value: Any, kind: Kind, *, is_text: bool) -> Any:
    # "None" means None before it means the text; a type that the value already has comes before a conversion.
    exact = [k for k in kind.arguments if not is_text and k.name == type(value).__name__]
    rest = sorted((k for k in kind.arguments if k not in exact), key=lambda k: (k != NONE, k.name == "str"))
    for candidate in (*exact, *rest):
        try:
            return coerce(value, candidate, is_text=is_text)
        except ValueError:
            continue
    raise ValueError


def _choose(value: Any, kind: Kind, *, is_text: bool) -> Any:
    for choice in kind.choices:
        same = type(choice) is type(value) and choice == value
        if same or (is_text and str(choice) == value):
            return choice
    raise ValueError


def _int(value: Any) -> int:
    if isinstance(value, bool) or value is None:
        raise ValueError
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)  # JSON documents of other tools have no integers
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    raise ValueError


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise ValueError from None


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
    raise ValueError


def _str(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    raise ValueError("quote it to make it text")


_SCALARS = {"int": _int, "float": _float, "bool": _bool, "str": _str}


def _container(value: Any, kind: Kind) -> Any:
    if isinstance(value, str):
        value = _parsed(value)
    arguments = kind.arguments
    if kind.name == "dict":
        if not isinstance(value, dict):
            raise ValueError
        key, item = (*arguments, ANY, ANY)[:2] if arguments else (ANY, ANY)
        return {
            coerce(k, key, is_text=key != ANY and isinstance(k, str)): coerce(v, item) for k, v in _plain(value).items()
        }
    if not isinstance(value, list | tuple | set):
        raise ValueError
    items = [coerce(item, arguments[0] if arguments else ANY) for item in value]
    try:
        return {"list": list, "tuple": tuple, "set": set}[kind.name](items)
    except TypeError:
        raise ValueError("its items cannot be in a set") from None


def _parsed(text: str) -> Any:
    """Text as data: JSON, a Python literal, or YAML."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ValueError("it is neither JSON nor YAML") from None


def infer_text(text: str) -> Any:
    """Text for a parameter of unknown type, as papermill reads it: True, False, None, int, float, else text."""
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    for convert in (_int, _float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _plain(value: Any) -> Any:
    """The same data, if it is plain all through: what a literal can say."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | set):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    raise ValueError(f"a {type(value).__name__} is no plain data")


def literal(value: Any) -> str:
    """Python source of plain data, on one line. NaN and infinities are ``float("nan")`` and so on.

    Raises:
        ValueError: the value is no plain data, so nothing foreign gets into code.
    """
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, int):
        return _integer(int(value))
    if isinstance(value, float):
        number = float(value)
        return repr(number) if math.isfinite(number) else f'float("{number}")'
    if isinstance(value, str):
        return repr(str(value))
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, set):
        return f"{{{', '.join(map(literal, value))}}}" if value else "set()"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(k)}: {literal(v)}' for k, v in value.items())}}}"
    raise ValueError(f"a {type(value).__name__} is no plain data")


def _integer(value: int) -> str:
    try:
        return repr(value)
    except ValueError:  # longer than Python's limit for decimal digits
        return hex(value)
