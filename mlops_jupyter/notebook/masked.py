"""A cell's IPython text as Python with the same lines, so that positions in the tree are positions in the text."""

from __future__ import annotations

import ast
import re
import warnings
from functools import lru_cache

from mlops_jupyter.analysis import CellAnalysis, analyze_tree
from mlops_jupyter.analysis._analyze import plain_magics

_CELL_MAGIC = re.compile(r"\A\s*%%(?P<name>\w+)(?P<line>[^\n]*)")
_PYTHON_BODIES = frozenset({"time", "capture", "prun", "track"})
_HELP = re.compile(r"^(?P<indent>\s*)(?:\?{1,2}[\w.*]+|[\w.*\[\]'\"]+\?{1,2})\s*$")


def cell_magic(source: str) -> str | None:
    """Name of the cell magic that the text begins with (``bash`` for ``%%bash``), or None."""
    found = _CELL_MAGIC.match(source)
    return None if found is None else found["name"]


@lru_cache(maxsize=1024)
def tree_of(source: str) -> ast.Module | None:
    """The syntax tree of a cell, line for line; magics are calls of ``get_ipython()``.

    None where the cell is not Python (``%%bash``), or its lines cannot be kept. The tree is shared: do not change it.
    """
    found = _CELL_MAGIC.match(source)
    if found is not None:
        if found["name"] not in _PYTHON_BODIES:
            return None
        source = source[: found.start("name") - 2] + "pass" + source[found.end() :]
    tree = _parse(source)
    if tree is None and any(mark in source for mark in "%!?"):
        lines = [_HELP.sub(r"\g<indent>pass", line) for line in source.split("\n")]
        tree = _parse(plain_magics("\n".join(lines)))
    return tree


@lru_cache(maxsize=1024)
def analysis_of(source: str) -> CellAnalysis:
    """What the cell's text says; nothing where it is not Python. Shared: do not change it."""
    tree = tree_of(source)
    return CellAnalysis() if tree is None else analyze_tree(tree)


def _parse(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
