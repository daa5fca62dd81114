"""``gather`` and ``lineage`` of this kernel, without naming a workspace: what ``import mlops_jupyter`` offers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlops_jupyter import capture
from mlops_jupyter.entities import SessionId
from mlops_jupyter.workspace import Workspace, open_workspace

from .gather import gather as gather_in
from .lineage import Direction
from .lineage import lineage as lineage_in

if TYPE_CHECKING:
    from mlops_jupyter.notebook import GatheredSlice
    from mlops_jupyter.provenance import LineageGraph


@contextmanager
def current_workspace() -> Iterator[tuple[Workspace, SessionId | None]]:
    """The workspace that this kernel records into and its session, else that of the current folder and None."""
    session = capture.current()
    if session is not None:
        yield Workspace(session.settings, session.store), session.session_id
    else:
        with open_workspace() as workspace:
            yield workspace, None


def gather(target: str | int) -> GatheredSlice:
    """The smallest ordered set of recorded executions that makes ``target``.

    ``target``: a variable's name, or a 0-based position among the executions recorded since ``%load_ext``.

    Raises:
        TargetNotFoundError: nothing that was recorded made it; the message names the closest.
    """
    with current_workspace() as (workspace, session_id):
        return gather_in(workspace, target=target, session_id=session_id)


def lineage(target: str | int, *, direction: Direction = "both") -> LineageGraph:
    """What ``target`` was made from (``up``), what was made from it (``down``), or both.

    ``target``: a variable, a file, a URL, ``run:ID``, ``cell:EXECUTION_ID``, ``cell:NOTEBOOK#CELL_ID``, or a position.

    Raises:
        TargetNotFoundError: nothing of that name is recorded.
        UsageError: the text is not a target.
    """
    with current_workspace() as (workspace, session_id):
        return lineage_in(workspace, target, direction=direction, session_id=session_id)
