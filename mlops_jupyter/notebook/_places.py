"""Literals of a cell that could be parameters, with where they stand and what they belong to. Judges nothing."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from mlops_jupyter.analysis import NotLiteralError, literal_value
from mlops_jupyter.analysis._scopes import dotted

from ._cell_text import CellText

Span = tuple[int, int, int, int]
"""First line (from 1), its column, last line, its column: of the literal, columns in bytes of UTF-8, as ``ast``."""

PlaceKind = Literal["assignment", "keyword", "entry", "argument", "default", "loop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One literal."""

    kind: PlaceKind
    """``x = LITERAL``, ``f(x=LITERAL)``, ``{"x": LITERAL}``, ``f(LITERAL)``, ``def f(x=LITERAL)``,
    ``for x in range(LITERAL)``."""
    name: str
    """Name it has by itself; empty for an argument."""
    callee: str
    """The call, function or dict that it belongs to."""
    target: str
    """The name that the statement around it assigns, where it assigns one."""
    value: Any
    span: Span
    statement: Span
    """Of an assignment: the whole statement. Else that of the literal."""
    annotation: ast.expr | None
    position: int
    """Of an argument: which."""
    repeated: bool
    """It can be evaluated more than once: in a loop, a function, a comprehension."""
    alone: bool
    """Of an assignment: it shares its lines with no other statement."""
    owner: Span | None = None
    """Of a dict's entry: the dict."""
    variadic: bool = False
    """The call also takes ``**mapping``."""


def span_of(node: ast.expr | ast.stmt) -> Span:
    """Where a node stands."""
    return (node.lineno, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)


def read_places(cell: CellText) -> list[Place]:
    """The literals of a cell, in the order of the text."""
    if cell.tree is None:
        return []
    lines: dict[int, int] = {}
    for statement in cell.tree.body:
        for line in range(statement.lineno, (statement.end_lineno or statement.lineno) + 1):
            lines[line] = lines.get(line, 0) + 1
    found: list[Place] = []
    for statement in cell.tree.body:
        found += [place for place in _Finder(lines).statement(statement) if not _is_joined(cell, place)]
    return sorted(found, key=lambda place: place.span)


def text_of(cell: CellText, span: Span) -> str:
    """The text at a place."""
    first, start, last, end = span
    lines = [line.encode("utf-8", "surrogatepass") for line in cell.lines[first - 1 : last]]
    if not lines:
        return ""
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    return b"".join(lines).decode("utf-8", "surrogatepass")


def _is_joined(cell: CellText, place: Place) -> bool:
    """Whether a text is written in pieces (``"a" "b"``)."""
    if not isinstance(place.value, str):
        return False
    try:
        tokens = tokenize.generate_tokens(io.StringIO(f"({text_of(cell, place.span)})").readline)
        return sum(token.type == tokenize.STRING for token in tokens) > 1
    except (tokenize.TokenError, SyntaxError):
        return True


