"""``convert``: a clean, parameterized notebook from what was recorded of a messy one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mlops_jupyter.entities import CellExecution, EntityKind
from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.notebook import GatheredSlice, NotebookDocument, write_atomically
from mlops_jupyter.notebook.candidates import Candidate
from mlops_jupyter.notebook.conversion import Conversion, Known, convert_slice
from mlops_jupyter.notebook.leaves import Roots, cell_key, default_roots, display_leaves
from mlops_jupyter.notebook.outputs import check_place, is_as_made, signed
from mlops_jupyter.notebook.refusals import check, check_language, texts_of
from mlops_jupyter.provenance import MemorySource, backward_slice, count_of, slice_of_many, without_magics
from mlops_jupyter.workspace import Workspace, open_workspace

from ._history import History, check_there, find_history, inputs_now, run_params, told_of_inputs
from ._targets import not_found, position_or_name
from .run import as_json

Level = Literal["fast", "full", "none"]
OnProgress = Callable[[str], None]
"""Called with one line for people, when a part of the work begins."""


@dataclass(frozen=True, slots=True)
class Made:
    """A conversion that is not written yet."""

    conversion: Conversion
    found: GatheredSlice
    texts: Mapping[str, str]
    """By execution id, texts instead of recorded ones in which secrets are blanked."""


def convert(
    notebook: Path,
    out: Path,
    *,
    target: str | int | None = None,
    names: Sequence[str] | None = None,
    limit: int = 8,
    verify: Level = "fast",
    budget: float | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Write ``out``, a notebook that makes ``target`` again without this one; fits ``convert.json``.

    Args:
        notebook: path, from the current folder.
        out: path of the new notebook. One that was converted before is replaced.
        target: a variable's name or a position; None: what the notebook is about (``notebook.leaves.default_roots``).
        names: candidates for parameters to take, and no others.
        limit: most parameters to take where ``names`` is not given.
        verify: how much of the result is checked by running it.
        budget: seconds that the check may take.
        force: replace ``out`` also where it is somebody's own.
        on_progress: told what begins.

    Raises:
        UsageError: it cannot be converted; the message says why. Nothing was written.
        TargetNotFoundError: there is no such notebook, or nothing makes the target.
        TransientError: the disk is full.
    """
    began = time.monotonic()
    notebook, out = Path(notebook), Path(out)
    tell = on_progress or (lambda _: None)
    check_there(notebook)
    check_output(notebook, out, force=force)
    tell(f"reading {notebook.name}")
    with open_workspace(notebook.absolute().parent) as workspace:
        made = make(workspace, notebook, target=target, names=names, limit=limit)
        tell(f"writing {out.name}")
        write_document(out, made.conversion.document)
        told = as_document(made, notebook=notebook, out=out, duration=time.monotonic() - began)
        if verify != "none":
            from .verification import verify_conversion

            told["verification"] = verify_conversion(
                workspace,
                made.conversion.document,
                made.found,
                notebook=notebook,
                out=out,
                level=verify,
                budget=budget,
                on_progress=on_progress,
            )
            write_document(out, made.conversion.document)  # with the grade
    return told


def make(
    workspace: Workspace,
    notebook: Path,
    *,
    target: str | int | None = None,
    names: Sequence[str] | None = None,
    limit: int = 8,
) -> Made:
    """The conversion of ``notebook`` and the slice that it was made from. Writes nothing.

    Raises:
        UsageError: it cannot be converted; the message says why.
        TargetNotFoundError: there is no such notebook, or nothing makes the target.
    """
    target = position_or_name(target)
    document, history = find_history(workspace, notebook, target)
    check_language(document, name=str(notebook))
    found = slice_history(history, target, where=str(notebook), document=document)
    state = inputs_now(workspace.settings.root, found)
    texts = texts_of(found, document)
    check(found, texts, changed=[n for n, s in state.items() if s == "changed"], versions=history.records.versions)
    found = replace(found, notes=(*found.notes, *told_of_inputs(state), *_told_of_secrets(found, texts)))
    kept = {e.execution_id for e in found.kept}
    shown = display_leaves(history.records, kept)
    texts |= {i: t for i, t in _texts_or_none(shown, found, document).items() if t is not None}
    shown = tuple(e for e in shown if _texts_or_none((e,), found, document).get(e.execution_id, "") is not None)
    left = {cell_key(e): e for e in history.records.executions if without_magics(e.source).strip()}
    here = {cell_key(e) for e in (*found.kept, *shown)}
    dropped = tuple(e for key, e in left.items() if key not in here)
    conversion = convert_slice(
        found,
        document,
        texts=texts,
        shown=shown,
        dropped=dropped,
        known=Known(history=history.records.executions, run_params=run_params(workspace.store, history)),
        limit=limit,
        names=names,
    )
    return Made(conversion, found, texts)


def _told_of_secrets(found: GatheredSlice, texts: Mapping[str, str]) -> list[str]:
    return [
        f"In [{count_of(e)}] holds a secret as it stands in the notebook, and so does the new one; use os.environ."
        for e in found.kept
        if e.execution_id in texts
    ]


