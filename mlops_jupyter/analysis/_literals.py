"""Literal values, and the kind of a right-hand side. Nothing is evaluated: only literal syntax is read."""

from __future__ import annotations

import ast
import re

from ._model import Literal, ValueKind

_NODES = 2_000
"""Literals with more nodes than this are data, not parameters."""

_PATH = re.compile(
    r"(?:[a-z][a-z0-9+.-]{0,15}://|[./~]|[A-Za-z]:\\)\S|[^\s/\\]+[/\\]\S|[^\s/\\]{1,120}\.[A-Za-z][A-Za-z0-9]{0,9}$"
)

_DATA_SUFFIX = re.compile(
    r"\.(?:csv|tsv|txt|json|jsonl|ndjson|parquet|pq|feather|arrow|ipc|pkl|pickle|joblib|npy|npz|h5|hdf5|hdf|xlsx?"
    r"|db|sqlite3?|duckdb|avro|orc|xml|html?|ya?ml|toml|ini|cfg|conf|log|md|py|ipynb|zip|gz|bz2|xz|zst|tar|png|jpe?g"
    r"|svg|gif|pdf|tiff?|bmp|webp|wav|mp3|mp4|pt|pth|onnx|safetensors|bin|dat|sql|nc|zarr|model|ubj|cbm|dill|msgpack"
    r")$",
    re.IGNORECASE,
)


class NotLiteralError(ValueError):
    """The expression is not a literal, or too large a one."""


def literal_value(node: ast.AST) -> Literal:
    """The value of a literal expression: constants, signs, complex sums, and containers of them.

    Raises NotLiteralError for anything else.
    """
    return _literal(node, [_NODES])


def _literal(node: ast.AST, left: list[int]) -> Literal:
    left[0] -= 1
    if left[0] < 0:
        raise NotLiteralError
    if isinstance(node, ast.Constant):
        if node.value is Ellipsis:
            raise NotLiteralError
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _literal(node.operand, left)
        if type(value) not in (int, float, complex):
            raise NotLiteralError
        return -value if isinstance(node.op, ast.USub) else value  # type: ignore[operator]
    if isinstance(node, ast.List):
        return [_literal(item, left) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item, left) for item in node.elts)
    if isinstance(node, ast.Set):
        return {_hashable(item, left) for item in node.elts}
    if isinstance(node, ast.Dict):
        if any(key is None for key in node.keys):
            raise NotLiteralError
        return {
            _hashable(key, left): _literal(value, left)
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None
        }
    raise NotLiteralError


def _hashable(node: ast.AST, left: list[int]) -> Literal:
    value = _literal(node, left)
    if isinstance(value, (list, set, dict)):
        raise NotLiteralError
    if isinstance(value, tuple):
        try:
            hash(value)
        except TypeError:
            raise NotLiteralError from None
    return value


_CLOCKS = frozenset(
    {"default_timer", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "thread_time",
     "time", "time_ns", "timestamp"}
)  # fmt: skip


def value_kind(node: ast.AST) -> tuple[ValueKind, Literal]:
    """The kind of a right-hand side, and its value where it is a literal."""
    try:
        return ValueKind.LITERAL, literal_value(node)
    except NotLiteralError:
        pass
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id == "len":
            return ValueKind.LEN, None
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if called in _CLOCKS and not node.args:
            return ValueKind.CLOCK, None
    inner = node.value if isinstance(node, ast.Subscript) else node
    if isinstance(inner, ast.Attribute) and inner.attr in ("shape", "size", "ndim"):
        return ValueKind.SHAPE, None
    return ValueKind.OTHER, None


def looks_like_path(text: str) -> bool:
    """Whether a string literal may name a file, folder or URL."""
    if not 1 < len(text) <= 1_000 or "\n" in text:
        return False
    if _DATA_SUFFIX.search(text[-12:]):
        return True
    head = text[:200]
    return ("/" in head or "\\" in head) and _PATH.match(head) is not None and "<" not in head
