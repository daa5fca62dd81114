"""Literals of cells turned into parameters: the cells' new text, the text of the ``parameters`` cell, its schema."""

from __future__ import annotations

import ast
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlops_jupyter.analysis import NotLiteralError, literal_value

from . import _annotations as types
from ._cell_text import split_lines
from ._comments import clean
from ._known_arguments import limits
from .candidates import Candidate, Span

DRAFT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifted:
    """Cells that read their parameters, and the parameters."""

    cells: tuple[str, ...]
    parameters: tuple[Candidate, ...]


def lift(cells: Sequence[str], chosen: Sequence[Candidate]) -> Lifted:
    """Replace each chosen literal by its parameter's name; a chosen assignment leaves its cell.

    Every other byte of the cells stays. The chosen ones must come from ``find_candidates`` for the same cells and
    must not overlap (``choose`` sees to that).
    """
    edits: dict[int, list[tuple[Span, str | None]]] = defaultdict(list)
    for candidate in chosen:
        if candidate.statement is not None:
            edits[candidate.cell].append((candidate.statement, None))
        else:
            edits[candidate.cell].append((candidate.span, candidate.name))
        for cell, span in candidate.also:
            edits[cell].append((span, candidate.name if candidate.statement is None else None))
    texts = [_edited(source, edits[index]) if index in edits else source for index, source in enumerate(cells)]
    return Lifted(cells=tuple(texts), parameters=tuple(chosen))


def _edited(source: str, edits: list[tuple[Span, str | None]]) -> str:
    lines = [line.encode("utf-8", "surrogatepass") for line in split_lines(source)]
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    text = b"".join(lines)
    for span, name in sorted(edits, reverse=True):
        start, end = starts[span[0] - 1] + span[1], starts[span[2] - 1] + span[3]
        if name is not None:
            before, after = text[start - 1 : start], text[end : end + 1]
            pad_left = b" " if _is_word(before) else b""  # 1if x: a literal needs no space where a name does
            pad_right = b" " if _is_word(after) else b""
            text = text[:start] + pad_left + name.encode() + pad_right + text[end:]
            continue
        rest = text[end : starts[span[2]]].strip()
        whole = not text[starts[span[0] - 1] : start].strip() and (not rest or rest.startswith(b"#"))
        if whole:
            start, end = starts[span[0] - 1], starts[span[2]]
        text = text[:start] + (b"" if whole else b"pass") + text[end:]
    return text.decode("utf-8", "surrogatepass")


def _is_word(byte: bytes) -> bool:
    return byte.isalnum() or byte == b"_" or byte >= b"\x80"


def parameters_source(parameters: Sequence[Candidate]) -> str:
    """The text of a ``parameters`` cell: an annotated assignment a line with its help beside it.

    Plain enough for papermill's own reader: no ``|`` in annotations, one ``=`` a line, ``#`` for the help alone.
    """
    lines = []
    for parameter in parameters:
        help_text = clean(parameter.help).replace("=", ":")
        beside = f"  # {help_text}" if help_text else ""
        annotation = types.as_written(parameter.annotation)
        lines.append(f"{parameter.name}: {annotation} = {_default(parameter)}{beside}")
    return "\n".join(lines)


def _default(parameter: Candidate) -> str:
    """The literal as the cell has it where that fits on a line, else the same value written anew."""
    source = parameter.default_source
    if len(split_lines(source)) == 1 and source.isprintable() and not set(source) & set("#="):
        return source
    try:
        tree = ast.parse(source.strip(), mode="eval").body
        literal_value(tree)
        text = ast.unparse(tree)
    except (SyntaxError, ValueError, NotLiteralError, RecursionError):
        text = repr(parameter.default)
    text = text if text.isprintable() and len(split_lines(text)) == 1 else repr(parameter.default)
    # Inside of text alone: nothing else in a literal has them.
    return text.replace("#", r"\x23").replace("=", r"\x3d")


def parameters_schema(parameters: Sequence[Candidate]) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a mapping of parameter names to values."""
    return {
        "$schema": DRAFT,
        "type": "object",
        "properties": {parameter.name: _property(parameter) for parameter in parameters},
        "additionalProperties": False,
    }


def _property(parameter: Candidate) -> dict[str, Any]:
    found = types.schema(parameter.annotation)
    if not parameter.secret:
        found |= limits(parameter.argument or parameter.name, parameter.default)
    known, default = _json(parameter.default)
    if known:
        found["default"] = default
    help_text = clean(parameter.help)
    if help_text:
        found["description"] = help_text
    return found


def _json(value: Any) -> tuple[bool, Any]:
    """Whether JSON has this value, and it."""
    if isinstance(value, float) and not math.isfinite(value):
        return False, None
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        return False, None
    try:
        return True, json.loads(json.dumps(value, allow_nan=False))
    except (ValueError, TypeError, RecursionError):
        return False, None
