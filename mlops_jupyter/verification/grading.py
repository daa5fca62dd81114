"""From comparisons to a grade. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from .compare import Comparison, Difference, Facts
from .reasons import is_random, unstable_calls, unstable_names
from .result import Diverging, Unstable

# A notebook's saved outputs say less than its values: a difference in them alone is told, and costs the exact grade.
_WEAK = ("output", "parameter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instability:
    """Which values differ each time they are made, and the cells that random numbers reach."""

    unstable: tuple[Unstable, ...] = ()
    own: frozenset[tuple[str, str, str]] = frozenset()
    """(key of the cell, kind, name) of what differs between two replays."""
    random: frozenset[str] = frozenset()
    """Keys of the cells that draw random numbers without a seed, or use what was made of them."""

    def explains(self, difference: Difference) -> bool:
        """Whether a difference comes from what is not the same each time."""
        # What is made of random numbers (a rounded score, a label) can agree in two replays by chance.
        return (difference.key, difference.kind, difference.name) in self.own or difference.key in self.random


Needs = Mapping[str, Collection[tuple[str, str]]]
"""By key of a cell, the (key of the cell, name) of each variable or file that it uses."""


def find_instability(
    again: Comparison | None,
    facts: Sequence[Facts],
    *,
    sources: Mapping[str, str],
    unseeded: Mapping[str, Sequence[str]],
    needs: Needs,
    differing: Collection[Difference] = (),
) -> Instability:
    """What differs by itself.

    Args:
        again: the second replay held against the first; None where there was none.
        facts: the cells in their order.
        sources: text of each cell by key.
        unseeded: by key, generators of random numbers that nothing had seeded.
        needs: what each cell uses.
        differing: what differs from the record: a name that the cell assigns from a clock and the like explains
            itself, though two replays on one day are the same.
    """
    pairs = [(d.key, d.kind, d.name) for d in (again.differences if again is not None else ()) if not d.close]
    pairs += [
        (d.key, d.kind, d.name)
        for d in differing
        if d.kind == "variable" and d.name in unstable_names(sources.get(d.key, ""))
    ]
    own = frozenset(pairs)
    reasons = {f.key: _reason(f.key, sources, unseeded) for f in facts}
    random: set[str] = set()
    unstable: list[Unstable] = []
    for f in facts:  # makers come before users, so one pass is enough
        reason = reasons[f.key]
        names = [name or "its output" for key, _, name in dict.fromkeys(pairs) if key == f.key]
        uses = needs.get(f.key, ())
        draws = bool(names) and reason is not None and is_random(reason)
        if draws or any(key in random for key, _ in uses):
            random.add(f.key)
        if reason is None and any((key, kind, name) in own for key, name in uses for kind in ("variable", "file")):
            continue  # what it was made of is told
        unstable += [
            Unstable(cell=f.label, cell_id=f.cell_id, name=n, reason=reason or "differs between two replays")
            for n in dict.fromkeys(names)
        ]
    return Instability(unstable=tuple(unstable), own=own, random=frozenset(random))


def _reason(key: str, sources: Mapping[str, str], unseeded: Mapping[str, Sequence[str]]) -> str | None:
    generators = unseeded.get(key, ())
    if generators:
        return f"draws random numbers without a seed ({', '.join(dict.fromkeys(generators))})"
    calls = unstable_calls(sources.get(key, ""))
    return calls[0] if calls else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How one comparison counts."""

    exact: bool
    within: bool
    """Whether all that counts agrees within the tolerance."""
    first: Difference | None
    """The first difference that counts against it."""
    why: tuple[str, ...] = field(default=())
    """Why it is not exact though it agrees."""


def judge(comparison: Comparison, instability: Instability, *, target: str, outputs_count: bool) -> Judgement:
    """Whether a comparison is exact, agrees within what can be asked, or does not.

    ``target``: the variable that the notebook is about; a value of it, or a metric, that is not the same each time
    counts against it. ``outputs_count``: outputs are the only record.
    """
    why: list[str] = []
    first: Difference | None = None
    for d in comparison.differences:
        if d.close:
            why.append("numbers differ within the tolerance")
        elif d.kind in _WEAK and not (outputs_count and d.kind == "output"):
            why.append("a cell showed something else")
        elif instability.explains(d) and d.kind != "metric" and not (d.kind == "variable" and d.name == target):
            why.append("some values differ each time they are made")
        elif first is None:
            first = d
    return Judgement(exact=not comparison.differences, within=first is None, first=first, why=tuple(dict.fromkeys(why)))


def diverging(difference: Difference, facts: Mapping[str, Facts]) -> tuple[str, str | None]:
    """(label of the cell, its id) that a difference is in."""
    found = facts.get(difference.key)
    return ("?", None) if found is None else (found.label, found.cell_id)


def as_diverging(difference: Difference, facts: Mapping[str, Facts], check: str) -> Diverging:
    """A difference for people."""
    label, cell_id = diverging(difference, facts)
    return Diverging(
        cell=label, cell_id=cell_id, variable=difference.name or None, expected=difference.expected,
        got=difference.got, check=check,  # type: ignore[arg-type]
    )  # fmt: skip
