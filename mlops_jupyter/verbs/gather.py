"""``mlops gather``: the smallest ordered set of recorded cell sources that makes a value again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mlops_jupyter.entities import EntityKind, SessionId
from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.notebook import GatheredSlice, NotebookDocument, read_notebook, static_records
from mlops_jupyter.notebook.gathered import is_gathered
from mlops_jupyter.notebook.outputs import check_place
from mlops_jupyter.notebook.refusals import check_language
from mlops_jupyter.provenance import MemorySource, Slice, backward_slice
from mlops_jupyter.provenance.slices import Certainty
from mlops_jupyter.store import executions as records
from mlops_jupyter.store import provenance
from mlops_jupyter.workspace import Workspace

from ._history import no_notebook
from ._targets import at_position, file_names, not_found


def gather(
    workspace: Workspace,
    *,
    target: str | int,
    notebook: str | Path | None = None,
    session_id: SessionId | None = None,
    certainty: Certainty = "safe",
    across_sessions: bool = False,
) -> GatheredSlice:
    """The executions that make ``target``, in the order in which they ran.

    With ``session_id`` from that session; with ``notebook`` from the latest session of it that has the
    target, and where none was recorded from the notebook's source by static analysis (``.origin`` says
    which); with neither from the session that executed a cell last.

    Args:
        workspace: the open workspace.
        target: a variable's name, or a 0-based position among the executions of the session.
        notebook: path, from the current folder or from the workspace.
        session_id: the session to look in.
        certainty: ``safe`` keeps every dependency that could not be ruled out, ``proven`` what was observed
            or said.
        across_sessions: follow files into the sessions that wrote them; otherwise they are inputs.

    Raises:
        TargetNotFoundError: nothing wrote the target; the message names the closest.
        UsageError: the notebook cannot be read.
    """
    if isinstance(target, bool) or not isinstance(target, str | int):
        raise UsageError(f"A target is a variable's name or a position, not {target!r}.")
    store = workspace.store
    name = None
    if session_id is not None:
        sessions = [session_id]
    elif notebook is not None:
        candidates = file_names(workspace, str(notebook))
        known = [(c, records.notebook_sessions(store, c)) for c in candidates]
        name, sessions = next(((c, s) for c, s in known if s), (candidates[0], []))
    else:
        latest = provenance.latest_session(store)
        sessions = [] if latest is None else [latest]
    for session in sessions:
        found = _recorded(workspace, target, session, certainty=certainty, across_sessions=across_sessions)
        if found is not None:
            shown = name or next((e.notebook for e in found.kept if e.notebook), None)
            return GatheredSlice.of(found, origin="recorded", notebook=shown)
    if notebook is not None and session_id is None:
        return _static(workspace, notebook, name, target, certainty)
    if isinstance(target, int):
        at_position(store, sessions[0] if sessions else None, target)
    names = provenance.known_names(store, EntityKind.VARIABLE, session_id=sessions[0]) if sessions else []
    raise not_found(str(target), names)


def check_output(notebook: Path, out: Path, *, force: bool) -> None:
    """Before anything is done: whether ``out`` may be written.

    Raises:
        UsageError: it is the notebook, a folder, a device, somebody's own file, or its folder is missing.
    """
    check_place(out, made_by="gathered", is_ours=is_gathered, force=force, notebook=notebook)


def document_of(workspace: Workspace, found: GatheredSlice) -> NotebookDocument | None:
    """The notebook that the slice is of as it is now, for its Markdown; None where it cannot be read."""
    if found.notebook is None:
        return None
    try:
        return read_notebook(workspace.settings.root / found.notebook)
    except (UsageError, TargetNotFoundError):
        return None


def _recorded(
    workspace: Workspace,
    target: str | int,
    session: SessionId,
    *,
    certainty: Certainty,
    across_sessions: bool,
) -> Slice | None:
    source = provenance.StoreSource(workspace.store)
    if isinstance(target, int):
        try:
            execution = at_position(workspace.store, session, target)
        except TargetNotFoundError:
            return None
        return backward_slice(
            source,
            target=str(target),
            execution=execution,
            certainty=certainty,
            across_sessions=across_sessions,
        )
    version = provenance.latest_version(workspace.store, EntityKind.VARIABLE, target, session_id=session, present=True)
    if version is None or version.execution_id is None:
        return None
    return backward_slice(source, target=target, version=version, certainty=certainty, across_sessions=across_sessions)


def _static(
    workspace: Workspace, notebook: str | Path, name: str | None, target: str | int, certainty: Certainty
) -> GatheredSlice:
    path = Path(notebook)
    if not path.is_absolute() and not path.exists():
        path = workspace.settings.root / path
    try:
        document = read_notebook(path)
    except TargetNotFoundError:
        raise no_notebook(Path(notebook)) from None
    check_language(document, name=str(notebook), verb="gathered")
    if not any(cell.source.strip() for cell in document.code_cells):
        raise UsageError(f"{notebook} has no code to gather.", hint="Give a notebook with code cells.")
    history = static_records(document, notebook=name)
    source = MemorySource.of(history.records)
    if isinstance(target, int):
        cells = history.records.executions
        if not 0 <= target < len(cells):
            hint = f"Positions go from 0 to {len(cells) - 1}." if cells else "It has no code."
            raise TargetNotFoundError(f"{notebook} has no code cell at position {target}.", hint=hint)
        found = backward_slice(source, target=str(target), execution=cells[target], certainty=certainty)
    elif target in history.latest:
        found = backward_slice(source, target=target, version=history.latest[target], certainty=certainty)
    else:
        raise not_found(target, history.latest, where=str(notebook))
    told = "No recorded run makes it: the slice comes from the notebook's text and may keep or miss a cell."
    notes = (told, *history.notes, *found.notes)
    return GatheredSlice.of(replace(found, notes=notes), origin="static", notebook=name)
