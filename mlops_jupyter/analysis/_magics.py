"""IPython's magics in their transformed form: what Python they hold and which names their text reads."""

from __future__ import annotations

import ast
import contextlib
import re
import string
from dataclasses import dataclass

PYTHON_CELL_MAGICS = frozenset(
    {"time", "timeit", "capture", "prun", "memit", "mprun", "lprun", "snakeviz", "scalene", "track",
    "pyinstrument",
     "heat", "measure", "debug"}
)  # fmt: skip
"""Cell magics whose body is Python that runs in the notebook's namespace."""

LOCAL_CELL_MAGICS = frozenset({"timeit"})
"""Their body runs inside of a function: what it binds stays there."""

_CODE_LINE_MAGICS = frozenset({"time", "timeit", "prun", "memit", "lprun", "mprun", "snakeviz", "debug"})
_DOLLAR = re.compile(r"\$\$?\{?([A-Za-z_]\w*)")
_OPTION = re.compile(r"\s*-{1,2}[A-Za-z]\S*(?:\s+|$)")
_OPTION_WITH_VALUE = re.compile(r"\s*-[nrptTslD]\s+[\w.]+\s+")


@dataclass(frozen=True, slots=True)
class MagicCall:
    """One call of ``get_ipython().…``, found in an expression."""

    name: str
    line: str
    body: str | None


def magic_call(node: ast.AST) -> MagicCall | None:
    """The magic that this call runs, or None for an ordinary call."""
    if not (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Call)
        and isinstance(node.func.value.func, ast.Name)
        and node.func.value.func.id == "get_ipython"
    ):
        return None
    texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if len(texts) != len(node.args):
        return None
    method = node.func.attr
    if method in ("run_line_magic", "run_cell_magic") and len(texts) >= 2:
        return MagicCall(texts[0], texts[1], texts[2] if len(texts) > 2 else None)
    if method in ("system", "getoutput") and texts:
        return MagicCall(method, texts[0], None)
    return None


def line_code(call: MagicCall) -> str | None:
    """Python code on the line of ``%time`` and the like, without its options; None for other magics."""
    if call.name not in _CODE_LINE_MAGICS or call.body is not None:
        return None
    return strip_options(call.line)


def strip_options(line: str) -> str:
    """The line without leading ``-n 3 -q`` options."""
    while True:
        found = _OPTION_WITH_VALUE.match(line) or _OPTION.match(line)
        if found is None:
            return line.strip()
        line = line[found.end() :]


def expanded_names(line: str) -> list[str]:
    """Expressions that IPython evaluates in a magic's or command's line: ``{expr}`` and ``$name``."""
    found = list(_DOLLAR.findall(line))
    if "{" in line:
        with contextlib.suppress(ValueError):  # an unbalanced brace: IPython leaves such a line as it is
            found += [field for _, field, _, _ in string.Formatter().parse(line) if field]
    return found


def whole_cell_magic(tree: ast.Module) -> MagicCall | None:
    """The cell magic, where the cell is nothing else."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr):
        return None
    call = magic_call(tree.body[0].value)
    return call if call is not None and call.body is not None else None
