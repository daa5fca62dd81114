"""What a TARGET on the command line or in a magic names, found in the record."""

from __future__ import annotations

import difflib
import os.path
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from mlops_jupyter.entities import CellExecution, EntityKind, EntityVersion, Run, SessionId
from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.store import Connection, provenance
from mlops_jupyter.store import executions as records
from mlops_jupyter.store.registrations import find_registration
from mlops_jupyter.store.runs import load_runs, resolve_run
from mlops_jupyter.workspace import Workspace

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_LONGEST_NAME = 80
"""Characters of a name that nothing has, in a message."""
_NAMES_TOLD = 8
_MOST_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Target:
    """What was named: any of versions, executions and runs."""

    versions: tuple[EntityVersion, ...] = ()
    executions: tuple[CellExecution, ...] = ()
    runs: tuple[Run, ...] = ()
    leading: int = 0
    """How many of ``runs``, from the start, the target itself is (the others are nested in them)."""
    models: tuple[str, ...] = ()
    """Our ids of recorded models that the target stands for, each fitted in one of ``runs``."""


def resolve(workspace: Workspace, target: str | int, *, session_id: SessionId | None) -> Target:
    """Find what ``target`` names.

    Args:
        workspace: where to look.
        target: as in ``mlops lineage TARGET``, or a 0-based position among the executions of the session.
        session_id: where variables are looked for first; None: in the latest session that has them.

    Raises:
        TargetNotFoundError: nothing in the record has that name; the message names the closest.
        UsageError: the text is not a target.
    """
    store = workspace.store
    if isinstance(target, int):
        return Target(executions=(at_position(store, session_id or provenance.latest_session(store), target),))
    kind, colon, rest = target.partition(":")
    if not target.strip():
        raise UsageError("The target is empty.", hint="Give a variable, a file, run:ID or cell:ID.")
    if colon and kind == "run":
        return _run(store, rest)
    if colon and kind == "cell":
        return _cell(workspace, rest)
    if colon and kind == "model":
        return _model(workspace, rest)
    return _variable_or_file(workspace, target, session_id)


def at_position(store: Connection, session_id: SessionId | None, position: int) -> CellExecution:
    """The execution at a 0-based position of a session.

    Raises:
        TargetNotFoundError: there is no such position.
    """
    count = len(records.session_executions(store, session_id)) if session_id is not None else 0
    found = None
    if session_id is not None and 0 <= position < count:
        found = provenance.execution_at(store, session_id, position)
    if found is None:
        hint = f"Positions go from 0 to {count - 1}." if count else "No cell has been recorded yet."
        raise TargetNotFoundError(f"There is no execution at position {position}.", hint=hint)
    return found


