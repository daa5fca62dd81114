"""Which names the cells of a notebook bind and mention: what decides whether a literal can become a parameter."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mlops_jupyter.analysis._scopes import bound_names, captured_names

from ._cell_text import CellText

_BUILTINS = frozenset(dir(builtins)) | {"get_ipython", "display", "In", "Out", "exit", "quit", "open"}
_DYNAMIC = frozenset({"exec", "eval", "globals", "locals", "vars", "setattr", "dir", "delattr"})
_RUNS_TEXT = frozenset({"run_cell", "run_line_magic", "run_cell_magic", "exec", "ex", "ev", "push"})
_MIRROR = frozenset({"globals", "locals", "vars", "dir"})
_WORD = re.compile(r"[^\W\d]\w*")
_IPYTHON = re.compile(r"_+(?:i{0,3}|\d+|i\d+|dh|oh|ih)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What the cells say about names, in the order in which they run."""

    bindings: dict[str, list[tuple[int, int]]]
    """(cell, line) of every place that binds a global name, also from inside of a function (``global``)."""
    mentions: dict[str, list[tuple[int, int]]]
    """(cell, line) of every place that mentions a name, in any scope."""
    written_outside: frozenset[str]
    """Names that magics, or text that cannot be read, may bind."""
    binds_unknown: bool
    """Some statement may bind any name."""
    unknown_before: bool
    """A cell that runs before the parameters may bind any name (``from m import *``)."""
    reads_namespace: bool
    """``globals()``, ``vars()`` … is called: a further global name would be seen."""

    def is_free(self, name: str) -> bool:
        """Whether a new global of this name changes nothing: no scope knows it, and nothing can overwrite it."""
        return (
            not self.binds_unknown
            and not self.reads_namespace
            and name not in self.mentions
            and name not in self.written_outside
            and is_usable(name)
        )

    def is_bound_once(self, name: str, texts: Sequence[CellText]) -> bool:
        """Whether one place alone binds this name; the same place of a cell that is there again counts as one."""
        places = self.bindings.get(name, ())
        if self.binds_unknown or not places or name in self.written_outside or not is_usable(name):
            return False
        first = min(places)
        if self.unknown_before and any(at < first for at in self.mentions.get(name, ())):
            return False  # what is read there may come from elsewhere
        lines = texts[first[0]].lines
        cells = {cell for cell, _ in places}
        return len(cells) == len(places) and all(
            line == first[1] and texts[cell].lines == lines for cell, line in places
        )


def is_usable(name: str) -> bool:
    """Whether a parameter may have this name."""
    return (
        name.isidentifier()
        and name.isascii()
        and len(name) <= 80
        and not keyword.iskeyword(name)
        and not keyword.issoftkeyword(name)
        and name not in _BUILTINS
        and not (name.startswith("__"))
        and not _IPYTHON.match(name)
    )


def read_names(cells: Sequence[CellText], *, before: int = 0) -> Names:
    """The names of all cells; ``before``: how many of them run before the cell of parameters."""
    bindings: dict[str, list[tuple[int, int]]] = defaultdict(list)
    mentions: dict[str, list[tuple[int, int]]] = defaultdict(list)
    outside: set[str] = set()
    dynamic = mirror = False
    texts: set[str] = set()
    for index, cell in enumerate(cells):
        outside |= cell.writes
        for word in cell.words:
            mentions[word].append((index, 0))
        if cell.tree is None:
            continue
        for name, line in _module_bindings(cell.tree):
            bindings[name].append((index, line))
        for node in ast.walk(cell.tree):
            for name in _mentioned(node):
                mentions[name].append((index, getattr(node, "lineno", 0)))
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 20_000:
                texts.update(_WORD.findall(node.value))
            if isinstance(node, ast.Call):
                called = node.func.id if isinstance(node.func, ast.Name) else ""
                dynamic |= called in _DYNAMIC or getattr(node.func, "attr", "") in _RUNS_TEXT
                mirror |= called in _MIRROR and not node.args
    if dynamic:
        outside |= texts
    return Names(
        bindings=dict(bindings), mentions=dict(mentions), written_outside=frozenset(outside),
        binds_unknown=any(cell.binds_unknown for cell in cells[before:]),
        unknown_before=any(cell.binds_unknown for cell in cells[:before]), reads_namespace=mirror,
    )  # fmt: skip


def _mentioned(node: ast.AST) -> Sequence[str]:
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.arg):
        return (node.arg,)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return (node.name,)
    if isinstance(node, ast.Global | ast.Nonlocal):
        return node.names
    if isinstance(node, ast.alias):
        return (node.asname or node.name.split(".")[0],)
    return captured_names(node)


def _module_bindings(tree: ast.Module) -> list[tuple[str, int]]:
    """(name, line) of everything that binds or unbinds a global name; one entry for each place."""
    found: list[tuple[str, int]] = []
    # (node, is its scope the module's, is it inside of a comprehension there, names declared global there)
    stack: list[tuple[ast.AST, bool, bool, frozenset[str]]] = [(node, True, False, frozenset()) for node in tree.body]
    while stack:
        node, module, inner, declared = stack.pop()
        line = getattr(node, "lineno", 0)
        names: list[str] = []
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names = [] if inner else [node.id]
        elif isinstance(node, ast.NamedExpr):
            names = [node.target.id]
            stack.append((node.value, module, inner, declared))
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.asname or alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        else:
            names = list(captured_names(node))
        found += [(name, line) for name in names if module or name in declared]
        if isinstance(node, ast.NamedExpr):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            body = node.body if isinstance(node.body, list) else [node.body]
            inside = frozenset(bound_names(body)[1])
            own = {id(part) for part in body}
            stack += [
                (child, False, False, inside) if id(child) in own else (child, module, inner, declared)
                for child in ast.iter_child_nodes(node)
            ]
            continue
        deeper = inner or isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp)
        stack += [(child, module, deeper, declared) for child in ast.iter_child_nodes(node)]
    return found
