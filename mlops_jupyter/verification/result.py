"""What a verification found, and its document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

CheckName = Literal["V0", "V1", "V2", "V3"]
State = Literal["passed", "failed", "skipped", "unknown"]
Grade = Literal["A", "B", "C"]

OnProgress = Callable[[str, int, int], None]
"""Called with (name of the check, number of the cell from 1, how many there are)."""

TITLES: dict[str, str] = {
    "V0": "the recorded cells, replayed",
    "V1": "the converted notebook at its defaults",
    "V2": "as a scheduler starts it",
    "V3": "each parameter changed once",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check and how it ended. What could not be run is ``unknown``, never ``passed``."""

    name: CheckName
    state: State
    detail: str
    """One sentence."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Diverging:
    """The first thing, in the order of the cells, that is not as it was recorded."""

    cell: str
    """For people: ``In [3]``."""
    cell_id: str | None
    variable: str | None
    """Name of the variable, metric or file; None where the cell failed or showed something else."""
    expected: str
    got: str
    check: CheckName = "V0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unstable:
    """A value that differs each time it is made, and why."""

    cell: str
    cell_id: str | None
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What changing one parameter did."""

    name: str
    state: Literal["alive", "dead", "failed", "skipped"]
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Whether a converted notebook gives what was recorded."""

    level: Literal["fast", "full"]
    grade: Grade | None
    """A: exactly; B: within the tolerance, or all that can be compared; C: not. None: it could not be checked."""
    reason: str
    """One sentence."""
    checks: tuple[Check, ...]
    diverging: Diverging | None
    parameters: tuple[Parameter, ...]
    unseeded: tuple[Unstable, ...]
    compared: int
    """Values, metrics, files and outputs of V0 that were held against the record."""
    unknown: int
    """Variables of which too little was recorded to compare them."""
    notes: tuple[str, ...]
    seconds: float

    @property
    def dead_parameters(self) -> tuple[str, ...]:
        """Parameters whose change changed nothing."""
        return tuple(p.name for p in self.parameters if p.state == "dead")

    def to_json(self) -> dict[str, Any]:
        """The document; fits ``verification.json``."""
        diverging = self.diverging
        return {
            "level": self.level,
            "grade": self.grade,
            "reason": self.reason,
            "checks": [
                {"name": c.name, "title": TITLES[c.name], "state": c.state, "detail": c.detail, "seconds": c.seconds}
                for c in self.checks
            ],
            "diverging": None
            if diverging is None
            else {
                "check": diverging.check,
                "cell": diverging.cell,
                "cell_id": diverging.cell_id,
                "variable": diverging.variable,
                "expected": diverging.expected,
                "got": diverging.got,
            },
            "parameters": [{"name": p.name, "state": p.state, "detail": p.detail} for p in self.parameters],
            "dead_parameters": list(self.dead_parameters),
            "unseeded": [
                {"cell": u.cell, "cell_id": u.cell_id, "name": u.name, "reason": u.reason} for u in self.unseeded
            ],
            "compared": self.compared,
            "unknown": self.unknown,
            "notes": list(self.notes),
            "seconds": self.seconds,
        }


def named(items: Sequence[str], most: int = 3) -> str:
    """``a, b, c and 4 more``."""
    shown = ", ".join(items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
