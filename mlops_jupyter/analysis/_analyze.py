"""From a cell's text to what it says."""

from __future__ import annotations

import ast
import re
import warnings
from functools import lru_cache

from ._collect import Collector, Shared
from ._magics import LOCAL_CELL_MAGICS, PYTHON_CELL_MAGICS, expanded_names, strip_options, whole_cell_magic
from ._model import (
    CellAnalysis,
    Delete,
    Displayed,
    Function,
    Load,
    Magic,
    Statement,
    Store,
    Touch,
    TouchKind,
    ValueKind,
    Where,
)
from ._scopes import loaded_names
from ._walker import Walker

_LARGEST_CACHED = 200_000
"""Characters: larger cells are analysed anew each time, so that the cache stays small."""

_COMPOUND = (
    ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match,
)  # fmt: skip
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_QUIET = re.compile(r";[ \t]*(?:#.*)?\s*\Z")
_MAGIC_LINE = re.compile(r"^(\s*)(?:([\w, .*\[\]'\"]+?)\s*=\s*)?([%!]{1,2})(.*)$")


def analyze(source: str) -> CellAnalysis:
    """What a cell reads, writes, may change, defines and calls.

    ``source`` is Python after IPython's transformation (magics are ``get_ipython().run_line_magic(…)``).
    Never raises for any text: a syntax error is told in the result. Results are cached by text and shared.
    """
    if len(source) <= _LARGEST_CACHED:
        return _cached(source)
    return _analyze(source)


@lru_cache(maxsize=128)
def _cached(source: str) -> CellAnalysis:
    return _analyze(source)


def analyze_tree(tree: ast.Module) -> CellAnalysis:
    """As ``analyze``, for a tree that exists already. The tree is not changed."""
    try:
        return _walk(tree, "")
    except (RecursionError, MemoryError):
        return _coarse(tree)


def _analyze(source: str) -> CellAnalysis:
    try:
        tree = _parse(source)
    except (SyntaxError, ValueError) as error:
        return CellAnalysis(syntax_error=str(error) or type(error).__name__)
    except (RecursionError, MemoryError) as error:
        return CellAnalysis(syntax_error=f"too deep: {type(error).__name__}", dynamic=True, active=True)
    magic = whole_cell_magic(tree)
    try:
        if magic is not None and magic.body is not None:
            return _cell_magic(tree, magic.name, magic.line, magic.body)
        return _walk(tree, source)
    except (RecursionError, MemoryError):
        return _coarse(tree)


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():  # the cell's own compilation shows them to the user once
        warnings.simplefilter("ignore")
        return ast.parse(source)


def _cell_magic(tree: ast.Module, name: str, line: str, body: str) -> CellAnalysis:
    outer = Magic(name, line, body, 1)
    inner: ast.Module | None = None
    text = body
    if name in PYTHON_CELL_MAGICS:
        setup = strip_options(line) if name in LOCAL_CELL_MAGICS else ""
        text = f"{setup}\n{body}" if setup else body
        try:
            inner = _parse(text)
        except (SyntaxError, ValueError):
            text = plain_magics(text)
            try:
                inner = _parse(text)
            except (SyntaxError, ValueError):
                inner = None
    if inner is None:
        found = _walk(tree, "")
        return _replace(found, wrapped=True)
    if name in LOCAL_CELL_MAGICS:
        shared, out = Shared(), Collector()
        walker = Walker(out, shared)
        walker.statement = 0
        nothing = ast.arguments([], [], None, [], [], None, [])
        walker._function(inner, "<timeit>", nothing, inner.body, merge=True)
        shared.magics.append(outer)
        return _replace(_result(out, shared, [], None), wrapped=True, active=True)
    found = _walk(inner, text, expressions=tuple(expanded_names(line)))
    return _replace(found, magics=(outer, *found.magics), wrapped=True, active=True)


def plain_magics(text: str) -> str:
    """Replace line magics and commands in the body of a cell magic, as IPython would, line by line."""
    lines: list[str] = []
    for line in text.split("\n"):
        found = _MAGIC_LINE.match(line)
        if found is None:
            lines.append(line)
            continue
        indent, target, mark, rest = found.groups()
        assign = f"{target} = " if target else ""
        if mark.startswith("!"):
            method = "getoutput" if target or mark == "!!" else "system"
            lines.append(f"{indent}{assign}get_ipython().{method}({rest!r})")
        else:
            name, _, argument = rest.lstrip("%").partition(" ")
            lines.append(f"{indent}{assign}get_ipython().run_line_magic({name!r}, {argument!r})")
    return "\n".join(lines)


