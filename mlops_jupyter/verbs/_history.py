"""All that one session of a notebook recorded, and what has become of the files that it read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlops_jupyter.config import load_settings
from mlops_jupyter.entities import EntityKind, EntityVersion, Origin, SessionId
from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.notebook import GatheredSlice, NotebookDocument, read_notebook, static_records
from mlops_jupyter.notebook.leaves import track_arguments
from mlops_jupyter.notebook.refusals import check_language
from mlops_jupyter.provenance import Records, without_magics
from mlops_jupyter.store import Connection
from mlops_jupyter.store import executions as records_of
from mlops_jupyter.store.runs import load_runs
from mlops_jupyter.workspace import Workspace

from ._targets import file_names, not_found

_MOST_HASHED = 256 * 1024 * 1024
"""Bytes: whether a larger input is as it was is told by its size alone."""
_STATIC = "No recorded run makes it: the notebook is converted by its text and may keep or miss a cell."


@dataclass(frozen=True, slots=True)
class History:
    """Everything that one session recorded, or that the text of a notebook says."""

    records: Records
    origin: Literal["recorded", "static"]
    notebook: str | None
    headless: bool = False
    notes: tuple[str, ...] = ()

    def last(self, name: str) -> EntityVersion | None:
        """The latest version of a variable that is not its deletion."""
        found = [
            v
            for v in self.records.versions
            if v.kind is EntityKind.VARIABLE and v.name == name and v.execution_id is not None and not v.deleted
        ]
        return max(found, key=lambda v: v.at, default=None)

    @property
    def names(self) -> list[str]:
        """Variables that it made."""
        found = (v for v in self.records.versions if v.kind is EntityKind.VARIABLE and v.execution_id is not None)
        return list(dict.fromkeys(v.name for v in found))


def find_history(
    workspace: Workspace, notebook: Path, target: str | int | None
) -> tuple[NotebookDocument | None, History]:
    """The notebook as it is now (None: gone) and the session to convert.

    That is the latest session of the notebook that has the target, in a kernel of a person before headless ones;
    without a target the latest in which a tracked cell succeeded, else the latest. Where none was recorded, the
    history is made from the text.
    """
    store = workspace.store
    candidates = file_names(workspace, str(notebook))
    known = [(name, records_of.notebook_sessions(store, name)) for name in candidates]
    name, sessions = next(((n, s) for n, s in known if s), (candidates[0], []))
    path = notebook if notebook.is_absolute() or notebook.exists() else workspace.settings.root / notebook
    document: NotebookDocument | None
    try:
        document = read_notebook(path)
    except TargetNotFoundError:
        if not sessions:
            raise no_notebook(notebook) from None
        document = None
    check_language(document, name=str(notebook))
    histories = (load_history(store, s, notebook=name) for s in _people_first(store, sessions))
    fallback: History | None = None
    for history in histories:
        if target is None:
            if any(track_arguments(e.source) is not None and e.status == "ok" for e in history.records.executions):
                return document, history
            if fallback is None and any(without_magics(e.source).strip() for e in history.records.executions):
                fallback = history
        elif (isinstance(target, str) and history.last(target) is not None) or (
            isinstance(target, int) and 0 <= target < len(history.records.executions)
        ):
            return document, history
    if fallback is not None:
        return document, fallback
    if document is None:
        latest = load_history(store, sessions[0], notebook=name)
        if target is None:
            raise UsageError(f"Nothing that ran in {notebook} is recorded, and its file is gone.")
        raise not_found(str(target), latest.names)
    if not any(cell.source.strip() for cell in document.code_cells):
        raise UsageError(f"{notebook} has no code to convert.", hint="Give a notebook with code cells.")
    static = static_records(document, notebook=name)
    return document, History(static.records, "static", name, notes=(_STATIC, *static.notes))


def check_there(notebook: Path) -> None:
    """Before a workspace is made for it: a typo must not leave a folder behind.

    A notebook that is gone can still be in the record, which is looked at where there is one.

    Raises:
        TargetNotFoundError: there is no such notebook, and no workspace that could know it.
    """
    if not notebook.exists() and not load_settings(notebook.absolute().parent).home.exists():
        raise no_notebook(notebook)


def no_notebook(notebook: Path) -> TargetNotFoundError:
    """The error for a notebook that is not there."""
    return TargetNotFoundError(
        f"There is no notebook {str(notebook)!r}.", hint="Check the path and the current folder."
    )


def _people_first(store: Connection, sessions: Sequence[SessionId]) -> list[SessionId]:
    headless = {s for s in sessions if (found := records_of.get_session(store, s)) and found.origin is Origin.HEADLESS}
    return [s for s in sessions if s not in headless] + [s for s in sessions if s in headless]


def load_history(store: Connection, session_id: SessionId, *, notebook: str | None) -> History:
    """All that a session recorded."""
    executions = records_of.session_executions(store, session_id)
    ids = [e.execution_id for e in executions]
    versions = {v.version_id: v for v in records_of.versions_generated(store, ids)}
    uses = records_of.uses_by(store, ids)
    wanted = {u.version_id for u in uses} | {v.previous for v in versions.values() if v.previous is not None}
    outside = records_of.get_versions(store, sorted(wanted - set(versions)))
    versions |= {v.version_id: v for v in outside}
    session = records_of.get_session(store, session_id)
    return History(
        Records(tuple(executions), tuple(versions.values()), tuple(uses)),
        "recorded",
        notebook,
        headless=session is not None and session.origin is Origin.HEADLESS,
    )


def run_params(store: Connection, history: History) -> dict[str, str]:
    """Parameters of the runs that the session's executions are of, later ones last."""
    runs = list(dict.fromkeys(e.run_uid for e in history.records.executions if e.run_uid is not None))
    return {key: value for run in load_runs(store, runs) for key, value in run.params.items()}


def inputs_now(root: Path, found: GatheredSlice) -> dict[str, Literal["same", "changed", "gone"]]:
    """By name, what has become of the input files of a slice; those that cannot be told are left out."""
    from mlops_jupyter.data import file_digest

    state: dict[str, Literal["same", "changed", "gone"]] = {}
    for file in found.inputs:
        if file.kind is not EntityKind.FILE or file.digest is None or ":" in file.name:
            continue
        path = root / file.name
        try:
            size = path.stat().st_size
            if file.size is not None and size != file.size:
                state[file.name] = "changed"
            elif size <= _MOST_HASHED and file.digest.startswith("sha256:"):
                state[file.name] = "same" if file_digest(path) == file.digest else "changed"
        except FileNotFoundError:
            state[file.name] = "gone"
        except (OSError, UsageError):
            continue
    return state


def told_of_inputs(state: Mapping[str, str]) -> list[str]:
    """Notes about inputs that are not there as they were."""
    notes = [f"{name} is not as it was when it was read." for name, now in state.items() if now == "changed"]
    return notes + [f"{name}, which it reads, is not there any more." for name, now in state.items() if now == "gone"]
