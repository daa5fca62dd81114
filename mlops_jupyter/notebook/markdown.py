"""Which Markdown of a notebook goes with which of its code cells; and text made safe to stand in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mlops_jupyter.entities import CellExecution

from .document import Cell, NotebookDocument

_HEADING = re.compile(r"^ {0,3}(?P<marks>#{1,6})[ \t]+(?P<text>.*?)(?:[ \t]+#+)?[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,})")


@dataclass(frozen=True, slots=True)
class Prose:
    """A Markdown cell, or the heading of one, that goes before a code cell."""

    cell_id: str | None
    source: str


class CellFinder:
    """Finds the cell of the document that an execution is of: by its id, else by its text."""

    def __init__(self, document: NotebookDocument | None) -> None:
        self._by_id: dict[str, int] = {}
        self._by_text: dict[str, int] = {}
        for index, cell in enumerate(document.cells if document is not None else ()):
            if cell.cell_type == "code":
                if cell.cell_id is not None:
                    self._by_id.setdefault(cell.cell_id, index)
                if cell.source.strip():
                    self._by_text.setdefault(cell.source.strip(), index)

    def index(self, execution: CellExecution) -> int | None:
        """Position in ``document.cells``, or None."""
        if execution.cell_id is not None and execution.cell_id in self._by_id:
            return self._by_id[execution.cell_id]
        return self._by_text.get(execution.source.strip())


def code_span(text: str) -> str:
    """``text`` in one line as code, whatever it holds."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    longest = max((len(run) for run in re.findall(r"`+", flat)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if flat.startswith("`") or flat.endswith("`") or not flat else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def escaped(text: str) -> str:
    """``text`` in one line, with what Markdown and HTML would read in it escaped."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return re.sub(r"([\\`*_{}\[\]<>&#|$~])", r"\\\1", flat)


def first_heading(document: NotebookDocument) -> tuple[int, str, str] | None:
    """Index of the notebook's title cell, the title and the text under it; None where it does not begin with one."""
    for index, cell in enumerate(document.cells):
        if cell.cell_type == "markdown" and cell.source.strip():
            line, _, rest = cell.source.strip().partition("\n")
            found = _HEADING.match(line)
            return (index, found["text"], rest.strip()) if found and found["marks"] == "#" else None
        if cell.cell_type == "code" and cell.source.strip():
            return None
    return None


def place(
    document: NotebookDocument, indices: Sequence[int | None], *, without: frozenset[int] = frozenset()
) -> tuple[tuple[Prose, ...], ...]:
    """The Markdown that goes before each of the code cells at ``indices`` of the document (None: not in it); nothing
    twice.

    That is the run of Markdown cells directly above, and of sections that began further up their headings alone.

    Args:
        document: the notebook.
        indices: positions in ``document.cells`` in the order of the new notebook; a cell may come twice.
        without: positions of Markdown cells that stand elsewhere already.
    """
    whole: set[int] = set(without)
    headings: set[tuple[int, int]] = set()
    before = []
    wanted = {i for index in indices if index is not None for i in _directly_above(document.cells, index)}
    for index in indices:
        here: list[Prose] = []
        if index is not None:
            above = _directly_above(document.cells, index)
            start = above[0] if above else index
            for at, line, text in _enclosing(document.cells, start, _lowest(document.cells, above)):
                # A heading whose cell is kept as a whole, here or at another code cell, is not said twice.
                if at not in whole and at not in wanted and (at, line) not in headings:
                    headings.add((at, line))
                    here.append(Prose(None, text))
            for at in above:
                if at not in whole:
                    whole.add(at)
                    here.append(Prose(document.cells[at].cell_id, document.cells[at].source))
        before.append(tuple(prose for prose in here if prose.source.strip()))
    return tuple(before)


def _directly_above(cells: Sequence[Cell], index: int) -> list[int]:
    above: list[int] = []
    for at in range(index - 1, -1, -1):
        cell = cells[at]
        if cell.cell_type == "markdown":
            above.insert(0, at)
        elif cell.source.strip():
            break
    return above


def _lowest(cells: Sequence[Cell], above: Sequence[int]) -> int:
    """The smallest level of heading in these cells: sections at or under it are not around them any more."""
    return min((level for at in above for _, level, _ in _headings(cells[at].source)), default=7)


def _enclosing(cells: Sequence[Cell], index: int, level: int) -> list[tuple[int, int, str]]:
    """Headings of the sections that ``index`` lies in, outermost first: (cell, line, text)."""
    found: list[tuple[int, int, str]] = []
    for at in range(index - 1, -1, -1):
        if cells[at].cell_type != "markdown":
            continue
        for line, depth, text in reversed(_headings(cells[at].source)):
            if depth < level:
                found.insert(0, (at, line, text))
                level = depth
    return found


def _headings(source: str) -> list[tuple[int, int, str]]:
    """(line, level, the line's text) of each heading outside of fenced code."""
    found, fence = [], ""
    for number, line in enumerate(source.split("\n")):
        opened = _FENCE.match(line)
        if fence:
            if opened and opened["fence"].startswith(fence):
                fence = ""
        elif opened:
            fence = opened["fence"]
        elif heading := _HEADING.match(line):
            found.append((number, len(heading["marks"]), line.strip()))
    return found
