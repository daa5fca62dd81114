"""The documents behind the handlers: verbs called on a workspace, and the empty answer where there is none yet.

All of these block. A workspace without a database (nothing was recorded yet) is not an error: it has no runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mlops_jupyter._version import __version__
from mlops_jupyter.config import Settings
from mlops_jupyter.entities import RunUid
from mlops_jupyter.errors import MlopsError, TargetNotFoundError
from mlops_jupyter.store import changes, outbox
from mlops_jupyter.store.delivery_process import ensure_delivery
from mlops_jupyter.store.runs import load_runs
from mlops_jupyter.verbs import runs as run_verbs
from mlops_jupyter.verbs.lineage import Direction
from mlops_jupyter.verbs.lineage import lineage as lineage_of
from mlops_jupyter.workspace import Workspace

from .workspaces import workspace_id

DIRECTIONS: tuple[Direction, ...] = ("both", "up", "down")
MAX_CHANGED = 200
"""Changed runs that one answer carries; beyond that the client is told to fetch its page again."""


def runs(
    workspace: Workspace | None,
    *,
    filter_text: str,
    notebook: str | None,
    order_by: Sequence[str],
    limit: int,
    offset: int,
) -> dict[str, Any]:
    """A page of runs, those of one notebook where given (workspace-relative path)."""
    if workspace is None:
        return {"runs": [], "total": 0}
    return run_verbs.list_runs(
        workspace,
        filter=_with_notebook(filter_text, notebook),
        order_by=order_by,
        limit=limit,
        offset=offset,
    )


def run(workspace: Workspace | None, run_id: str) -> dict[str, Any]:
    """Everything of one run.

    Raises:
        TargetNotFoundError: there is no such run.
    """
    return run_verbs.show_run(_existing(workspace, run_id), run_id)


def note(workspace: Workspace | None, run_id: str, text: str) -> dict[str, Any]:
    """Replace the note of a run. Raises as ``run``."""
    return run_verbs.note_run(_existing(workspace, run_id), run_id, text)


def delete(workspace: Workspace | None, run_id: str) -> dict[str, Any]:
    """Mark a run as deleted. Raises as ``run``."""
    return run_verbs.delete_run(_existing(workspace, run_id), run_id)


def changes_since(workspace: Workspace | None, cursor: str) -> dict[str, Any]:
    """Runs that changed after ``cursor`` and the new cursor.

    ``reset`` tells the client to fetch everything again: it has no cursor, one of another database, or is too far
    behind.
    """
    if workspace is None:
        return {"cursor": "", "runs": [], "removed": [], "executions": False, "reset": cursor != ""}
    if not cursor:
        now = changes.current_cursor(workspace.store)
        return {"cursor": now, "runs": [], "removed": [], "executions": False, "reset": True}
    found = changes.changed_since(workspace.store, cursor)
    uids = [RunUid(uid) for uid in found.run_ids]
    if len(uids) > MAX_CHANGED:
        return {"cursor": found.cursor, "runs": [], "removed": [], "executions": found.executions, "reset": True}
    loaded = load_runs(workspace.store, uids)
    kept = [item for item in loaded if item.deleted_at is None]
    alive = {item.run_uid for item in kept}
    return {
        "cursor": found.cursor,
        "runs": [run_verbs.run_document(item) for item in kept],
        "removed": [uid for uid in uids if uid not in alive],
        "executions": found.executions,
        "reset": False,
    }


def lineage(workspace: Workspace | None, target: str, direction: Direction) -> dict[str, Any]:
    """The lineage document of ``target``.

    Raises:
        TargetNotFoundError: nothing is recorded under that name.
    """
    return lineage_of(_existing(workspace, target), target, direction=direction).to_json()


def status(settings: Settings, open_workspace: Callable[[], Workspace | None]) -> dict[str, Any]:
    """Workspace, store, delivery, versions. A store that cannot be opened is a fact in it, not a failure."""
    document: dict[str, Any] = {
        "workspace": {
            "id": workspace_id(settings),
            "root": str(settings.root),
            "home": str(settings.home),
            "exists": False,
        },
        "store": {"ok": True, "message": "", "hint": ""},
        "delivery": None,
        "tracking": {"uri": without_credentials(settings.tracking_uri), "embedded": settings.embedded_mlflow},
        "versions": {"mlops_jupyter": __version__, "mlflow": _version("mlflow")},
    }
    try:
        workspace = open_workspace()
        document["workspace"]["exists"] = workspace is not None
        if workspace is not None:
            document["delivery"] = _delivery(workspace)
    except MlopsError as error:
        document["store"] = {"ok": False, "message": error.message, "hint": error.hint}
    return document


def deliver(settings: Settings) -> None:
    """Have the delivery process of the workspace run."""
    ensure_delivery(settings)


def without_credentials(uri: str) -> str:
    """``uri`` without user, password, query and fragment: all of them may hold secrets."""
    try:
        parts = urlsplit(uri)
        netloc = parts.netloc.rpartition("@")[2]
        cleaned = urlunsplit((parts.scheme, netloc, parts.path, "", ""))
    except ValueError:
        return "(unreadable)"
    if uri.startswith("sqlite:///"):
        # urlunsplit drops the empty authority that SQLAlchemy's form needs.
        return f"sqlite:///{uri.removeprefix('sqlite:///').partition('?')[0]}"
    return cleaned


def _delivery(workspace: Workspace) -> dict[str, Any]:
    # Needed by who looks, not by every server that starts.
    from mlops_jupyter.tracking.report import read_status
    from mlops_jupyter.tracking.target import target_of

    target = target_of(workspace.settings).key
    backlog = outbox.backlog(workspace.store, target)
    letters = outbox.dead_letters(workspace.store, target) if backlog.dead else []
    process = read_status(workspace.settings) if backlog.pending else None
    error = letters[-1].error if letters else process.error if process else None
    return {"pending": backlog.pending, "dead": backlog.dead, "last_error": error[:500] if error else None}


def _existing(workspace: Workspace | None, target: str) -> Workspace:
    if workspace is None:
        raise TargetNotFoundError(
            f"There is no {target[:80]!r}: nothing is recorded yet.", hint="Run a cell with %%track."
        )
    return workspace


def _with_notebook(filter_text: str, notebook: str | None) -> str:
    """The filter, narrowed to a notebook. MLflow's grammar knows ``and`` alone, so joining keeps the meaning."""
    if notebook is None:
        return filter_text
    quote = '"' if "'" in notebook else "'"
    condition = f"attributes.notebook = {quote}{notebook}{quote}"
    return f"{filter_text} and {condition}" if filter_text.strip() else condition


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