class _Finder:
    """Walks one top-level statement."""

    def __init__(self, lines: dict[int, int]) -> None:
        self._lines = lines
        self._target = ""

    def statement(self, node: ast.stmt) -> list[Place]:
        """Places of a statement at the top of a cell."""
        found: list[Place] = []
        target, value, annotation = _assigned(node)
        self._target = target
        if target and value is not None:
            known, data = _literal(value)
            if known:
                within = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                found.append(
                    Place(
                        kind="assignment", name=target, callee="", target=target, value=data, span=span_of(value),
                        statement=span_of(node), annotation=annotation, position=0, repeated=False,
                        alone=all(self._lines[line] == 1 for line in within),
                    )
                )  # fmt: skip
        found += self._walk(node, repeated=False)
        return found

    def _place(
        self, kind: PlaceKind, name: str, callee: str, node: ast.expr, data: Any, *, repeated: bool, position: int = 0,
        owner: Span | None = None, variadic: bool = False, annotation: ast.expr | None = None,
    ) -> Place:  # fmt: skip
        return Place(
            kind=kind, name=name, callee=callee, target=self._target, value=data, span=span_of(node),
            statement=span_of(node), annotation=annotation, position=position, repeated=repeated, alone=False,
            owner=owner, variadic=variadic,
        )  # fmt: skip

    def _walk(self, node: ast.AST, *, repeated: bool) -> Iterator[Place]:
        stack: list[tuple[ast.AST, bool]] = [(node, repeated)]
        while stack:
            item, again = stack.pop()
            if isinstance(item, ast.JoinedStr | ast.match_case) or type(item).__name__ == "TemplateStr":
                if isinstance(item, ast.match_case):  # a pattern takes no names
                    stack += [(child, again) for child in item.body]
                continue
            if isinstance(item, ast.Call):
                yield from self._call(item, again)
            elif isinstance(item, ast.Dict):
                yield from self._dict(item, again)
            elif isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from self._defaults(item, again)
                stack += [
                    (child, True) for child in (*item.body, *item.args.defaults, *filter(None, item.args.kw_defaults))
                ]
                continue
            elif isinstance(item, ast.ClassDef):
                stack += [(child, True) for child in item.body]
                continue
            elif isinstance(item, ast.AnnAssign):
                if item.value is not None:
                    stack.append((item.value, again))
                continue
            elif isinstance(item, ast.For | ast.AsyncFor):
                yield from self._loop(item, again)
                stack.append((item.iter, again))
                stack += [(child, True) for child in (*item.body, *item.orelse)]
                continue
            loop = isinstance(
                item, ast.While | ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
            )
            stack += [(child, again or loop) for child in ast.iter_child_nodes(item)]

    def _call(self, node: ast.Call, repeated: bool) -> Iterator[Place]:
        callee = dotted(node.func) or (f"….{node.func.attr}" if isinstance(node.func, ast.Attribute) else "")
        variadic = any(keyword.arg is None for keyword in node.keywords)
        for keyword in node.keywords:
            known, data = _literal(keyword.value)
            if keyword.arg is not None and known:
                yield self._place(
                    "keyword", keyword.arg, callee, keyword.value, data, repeated=repeated, variadic=variadic
                )
        if callee == "dict":
            return
        for position, argument in enumerate(node.args[:3]):
            if isinstance(argument, ast.Starred):
                break
            known, data = _literal(argument)
            if known and isinstance(data, str | int | float) and not isinstance(data, bool):
                yield self._place("argument", "", callee, argument, data, repeated=repeated, position=position)

    def _dict(self, node: ast.Dict, repeated: bool) -> Iterator[Place]:
        for key, value in zip(node.keys, node.values, strict=True):
            if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
                continue
            known, data = _literal(value)
            if known and not isinstance(data, dict):
                yield self._place(
                    "entry", re.sub(r"\W+|__+", "_", key.value).strip("_"), self._target, value, data,
                    repeated=repeated, owner=span_of(node),
                )  # fmt: skip

    def _defaults(self, node: ast.FunctionDef | ast.AsyncFunctionDef, repeated: bool) -> Iterator[Place]:
        positional = [*node.args.posonlyargs, *node.args.args]
        pairs = [
            *zip(positional[len(positional) - len(node.args.defaults) :], node.args.defaults, strict=True),
            *((a, d) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if d is not None),
        ]
        for argument, default in pairs:
            known, data = _literal(default)
            if known:
                yield self._place(
                    "default", argument.arg, node.name, default, data, repeated=repeated,
                    annotation=argument.annotation,
                )  # fmt: skip

    def _loop(self, node: ast.For | ast.AsyncFor, repeated: bool) -> Iterator[Place]:
        call = node.iter
        while isinstance(call, ast.Call) and dotted(call.func).split(".")[-1] in {"tqdm", "enumerate"} and call.args:
            call = call.args[0]
        if not isinstance(call, ast.Call) or dotted(call.func).split(".")[-1] not in {"range", "trange"}:
            return
        if isinstance(node.target, ast.Name) and call.args and len(call.args) < 3:
            known, data = _literal(call.args[-1])
            if known and type(data) is int:
                yield self._place("loop", node.target.id, "range", call.args[-1], data, repeated=repeated)


def _assigned(node: ast.stmt) -> tuple[str, ast.expr | None, ast.expr | None]:
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, node.value, None
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.simple:
        return node.target.id, node.value, node.annotation
    return "", None, None


def _literal(node: ast.expr) -> tuple[bool, Any]:
    try:
        return True, literal_value(node)
    except (NotLiteralError, RecursionError):
        return False, None
