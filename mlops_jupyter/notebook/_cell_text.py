"""IPython cells as Python trees whose positions are those of the cell's own text.

IPython's transformer rewrites lines, which moves columns. Here a line in IPython's own syntax is covered by ``pass``
at its place, so that every other node stands where it stands in the text.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

from mlops_jupyter.analysis._magics import LOCAL_CELL_MAGICS, PYTHON_CELL_MAGICS

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_WORD = re.compile(r"[^\W\d]\w*")
_MAGIC = re.compile(r"\s*(?:%|!|\?|[^\W\d][\w., ]*=\s*[%!])")
_HELP = re.compile(r"\s*[\w.*%]+\?{1,2}\s*(?:#.*)?$")
_WRITES = re.compile(r"([^\W\d]\w*)\s*(?:,[\w, ]*)?(?::\s*[\w\[\], .|]+)?(?:[-+*/|&^%@]|//|\*\*|<<|>>)?=(?!=)")
_UNKNOWN = frozenset({"run", "pylab", "load", "loadpy", "rerun", "recall", "macro", "store", "reset", "reset_selective",
                      "xdel", "edit"})  # fmt: skip
_SAVING = frozenset({"capture", "sql", "bash", "sh", "script", "timeit", "R", "cython", "writefile"})
_LONGEST = 300_000
"""Characters of the longest cell that is read."""
_FLAGS = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@dataclass(frozen=True, slots=True, kw_only=True)
class CellText:
    """A cell, read."""

    tree: ast.Module | None
    """None: it is not Python, or cannot be read; then nothing in it is touched."""
    lines: tuple[str, ...]
    """With their line breaks; joined they are the source."""
    covered: frozenset[int]
    """Lines (from 1) in IPython's own syntax."""
    words: frozenset[str]
    """Words in text that is not read as Python: names that it may use."""
    writes: frozenset[str]
    """Of those, the ones that it may bind."""
    binds_unknown: bool
    """It may bind any name: ``%run``, ``from m import *``, text that cannot be read."""


def split_lines(source: str) -> tuple[str, ...]:
    """Lines as Python's parser counts them, with their breaks."""
    return tuple(line for line in _LINE.findall(source) if line)


def read_cell(source: str) -> CellText:
    """The cell's tree and what is known of the text outside of it. Never raises."""
    lines = split_lines(source)
    if len(source) > _LONGEST:
        return _opaque(lines, known=False)  # data, not code
    covered: set[int] = set()
    first = next((number for number, line in enumerate(lines, 1) if line.strip()), None)
    if first is not None and lines[first - 1].startswith("%%"):
        head = _WORD.match(lines[first - 1][2:])
        name = head[0] if head else ""
        if name not in PYTHON_CELL_MAGICS or name in LOCAL_CELL_MAGICS:
            return _opaque(lines, known=name in _SAVING)
        covered.add(first)
    tree = _parse(lines, covered)
    if tree is None:
        # All lines that look like magics at once; where that does not do, one after the other.
        likely = covered | {n for n, line in enumerate(lines, 1) if _MAGIC.match(line) and _is_ipython(line)}
        found = _parse(lines, likely)
        if found is not None and not _cuts_literals(found, likely):
            tree, covered = found, likely
    while tree is None:
        place = _broken_at(lines, covered)
        if place is None or place in covered or not _is_ipython(lines[place - 1]):
            return _opaque(lines, known=False)
        covered.add(place)
        tree = _parse(lines, covered)
    if _cuts_literals(tree, covered):
        return _opaque(lines, known=False)  # a covered line was part of a literal
    outside = [lines[number - 1] for number in sorted(covered)]
    stars = any(isinstance(n, ast.ImportFrom) and n.names[0].name == "*" for n in ast.walk(tree))
    return CellText(
        tree=tree, lines=lines, covered=frozenset(covered),
        words=frozenset(w for line in outside for w in _WORD.findall(line)),
        writes=frozenset(w for line in outside for w in _written(line)),
        binds_unknown=stars or any(_magic_name(line) in _UNKNOWN for line in outside),
    )  # fmt: skip


def _cuts_literals(tree: ast.Module, covered: set[int]) -> bool:
    if not covered:
        return False
    return any(isinstance(n, ast.Constant | ast.JoinedStr) and _inside(n, covered) for n in ast.walk(tree))


def _inside(node: ast.expr, covered: set[int]) -> bool:
    return any(node.lineno < line <= (node.end_lineno or node.lineno) for line in covered)


def _opaque(lines: tuple[str, ...], *, known: bool) -> CellText:
    """A cell that is not read as Python. ``known``: in another language, so that it binds what its head says alone."""
    words = frozenset(word for line in lines for word in _WORD.findall(line))
    writes = words if not known else frozenset(_WORD.findall(next((line for line in lines if line.strip()), "")))
    return CellText(
        tree=None, lines=lines, covered=frozenset(range(1, len(lines) + 1)), words=words, writes=writes,
        binds_unknown=False,
    )  # fmt: skip


def _masked(lines: tuple[str, ...], covered: set[int]) -> str:
    parts = list(lines)
    for number in covered:
        line = lines[number - 1]
        text = line.rstrip("\r\n")
        parts[number - 1] = text[: len(text) - len(text.lstrip())] + "pass" + line[len(text) :]
    return "".join(parts)


def _parse(lines: tuple[str, ...], covered: set[int]) -> ast.Module | None:
    try:
        return _tree(_masked(lines, covered))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _tree(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes and the like are the user's
        tree = compile(text, "<cell>", "exec", _FLAGS, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    return tree


def _broken_at(lines: tuple[str, ...], covered: set[int]) -> int | None:
    try:
        _tree(_masked(lines, covered))
    except SyntaxError as error:
        place = error.lineno
        return place if place is not None and 1 <= place <= len(lines) else None
    except (ValueError, RecursionError, MemoryError):
        return None
    return None


def _is_ipython(line: str) -> bool:
    if line.rstrip("\r\n").endswith("\\"):
        return False
    return _MAGIC.match(line) is not None or _HELP.match(line.rstrip("\r\n")) is not None


def _magic_name(line: str) -> str:
    found = re.match(r"\s*(?:[^\W\d][\w., ]*=\s*)?%{1,2}\s*(\w+)", line)
    return found[1] if found else ""


def _written(line: str) -> list[str]:
    """Names that a line in IPython's syntax may bind."""
    if _magic_name(line) in {"capture", "store", "pastebin"} or line.lstrip().startswith("%%"):
        return _WORD.findall(line)
    return [word for part in _WRITES.finditer(line) for word in _WORD.findall(part[0])]
