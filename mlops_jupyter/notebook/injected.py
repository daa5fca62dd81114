"""Values that a headless run injected, put back where the notebook assigns their names. Pure."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from mlops_jupyter.entities import CellExecution

from .masked import analysis_of, tree_of

_CELL = "injected-parameters"


def is_injected(execution: CellExecution) -> bool:
    """Whether a headless run made this cell from the values that it was given."""
    return execution.cell_id is not None and execution.cell_id.startswith(_CELL)


def merge_injected(executions: Sequence[CellExecution], texts: Sequence[str]) -> list[str]:
    """The texts, where those of injected cells are empty and their values stand in the cell before.

    An injected cell stays as it is when it is not clear that this does the same: it sets a name that the cell before
    does not assign a literal at top level, or that cell uses the name.
    """
    merged = list(texts)
    for index, execution in enumerate(executions):
        before = next((i for i in range(index - 1, -1, -1) if merged[i].strip()), None)
        if before is None or not is_injected(execution):
            continue
        given = _assigned(merged[index])
        own = _assigned(merged[before])
        used = {load.name for load in analysis_of(merged[before]).loads}
        if given and set(given) <= set(own) and not used & set(given):
            merged[before] = _replaced(
                merged[before],
                [(own[name], ast.get_source_segment(merged[index], given[name]) or "") for name in given],
            )
            merged[index] = ""
    return merged


def _assigned(text: str) -> dict[str, ast.expr]:
    """Top-level names that the text assigns once, alone, and the nodes of their values."""
    tree = tree_of(text)
    found: dict[str, ast.expr] = {}
    twice: set[str] = set()
    for node in tree.body if tree is not None else ():
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        if isinstance(node, ast.AnnAssign):
            target = node.target
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.expr):
            if target.id in found:
                twice.add(target.id)
            found[target.id] = value
    return {name: value for name, value in found.items() if name not in twice}


def _replaced(text: str, changes: Sequence[tuple[ast.expr, str]]) -> str:
    lines = text.split("\n")
    for node, new in sorted(changes, key=lambda change: (change[0].lineno, change[0].col_offset), reverse=True):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        head = lines[first].encode()[: node.col_offset].decode()
        tail = lines[last].encode()[node.end_col_offset or 0 :].decode()
        lines[first : last + 1] = [head + new + tail]
    return "\n".join(lines)