def _walk(tree: ast.Module, source: str, *, expressions: tuple[str, ...] = ()) -> CellAnalysis:
    shared, out = Shared(), Collector()
    walker = Walker(out, shared)
    for expression in expressions:
        walker.statement = 0
        walker._names_of(expression, 1)
        walker.statement = -1
    walker.top_level(tree.body)
    return _result(out, shared, tree.body, _displayed(tree, source))


def _result(out: Collector, shared: Shared, body: list[ast.stmt], displayed: Displayed | None) -> CellAnalysis:
    literals: dict[str, object] = {}
    for assignment in shared.assignments:
        if assignment.kind is ValueKind.LITERAL and assignment.certain:
            literals[assignment.name] = assignment.literal
        else:
            literals.pop(assignment.name, None)
    for target in shared.loop_targets:
        literals.pop(target, None)
    return CellAnalysis(
        loads=_distinct(out.loads),
        stores=tuple(dict.fromkeys(out.stores)),
        deletes=tuple(out.deletes),
        touches=out.closed_touches(),
        calls=tuple(out.calls),
        functions=tuple(shared.functions),
        classes=tuple(shared.classes),
        branches=tuple(shared.branches),
        statements=tuple(
            Statement(
                (getattr(node, "decorator_list", None) and node.decorator_list[0].lineno) or node.lineno,  # type: ignore[attr-defined]
                node.end_lineno or node.lineno,
                isinstance(node, _COMPOUND),
                isinstance(node, _LOOPS),
            )
            for node in body
        ),
        derived=tuple((name, frozenset(sources)) for name, sources in out.derived.items()),
        assignments=tuple(shared.assignments),
        loop_targets=frozenset(shared.loop_targets),
        keyword_literals=tuple(shared.keyword_literals),
        known_calls=tuple(shared.known_calls),
        imports=tuple(shared.imports),
        star_imports=tuple(shared.star_imports),
        path_literals=tuple(shared.path_literals),
        magics=tuple(shared.magics),
        displayed=displayed,
        attributes=frozenset(out.attributes),
        outputs_read=tuple(shared.outputs_read),
        dynamic=out.dynamic,
        active=out.active,
        literals=literals,  # type: ignore[arg-type]
    )


def _distinct(loads: list[Load]) -> tuple[Load, ...]:
    """One load for each name, place and exposure is enough."""
    found: dict[tuple[str, int, int, bool, bool], Load] = {}
    for load in loads:
        found.setdefault((load.name, load.at.statement, load.at.branch, load.exposed, load.deferred), load)
    return tuple(found.values())


def _displayed(tree: ast.Module, source: str) -> Displayed | None:
    if not tree.body or not isinstance(tree.body[-1], ast.Expr) or _QUIET.search(source[-2_000:]):
        return None
    node = tree.body[-1].value
    try:
        text = ast.unparse(node) if (node.end_lineno or 0) - node.lineno < 50 else "…"
    except (RecursionError, ValueError):
        text = "…"
    return Displayed(
        text=text[:500],
        names=loaded_names(node),
        name=node.id if isinstance(node, ast.Name) else None,
        line=node.lineno,
    )


def _replace(analysis: CellAnalysis, **changes: object) -> CellAnalysis:
    from dataclasses import replace

    return replace(analysis, **changes)  # type: ignore[arg-type]


def _coarse(tree: ast.Module) -> CellAnalysis:
    """For trees that are too deep to be walked in order: every name may be read, written and changed."""
    at = Where(1, 0)
    loads: dict[str, Load] = {}
    stores: dict[str, Store] = {}
    deletes: dict[str, Delete] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                loads.setdefault(node.id, Load(node.id, at, exposed=True))
            elif isinstance(node.ctx, ast.Store):
                stores.setdefault(node.id, Store(node.id, at, certain=False))
            else:
                deletes.setdefault(node.id, Delete(node.id, at, certain=False))
    functions: tuple[Function, ...] = ()
    return CellAnalysis(
        loads=tuple(loads.values()),
        stores=tuple(stores.values()),
        deletes=tuple(deletes.values()),
        touches=tuple(Touch(name, TouchKind.ARGUMENT, at, direct=False) for name in loads),
        functions=functions,
        statements=(Statement(1, 10**9, compound=True, loop=True),),
        dynamic=True,
        active=True,
        coarse=True,
    )
