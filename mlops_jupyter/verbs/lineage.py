"""``mlops lineage``: what a target was made from, and what was made from it."""

from __future__ import annotations

from typing import Literal

from mlops_jupyter.entities import (
    CellExecution,
    EntityVersion,
    ExecutionId,
    RunUid,
    SessionId,
    Used,
    VersionId,
)
from mlops_jupyter.provenance import LineageGraph, Records, downstream, in_order, upstream
from mlops_jupyter.provenance.graph import execution_id, run_id, version_id
from mlops_jupyter.store import executions as records
from mlops_jupyter.store.provenance import StoreSource
from mlops_jupyter.store.runs import load_runs, run_models
from mlops_jupyter.workspace import Workspace

from ._targets import Target, resolve

Direction = Literal["both", "up", "down"]

EXECUTION_LIMIT = 2000
"""Most executions in one graph and direction: the nearest ones."""


def lineage(
    workspace: Workspace,
    target: str | int,
    *,
    direction: Direction = "both",
    session_id: SessionId | None = None,
    limit: int = EXECUTION_LIMIT,
) -> LineageGraph:
    """The lineage of ``target``, across notebooks, sessions and runs through the files that they share.

    Args:
        workspace: the open workspace.
        target: a variable, a file, a URL, ``run:ID``, ``model:NAME/VERSION``, ``model:NAME@ALIAS``,
            ``cell:EXECUTION_ID`` or ``cell:NOTEBOOK#CELL_ID``; an
            int is a 0-based position among the executions of the session.
        direction: ``up`` for what it was made from, ``down`` for what was made from it.
        session_id: where variables are looked for; None: in the latest session that has one of that name.
        limit: most executions in each direction, nearest first; ``truncated`` says whether there were more.

    Raises:
        TargetNotFoundError: nothing of that name is recorded.
        UsageError: the text is not a target.
    """
    found = resolve(workspace, target, session_id=session_id)
    source = StoreSource(workspace.store)
    starts = [v.version_id for v in found.versions], [e.execution_id for e in found.executions]
    parts: list[Records] = []
    if direction in ("both", "up"):
        parts.append(upstream(source, *starts, limit=limit + 1))
    if direction in ("both", "down"):
        parts.append(downstream(source, *starts, limit=limit + 1))
    return _graph(workspace, str(target), found, parts, limit)


def _graph(workspace: Workspace, text: str, found: Target, parts: list[Records], limit: int) -> LineageGraph:
    store = workspace.store
    executions: dict[ExecutionId, CellExecution] = {}
    versions: dict[VersionId, EntityVersion] = {v.version_id: v for v in found.versions}
    uses: dict[tuple[ExecutionId, VersionId], Used] = {}
    for part in parts:
        executions |= {e.execution_id: e for e in part.executions}
        versions |= {v.version_id: v for v in part.versions}
        uses |= {(u.execution_id, u.version_id): u for u in part.uses}
    ordered = in_order(executions.values())
    runs = {r.run_uid: r for r in found.runs}
    missing = [e.run_uid for e in ordered if e.run_uid is not None and e.run_uid not in runs]
    runs |= {r.run_uid: r for r in load_runs(store, list(dict.fromkeys(missing)))}
    sessions = dict.fromkeys([*(e.session_id for e in ordered), *(v.session_id for v in versions.values())])
    known_sessions = [records.get_session(store, s) for s in sessions]
    focus = [
        *(f"model:{uid}" for uid in found.models),
        *(run_id(r) for r in found.runs[: found.leading] if not found.models),
        *(version_id(v) for v in found.versions),
        *(execution_id(e) for e in found.executions if not found.models),
    ]
    return LineageGraph(
        target=text,
        focus=tuple(focus),
        executions=tuple(ordered),
        versions=tuple(sorted(versions.values(), key=lambda v: (v.at, v.version_id))),
        uses=tuple(uses.values()),
        runs=tuple(runs.values()),
        models=tuple((uid, model) for uid in runs for model in run_models(store, RunUid(uid))),
        sessions=tuple(s for s in known_sessions if s is not None),
        truncated=any(len(part.executions) > limit for part in parts),
    )


__all__ = ["Direction", "lineage"]
