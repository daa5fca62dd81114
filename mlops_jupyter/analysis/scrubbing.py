"""Known secret values taken out of text, in every spelling in which they commonly appear. Standard library only."""

from __future__ import annotations

import html
import json
import re
import urllib.parse
from collections.abc import Iterable
from typing import Any

from .secrets import BLANK

SHORTEST = 4
"""Characters of the shortest value that is looked for: shorter ones would blank ordinary text."""
_SHORTEST_LINE = 8
"""Characters of the shortest line of a value of several lines that is looked for by itself."""


class Scrubber:
    """Replaces the given values by ``***``: as they are, and as Python, JSON, HTML and URLs write them."""

    def __init__(self, values: Iterable[str]) -> None:
        spellings: set[str] = set()
        for value in values:
            if len(value) >= SHORTEST:
                spellings |= _spellings(value)
        # Longest first: of two values the longer may begin with the shorter.
        self._spellings = sorted(spellings, key=lambda text: (-len(text), text))
        self._pattern = re.compile("|".join(map(re.escape, self._spellings))) if spellings else None
        self._firsts = frozenset(text[0] for text in self._spellings)
        self._longest = max(map(len, spellings), default=0)

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return self._pattern is not None

    def text(self, text: str) -> str:
        """The text without the values."""
        return text if self._pattern is None else self._pattern.sub(BLANK, text)

    def data(self, value: Any) -> Any:
        """The same data with every text in it scrubbed, keys too; other objects are passed on as they are."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return type(value)({self.data(key): self.data(item) for key, item in value.items()})
        if isinstance(value, list | tuple) and type(value) in (list, tuple):
            return type(value)(self.data(item) for item in value)
        return value

    def split(self, text: str) -> tuple[str, str]:
        """(scrubbed text that can be passed on, its end that may be the beginning of a value)."""
        text = self.text(text)
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[start] not in self._firsts:
                continue
            tail = text[start:]
            if any(spelling.startswith(tail) for spelling in self._spellings):
                return text[:start], tail
        return text, ""


def _spellings(value: str) -> set[str]:
    found = {value, value.strip()}
    if "\n" in value:
        found |= {line.strip() for line in value.splitlines() if len(line.strip()) >= _SHORTEST_LINE}
    written: set[str] = set()
    for text in found:
        written |= {
            text, repr(text)[1:-1], ascii(text)[1:-1], json.dumps(text)[1:-1], html.escape(text),
            html.escape(text, quote=False), urllib.parse.quote(text), urllib.parse.quote(text, safe=""),
            urllib.parse.quote_plus(text),
        }  # fmt: skip
    return {text for text in written if len(text) >= SHORTEST}
