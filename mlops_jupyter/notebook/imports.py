"""Top-level imports of several cells brought into one, where that changes nothing."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlops_jupyter.analysis import Magic, analyze_tree

from .masked import analysis_of, cell_magic, tree_of

_BARRIER_CALLS = re.compile(
    r"^(?:sys\.(?:path|modules|meta_path)\b.*|site\.\w+|os\.(?:environ\b.*|putenv|unsetenv|chdir|system|add_dll_directory)"
    r"|(?:importlib|runpy|subprocess|dotenv|pyximport|multiprocessing|mp)\.\w+.*|(?:matplotlib|mpl)\.use"
    r"|(?:\w+\.)?(?:load_dotenv|set_start_method|reload|import_module|addsitedir|simplefilter|filterwarnings)"
    r"|nest_asyncio\.apply|exec|eval|compile|__import__|globals|locals|vars)$"
)
"""Calls after which an import may give another module, or none, or warn where it did not."""
_BARRIER_TARGETS = re.compile(r"^(?:sys\.(?:path|modules|meta_path)|os\.environ)\b")
_HARMLESS_MAGICS = frozenset(
    {"matplotlib", "config", "time", "timeit", "who", "whos", "precision", "pdb", "xmode", "autoreload"}
)
_HARMLESS_EXTENSIONS = frozenset({"autoreload", "watermark", "line_profiler", "memory_profiler", "tensorboard", "sql"})
_PYTHON_FILE = re.compile(r"""\.(?:py|zip|whl|egg)["']""")


@dataclass(frozen=True, slots=True)
class Hoisted:
    """Cells without the imports that moved, and the text of the cell that holds them."""

    source: str
    """One import statement a line or more; empty where nothing moved."""
    cells: tuple[str, ...]
    """As many as were given, in their order; a cell of nothing but imports is empty now."""
    moved: tuple[tuple[int, ...], ...]
    """For each statement of ``source`` the indices of the cells that held it."""


@dataclass(frozen=True, slots=True)
class _Import:
    cell: int
    first: int
    last: int
    """1-based lines."""
    text: str
    key: str
    """The statement in normal form: equal keys do the same."""
    bound: frozenset[str]
    future: bool


def hoist_imports(cells: Sequence[str], *, fixed: Iterable[int] = ()) -> Hoisted:
    """Bring the top-level imports of ``cells`` into one cell that runs first, each once.

    A statement stays where it is when it shares its line with another, stands under an ``if`` or ``try``, imports
    ``*``, binds a name that a cell binds otherwise too or that a built-in has, or follows something that imports may
    depend on (``sys.path``, ``os.environ``, ``matplotlib.use``, a shell command, a change of folder …).

    Args:
        cells: texts as IPython takes them, in the order of execution.
        fixed: indices of cells that keep their text (they failed, so that not all of it ran).
    """
    kept = frozenset(fixed)
    found = _movable(cells, kept)
    bound_otherwise = _bound_otherwise(cells, found, kept)
    chosen = [i for i in found if i.future or not (i.bound & bound_otherwise)]
    # Two statements that give one name different things: whichever ran last counted, so neither moves.
    meanings: dict[str, set[str]] = {}
    for each in chosen:
        for name in each.bound:
            meanings.setdefault(name, set()).add(_meaning(each.key, name))
    chosen = [i for i in chosen if i.future or all(len(meanings[name]) == 1 for name in i.bound)]
    statements: dict[str, tuple[str, list[int]]] = {}
    for each in sorted(chosen, key=lambda i: not i.future):
        statements.setdefault(each.key, (each.text, []))[1].append(each.cell)
    return Hoisted(
        source="\n".join(text for text, _ in statements.values()),
        cells=tuple(_without(text, [i for i in chosen if i.cell == index]) for index, text in enumerate(cells)),
        moved=tuple(tuple(dict.fromkeys(where)) for _, where in statements.values()),
    )


def _movable(cells: Sequence[str], fixed: frozenset[int]) -> list[_Import]:
    found: list[_Import] = []
    for index, source in enumerate(cells):
        magic = cell_magic(source)
        tree = tree_of(source)
        if tree is None:
            if magic is not None and magic in ("html", "javascript", "js", "latex", "markdown", "svg"):
                continue
            break  # a shell script, or text that cannot be read: it may do anything
        lines = source.split("\n")
        stopped = False
        for position, node in enumerate(tree.body):
            if isinstance(node, ast.Import | ast.ImportFrom):
                if isinstance(node, ast.ImportFrom) and any(a.name == "*" for a in node.names):
                    stopped = True
                elif index not in fixed and magic is None and not stopped and _alone(tree.body, position, lines):
                    found.append(_import(index, node, lines))
            elif _stops(node, source):
                stopped = True
        if stopped:
            break
    return found


