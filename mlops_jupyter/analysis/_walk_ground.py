"""The ground of the walk over a cell's syntax tree: what is visited, and the events that a visit makes.

Definite assignment: a load is *exposed* unless a certain store of the same name comes before it on every way.
"""

# ruff: noqa: N802 - visitors are named for the nodes of ast

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable

from ._collect import Collector, Shared
from ._model import Load, Store, Touch, TouchKind, Where
from ._scopes import dotted, root_name

_DYNAMIC = frozenset({"exec", "eval", "globals", "locals", "vars", "get_ipython"})
_NO_PLACE = Where(0, 0)


class Ground:
    """Fills a collector. ``local`` are names that are not global here."""

    def __init__(
        self, out: Collector, shared: Shared, *, local: frozenset[str] = frozenset(), prefix: str = "",
        module: bool = True,
    ) -> None:  # fmt: skip
        self.out = out
        self.shared = shared
        self.local = local
        self.prefix = prefix
        self.module = module
        self.assigned: set[str] = set()
        self.inner: list[set[str]] = []  # targets of comprehensions
        self.class_names: list[set[str]] = []
        self.class_prefix = ""
        self.conditional = 0
        self.loop = 0
        self.branch = -1
        self.statement = -1
        self.deferred = False
        self.sources: set[str] = set()
        self.declared: set[str] = set()
        self._place = _NO_PLACE
        self._visitors: dict[type, Callable[..., None]] = {}

    # ------------------------------------------------------------------ ground

    def visit(self, node: ast.AST) -> None:
        """Visit one node."""
        kind = type(node)
        visitor = self._visitors.get(kind)
        if visitor is None:
            visitor = self._visitors[kind] = getattr(self, "visit_" + kind.__name__, self._generic)
        visitor(node)

    def visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        """Visit nodes in turn."""
        for node in nodes:
            if node is not None and type(node) is not ast.Constant:
                self.visit(node)
            elif node is not None:
                self.visit_Constant(node)

    def top_level(self, body: list[ast.stmt]) -> None:
        """Visit the statements of a cell."""
        for node in body:
            self.statement += 1
            self.visit(node)

    def _generic(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            self.visit(child)

    def _at(self, line: int) -> Where:
        place = self._place
        loop = self.loop > 0
        if (
            place.line != line or place.statement != self.statement or place.branch != self.branch
            or place.loop != loop
        ):  # fmt: skip
            place = self._place = Where(line, self.statement, self.branch, loop)
        return place

    def _is_global(self, name: str) -> bool:
        if any(name in names for names in self.inner):
            return False
        if self.class_names and name in self.class_names[-1]:
            return False
        return name not in self.local

    # ------------------------------------------------------------------ events

    def load(self, name: str, line: int) -> None:
        self.sources.add(name)
        if not self._is_global(name):
            return
        self.out.global_names.add(name)
        if name in _DYNAMIC:
            self.out.dynamic = True
        self.out.loads.append(
            Load(name, self._at(line), name not in self.assigned, self.deferred, self.conditional == 0)
        )

    def store(self, name: str, line: int, *, certain: bool | None = None) -> None:
        if any(name in names for names in self.inner):
            return
        if self.class_names and name not in self.declared:
            self.class_names[-1].add(name)
            return
        if name in self.local:
            return
        self.out.global_names.add(name)
        if not self.deferred:
            self.assigned.add(name)
        sure = (self.conditional == 0 and not self.deferred) if certain is None else certain
        self.out.stores.append(Store(name, self._at(line), sure))

    def touch(self, name: str | None, kind: TouchKind, line: int, *, detail: str = "", direct: bool = True) -> None:
        if name is not None:
            self.out.touches.append((Touch(name, kind, self._at(line), detail, direct), self._is_global(name)))

    def _bind(self, target: ast.AST, sources: set[str]) -> None:
        """Assign to a target: names, tuples, attributes, items."""
        if isinstance(target, ast.Name):
            self.store(target.id, target.lineno)
            if sources:
                self.out.derived.setdefault(target.id, set()).update(sources)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for item in target.elts:
                self._bind(item, sources)
        elif isinstance(target, ast.Starred):
            self._bind(target.value, sources)
        elif isinstance(target, (ast.Attribute, ast.Subscript)):
            self.out.active = True
            name, direct = root_name(target)
            kind = TouchKind.ATTRIBUTE if isinstance(target, ast.Attribute) else TouchKind.ITEM
            detail = dotted(target) if isinstance(target, ast.Attribute) else ""
            self.visit(target.value)
            if isinstance(target, ast.Subscript):
                self.visit(target.slice)
            self.touch(name, kind, target.lineno, detail=detail, direct=direct)
            if name is not None and sources:  # what is put inside can be reached, and changed, through it later
                self.out.derived.setdefault(name, set()).update(sources)

    def _value(self, node: ast.AST) -> set[str]:
        """Visit an expression; the names that it loads."""
        before, self.sources = self.sources, set()
        self.visit(node)
        found, self.sources = self.sources, before | self.sources
        return found

    def visit_Constant(self, node: ast.Constant) -> None:
        """Overridden where strings are looked at."""


def target_names(targets: Iterable[ast.AST]) -> tuple[str, ...]:
    found: list[str] = []
    for target in targets:
        if isinstance(target, ast.Name):
            found.append(target.id)
        elif isinstance(target, (ast.Tuple, ast.List)):
            found += target_names(target.elts)
        elif isinstance(target, ast.Starred):
            found += target_names([target.value])
    return tuple(found)
