"""Which literals of converted cells become parameters: the cells' new text and the parameters. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlops_jupyter.entities import CellExecution
from mlops_jupyter.provenance import without_magics

from .candidates import Candidate, Evidence, choose, find_candidates, places
from .leaves import cell_key
from .lifting import lift


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameterized:
    """Cells that read their parameters."""

    texts: tuple[str, ...]
    parameters: tuple[Candidate, ...]
    offered: tuple[Candidate, ...]
    """Candidates that were not taken, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was recorded besides the cells that are kept."""

    history: Sequence[CellExecution] = ()
    """All executions of the session: earlier texts of a cell tell what somebody tried."""
    run_params: Mapping[str, str] | None = None
    """Parameters of the runs of the session."""


def parameterize(
    imports: str,
    texts: Sequence[str],
    executions: Sequence[CellExecution],
    *,
    after: Sequence[str] = (),
    tagged: Sequence[int] = (),
    known: Known | None = None,
    limit: int = 8,
    names: Sequence[str] | None = None,
) -> Parameterized:
    """Lift the best literals of ``texts``.

    Args:
        imports: text of a cell that runs before them and stays as it is.
        texts: the cells, in order.
        executions: what each cell is the text of.
        after: texts of cells that run after them and stay as they are.
        tagged: indices of cells with the tag ``parameters``.
        known: what was recorded besides.
        limit: most parameters where ``names`` is not given; unless it is 0, all that a tagged cell has are taken.
        names: take these and no others.

    Raises:
        UsageError: ``names`` has one that is no candidate.
    """
    known = known or Known()
    cells = [imports, *texts, *after]
    evidence = Evidence(
        run_params=dict(known.run_params or {}),
        tagged=frozenset(index + 1 for index in tagged),
        earlier=_earlier(executions, known.history),
    )
    movable = range(1, len(texts) + 1)
    found = [
        candidate
        for candidate in find_candidates(cells, evidence=evidence, before=1)
        if all(cell in movable for cell, _ in places(candidate))
    ]
    if limit and names is None:
        # Somebody named these parameters already: none of them may be lost.
        limit = max(limit, sum(candidate.origin == "tagged" for candidate in found))
    chosen = choose(found, limit=limit, names=names)
    lifted = lift(cells, chosen)
    taken = {candidate.name for candidate in chosen}
    return Parameterized(
        texts=tuple(
            _tidied(before, after) for before, after in zip(texts, lifted.cells[1 : len(texts) + 1], strict=True)
        ),
        parameters=lifted.parameters,
        offered=tuple(c for c in found if c.name not in taken),
    )


def _earlier(executions: Sequence[CellExecution], history: Sequence[CellExecution]) -> dict[int, list[str]]:
    """By index, other texts that the same cell had when it ran."""
    by_cell: dict[str, list[str]] = {}
    for execution in history:
        if execution.cell_id:
            by_cell.setdefault(cell_key(execution), []).append(execution.source)
    found = {}
    for index, execution in enumerate(executions):
        others = [t for t in dict.fromkeys(by_cell.get(cell_key(execution), ())) if t != execution.source]
        if others:
            found[index + 1] = [without_magics(text) for text in others]
    return found


def _tidied(before: str, after: str) -> str:
    """A cell of which nothing but comments is left goes; blank lines at its ends, too."""
    if before == after:
        return after
    lines = after.split("\n")
    if all(not line.strip() or line.lstrip().startswith("#") for line in lines):
        return ""
    while not lines[0].strip():
        del lines[0]
    return "\n".join(lines).rstrip()