def _alone(body: list[ast.stmt], position: int, lines: list[str]) -> bool:
    node = body[position]
    neighbours = body[max(0, position - 1) : position] + body[position + 1 : position + 2]
    if any(n.end_lineno == node.lineno or n.lineno == node.end_lineno for n in neighbours):
        return False
    last = lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset or 0 :].decode().strip()
    return node.col_offset == 0 and (not last or last.startswith("#"))


def _import(index: int, node: ast.Import | ast.ImportFrom, lines: list[str]) -> _Import:
    last = node.end_lineno or node.lineno
    future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
    return _Import(
        cell=index,
        first=node.lineno,
        last=last,
        text="\n".join(lines[node.lineno - 1 : last]).rstrip(),
        key=ast.unparse(node),
        bound=frozenset(_bound(node)),
        future=future,
    )


def _bound(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    return [alias.asname or alias.name.partition(".")[0] for alias in node.names]


def _meaning(key: str, name: str) -> str:
    """What a statement binds ``name`` to: ``import a.b`` and ``import a.c`` both give ``a``."""
    node = ast.parse(key).body[0]
    if isinstance(node, ast.Import):
        for alias in reversed(node.names):
            if alias.asname == name:
                return alias.name
            if alias.asname is None and alias.name.partition(".")[0] == name:
                return name
    elif isinstance(node, ast.ImportFrom):
        for alias in reversed(node.names):
            if (alias.asname or alias.name) == name:
                return f"{'.' * node.level}{node.module or ''}.{alias.name}"
    return key


def _stops(node: ast.stmt, source: str) -> bool:
    """Whether what an import does may depend on this statement."""
    analysis = analyze_tree(ast.Module([node], []))
    if analysis.dynamic or not all(_is_harmless(magic) for magic in analysis.magics):
        return True
    if any(_BARRIER_CALLS.match(call.callee) for call in analysis.calls):
        return True
    if any(_BARRIER_TARGETS.match(text) for text in _targets(node)):
        return True
    segment = "\n".join(source.split("\n")[node.lineno - 1 : node.end_lineno])
    return not isinstance(node, ast.FunctionDef | ast.ClassDef) and _PYTHON_FILE.search(segment) is not None


def _is_harmless(magic: Magic) -> bool:
    return magic.name in _HARMLESS_MAGICS or (magic.name == "load_ext" and magic.line.strip() in _HARMLESS_EXTENSIONS)


def _targets(node: ast.stmt) -> list[str]:
    found: list[str] = []
    for each in ast.walk(node):
        if isinstance(each, ast.Subscript | ast.Attribute) and isinstance(each.ctx, ast.Store | ast.Del):
            base = each.value if isinstance(each, ast.Subscript) else each
            found.append(ast.unparse(base))
    return found


def _bound_otherwise(cells: Sequence[str], found: list[_Import], fixed: frozenset[int]) -> frozenset[str]:
    """Names that something else than the imports found binds or deletes anywhere, and those of built-ins."""
    moved = {(i.cell, line) for i in found for line in range(i.first, i.last + 1)}
    names = {name for i in found for name in i.bound if hasattr(builtins, name)}
    for index, source in enumerate(cells):
        analysis = analysis_of(source)
        names |= {d.name for d in analysis.deletes}
        names |= {name for function in analysis.functions for name in function.writes}
        names |= {s.name for s in analysis.stores if (index, s.at.line) not in moved or index in fixed}
    return frozenset(names)


def _without(source: str, moved: list[_Import]) -> str:
    if not moved:
        return source
    gone = {line for i in moved for line in range(i.first, i.last + 1)}
    lines = [line for number, line in enumerate(source.split("\n"), 1) if number not in gone]
    text = re.sub(r"\A\s*\n", "", "\n".join(lines)).rstrip()
    # What is left of a cell of imports is its comments, and they spoke of the imports.
    return "" if all(not line.strip() or line.lstrip().startswith("#") for line in text.split("\n")) else text
