"""Which literals of a notebook's cells could be its parameters, best first. Pure: cells are read, never run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mlops_jupyter.errors import UsageError

from ._cell_names import read_names
from ._cell_text import read_cell

Origin = Literal["assignment", "tagged", "keyword", "dict", "grid", "path", "seed"]
Span = tuple[int, int, int, int]

WORTH = 0.9
"""The least score of what is chosen without being named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A literal that could be a parameter."""

    name: str
    """An identifier, unique among the candidates."""
    annotation: str
    """``int``, ``list[str]``, ``dict[str, float]``, ``int | None`` …"""
    default: Any
    """Its value: plain data."""
    default_source: str
    """The literal as it stands in the cell."""
    help: str
    """The comment beside it or in the line above it; else empty."""
    origin: Origin
    cell: int
    """Index of its cell."""
    span: Span
    """First line (from 1), its column, last line, its column; columns count bytes of UTF-8, as in ``ast``."""
    score: float
    """Rank: higher first. Comparable within one notebook only."""
    reason: str
    """One short phrase for people."""
    also: tuple[tuple[int, Span], ...] = ()
    """(cell, span) of further places that hold the same literal in the same role: one seed given three times, a cell
    that is there twice. Of an assignment: its statement there."""
    argument: str = ""
    """The argument's name as the code has it, where that is not ``name``: what is known of it, is known by this."""
    secret: bool = False
    """The literal looks like a key or password. Then ``default`` is a reference ``env:NAME``, never the literal."""
    statement: Span | None = None
    """Of an assignment: the statement, which leaves its cell when lifted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a notebook besides its text."""

    changed: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Names of variables, arguments or dict keys whose literal changed between executions, with the values seen."""
    run_params: Mapping[str, str] = field(default_factory=dict)
    """Keys and values recorded as parameters of runs."""
    tagged: frozenset[int] = frozenset()
    """Indices of cells with the tag ``parameters``."""
    earlier: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Earlier texts of a cell, by its index."""


def find_candidates(
    cells: Sequence[str], *, evidence: Evidence | None = None, before: int = 0
) -> tuple[Candidate, ...]:
    """Literals of the cells that could be parameters without a change of meaning, best first.

    ``cells`` are texts of code cells in the order in which they run, in IPython's syntax; the first ``before`` of them
    (imports) run before the cell of parameters and hold none. Spans of two candidates can
    overlap (a dict and its entries): ``choose`` takes one of them.
    """
    from ._ranking import ranked

    evidence = evidence or Evidence()
    texts = [read_cell(source) for source in cells]
    found = ranked(texts, read_names(texts, before=before), evidence, before=before)
    return tuple(sorted(found, key=lambda c: (-c.score, c.cell, c.span)))


def choose(
    candidates: Sequence[Candidate], *, limit: int = 8, names: Sequence[str] | None = None
) -> tuple[Candidate, ...]:
    """The candidates to lift: those named, else the ``limit`` best with a score of ``WORTH``, none inside of another.

    A literal that looks like a secret is taken only where it is named.

    Raises:
        UsageError: a name that is no candidate, or one inside of another named one.
    """
    chosen: list[Candidate] = []
    if names is None:
        for candidate in candidates:
            worth = candidate.score >= WORTH and not candidate.secret
            if worth and len(chosen) < limit and not _overlaps(candidate, chosen):
                chosen.append(candidate)
        return tuple(chosen)
    known = {candidate.name: candidate for candidate in candidates}
    for name in dict.fromkeys(names):
        found = known.get(name)
        if found is None:
            listed = ", ".join(known) or "none"
            raise UsageError(f"{name!r} is no literal that can become a parameter.", hint=f"These can: {listed}.")
        if _overlaps(found, chosen):
            raise UsageError(
                f"The parameter {name!r} is part of another one that was named too.", hint="Name one of the two."
            )
        chosen.append(found)
    return tuple(chosen)


def places(candidate: Candidate) -> tuple[tuple[int, Span], ...]:
    """(cell, span) of every place that lifting the candidate changes."""
    return ((candidate.cell, candidate.statement or candidate.span), *candidate.also)


def _overlaps(candidate: Candidate, chosen: Sequence[Candidate]) -> bool:
    taken = [place for other in chosen for place in places(other)]
    return any(
        cell == other_cell and span[:2] < other[2:] and other[:2] < span[2:]
        for cell, span in places(candidate)
        for other_cell, other in taken
    )


__all__ = ["Candidate", "Evidence", "Origin", "Span", "choose", "find_candidates", "places"]
