"""Probes that a cell's own code carries: was this function entered, was this branch taken.

A probe is one item store into a list in ``builtins``: some nanoseconds, no call, no name in the notebook's
namespace.
In a function it is guarded, so that a function which travels to another process (by cloudpickle) runs
there as well.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Sequence

from mlops_jupyter.analysis import CellAnalysis, Function, analyze_tree

from .namespace import CodeKey

_ENTERED = "__mlops_entered__"
_BRANCHES = "__mlops_branches__"

_COMPILERS = frozenset(
    {
        "njit",
        "jit",
        "vectorize",
        "guvectorize",
        "stencil",
        "cfunc",
        "overload",
        "kernel",
        "script",
        "jitclass",
    }
)
"""Decorators that compile a function's bytecode or source and know no such list."""


class Probes:
    """The functions that carry a probe, and what their probes say about the current cell."""

    def __init__(self) -> None:
        self._entered: list[bool] = _shared_list(_ENTERED)
        self._branches: list[bool] = _shared_list(_BRANCHES)
        self._functions: list[Function] = []
        self._offset = len(self._entered)
        self._numbers: dict[Function, int] = {}
        self._by_code: dict[CodeKey, list[Function]] = {}
        self._unprobed: set[Function] = set()
        self._armed: set[int] = set()
        self._analysis = CellAnalysis()

    def reset(self, analysis: CellAnalysis) -> None:
        """A cell begins."""
        self._analysis = analysis
        self._armed.clear()
        self._entered[:] = [False] * len(self._entered)
        self._branches[:] = [False] * max(len(self._branches), len(analysis.branches))
        for function in analysis.functions:
            self._know(function)

    def entered(self) -> list[Function]:
        """Functions with a probe that ran since ``reset``."""
        marks = self._entered[self._offset :]
        return [f for f, mark in zip(self._functions, marks, strict=False) if mark] if True in marks else []

    def taken(self, branch: int) -> bool | None:
        """Whether the cell's branch was entered; None where it carries no probe."""
        if branch not in self._armed:
            return None
        return self._branches[branch]

    def functions(self, code: CodeKey) -> Sequence[Function]:
        """The functions, lambdas and generator expressions that this code may be."""
        return self._by_code.get((code[0], abs(code[1])), ())

    def probed(self, function: Function) -> bool:
        """Whether entering the function leaves a mark."""
        return function in self._numbers

    def _know(self, function: Function) -> None:
        known = self._by_code.setdefault((function.qualname, function.line), [])
        if function not in known:
            known.append(function)

    def _number(self, function: Function) -> int:
        number = self._numbers.get(function)
        if number is None:
            number = self._numbers[function] = len(self._entered)
            self._functions.append(function)
            self._entered.append(False)
        return number

    def transform(self, tree: ast.AST) -> ast.AST:
        """Put probes into a cell's tree; the same tree, changed. For ``shell.ast_transformers``."""
        if not isinstance(tree, ast.Module):
            return tree
        wanted = any(isinstance(node, _PROBED) for node in ast.walk(tree)) if len(tree.body) < _MANY else True
        if not wanted:
            return tree
        functions = {(f.position, f.name): f for f in self._analysis.functions}
        branches = {b.position: i for i, b in enumerate(self._analysis.branches)}
        _Insert(self, tree, functions, branches).run()
        return tree


_MANY = 10_000
_PROBED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.If, ast.Try, ast.Match, ast.TryStar)


def _shared_list(name: str) -> list[bool]:
    """The list under this name in ``builtins``: functions made before a reload keep theirs."""
    found = builtins.__dict__.get(name)
    if type(found) is not list:
        found = []
        setattr(builtins, name, found)
    return found


class _Insert:
    def __init__(
        self,
        probes: Probes,
        tree: ast.Module,
        functions: dict[tuple[tuple[int, int], str], Function],
        branches: dict[tuple[int, int], int],
    ) -> None:
        self.probes = probes
        self.tree = tree
        self.functions = functions
        self.branches = branches
        self._fallback: dict[tuple[tuple[int, int], str], Function] | None = None

    def run(self) -> None:
        if any(
            isinstance(n, ast.Call) and _last(n.func) in _COMPILERS for n in ast.walk(self.tree)
        ):  # ``fast = njit(slow)``
            return
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._function(node)
        for statement in self.tree.body:
            self._module_level(statement)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if any(_last(d.func if isinstance(d, ast.Call) else d) in _COMPILERS for d in node.decorator_list):
            return
        key = ((node.lineno, node.col_offset), node.name)
        function = self.functions.get(key) or self._from_tree().get(key)
        if function is None:
            return
        self.probes._know(function)
        number = self.probes._number(function)
        body = node.body
        first = body[0]
        start = int(
            isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and type(first.value.value) is str
        )
        place = body[min(start, len(body) - 1)]
        guard = ast.Try(
            body=[_mark(_ENTERED, number)],
            handlers=[ast.ExceptHandler(type=ast.Name(id="Exception", ctx=ast.Load()), name=None, body=[ast.Pass()])],
            orelse=[],
            finalbody=[],
        )
        body.insert(start, _placed(guard, place))

    def _from_tree(self) -> dict[tuple[tuple[int, int], str], Function]:
        if self._fallback is None:
            self._fallback = {(f.position, f.name): f for f in analyze_tree(self.tree).functions}
        return self._fallback

    def _module_level(self, node: ast.stmt) -> None:
        """Branches outside of loops, functions and classes."""
        if isinstance(node, ast.If):
            self._branch(node.body)
            self._branch(node.orelse)
        elif isinstance(node, (ast.Try, ast.TryStar)):
            for body in (node.body, node.orelse, node.finalbody):
                for inner in body:
                    self._module_level(inner)
            for handler in node.handlers:
                self._branch(handler.body)
        elif isinstance(node, ast.Match):
            for case in node.cases:
                self._branch(case.body)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for inner in node.body:
                self._module_level(inner)

    def _branch(self, body: list[ast.stmt]) -> None:
        if not body:
            return
        first = body[0]
        number = self.branches.get((first.lineno, first.col_offset))
        for inner in list(body):
            self._module_level(inner)
        if number is not None:
            self.probes._armed.add(number)
            body.insert(0, _placed(_mark(_BRANCHES, number), first))


def _mark(name: str, number: int) -> ast.Assign:
    target = ast.Subscript(value=ast.Name(id=name, ctx=ast.Load()), slice=ast.Constant(value=number), ctx=ast.Store())
    return ast.Assign(targets=[target], value=ast.Constant(value=True))


def _placed(node: ast.stmt, place: ast.stmt) -> ast.stmt:
    for part in ast.walk(node):
        if isinstance(part, (ast.stmt, ast.expr, ast.excepthandler)):
            part.lineno = part.end_lineno = place.lineno
            part.col_offset = part.end_col_offset = place.col_offset
    return node


def _last(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
