"""One walk over a cell's syntax tree in the order of evaluation.

Definite assignment: a load is *exposed* unless a certain store of the same name comes before it on every way.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable

from ._calls import keyword_literals, known_call
from ._collect import Collector, Shared
from ._literals import looks_like_path, value_kind
from ._magics import expanded_names, line_code, magic_call
from ._model import (
    Assignment,
    Branch,
    Call,
    Delete,
    Function,
    Import,
    Load,
    Magic,
    Store,
    Touch,
    TouchKind,
    ValueKind,
    Where,
)
from ._scopes import bound_names, captured_names, dotted, loaded_names, parameter_names, root_name

_DYNAMIC = frozenset({"exec", "eval", "globals", "locals", "vars", "get_ipython"})
_NO_PLACE = Where(0, 0)


class Walker:
    """Visits nodes and fills a collector. ``local`` are names that are not global here."""

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
                self.visit_Constant(node)  # type: ignore[arg-type]

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

    def touch(
        self, name: str | None, kind: TouchKind, line: int, *, detail: str = "", direct: bool = True
    ) -> None:
        if name is not None:
            self.out.touches.append(
                (Touch(name, kind, self._at(line), detail, direct), self._is_global(name))
            )

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
            if (
                name is not None and sources
            ):  # what is put inside can be reached, and changed, through it later
                self.out.derived.setdefault(name, set()).update(sources)

    def _value(self, node: ast.AST) -> set[str]:
        """Visit an expression; the names that it loads."""
        before, self.sources = self.sources, set()
        self.visit(node)
        found, self.sources = self.sources, before | self.sources
        return found

    # ------------------------------------------------------------------ statements

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self._call(node.value, discarded=True)
        else:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        names = _target_names(node.targets)
        kind, literal = value_kind(node.value)
        if kind is ValueKind.LITERAL and not isinstance(node.value, ast.Constant):
            sources: set[str] = set()
            self._paths(node.value)
        elif isinstance(node.value, ast.Lambda):
            self._function(node.value, "<lambda>", node.value.args, [node.value.body], merge=False)
            sources = set()
        elif isinstance(node.value, ast.Call):
            before, self.sources = self.sources, set()
            self._call(node.value, targets=names)
            sources, self.sources = self.sources, before | self.sources
        else:
            sources = self._value(node.value)
        for target in node.targets:
            self._bind(target, sources if kind is ValueKind.OTHER else set())
        if len(node.targets) > 1 or not isinstance(node.targets[0], (ast.Tuple, ast.List)):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    self._assignment(target.id, kind, literal, node.lineno)
        elif isinstance(node.value, (ast.Tuple, ast.List)):
            self._unpacked(node.targets[0], node.value)

    def _unpacked(self, target: ast.Tuple | ast.List, value: ast.Tuple | ast.List) -> None:
        if len(target.elts) != len(value.elts) or any(isinstance(e, ast.Starred) for e in target.elts):
            return
        for name, item in zip(target.elts, value.elts, strict=True):
            if isinstance(name, ast.Name):
                self._assignment(name.id, *value_kind(item), name.lineno)

    def _assignment(
        self, name: str, kind: ValueKind, literal: object, line: int, annotation: str | None = None
    ) -> None:
        if self.module and not self.class_names and self._is_global(name):
            self.shared.assignments.append(
                Assignment(name, kind, line, literal, annotation, self.conditional == 0 and self.branch < 0)  # type: ignore[arg-type]
            )

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if self.module:
            self.visit(node.annotation)
        if node.value is None:
            return
        sources = self._value(node.value)
        self._bind(node.target, sources)
        if isinstance(node.target, ast.Name):
            self._assignment(
                node.target.id, *value_kind(node.value), node.lineno, ast.unparse(node.annotation)[:200]
            )

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.out.active = True
        if isinstance(node.target, ast.Name):
            self.load(node.target.id, node.lineno)
            sources = self._value(node.value)
            self.touch(node.target.id, TouchKind.AUGMENTED, node.lineno)
            self.store(node.target.id, node.lineno)
            self.out.derived.setdefault(node.target.id, set()).update(sources)
            self._assignment(node.target.id, ValueKind.OTHER, None, node.lineno)
        else:
            sources = self._value(node.value)
            self._bind(node.target, sources)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        sources = self._value(node.value)
        hidden, self.inner = self.inner, []
        self._bind(node.target, sources)
        self.inner = hidden
        self._assignment(node.target.id, *value_kind(node.value), node.lineno)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                if self._is_global(target.id):
                    self.out.deletes.append(Delete(target.id, self._at(target.lineno), self.conditional == 0))
                    self.assigned.add(target.id)
            elif isinstance(target, (ast.Tuple, ast.List)):
                self.visit_Delete(ast.Delete(targets=target.elts))
            else:
                self._bind(target, set())

    def visit_Global(self, node: ast.Global) -> None:
        self.declared.update(node.names)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            bound = alias.asname or alias.name.split(".")[0]
            self.store(bound, node.lineno)
            self.shared.imports.append(Import(alias.name, None, bound, node.lineno))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.shared.star_imports.append(node.module or "")
            else:
                self.store(alias.asname or alias.name, node.lineno)
            bound = alias.asname or alias.name
            self.shared.imports.append(Import(node.module or "", alias.name, bound, node.lineno, node.level))

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self._alternatives([node.body, node.orelse], node.end_lineno or node.lineno)

    def visit_Match(self, node: ast.Match) -> None:
        sources = self._value(node.subject)
        entry = set(self.assigned)
        results: list[set[str]] = []
        for case in node.cases:
            self.assigned = set(entry)
            self.conditional += 1
            for part in ast.walk(case.pattern):
                for name in captured_names(part):
                    self.store(name, case.pattern.lineno)
                    self.out.derived.setdefault(name, set()).update(sources)
                if isinstance(part, (ast.MatchValue, ast.MatchClass)):
                    self.visit(part.value if isinstance(part, ast.MatchValue) else part.cls)
            if case.guard is not None:
                self.visit(case.guard)
            self.conditional -= 1
            results.append(self._branch_body(case.body))
        last = node.cases[-1]
        exhaustive = (
            last.guard is None and isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None
        )
        self._join(entry, results if exhaustive else [*results, entry], node.end_lineno or node.lineno)

    def _alternatives(self, bodies: list[list[ast.stmt]], end: int) -> None:
        entry = set(self.assigned)
        results: list[set[str]] = []
        for body in bodies:
            self.assigned = set(entry)
            results.append(self._branch_body(body))
        self._join(entry, results, end)

    def _branch_body(self, body: list[ast.stmt]) -> set[str]:
        """Visit a body that may be passed by; outside of loops it gets a branch, whose entry is probed."""
        if not body:
            return self.assigned
        outer = self.branch
        probed = self.module and not self.loop and not self.class_names
        if probed:
            self.branch = len(self.shared.branches)
            self.shared.branches.append(Branch(outer, (body[0].lineno, body[0].col_offset)))
        before, self.conditional = self.conditional, (0 if probed else self.conditional + 1)
        for statement in body:
            self.visit(statement)
        self.branch, self.conditional = outer, before
        return self.assigned

    def _join(self, entry: set[str], results: list[set[str]], end: int) -> None:
        common = set.intersection(*results)
        self.assigned = common
        for name in common - entry:
            self.out.stores.append(Store(name, self._at(end), self.conditional == 0))

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.out.active = True
        sources = self._value(node.iter)
        self.touch(root_name(node.iter)[0], TouchKind.ITERATED, node.lineno)
        if self.module and not self.class_names:
            self.shared.loop_targets.update(_target_names([node.target]))
        entry = set(self.assigned)
        self.conditional += 1
        self.loop += 1
        self._bind(node.target, sources)
        self._statements(node.body)
        self.loop -= 1
        self.assigned = set(entry)
        self._statements(node.orelse)
        self.conditional -= 1
        self.assigned = entry

    visit_AsyncFor = visit_For

    def visit_While(self, node: ast.While) -> None:
        self.loop += 1
        self.visit(node.test)
        entry = set(self.assigned)
        self.conditional += 1
        self._statements(node.body)
        self.loop -= 1
        self.assigned = set(entry)
        self._statements(node.orelse)
        self.conditional -= 1
        self.assigned = entry

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        self.out.active = True
        for item in node.items:
            sources = self._value(item.context_expr)
            self.touch(root_name(item.context_expr)[0], TouchKind.CONTEXT, node.lineno)
            if item.optional_vars is not None:
                self._bind(item.optional_vars, sources)
        self._statements(node.body)

    visit_AsyncWith = visit_With

    def visit_Try(self, node: ast.Try) -> None:
        entry = set(self.assigned)
        guarded = bool(node.handlers)
        self.conditional += guarded
        self._statements(node.body)
        self._statements(node.orelse)
        self.conditional -= guarded
        results = [self.assigned]
        for handler in node.handlers:
            self.assigned = set(entry)
            if handler.type is not None:
                self.visit(handler.type)
            if handler.name:
                self.conditional += 1
                self.store(handler.name, handler.lineno)
                self.conditional -= 1
            body = set(self._branch_body(handler.body))
            results.append(body - {handler.name} if handler.name else body)
        if guarded:
            self._join(entry, results, node.end_lineno or node.lineno)
        self._statements(node.finalbody)

    visit_TryStar = visit_Try

    def _statements(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self.visit(statement)

    # ------------------------------------------------------------------ functions and classes

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.visit_all(node.decorator_list)
        if node.decorator_list:
            self.out.active = True
        self.visit_all([*node.args.defaults, *node.args.kw_defaults])
        self._annotations(node)
        self._function(node, node.name, node.args, node.body, merge=False)
        self.store(node.name, node.lineno)

    visit_AsyncFunctionDef = visit_FunctionDef

    def _annotations(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if not self.module:
            return
        arguments = node.args
        every = [
            *arguments.posonlyargs,
            *arguments.args,
            *arguments.kwonlyargs,
            arguments.vararg,
            arguments.kwarg,
        ]
        generic = {p.name for p in getattr(node, "type_params", ())}
        self.inner.append(generic)
        self.visit_all([a.annotation for a in every if a is not None] + [node.returns])
        self.inner.pop()

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit_all([*node.args.defaults, *node.args.kw_defaults])
        self._function(node, "<lambda>", node.args, [node.body], merge=True)

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
        inner = Walker(Collector(), self.shared, local=local, prefix=f"{qualname}.<locals>.", module=False)
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

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.visit_all([*node.decorator_list, *node.bases, *(k.value for k in node.keywords)])
        if self.module and not self.class_names:
            self.shared.classes.append(node.name)
        generic = {p.name for p in getattr(node, "type_params", ())}
        declared, self.declared = self.declared, set()
        before, self.class_prefix = self.class_prefix, f"{self.class_prefix}{node.name}."
        self.class_names.append(generic)
        self._statements(node.body)
        self.class_names.pop()
        self.class_prefix, self.declared = before, declared
        self.store(node.name, node.lineno)

    # ------------------------------------------------------------------ expressions

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
        inner = Walker(Collector(), self.shared, local=self.local, prefix=self.prefix, module=False)
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
            for name in _target_names([generator.target]):
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

    def visit_Call(self, node: ast.Call) -> None:
        self._call(node)

    def _call(self, node: ast.Call, *, discarded: bool = False, targets: tuple[str, ...] = ()) -> None:
        self.out.active = True
        if self._magic(node):
            return
        callee = dotted(node.func)
        self.visit(node.func)
        if isinstance(node.func, ast.Attribute):
            self._receiver(node, node.func)
        else:
            self.touch(root_name(node.func)[0], TouchKind.CALLEE, node.lineno, detail=callee)
        for argument in (*node.args, *(k.value for k in node.keywords)):
            self.visit(argument)
            self._argument(
                argument, callee or (node.func.attr if isinstance(node.func, ast.Attribute) else "")
            )
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
            if (
                keyword.arg == "inplace"
                and isinstance(keyword.value, ast.Constant)
                and keyword.value.value is True
            ):
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
            self._statements(tree.body)


def _roots(node: ast.AST) -> list[str]:
    """Names whose objects an argument hands over: chains, and what containers and starred expressions hold."""
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


def _target_names(targets: Iterable[ast.AST]) -> tuple[str, ...]:
    found: list[str] = []
    for target in targets:
        if isinstance(target, ast.Name):
            found.append(target.id)
        elif isinstance(target, (ast.Tuple, ast.List)):
            found += _target_names(target.elts)
        elif isinstance(target, ast.Starred):
            found += _target_names([target.value])
    return tuple(found)
