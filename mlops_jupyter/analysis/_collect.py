"""What the walk over a syntax tree gathers, for the cell and for each function in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ._model import (
    Assignment,
    Branch,
    Call,
    Delete,
    Function,
    Import,
    KeywordLiteral,
    KnownCall,
    Load,
    Magic,
    PathLiteral,
    Store,
    Touch,
    TouchKind,
    Where,
)

_MOST = 1_000
"""Entries kept of each kind that is only offered to people (paths, keyword literals)."""


@dataclass(slots=True)
class Shared:
    """Gathered once for the cell, whatever the scope."""

    functions: list[Function] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    star_imports: list[str] = field(default_factory=list)
    assignments: list[Assignment] = field(default_factory=list)
    loop_targets: set[str] = field(default_factory=set)
    keyword_literals: list[KeywordLiteral] = field(default_factory=list)
    known_calls: list[KnownCall] = field(default_factory=list)
    path_literals: list[PathLiteral] = field(default_factory=list)
    magics: list[Magic] = field(default_factory=list)
    outputs_read: list[int] = field(default_factory=list)

    def path(self, text: str, line: int) -> None:
        """Note a string that looks like a path."""
        if len(self.path_literals) < _MOST:
            self.path_literals.append(PathLiteral(text, line))

    def keywords(self, found: list[KeywordLiteral]) -> None:
        """Note keyword arguments that are literals."""
        if len(self.keyword_literals) < _MOST:
            self.keyword_literals += found


@dataclass(slots=True)
class Collector:
    """Gathered for one scope: the cell itself or one function."""

    loads: list[Load] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)
    deletes: list[Delete] = field(default_factory=list)
    touches: list[tuple[Touch, bool]] = field(default_factory=list)
    """(touch, whether the name is a global one)"""
    calls: list[Call] = field(default_factory=list)
    derived: dict[str, set[str]] = field(default_factory=dict)
    global_names: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    dynamic: bool = False
    active: bool = False

    def closed_touches(self) -> tuple[Touch, ...]:
        """The touches, and those of every global that a touched name was bound from."""
        found: dict[tuple[str, TouchKind, str, Where], Touch] = {}
        for touch, is_global in self.touches:
            if is_global:
                found.setdefault((touch.name, touch.kind, touch.detail, touch.at), touch)
            for source in self._sources(touch.name):
                key = (source, touch.kind, touch.detail, touch.at)
                if source in self.global_names and source != touch.name:
                    found.setdefault(key, Touch(source, touch.kind, touch.at, touch.detail, direct=False))
        return tuple(found.values())

    def _sources(self, name: str) -> set[str]:
        seen: set[str] = set()
        stack = [name]
        while stack:
            for source in self.derived.get(stack.pop(), ()):
                if source not in seen:
                    seen.add(source)
                    stack.append(source)
        return seen
