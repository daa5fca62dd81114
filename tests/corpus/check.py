"""What becomes of a case: converted from its history and from its text alone, and run again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mlops_jupyter.errors import MlopsError
from mlops_jupyter.provenance import without_magics
from mlops_jupyter.verbs.convert import make
from mlops_jupyter.workspace import open_workspace

from .model import Case
from .play import Played, Runner, place, replay, scratch_of, write_notebook

Result = Literal["same", "other", "failed", "refused", "random", "broken"]
"""``same``: the converted notebook gives the value that was there; ``other``: it gives another; ``failed``: a cell of
it raises; ``refused``: it was not converted, and why was said; ``random``: it runs, and no two runs give the same
value; ``broken``: the notebook itself does not run from top to bottom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one case."""

    result: Result
    detail: str = ""
    """The sentence of the refusal, the error, or both values."""
    kept: tuple[int, ...] = ()
    cells: int = 0
    """Executions recorded in the session, or cells of the notebook."""
    parameters: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    """Taken by the conversion."""


def found_of(case: Case, names: Sequence[str]) -> tuple[str, ...]:
    """The parameters that a person would want, of those among ``names``."""
    return tuple(wanted for wanted in case.parameters if not set(wanted.split("|")).isdisjoint(names))


def from_history(case: Case, played: Played, scratch: Path, runner: Runner) -> Outcome:
    """Convert what was recorded; run it where only what it says it needs is there; compare the value."""
    wanted = played.values.get(case.checked, "")
    return _outcome(case, played.folder, played.notebook, scratch, runner, wanted, played=played)


def from_text(case: Case, played: Played, folder: Path, runner: Runner) -> Outcome:
    """Convert the same file where nothing was recorded; what counts is what a run from top to bottom gives."""
    notebook = place(case, folder / "text")
    write_notebook(notebook, played.texts, played.ran, language=case.language, loads=False)
    place(case, folder / "whole")
    code = [text for text in played.texts.values() if isinstance(text, str)]
    cells = [{"cell_type": "code", "metadata": {}, "source": without_magics(text)} for text in code]
    wanted, whole = "", {"error": None, "values": {case.checked: ""}}
    if case.language == "python":
        whole = replay({"cells": cells}, folder / "whole" / Path(case.notebook).parent, runner, [case.checked])
        wanted = whole["values"][case.checked]
    found = _outcome(case, folder / "text", notebook, folder / "scratch", runner, wanted, played=None)
    broken = whole["error"] is not None or wanted.startswith("!")
    if (
        broken
        and found.result == "other"
        and found.detail.startswith(f"{played.values.get(case.checked, '')[:100]} instead")
    ):
        return replace(found, result="same", detail="")  # as the person had it
    if broken and found.result in ("other", "failed"):
        return Outcome(result="broken", detail=str(whole["error"] or wanted), kept=found.kept, cells=found.cells)
    return found


def _outcome(
    case: Case, folder: Path, notebook: Path, scratch: Path, runner: Runner, wanted: str, *, played: Played | None
) -> Outcome:
    began = time.perf_counter()
    try:
        with open_workspace(folder) as workspace:
            made = make(workspace, notebook, target=case.target)
    except MlopsError as error:
        return Outcome(result="refused", detail=str(error), seconds=time.perf_counter() - began)
    seconds = time.perf_counter() - began
    conversion, found = made.conversion, made.found
    inner = scratch_of(case, played, found, scratch) if played is not None else place(case, scratch).parent
    again = replay(conversion.document, inner, runner, [case.checked])
    got = again["values"][case.checked]
    facts: dict[str, Any] = {
        "kept": found.executions,
        "cells": played.executions if played is not None else len(case.code),
        "parameters": tuple(p.name for p in conversion.parameters),
        "notes": conversion.notes,
        "seconds": seconds,
    }
    if again["error"] is not None:
        return Outcome(result="failed", detail=again["error"], **facts)
    if got.startswith("!"):
        return Outcome(result="failed", detail=got[1:], **facts)
    if case.random:
        return Outcome(result="random", **facts)
    if got == wanted:
        return Outcome(result="same", **facts)
    return Outcome(result="other", detail=f"{got[:100]} instead of {wanted[:100]}", **facts)
