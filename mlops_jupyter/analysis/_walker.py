"""Statements: one walk over a cell's syntax tree in the order of evaluation."""

# ruff: noqa: N802, N815 - visitors are named for the nodes of ast

from __future__ import annotations

import ast

from ._literals import value_kind
from ._model import Assignment, Branch, Delete, Import, Store, TouchKind, ValueKind
from ._scopes import captured_names, root_name
from ._walk_expressions import Expressions
from ._walk_ground import target_names


class Walker(Expressions):
    """Visits statements, and through its bases all of a cell."""

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self._call(node.value, discarded=True)
        else:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        names = target_names(node.targets)
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
            self._bind(target, sources if kind in (ValueKind.OTHER, ValueKind.CLOCK) else set())
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
            self._assignment(node.target.id, *value_kind(node.value), node.lineno, ast.unparse(node.annotation)[:200])

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
        self.out.active = True  # it runs code, and looks along sys.path
        for alias in node.names:
            bound = alias.asname or alias.name.split(".")[0]
            self.store(bound, node.lineno)
            self.shared.imports.append(Import(alias.name, None, bound, node.lineno))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.out.active = True  # it runs code, and looks along sys.path
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
        exhaustive = last.guard is None and isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None
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
            self.shared.loop_targets.update(target_names([node.target]))
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
        self._decorators(node)
        self.visit_all([*node.args.defaults, *node.args.kw_defaults])
        self._annotations(node)
        self._function(node, node.name, node.args, node.body, merge=False)
        self.store(node.name, node.lineno)

    visit_AsyncFunctionDef = visit_FunctionDef

    def _decorators(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        """Each is called with what is defined, whether it is written as a call or not."""
        for decorator in node.decorator_list:
            self.out.active = True
            if isinstance(decorator, ast.Call):
                self._call(decorator, discarded=True)
                continue
            self.visit(decorator)
            if isinstance(decorator, ast.Attribute):
                name, direct = root_name(decorator.value)
                self.touch(name, TouchKind.RECEIVER, decorator.lineno, detail=decorator.attr, direct=direct)

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

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._decorators(node)
        self.visit_all([*node.bases, *(k.value for k in node.keywords)])
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
