"""Help texts: the comment beside a literal, else the comment line directly above it."""

from __future__ import annotations

import io
import re
import tokenize

from mlops_jupyter.analysis import redact

from ._cell_text import CellText

_NOT_HELP = re.compile(
    r"(?:noqa|type:|pylint|fmt:|isort:|pragma|todo|fixme|xxx|%|!|nosec|mypy:|ruff:|-{3}|={3}|#)", re.I
)
_CODE = re.compile(r"[\w.]+\s*(?:=[^=]|\(.*\)\s*$)")
_LONGEST = 200


def help_texts(cell: CellText) -> dict[int, str]:
    """Help for what ends on a line (from 1), by line."""
    comments: dict[int, tuple[str, bool]] = {}
    text = "".join("pass\n" if n in cell.covered else line for n, line in enumerate(cell.lines, 1))
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                alone = not token.line[:column].strip()
                comments[row] = (clean(token.string.lstrip("#")), alone)
    except (tokenize.TokenError, SyntaxError):
        pass
    found: dict[int, str] = {}
    for row, line in enumerate(cell.lines, 1):
        if not line.strip() or comments.get(row, ("", False))[1]:
            continue
        beside = comments.get(row, ("", False))[0]
        above, alone = comments.get(row - 1, ("", False))
        two_above = comments.get(row - 2, ("", False))[1]
        if beside:
            found[row] = beside
        elif above and alone and not two_above and not _heads_block(cell, row, comments):
            found[row] = above
    return found


def _heads_block(cell: CellText, row: int, comments: dict[int, tuple[str, bool]]) -> bool:
    """Whether the comment above stands over several lines of code: then it heads them all, not the first alone."""
    following = cell.lines[row] if row < len(cell.lines) else ""
    return bool(following.strip()) and row + 1 not in comments


def clean(comment: str) -> str:
    """A comment as one line of help; empty where it is none for people."""
    text = " ".join("".join(c if c.isprintable() else " " for c in comment).split())
    if _NOT_HELP.match(text) or _CODE.match(text):
        return ""
    text = redact(text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
