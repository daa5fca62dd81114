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
        """The touches, and those of every name from before the cell that a touched name was bound from."""
        origins = self._origins()
        found: dict[tuple[str, TouchKind, str, int, int], Touch] = {}
        for touch, is_global in self.touches:
            place = (touch.at.statement, touch.at.branch)
            if is_global:
                key = (touch.name, touch.kind, touch.detail, *place)
                known = found.get(key)
                if known is None or (touch.direct and not known.direct):
                    found[key] = touch
            for source in origins.get(touch.name, ()):
                if source != touch.name:
                    derived = Touch(source, touch.kind, touch.at, touch.detail, direct=False)
                    found.setdefault((source, touch.kind, touch.detail, *place), derived)
        return tuple(found.values())

    def _origins(self) -> dict[str, list[str]]:
        """For each bound name the exposed names that its value may reach.

        From the sources on, so that long cells of assignments to fresh names cost no more than their length.
        """
        onward: dict[str, set[str]] = {}
        for name, sources in self.derived.items():
            for source in sources:
                onward.setdefault(source, set()).add(name)
        origins: dict[str, list[str]] = {}
        for root in dict.fromkeys(load.name for load in self.loads if load.exposed):
            seen = {root}
            stack = [root]
            while stack:
                for name in onward.get(stack.pop(), ()):
                    if name not in seen:
                        seen.add(name)
                        stack.append(name)
                        origins.setdefault(name, []).append(root)
        return origins
