"""How documents are shown: JSON for machines, tables for people; progress goes to standard error."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from html import escape
from typing import Any

import click

_WIDTH = 200
"""Characters of a table that no terminal shows."""
_WORD = 12
"""Characters of a word, or of a short cell, that a narrow table does not cut."""


@dataclass
class Page:
    """What a command said, kept for a notebook instead of written to standard output."""

    text: list[str] = field(default_factory=list)
    html: list[str] = field(default_factory=list)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        html = "".join(self.html)
        return {"text/plain": "\n".join(self.text), "text/html": f'<div class="mlops-page">{html}</div>'}


_page: ContextVar[Page | None] = ContextVar("mlops_page", default=None)


@contextmanager
def collected() -> Iterator[Page]:
    """Collect what the commands inside would write to standard output."""
    page = Page()
    token = _page.set(page)
    try:
        yield page
    finally:
        _page.reset(token)


def echo(text: str = "") -> None:
    """A line of the answer."""
    page = _page.get()
    if page is None:
        click.echo(text)
    else:
        unstyled = click.unstyle(text)
        page.text.append(unstyled)
        page.html.append(f"<pre style='margin:0'>{escape(unstyled)}</pre>")


def sentence(text: object, most: int = 1200) -> str:
    """``plain`` for an error: of a very long one, which quotes what was given, its beginning and its end."""
    said = str(text)
    return plain(said if len(said) <= most else f"{said[: most * 2 // 3]} … {said[-most // 3 :]}")


def plain(text: object) -> str:
    """``text`` without control characters, so that a name from a notebook cannot drive the terminal."""
    return "".join(c if c.isprintable() else " " if c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def emit_json(document: Mapping[str, Any]) -> None:
    """Write the one document of a ``--json`` call."""
    echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> None:
    """A table; columns in ``right`` are aligned right. Fits the terminal's width."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    page = _page.get()
    if page is None:
        console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    else:
        console = Console(width=_WIDTH, highlight=False, color_system=None, force_jupyter=False)
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = _narrowed([headers, *cells], console.width)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", collapse_padding=widths is not None)
    for index, header in enumerate(headers):
        width = None if widths is None else widths[index]
        grid.add_column(header, justify="right" if index in right else "left", overflow="fold", width=width)
    for row in cells:
        grid.add_row(*map(Text, row))
    if page is None:
        console.print(grid)
        return
    with console.capture() as text:
        console.print(grid)
    page.text.append(text.get().rstrip())
    page.html.append(_html_table(headers, rows, right))


def _narrowed(lines: Sequence[Sequence[str]], available: int) -> list[int] | None:
    """Widths of the columns of a table that is too wide: the widest give way, and none cuts a short word.

    None where the table fits as it is, or not even so; rich then decides, which cuts words.
    """
    from rich.cells import cell_len

    columns = list(zip(*lines, strict=True))
    widths = [max(cell_len(cell) for cell in column) for column in columns]
    if sum(widths) + 3 * len(widths) <= available:
        return None
    longest = [max((cell_len(word) for cell in column for word in cell.split()), default=1) for column in columns]
    least = [
        width if width <= _WORD else max(min(word, _WORD), cell_len(column[0]))
        for width, word, column in zip(widths, longest, columns, strict=True)
    ]
    over = sum(widths) + 2 * len(widths) - available
    while over > 0:
        room, index = max((widths[i] - least[i], i) for i in range(len(widths)))
        if room <= 0:
            return None
        widths[index] -= 1
        over -= 1
    return widths


def _html_table(headers: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[int]) -> str:
    def cell(tag: str, index: int, value: object) -> str:
        align = "right" if index in right else "left"
        return f"<{tag} style='text-align:{align}'>{escape(plain(value))}</{tag}>"

    head = "".join(cell("th", index, header) for index, header in enumerate(headers))
    body = "".join(
        "<tr>" + "".join(cell("td", index, value) for index, value in enumerate(row)) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def heading(text: str) -> None:
    """A bold line."""
    echo(click.style(plain(text), bold=True))


def number(value: object) -> str:
    """A metric for people: six significant digits; ``NaN`` and infinities by name."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return str(value)


def when(epoch_ms: int | None) -> str:
    """Local time to the second."""
    return "" if epoch_ms is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch_ms / 1000))


def lasted(seconds: float | None) -> str:
    """A duration for people."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def pairs(values: Mapping[str, object], *, limit: int = 4, short_first: bool = False) -> str:
    """``a=1 b=2.5 … +3`` in one line, floats to four digits. ``short_first``: the names that people chose are shorter
    than those made from calls, so they come first."""
    items = sorted(values.items(), key=lambda item: len(item[0])) if short_first else list(values.items())
    shown = [f"{key}={f'{v:.4g}' if isinstance(v, float) else number(v)}" for key, v in items[:limit]]
    more = len(values) - len(shown)
    return " ".join(shown) + (f" … +{more}" if more > 0 else "")
