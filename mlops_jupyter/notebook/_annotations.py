"""The type that a parameter is given in a notebook: from its value, its annotation, or what is known of its name."""

from __future__ import annotations

import ast
import re
from typing import Any

from ._known_arguments import known_argument

_PLAIN = frozenset({"int", "float", "str", "bool", "list", "dict", "tuple", "None"})
_TYPING = {"List": "list", "Dict": "dict", "Tuple": "tuple", "Sequence": "list", "Mapping": "dict", "Text": "str"}


def of_value(value: Any) -> str | None:
    """``int``, ``list[str]``, ``dict[str, float]``; None for what is no plain data (bytes, sets, complex numbers)."""
    if value is None:
        return "None"
    name = type(value).__name__
    if name not in _PLAIN:
        return None
    if name in {"list", "tuple"}:
        inner = {of_value(item) for item in value}
        if None in inner:
            return None
        joined = _joined(inner)
        if name == "tuple":
            return f"tuple[{joined}, ...]" if joined else "tuple"
        return f"list[{joined}]" if joined else "list"
    if name == "dict":
        keys, values = {of_value(key) for key in value}, {of_value(item) for item in value.values()}
        if None in keys or None in values:
            return None
        key, item = _joined(keys), _joined(values)
        return f"dict[{key}, {item}]" if key and item else "dict"
    return name


def _joined(inner: set[str | None]) -> str:
    """One type for all, where there is one that a person would write."""
    if len(inner) == 1:
        (only,) = inner
        return only if only is not None and only != "None" else ""
    if inner == {"int", "float"}:
        return "float"
    if "None" in inner:
        rest = _joined(inner - {"None"})
        return f"{rest} | None" if rest and "|" not in rest else ""
    return ""


def of_name(name: str, value: Any) -> str | None:
    """The type of a well-known argument, where it takes this value too; None where nothing is known."""
    known = known_argument(name)
    if known is None or not known.annotation:
        return None
    own = of_value(value)
    kinds = known.annotation.split(" | ")
    if own in {"None", "str"} and own in kinds:  # a word for a way to choose a number (``gamma="scale"``)
        return known.annotation
    # A plain type where the value has one: ``max_depth: int = 3`` is what a person would write, and papermill's reader
    # and a form take it as it is.
    if own in kinds:
        return own
    return "float" if own == "int" and "float" in kinds else None


def of_annotation(node: ast.expr) -> str | None:
    """An annotation in plain words (``int | None``), or None where it names anything but plain data."""
    if isinstance(node, ast.Constant):
        if node.value is None:
            return "None"
        if isinstance(node.value, str):
            try:
                return of_annotation(ast.parse(node.value.strip(), mode="eval").body)
            except (SyntaxError, ValueError, RecursionError):
                return None
        return "..." if node.value is Ellipsis else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _all_of([node.left, node.right], " | ")
    if isinstance(node, ast.Subscript):
        return _subscript(node)
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    name = _TYPING.get(name, name)
    return name if name in _PLAIN else None


def _subscript(node: ast.Subscript) -> str | None:
    outer = node.value
    name = outer.attr if isinstance(outer, ast.Attribute) else outer.id if isinstance(outer, ast.Name) else ""
    inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Optional":
        found = of_annotation(inner[0])
        return f"{found} | None" if found else None
    if name == "Union":
        return _all_of(inner, " | ")
    if name in {"Final", "Annotated", "ClassVar"}:
        return of_annotation(inner[0])
    name = _TYPING.get(name, name)
    if name not in {"list", "dict", "tuple"}:
        return None
    found = _all_of(inner, ", ")
    return f"{name}[{found}]" if found else name


def _all_of(nodes: list[ast.expr], between: str) -> str | None:
    found = [of_annotation(node) for node in nodes]
    return between.join(part for part in found if part) if all(found) else None


def accepts(annotation: str, value: Any) -> bool:
    """Whether plain data of this value can stand for the annotation."""
    own = of_value(value)
    if own is None:
        return False
    kinds = [kind.split("[")[0] for kind in _parts(annotation)]
    head = own.split("[")[0]
    return head in kinds or (head == "int" and "float" in kinds)


def _parts(annotation: str) -> list[str]:
    """The members of a union at its top."""
    parts, depth, current = [], 0, ""
    for character in annotation:
        depth += character in "[("
        depth -= character in "])"
        if character == "|" and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += character
    return [*parts, current.strip()]


def as_written(annotation: str) -> str:
    """The annotation as it stands in a ``parameters`` cell: papermill reads no ``|``, so a union is quoted text."""
    parts = _parts(annotation)
    if len(parts) == 1:
        return annotation if "|" not in annotation and "..." not in annotation else annotation.split("[")[0]
    rest = [part for part in parts if part != "None"]
    if any("|" in part or "." in part for part in rest):
        rest = [part.split("[")[0] for part in rest]
    inner = rest[0] if len(rest) == 1 else f"Union[{', '.join(rest)}]"
    return f'"Optional[{inner}]"' if "None" in parts else f'"{inner}"'


def schema(annotation: str) -> dict[str, Any]:
    """JSON Schema of an annotation."""
    parts = _parts(annotation)
    if len(parts) > 1:
        schemas = [schema(part) for part in parts]
        if all(set(each) == {"type"} for each in schemas):
            return {"type": [each["type"] for each in schemas]}
        return {"anyOf": schemas}
    head, inner = re.match(r"(\w+)(?:\[(.*)\])?$", parts[0], re.DOTALL).groups()  # type: ignore[union-attr]
    simple = {"int": "integer", "float": "number", "str": "string", "bool": "boolean", "None": "null"}
    if head in simple:
        return {"type": simple[head]}
    if head in {"list", "tuple"}:
        items = (inner or "").removesuffix(", ...")
        return {"type": "array", **({"items": schema(items)} if items and "," not in items else {})}
    if head == "dict":
        item = inner.split(", ", 1)[1] if inner and ", " in inner else ""
        return {"type": "object", **({"additionalProperties": schema(item)} if item else {})}
    return {}
