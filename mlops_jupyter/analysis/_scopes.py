"""Which names a function or class body binds, by Python's own scoping rules."""

from __future__ import annotations

import ast
from collections.abc import Iterable


def bound_names(body: Iterable[ast.AST]) -> tuple[set[str], set[str]]:
    """(names that the body binds locally, names that it declares global).

    Does not enter nested functions and classes; enters comprehensions for ``:=`` alone.
    """
    bound: set[str] = set()
    declared: set[str] = set()
    nonlocal_names: set[str] = set()
    stack: list[tuple[ast.AST, bool]] = [(node, False) for node in body]
    while stack:
        node, inner = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
            stack += [(decorator, inner) for decorator in node.decorator_list]
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.Name):
            if not inner and isinstance(node.ctx, (ast.Store, ast.Del)):
                bound.add(node.id)
            continue
        if isinstance(node, ast.NamedExpr):
            bound.add(node.target.id)
            stack.append((node.value, inner))
            continue
        if isinstance(node, ast.Global):
            declared.update(node.names)
            continue
        if isinstance(node, ast.Nonlocal):
            nonlocal_names.update(node.names)
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            bound.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
            continue
        bound.update(captured_names(node))
        deeper = inner or isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp))
        stack += [(child, deeper) for child in ast.iter_child_nodes(node)]
    return bound - declared - nonlocal_names, declared


def captured_names(node: ast.AST) -> tuple[str, ...]:
    """Names that ``except … as``, and the patterns of ``match``, bind without a ``Name`` node."""
    if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
        return (node.name,)
    if isinstance(node, ast.MatchMapping) and node.rest:
        return (node.rest,)
    return ()


def parameter_names(arguments: ast.arguments) -> set[str]:
    """Names of all parameters."""
    found = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    found |= {a.arg for a in (arguments.vararg, arguments.kwarg) if a is not None}
    return found


def dotted(node: ast.AST) -> str:
    """``a.b.c`` for names and attribute chains, else an empty text."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    parts.append(node.id)
    return ".".join(reversed(parts))


def root_name(node: ast.AST) -> tuple[str | None, bool]:
    """(name at the root of an attribute/item/call chain, whether the chain goes through no call and is one
    step).
    """
    steps = 0
    through_call = False
    while True:
        if isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred, ast.Await)):
            node = node.value
            steps += 1
        elif isinstance(node, ast.Call):
            node = node.func
            through_call = True
        elif isinstance(node, ast.Name):
            return node.id, not through_call and steps <= 1
        else:
            return None, False


def loaded_names(node: ast.AST, limit: int = 2_000) -> tuple[str, ...]:
    """Names that an expression loads, in no particular order of evaluation, without its own targets."""
    found: dict[str, None] = {}
    own: set[str] = set()
    stack: list[ast.AST] = [node]
    seen = 0
    while stack and seen < limit:
        current = stack.pop()
        seen += 1
        if isinstance(current, ast.Name):
            if isinstance(current.ctx, ast.Load):
                found[current.id] = None
            else:
                own.add(current.id)
        elif not isinstance(current, ast.Constant):
            stack.extend(ast.iter_child_nodes(current))
    return tuple(name for name in found if name not in own)