def not_found(target: str, names: Iterable[str], *, where: str | None = None) -> TargetNotFoundError:
    """The error for a name that nothing wrote (in the notebook ``where``), with the closest names that
    were."""
    known = list(dict.fromkeys(names))
    shown = repr(target if len(target) <= _LONGEST_NAME else f"{target[: _LONGEST_NAME - 1]}…")
    close = difflib.get_close_matches(target[:_LONGEST_NAME], known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
    if where is not None:
        some = ", ".join(known[:_NAMES_TOLD]) + (" …" if len(known) > _NAMES_TOLD else "")
        hint = hint or (f"It assigns: {some}." if known else "It assigns nothing that can be told.")
        return TargetNotFoundError(f"Nothing in {where} assigns {shown}.", hint=hint)
    return TargetNotFoundError(
        f"No recorded cell wrote {shown}.",
        hint=hint or "Lineage starts with the cells that run after %load_ext mlops_jupyter.",
    )


@overload
def position_or_name(target: str | int) -> str | int: ...
@overload
def position_or_name(target: None) -> None: ...
def position_or_name(target: str | int | None) -> str | int | None:
    """A target as it is written on a command line: a number is a position, anything else a name.

    More digits than a position can have stay a name, which nothing has.
    """
    if isinstance(target, str) and target.isascii() and target.isdecimal() and len(target) <= _MOST_DIGITS:
        return int(target)
    return target


def file_names(workspace: Workspace, text: str) -> list[str]:
    """Names that the record may hold a file under: a URL as it is; a path relative to the workspace, then
    absolute."""
    if _URL.match(text):
        return [text]
    root = workspace.settings.root
    names = []
    for base in (Path.cwd(), root):
        # Lexically: the file may be gone, and a link is recorded under the name that it was opened by.
        path = Path(os.path.normpath(base / Path(text).expanduser()))
        names += [path.relative_to(root).as_posix()] if path.is_relative_to(root) else []
        names.append(path.as_posix())
    return list(dict.fromkeys(names))


def _variable_or_file(workspace: Workspace, text: str, session_id: SessionId | None) -> Target:
    store = workspace.store
    if text.isidentifier():
        version = provenance.latest_version(store, EntityKind.VARIABLE, text, session_id=session_id)
        if version is not None:
            return Target(versions=(version,))
    for name in file_names(workspace, text):
        version = provenance.latest_version(store, EntityKind.FILE, name)
        if version is not None:
            return Target(versions=tuple(provenance.same_content(store, version)))
    state = provenance.latest_version(store, EntityKind.STATE, text, session_id=session_id)
    if state is not None:
        return Target(versions=(state,))
    names = provenance.known_names(store, EntityKind.VARIABLE, session_id=session_id)
    raise not_found(text, [*names, *provenance.known_names(store, EntityKind.FILE)])


def _run(store: Connection, text: str) -> Target:
    (leading,) = load_runs(store, [resolve_run(store, text)])
    runs, todo = [leading], [leading.run_uid]
    while todo:
        children = load_runs(store, provenance.child_runs(store, todo.pop()))
        runs += children
        todo += [child.run_uid for child in children]
    executions = [e for run in runs for e in records.run_executions(store, run.run_uid)]
    return Target(executions=tuple(executions), runs=tuple(runs), leading=1)


def _cell(workspace: Workspace, text: str) -> Target:
    store = workspace.store
    notebook, hash_sign, cell_id = text.rpartition("#")
    if hash_sign:
        for name in file_names(workspace, notebook):
            found = provenance.cell_executions(store, name, cell_id)
            if found:
                return Target(executions=tuple(records.get_executions(store, found[:1])))
        raise TargetNotFoundError(
            f"No execution of cell {cell_id!r} of {notebook!r} is recorded.",
            hint="The notebook's path is as seen from the current folder or from the workspace.",
        )
    prefix = text.lower()
    if len(prefix) < 8 or any(c not in "0123456789abcdef" for c in prefix):
        raise UsageError(
            f"{text!r} names no execution.",
            hint="Give cell:EXECUTION_ID (at least 8 of its digits) or cell:NOTEBOOK#ID.",
        )
    found = provenance.find_executions(store, prefix)
    if len(found) > 1:
        raise UsageError(f"Several executions begin with {text!r}.", hint="Give more characters of the id.")
    if not found:
        raise TargetNotFoundError(f"There is no execution {text!r}.")
    return Target(executions=tuple(records.get_executions(store, found)))


def _model(workspace: Workspace, text: str) -> Target:
    """The recorded model or file behind a registered version: from our own mirror, else from MLflow's tags."""
    from mlops_jupyter.tracking.target import absolute_uri, public_uri  # its package takes a fifth of a short command

    from .models import parse_reference

    reference = parse_reference(text, whole=False)
    settings, store = workspace.settings, workspace.store
    known = None
    if reference.version is not None:
        registry = public_uri(absolute_uri(settings.registry_uri or settings.tracking_uri, settings.root))
        known = find_registration(store, registry, reference.name, reference.version)
    if known is None:
        from .models import behind

        known = behind(workspace, reference)
    if known.run_uid is not None and (runs := load_runs(store, [known.run_uid])):
        cells = records.run_executions(store, known.run_uid)
        made = [e for e in cells if e.execution_id == known.execution_id] or cells
        models = () if known.model_uid is None else (known.model_uid,)
        return Target(executions=tuple(made), runs=tuple(runs), leading=1, models=models)
    if known.execution_id is not None and (found := records.get_executions(store, [known.execution_id])):
        return Target(executions=tuple(found))
    raise TargetNotFoundError(
        f"Nothing recorded here made model:{text}.",
        hint="It was registered from elsewhere, or from a file that no recorded cell wrote. "
        f"Its tags: mlops models show {reference.name}",
    )
