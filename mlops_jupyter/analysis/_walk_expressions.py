"""Expressions, and the functions, lambdas and magics inside of them."""

# ruff: noqa: N802, N815 - visitors are named for the nodes of ast

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from ._calls import keyword_literals, known_call
from ._collect import Collector, Shared
from ._literals import looks_like_path
from ._magics import expanded_names, line_code, magic_call
from ._model import Call, Function, Magic, TouchKind
from ._scopes import bound_names, dotted, loaded_names, parameter_names, root_name
from ._walk_ground import Ground, target_names

_LOCALS_IN_QUERY = re.compile(r"@([A-Za-z_]\w*)")


class Expressions(Ground):
    """Visits expressions."""

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.load(node.id, node.lineno)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and looks_like_path(node.value):
            self.shared.path(node.value, node.lineno)

    def _paths(self, node: ast.AST) -> None:
        for part in ast.walk(node):
            if isinstance(part, ast.Constant):
                self.visit_Constant(part)

    def visit_List(self, node: ast.List | ast.Tuple | ast.Set) -> None:
        elements = node.elts
        if len(elements) > 1_000:  # data: its strings are no paths worth looking at
            elements = [e for e in elements if type(e) is not ast.Constant]
        for element in elements:
            self.visit(element)

    visit_Tuple = visit_List
    visit_Set = visit_List

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.out.active = True
        self.out.attributes.add(node.attr)
        self.visit(node.value)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self.out.active = True
        self.visit(node.left)
        self.visit(node.right)

    def visit_Await(self, node: ast.Await) -> None:
        self.out.active = True
        self.visit(node.value)
        self.touch(root_name(node.value)[0], TouchKind.CONTEXT, node.lineno)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.out.active = True
        if isinstance(node.value, ast.Name) and node.value.id in ("Out", "_oh"):
            self._output(node.slice)
        self.visit(node.value)
        self.visit(node.slice)

    def _output(self, index: ast.AST) -> None:
        if isinstance(index, ast.Constant) and type(index.value) is int:
            self.shared.outputs_read.append(index.value)

    def visit_Starred(self, node: ast.Starred) -> None:
        self.visit(node.value)
        self.touch(root_name(node.value)[0], TouchKind.ITERATED, node.lineno)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        self._uncertain([node.body])
        self._uncertain([node.orelse])

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.visit(node.values[0])
        self._uncertain(node.values[1:])

    def _uncertain(self, nodes: Iterable[ast.AST]) -> None:
        entry = set(self.assigned)
        self.conditional += 1
        for node in nodes:
            self.visit(node)
        self.conditional -= 1
        self.assigned = entry

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> None:
        self._comprehension(node.generators, [node.elt])

    visit_SetComp = visit_ListComp

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node.generators, [node.key, node.value])

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        shared, self.shared = self.shared, Shared()
        inner = type(self)(Collector(), self.shared, local=self.local, prefix=self.prefix, module=False)
        inner.inner = [set(names) for names in self.inner]
        first = node.generators[0]  # evaluated at once, not when the generator runs
        nothing = ast.copy_location(ast.Constant(value=None), first.iter)
        rest = ast.comprehension(first.target, nothing, first.ifs, first.is_async)
        inner._comprehension([rest, *node.generators[1:]], [node.elt])
        self.shared = shared
        reads = frozenset(x.name for x in inner.out.loads)
        self.shared.functions.append(
            Function(
                name="<genexpr>",
                qualname=f"{self.prefix}{self.class_prefix}<genexpr>",
                line=node.lineno,
                position=(node.lineno, node.col_offset),
                reads=reads,
                writes=frozenset(),
                touches=inner.out.closed_touches(),
                calls=tuple(inner.out.calls),
                is_lambda=True,
            )
        )
        self._comprehension(node.generators, [node.elt])

    def _comprehension(self, generators: list[ast.comprehension], elements: list[ast.expr]) -> None:
        names: set[str] = set()
        self.loop += 1
        entry = set(self.assigned)
        for index, generator in enumerate(generators):
            if index == 1:
                self.conditional += 1
            sources = self._value(generator.iter)
            self.touch(root_name(generator.iter)[0], TouchKind.ITERATED, generator.iter.lineno)
            if index == 0:
                self.inner.append(names)
                self.conditional += 1
            for name in target_names([generator.target]):
                names.add(name)
                self.out.derived.setdefault(name, set()).update(sources - {name})
            for test in generator.ifs:
                self.visit(test)
        for element in elements:
            self.visit(element)
        self.inner.pop()
        self.conditional -= 1 if len(generators) == 1 else 2
        self.assigned = entry
        self.loop -= 1

    def _query(self, node: ast.Call) -> None:
        """``df.query("a > @limit")`` reads ``limit``."""
        for argument in node.args[:1]:
            for part in ast.walk(argument):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    for name in _LOCALS_IN_QUERY.findall(part.value):
                        self.load(name, node.lineno)

    def visit_Call(self, node: ast.Call) -> None:
        self._call(node)

    def _call(self, node: ast.Call, *, discarded: bool = False, targets: tuple[str, ...] = ()) -> None:
        self.out.active = True
        if self._magic(node):
            return
        callee = dotted(node.func)
        self.visit(node.func)
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("query", "eval"):
            self._query(node)
        if isinstance(node.func, ast.Attribute):
            self._receiver(node, node.func)
        else:
            self.touch(root_name(node.func)[0], TouchKind.CALLEE, node.lineno, detail=callee)
        for argument in (*node.args, *(k.value for k in node.keywords)):
            self.visit(argument)
            self._argument(argument, callee or (node.func.attr if isinstance(node.func, ast.Attribute) else ""))
        for keyword in node.keywords:
            if keyword.arg == "out":
                for name in _roots(keyword.value):
                    self.touch(name, TouchKind.OUT, node.lineno, detail=callee)
        if callee:
            self.out.calls.append(Call(callee, self._at(node.lineno), self.conditional == 0, discarded))
        if node.keywords:
            self.shared.keywords(keyword_literals(node))
        known = known_call(node, targets)
        if known is not None:
            self.shared.known_calls.append(known)

    def _receiver(self, node: ast.Call, function: ast.Attribute) -> None:
        name, direct = root_name(function.value)
        self.touch(name, TouchKind.RECEIVER, node.lineno, detail=function.attr, direct=direct)
        for keyword in node.keywords:
            if keyword.arg == "inplace" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True:
                self.touch(name, TouchKind.INPLACE, node.lineno, detail=function.attr, direct=direct)

    def _argument(self, node: ast.AST, callee: str) -> None:
        for name in _roots(node):
            self.touch(name, TouchKind.ARGUMENT, getattr(node, "lineno", 0), detail=callee, direct=False)
            # A receiver may keep what it is given: ``box.append(x)`` then reaches x through box.

    # ------------------------------------------------------------------ magics

    def _magic(self, node: ast.Call) -> bool:
        call = magic_call(node)
        if call is None:
            return False
        self.shared.magics.append(Magic(call.name, call.line, call.body, node.lineno))
        for expression in expanded_names(call.line):
            self._names_of(expression, node.lineno)
        code = line_code(call)
        if code:
            self._inline(code, node.lineno, local=call.name == "timeit")
        return True

    def _names_of(self, expression: str, line: int) -> None:
        try:
            tree = ast.parse(expression.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        for name in loaded_names(tree):
            self.load(name, line)

    def _inline(self, code: str, line: int, *, local: bool) -> None:
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        ast.increment_lineno(tree, line - 1)
        if local:
            nothing = ast.arguments([], [], None, [], [], None, [])
            self._function(tree, "<timeit>", nothing, tree.body, merge=True)
        else:
            for statement in tree.body:
                self.visit(statement)

    # ------------------------------------------------------------------ functions

    def _function(
        self,
        node: ast.AST,
        name: str,
        arguments: ast.arguments,
        body: list[ast.stmt] | list[ast.expr],
        *,
        merge: bool,
    ) -> None:
        bound, declared = bound_names(body)
        bound |= parameter_names(arguments) - declared
        if self.class_names and "." in self.class_prefix:
            bound.add("__class__")
        generic = {p.name for p in getattr(node, "type_params", ())}
        outer = self.local.union(*self.inner) if self.inner else self.local
        local = frozenset((outer | bound | generic) - declared)
        qualname = f"{self.prefix}{self.class_prefix}{name}"
        inner = type(self)(Collector(), self.shared, local=local, prefix=f"{qualname}.<locals>.", module=False)
        inner.statement, inner.branch, inner.declared = self.statement, self.branch, declared
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        place = (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))
        at = len(self.shared.functions)
        for statement in body:
            inner.visit(statement)
        out = inner.out
        touches = out.closed_touches()
        self.shared.functions.insert(
            at,
            Function(
                name=name,
                qualname=qualname,
                line=decorators[0].lineno if decorators else place[0],
                position=place,
                reads=frozenset(x.name for x in out.loads if x.exposed),
                writes=frozenset(x.name for x in out.stores) | frozenset(x.name for x in out.deletes),
                touches=touches,
                calls=tuple(out.calls),
                attributes=frozenset(out.attributes),
                decorators=tuple(dotted(d.func if isinstance(d, ast.Call) else d) for d in decorators),
                is_lambda=name.startswith("<"),
                dynamic=out.dynamic,
                end_line=getattr(node, "end_lineno", None) or place[0],
            ),
        )
        if merge:
            self._merge(out, place[0])

    def _merge(self, out: Collector, line: int) -> None:
        """Count a lambda's or class's body where it stands: whoever is given it may run it at once."""
        before, self.deferred = self.deferred, True
        for x in out.loads:
            self.load(x.name, x.at.line or line)
        self.deferred = before
        for touch, is_global in out.touches:
            if is_global:
                self.out.touches.append((touch, self._is_global(touch.name)))
        self.out.calls += out.calls
        self.out.attributes |= out.attributes
        self.out.dynamic |= out.dynamic
        for name, sources in out.derived.items():
            self.out.derived.setdefault(name, set()).update(sources)


def _roots(node: ast.AST) -> list[str]:
    """Names whose objects an argument hands over: chains, and what containers and starred expressions
    hold.
    """
    found: list[str] = []
    stack: list[ast.AST] = [node]
    while stack:
        current = stack.pop()
        if isinstance(current, (ast.Name, ast.Attribute, ast.Subscript, ast.Starred, ast.Await)):
            name, _ = root_name(current)
            if name is not None:
                found.append(name)
        elif isinstance(current, (ast.List, ast.Tuple, ast.Set)):
            stack += [e for e in current.elts if type(e) is not ast.Constant]
        elif isinstance(current, ast.Dict):
            stack += [e for e in current.values if type(e) is not ast.Constant]
        elif isinstance(current, ast.IfExp):
            stack += [current.body, current.orelse]
        elif isinstance(current, ast.BoolOp):
            stack += current.values
        elif isinstance(current, ast.NamedExpr):
            stack.append(current.value)
    return found
