"""What the names of a notebook may stand for, as far as its text tells: shared objects, functions, libraries, paths.

Two names that may hold one object (or parts of one) have a number in common; what changes one may then change the
other. A name carries the functions of the notebook that may run when its value is used, the packages that made its
value, and the paths that it may hold as patterns (``out/*.csv``). Nothing is executed; the answer errs towards "may".
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count

from mlops_jupyter.analysis import Function

from .static_libraries import (
    GENERATORS,
    ITERATOR,
    ITERATORS,
    LIBRARIES,
    MARKS,
    MISSING,
    PURE_FUNCTIONS,
    PURE_METHODS,
    RANDOM,
    SHALLOW,
    VIEW_FUNCTIONS,
    VIEWS,
)


@dataclass(slots=True)
class Value:
    """What an expression may give."""

    objects: set[int] = field(default_factory=set)
    functions: dict[Function, None] = field(default_factory=dict)
    packages: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()

    def joined(self, others: Iterable[Value]) -> Value:
        """This or any of the others."""
        found = Value(set(self.objects), dict(self.functions), self.packages, self.paths)
        for other in others:
            found.objects |= other.objects
            found.functions |= other.functions
            found.packages |= other.packages
            found.paths |= other.paths
        return found


_NUMBERS = count(1)
_MOST_PATHS = 20


class Values:
    """What each name stands for after the cells so far."""

    def __init__(self) -> None:
        self.names: dict[str, Value] = {}
        self.modules: dict[str, str] = {}
        """Names of modules, and the packages that these are of."""
        self.plain: set[str] = set()
        """Functions and classes of the notebook that keep nothing between calls."""
        self.generators: set[str] = set()
        """Functions of the notebook that give iterators."""
        self._functions: Mapping[tuple[int, int], Function] = {}
        self._local: list[dict[str, Value]] = []

    # ------------------------------------------------------------------ what is asked

    def of(self, name: str) -> Value:
        """What a name may stand for."""
        for scope in reversed(self._local):
            if name in scope:
                return scope[name]
        return self.names.get(name) or Value()

    def sharing(self, objects: set[int]) -> list[str]:
        """Names that may hold one of these objects."""
        return [name for name, value in self.names.items() if not value.objects.isdisjoint(objects)]

    def from_library(self, name: str) -> bool:
        """Whether a known library made the value, or it is one of its modules or functions."""
        packages = self.of(name).packages
        return bool(packages) and packages - MARKS <= LIBRARIES

    # ------------------------------------------------------------------ one cell

    def run(self, tree: ast.Module, functions: Iterable[Function]) -> None:
        """Go through a cell's statements in order."""
        self._functions = {f.position: f for f in functions}
        for node in tree.body:
            self._statement(node)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self._define(node)
        elif isinstance(node, ast.Assign):
            value = self.value(node.value)
            for target in node.targets:
                self._bind(target, value)
        elif isinstance(node, ast.AnnAssign | ast.AugAssign):
            if node.value is not None:
                value = self.value(node.value)
                keep = isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)
                self._bind(node.target, value.joined([self.value(node.target)]) if keep else value)
        elif isinstance(node, ast.For | ast.AsyncFor):
            self._bind(node.target, self.value(node.iter))
            self._body([*node.body, *node.orelse])
        elif isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                value = self.value(item.context_expr)
                if item.optional_vars is not None:
                    self._bind(item.optional_vars, value)
            self._body(node.body)
        elif isinstance(node, ast.Try | ast.TryStar):
            self._body([*node.body, *(s for h in node.handlers for s in h.body), *node.orelse, *node.finalbody])
        elif isinstance(node, ast.If | ast.While):
            self.value(node.test)
            before = dict(self.names)
            self._body([*node.body, *node.orelse])
            for name, value in before.items():  # it may have been passed by
                if name in self.names and self.names[name] is not value:
                    self.names[name] = self.names[name].joined([value])
        elif isinstance(node, ast.Match):
            subject = self.value(node.subject)
            for case in node.cases:
                for inner in ast.walk(case.pattern):
                    captured = getattr(inner, "name", None) or getattr(inner, "rest", None)
                    if isinstance(captured, str):
                        self.names[captured] = subject
                self._body(case.body)
        elif isinstance(node, ast.Expr):
            self.value(node.value)

    def _body(self, body: Iterable[ast.stmt]) -> None:
        for node in body:
            self._statement(node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            module = alias.name if isinstance(node, ast.Import) else (node.module or "")
            package = module.partition(".")[0] if not getattr(node, "level", 0) else "."
            bound = alias.asname or (alias.name.partition(".")[0] if isinstance(node, ast.Import) else alias.name)
            self.names[bound] = Value(packages=frozenset({package}))
            # ``from os import path``: as far as anyone can tell here, a lower-case name may be a module, too.
            if isinstance(node, ast.Import) or module == package:
                self.modules[bound] = package
            else:
                self.modules.pop(bound, None)

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        value = Value({next(_NUMBERS)})
        stateful = bool(node.decorator_list)
        for decorator in node.decorator_list:
            value = value.joined([self.value(decorator)])
        for inner in ast.walk(node):
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                defaults = [d for d in (*inner.args.defaults, *inner.args.kw_defaults) if d is not None]
                stateful |= any(
                    not isinstance(d, ast.Constant | ast.Name | ast.UnaryOp | ast.Attribute) for d in defaults
                )
                value = value.joined(self.value(d) for d in defaults)
            stateful |= isinstance(inner, ast.Nonlocal)
            stateful |= (
                isinstance(inner, ast.Attribute | ast.Subscript)
                and isinstance(inner.ctx, ast.Store)
                and (isinstance(inner.value, ast.Name) and inner.value.id in (node.name, "cls"))
            )
            function = self._functions.get((getattr(inner, "lineno", 0), getattr(inner, "col_offset", 0)))
            if function is not None:
                value.functions[function] = None
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                value = value.joined([self.value(base)])
            value.packages = frozenset()
        elif any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in ast.walk(node)):
            self.generators.add(node.name)
        self.names[node.name] = value
        self.modules.pop(node.name, None)
        (self.plain.discard if stateful else self.plain.add)(node.name)

    def _bind(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = value
            self.modules.pop(target.id, None)
            self.plain.discard(target.id)
        elif isinstance(target, ast.Tuple | ast.List):
            for item in target.elts:
                self._bind(item, value)
        elif isinstance(target, ast.Starred):
            self._bind(target.value, value)
        elif isinstance(target, ast.Attribute | ast.Subscript):
            self._put_inside(target.value, [value])

    def _put_inside(self, place: ast.expr, values: Iterable[Value]) -> None:
        """Something is stored in what ``place`` stands for: all that share it hold it now."""
        held = Value().joined(values)
        held.packages = held.paths = frozenset()
        if not held.objects and not held.functions:
            return
        for name in self.sharing(self.value(place).objects):
            self.names[name] = self.names[name].joined([held])

    # ------------------------------------------------------------------ expressions

    def value(self, node: ast.expr) -> Value:
        """What an expression may give."""
        if isinstance(node, ast.Name):
            return self.of(node.id)
        if isinstance(node, ast.Constant):
            return Value(paths=frozenset({node.value})) if isinstance(node.value, str) and node.value else Value()
        if isinstance(node, ast.JoinedStr):
            return Value(paths=frozenset({self._pattern(node)}))
        if isinstance(node, ast.Attribute | ast.Subscript | ast.Starred | ast.Await):
            if isinstance(node, ast.Subscript):
                self.value(node.slice)
            return self.value(node.value)
        if isinstance(node, ast.NamedExpr):
            value = self.value(node.value)
            self._bind(node.target, value)
            return value
        if isinstance(node, ast.IfExp):
            return self.value(node.body).joined([self.value(node.orelse)])
        if isinstance(node, ast.BoolOp):
            return Value().joined(self.value(v) for v in node.values)
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            return Value({next(_NUMBERS)}).joined(self.value(v) for v in node.elts)
        if isinstance(node, ast.Dict):
            return Value({next(_NUMBERS)}).joined(self.value(v) for v in (*node.keys, *node.values) if v is not None)
        if isinstance(node, ast.Lambda):
            function = self._functions.get((node.lineno, node.col_offset))
            inner = Value().joined(
                self.value(d) for d in (*node.args.defaults, *node.args.kw_defaults) if d is not None
            )
            return inner.joined([Value({next(_NUMBERS)}, {} if function is None else {function: None})])
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            return self._comprehension(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.BinOp):
            left, right = self.value(node.left), self.value(node.right)
            return Value(
                {next(_NUMBERS)}, packages=left.packages | right.packages, paths=self._joined(node, left, right)
            )
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.value(child)
        return Value()

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Value:
        scope: dict[str, Value] = {}
        self._local.append(scope)
        for generator in node.generators:
            value = self.value(generator.iter)
            for inner in ast.walk(generator.target):
                if isinstance(inner, ast.Name):
                    scope[inner.id] = value
            for test in generator.ifs:
                self.value(test)
        elements = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        found = Value({next(_NUMBERS)}).joined(self.value(e) for e in elements)
        if isinstance(node, ast.GeneratorExp):
            found.packages |= {ITERATOR}
            found = found.joined(scope.values())
            function = self._functions.get((node.lineno, node.col_offset))
            if function is not None:
                found.functions[function] = None
        self._local.pop()
        found.paths = frozenset()
        return found

    def _call(self, node: ast.Call) -> Value:
        arguments = [self.value(a) for a in (*node.args, *(k.value for k in node.keywords))]
        given = Value().joined(arguments)
        callee = node.func
        last = callee.attr if isinstance(callee, ast.Attribute) else callee.id if isinstance(callee, ast.Name) else ""
        function = self.value(callee)
        root = _root(callee)
        module = root is not None and root in self.modules and isinstance(callee, ast.Attribute)
        library = bool(function.packages) and function.packages - MARKS <= LIBRARIES
        found = Value({next(_NUMBERS)}, {**given.functions, **function.functions}, function.packages - {ITERATOR})
        if last in GENERATORS:
            found.packages |= {RANDOM}
        if last == "defaultdict":
            found.packages |= {MISSING}
        if last in ITERATORS or root in self.generators or "itertools" in function.packages:
            found.packages |= {ITERATOR}
        found.paths = self._path_of(last, callee, arguments)
        if isinstance(callee, ast.Name) and callee.id not in self.names:  # a builtin
            if last in SHALLOW or last not in PURE_FUNCTIONS:
                found.objects |= given.objects
            found.packages |= given.packages - {ITERATOR} if last in PURE_FUNCTIONS else frozenset()
        elif isinstance(callee, ast.Attribute) and not module:  # a method
            own = any(f.name == last for f in function.functions)
            if last not in PURE_METHODS or own or last in VIEWS:
                found.objects |= function.objects
            if not library or own:
                found.objects |= given.objects
            if last not in PURE_METHODS or own:
                self._put_inside(callee.value, arguments)
        elif (
            not library or last in VIEW_FUNCTIONS or last[:1].isupper() or (last == "copy" and "copy" in found.packages)
        ):
            # A class keeps what it is given; what a function of the notebook gives back may be any of it.
            found.objects |= given.objects | function.objects
            for held in function.functions:
                for name in held.reads:
                    found.objects |= self.of(name).objects
        return found

    # ------------------------------------------------------------------ paths

    def _path_of(self, last: str, callee: ast.expr, arguments: list[Value]) -> frozenset[str]:
        if last in (
            "Path",
            "PurePath",
            "open",
            "ZipFile",
            "abspath",
            "expanduser",
            "str",
            "fspath",
            "realpath",
            "normpath",
        ):
            return arguments[0].paths if arguments else frozenset()
        if last in ("resolve", "absolute", "with_suffix", "as_posix") and isinstance(callee, ast.Attribute):
            return self.value(callee.value).paths
        if last in ("join", "joinpath") and arguments:
            parts = [a.paths or frozenset({"*"}) for a in arguments]
            if last == "joinpath" and isinstance(callee, ast.Attribute):
                parts.insert(0, self.value(callee.value).paths or frozenset({"*"}))
            return _product(parts, "/")
        if last in ("glob", "rglob", "iglob", "listdir", "iterdir"):
            return frozenset({"*"})
        return frozenset()

    def _joined(self, node: ast.BinOp, left: Value, right: Value) -> frozenset[str]:
        if not isinstance(node.op, ast.Add | ast.Div) or not (left.paths or right.paths):
            return frozenset()
        parts = [left.paths or frozenset({"*"}), right.paths or frozenset({"*"})]
        return _product(parts, "/" if isinstance(node.op, ast.Div) else "")

    def _pattern(self, node: ast.JoinedStr) -> str:
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
            else:
                inner = self.value(part.value).paths if isinstance(part, ast.FormattedValue) else frozenset()
                text += next(iter(inner)) if len(inner) == 1 else "*"
        return text or "*"


def _product(parts: list[frozenset[str]], between: str) -> frozenset[str]:
    texts = {""}
    for number, part in enumerate(parts):
        texts = {f"{t}{between if number else ''}{p}" for t in texts for p in sorted(part)[:_MOST_PATHS]}
        if len(texts) > _MOST_PATHS:
            return frozenset({"*"})
    return frozenset(texts)


def _root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None
