"""Which parts of a cell's text ran: all, or on an error what comes before the line that raised."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from mlops_jupyter.analysis import CellAnalysis, Statement, Where

_NEVER = 10**9


@dataclass(frozen=True, slots=True)
class Reached:
    """How far the run of a cell came."""

    analysis: CellAnalysis
    taken: Callable[[int], bool | None]
    """Whether a branch was entered, None where that is not known."""
    first: int = _NEVER
    """First top-level statement that the raising line belongs to."""
    last: int = _NEVER
    line: int = _NEVER

    def certainly(self, at: Where) -> bool:
        """The place was passed for sure, where a certain store or call stands there."""
        if at.statement > self.first or not self._branch(at.branch, unknown=False):
            return False
        if at.statement < self.first:
            return True
        statement = self._statement(at.statement)
        return statement is not None and statement.compound and not statement.loop and at.line < self.line

    def possibly(self, at: Where) -> bool:
        """The place may have been passed."""
        if not self._branch(at.branch, unknown=True):
            return False
        if at.statement < self.first:
            return True
        if at.statement > self.last:
            return False
        return at.loop or at.line <= self.line

    def _branch(self, branch: int, *, unknown: bool) -> bool:
        while branch >= 0:
            taken = self.taken(branch)
            if taken is False or (taken is None and not unknown):
                return False
            branch = self.analysis.branches[branch].parent
        return True

    def _statement(self, index: int) -> Statement | None:
        statements = self.analysis.statements
        return statements[index] if 0 <= index < len(statements) else None


def reached(
    analysis: CellAnalysis,
    error: BaseException | bool | None,
    namespace: Mapping[str, Any],
    taken: Callable[[int], bool | None],
) -> Reached:
    """How far the cell came. An error that no frame of the cell saw (a syntax error) means that nothing
    ran.
    """
    if error is None or error is False:
        return Reached(analysis, taken)
    if error is True:  # the caller knows that it failed but not how: what the shell showed last
        error = getattr(sys, "last_value", None)
    trace = error.__traceback__ if isinstance(error, BaseException) else None
    line = _raising_line(trace, namespace, inner=analysis.wrapped)
    if line is None:
        return Reached(analysis, taken, first=-1, last=-1, line=-1)
    hits = [i for i, s in enumerate(analysis.statements) if s.line <= line <= s.end_line]
    if not hits:
        return Reached(analysis, taken, first=0, last=_NEVER, line=_NEVER)
    return Reached(analysis, taken, first=hits[0], last=hits[-1], line=line)


def _raising_line(traceback: TracebackType | None, namespace: Mapping[str, Any], *, inner: bool) -> int | None:
    lines: list[int] = []
    while traceback is not None:
        frame = traceback.tb_frame
        name = frame.f_code.co_name
        if frame.f_globals is namespace and (name == "<module>" or name.startswith("<cell line")):
            lines.append(traceback.tb_lineno)
        traceback = traceback.tb_next
    if not lines:
        return None
    return lines[min(1, len(lines) - 1)] if inner else lines[0]
