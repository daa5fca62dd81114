"""How a headless run and each of its cells ended, in words that are true."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol

from mlops_jupyter.entities import RunStatus, RunUid


class State(StrEnum):
    """State of a run or of one of its code cells."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The user's code raised, or ended the notebook (``sys.exit``) before its last code cell."""
    TIMED_OUT = "timed_out"
    KERNEL_DIED = "kernel_died"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    """A cell that is tagged ``skip-execution``, or empty."""
    NEVER_RAN = "never_ran"


RUN_STATUS: Mapping[State, RunStatus] = {
    State.RUNNING: RunStatus.RUNNING,
    State.SUCCEEDED: RunStatus.FINISHED,
    State.FAILED: RunStatus.FAILED,
    State.TIMED_OUT: RunStatus.FAILED,
    State.KERNEL_DIED: RunStatus.FAILED,
    State.CANCELLED: RunStatus.KILLED,
}
"""MLflow's word for each end state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelDeath:
    """What is known about a kernel that ended by itself."""

    exit_code: int | None
    """As the operating system gave it; None where it was killed by a signal or is not known."""
    signal: int | None
    peak_memory: int | None
    """Largest resident memory of the kernel process in bytes, as far as it was seen."""
    out_of_memory: bool | None
    """True: the system's out-of-memory killer was at work. None: cannot be told."""
    log: str = ""
    """Last lines that the kernel process wrote to its own standard error."""

    def __str__(self) -> str:
        if self.signal is not None:
            try:
                how = f"was killed by {signal.Signals(self.signal).name}"
            except ValueError:
                how = f"was killed by signal {self.signal}"
        else:
            how = "ended" if self.exit_code is None else f"ended with exit code {self.exit_code}"
        notes = []
        if self.peak_memory is not None:
            notes.append(f"peak memory {self.peak_memory / 2**20:,.0f} MiB")
        if self.out_of_memory:
            notes.append("likely out of memory")
        elif self.signal == signal.SIGKILL and self.out_of_memory is None:
            notes.append("possibly out of memory")
        return f"The kernel {how}" + (f" ({', '.join(notes)})" if notes else "") + "."


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """How one code cell ended."""

    index: int
    """0-based position among all cells of the notebook that was executed (with the injected cell)."""
    cell_id: str
    state: State
    duration: float | None
    """Seconds, or None where it never ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCell:
    """The cell at which a run stopped."""

    index: int
    cell_id: str
    source_preview: str
    error: str
    """One line: ``ValueError: …``"""
    traceback: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedFrom:
    """Where a converted notebook comes from, as its metadata say."""

    notebook: str
    target: str
    grade: Literal["A", "B", "C"] | None
    """How well the conversion was verified; None: it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a headless run ended."""

    run_id: RunUid
    state: State
    notebook: Path
    output: Path
    """The executed notebook; it is there and readable whatever the state."""
    exit_code: int
    """0, 1 user code, 75 the kernel died or delivery failed, 124 timed out, 130 / 143 interrupted."""
    started_at: float
    """Seconds since the epoch."""
    duration: float
    """Seconds, kernel start and stop included."""
    cells: tuple[CellResult, ...]
    failed_cell: FailedCell | None = None
    error: str | None = None
    """One sentence that says why the run did not succeed."""
    death: KernelDeath | None = None
    lineage: Literal["full", "none"] = "full"
    warnings: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Effective values: defaults of the parameters cell and what was given."""
    converted: ConvertedFrom | None = None
    delivered: bool = False
    """Whether all that was recorded has reached the tracking server."""

    def count(self, state: State) -> int:
        """Number of code cells in that state."""
        return sum(1 for cell in self.cells if cell.state is state)


class CellCallback(Protocol):
    """Is told of each code cell when it starts (state ``running``) and when it ends."""

    def __call__(self, index: int, total: int, state: State, preview: str, /) -> None:
        """``index`` is 0-based among the ``total`` code cells; ``preview`` is the cell's first line."""
        ...


def exit_code(state: State, received: int | None = None) -> int:
    """Exit code for an end state; ``received`` is the signal that cancelled the run."""
    if state is State.CANCELLED:
        return 128 + (received or signal.SIGINT)
    return {State.SUCCEEDED: 0, State.KERNEL_DIED: 75, State.TIMED_OUT: 124}.get(state, 1)


def preview(source: str, limit: int = 80) -> str:
    """First line of a cell that says something, at most ``limit`` characters."""
    lines = [line.strip() for line in source.splitlines()]
    text = next((line for line in lines if line and not line.startswith("#")), lines[0] if lines else "")
    return text if len(text) <= limit else text[: limit - 1] + "…"