def _texts_or_none(
    shown: Sequence[CellExecution], found: GatheredSlice, document: NotebookDocument | None
) -> dict[str, str | None]:
    """Texts of display cells with secrets; None where one is lost (the cell is then left out)."""
    texts: dict[str, str | None] = {}
    for execution in shown:
        try:
            texts |= texts_of(replace(found, kept=()), document, extra=(execution,))
        except UsageError:
            texts[execution.execution_id] = None
    return texts


def slice_history(
    history: History, target: str | int | None, *, where: str, document: NotebookDocument | None = None
) -> GatheredSlice:
    """What makes the target, or what the session is about.

    Without a target, results that cannot be converted are left out, and the notes say why, as long as others can.

    Raises:
        TargetNotFoundError: nothing makes it; the message names the closest.
    """
    source = MemorySource.of(history.records)
    if target is None:
        roots = default_roots(history.records, headless=history.headless)
        if not roots.executions:
            raise UsageError(f"{where} has no code to convert.", hint="Run its cells, or name a target.")
        chosen, left = _convertible(history, roots, document) if roots.each else (roots.executions, [])
        ids = {e.execution_id for e in chosen}
        # What a root adds to a file needs what others had added before.
        files = [v for v in history.records.versions if v.kind is EntityKind.FILE and v.execution_id in ids]
        found = slice_of_many(source, target=roots.label, versions=files, executions=chosen)
        found = replace(found, notes=(*left, *found.notes))
    elif isinstance(target, int):
        executions = history.records.executions
        if not 0 <= target < len(executions):
            hint = f"Positions go from 0 to {len(executions) - 1}." if executions else "It has no code."
            raise TargetNotFoundError(f"{where} has no cell at position {target}.", hint=hint)
        found = backward_slice(source, target=str(target), execution=executions[target])
    else:
        version = history.last(target)
        if version is None:
            raise not_found(target, history.names, where=where)
        found = backward_slice(source, target=target, version=version)
    return GatheredSlice.of(
        replace(found, notes=(*history.notes, *found.notes)), origin=history.origin, notebook=history.notebook
    )


def _convertible(
    history: History, roots: Roots, document: NotebookDocument | None
) -> tuple[tuple[CellExecution, ...], list[str]]:
    """The roots that can be converted, all where none can; and why the others cannot."""
    source = MemorySource.of(history.records)
    chosen, left = [], []
    for root in roots.executions:
        alone = GatheredSlice.of(
            slice_of_many(source, target=roots.label, executions=(root,)),
            origin=history.origin,
            notebook=history.notebook,
        )
        try:
            check(alone, texts_of(alone, document))
        except UsageError as error:
            left.append(f"In [{count_of(root)}] is left out: {error.message}")
        else:
            chosen.append(root)
    return (tuple(chosen), left) if chosen else (roots.executions, [])


def check_output(notebook: Path, out: Path, *, force: bool) -> None:
    """Before anything is done: whether ``out`` may be written.

    Raises:
        UsageError: it is the notebook, a folder, somebody's own file, or its folder is missing.
    """
    check_place(
        out, made_by="converted", is_ours=lambda path: is_as_made(path, "converted"), force=force, notebook=notebook
    )


def write_document(out: Path, document: dict[str, Any]) -> None:
    """The document as a file, all of it or nothing; the same document gives the same bytes.

    Ids of executions, which the verification needs, stay out of the file: converting what another session did in the
    same way must give no difference in git.
    """
    text = json.dumps(signed(_without_ids(document), "converted"), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    # A lone surrogate cannot be UTF-8; as \udxxx it is the JSON escape for itself.
    write_atomically(out, text.encode("utf-8", "backslashreplace"))


def _without_ids(document: dict[str, Any]) -> dict[str, Any]:
    cells = []
    for cell in document["cells"]:
        ours = cell["metadata"].get("mlops")
        if ours is not None:
            kept = {key: value for key, value in ours.items() if key not in ("execution_id", "executions")}
            cell = {**cell, "metadata": {**cell["metadata"], "mlops": kept}}
        cells.append(cell)
    return {**document, "cells": cells}


def as_document(made: Made, *, notebook: Path, out: Path, duration: float) -> dict[str, Any]:
    """What is told of a conversion; fits ``convert.json``."""
    conversion = made.conversion
    return {
        "notebook": str(notebook),
        "output": str(out),
        "origin": conversion.origin,
        "target": made.found.target,
        "cells": {
            "kept": len(conversion.kept),
            "dropped": len(conversion.dropped),
            "appendix": len(conversion.appendix),
        },
        "parameters": [_parameter(p) for p in conversion.parameters],
        "offered": [_parameter(p) for p in conversion.offered],
        "inputs": [{"path": v.name, "digest": v.digest} for v in conversion.inputs],
        "notes": list(conversion.notes),
        "verification": None,
        "duration": duration,
    }


def _parameter(candidate: Candidate) -> dict[str, Any]:
    return {
        "name": candidate.name,
        "type": candidate.annotation,
        "default": as_json(candidate.default),
        "help": candidate.help,
        "reason": candidate.reason,
    }
