"""From a slice of recorded executions to a clean notebook that runs by itself. Pure: nothing is read or written.

The new notebook says what it is, imports what it needs, holds its parameters in one cell, then the recorded cells in
the order in which they ran with the Markdown that stood above them, and at the end what only shows something.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlops_jupyter.entities import CellExecution, EntityKind, EntityVersion, ExecutionStatus
from mlops_jupyter.provenance import count_of, without_magics

from .candidates import Candidate
from .document import NotebookDocument
from .gathered import GatheredSlice, SliceOrigin
from .imports import Hoisted, hoist_imports
from .injected import merge_injected
from .leaves import cell_key, track_arguments
from .lifting import parameters_schema, parameters_source
from .markdown import CellFinder, Prose, code_span, escaped, first_heading, place
from .masked import cell_magic
from .parameterizing import Known, parameterize

APPENDIX_TAG = "mlops-appendix"
"""Tag of the cells at the end that only show something; a run may pass them by."""
FORMAT_VERSION = 1
"""Of ``metadata.mlops.converted``."""

_INSTALL = re.compile(
    r"^(?:%|!)\s*(?:(?:sudo|python3?|uv|-m|\{?sys\.executable\}?)\s+)*(?:pip3?|conda|mamba|micromamba|poetry|uv)\s+"
    r"(?:install|add|update|upgrade)\b(?P<what>.*)$"
)
_CELL_ID = re.compile(r"^[A-Za-z0-9_-]{1,58}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A converted notebook and what is told of it."""

    document: dict[str, Any]
    """nbformat 4.5; the same input gives the same document."""
    parameters: tuple[Candidate, ...]
    """What its ``parameters`` cell holds, in that order."""
    offered: tuple[Candidate, ...]
    """Candidates that were not taken, best first."""
    kept: tuple[CellExecution, ...]
    """Executions whose text the notebook holds, in order."""
    appendix: tuple[CellExecution, ...]
    """Executions that only show something, in order."""
    dropped: tuple[CellExecution, ...]
    """The latest executions of the cells that are neither."""
    notes: tuple[str, ...]
    """What the reader should know, one sentence each."""
    origin: SliceOrigin
    inputs: tuple[EntityVersion, ...]
    """Files that must be there before it runs."""


@dataclass(slots=True)
class _Part:
    """One code cell in the making."""

    execution: CellExecution
    text: str
    appendix: bool
    index: int | None
    """Position in the original document."""
    track: str | None = None
    failed: bool = False
    tags: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Builder:
    cells: list[dict[str, Any]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def markdown(self, cell_id: str, source: str, /, *tags: str, **ours: object) -> None:
        self._add("markdown", cell_id, source, tags, ours)

    def code(self, cell_id: str, source: str, /, *tags: str, **ours: object) -> None:
        self._add("code", cell_id, source, tags, ours)

    def _add(self, kind: str, cell_id: str, source: str, tags: Sequence[str], ours: Mapping[str, object]) -> None:
        metadata: dict[str, Any] = {"tags": list(tags)} if tags else {}
        if ours:
            metadata["mlops"] = dict(ours)
        cell: dict[str, Any] = {"cell_type": kind, "id": self._free(cell_id), "metadata": metadata}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        cell["source"] = source.splitlines(keepends=True)
        self.cells.append(cell)

    def _free(self, wanted: str) -> str:
        base = wanted if _CELL_ID.match(wanted) else hashlib.sha256(wanted.encode("utf-8", "replace")).hexdigest()[:12]
        number, free = 2, base
        while free in self.taken:
            free, number = f"{base}-{number}", number + 1
        self.taken.add(free)
        return free


def convert_slice(
    found: GatheredSlice,
    document: NotebookDocument | None,
    *,
    texts: Mapping[str, str] | None = None,
    shown: Sequence[CellExecution] = (),
    dropped: Sequence[CellExecution] = (),
    known: Known | None = None,
    limit: int = 8,
    names: Sequence[str] | None = None,
) -> Conversion:
    """A clean notebook of the executions of ``found``.

    Args:
        found: what to keep, in the order in which it ran.
        document: the notebook as it is now, for its Markdown; None where it is gone.
        texts: by execution id, texts to take instead of the recorded ones (secrets were blanked in those).
        shown: executions that only show something, for the appendix.
        dropped: executions that are left out, to be told of.
        known: what was recorded besides, to rank parameters by.
        limit: most parameters to lift.
        names: lift these candidates and no others.

    Raises:
        UsageError: ``names`` has one that is no candidate.
    """
    texts = texts or {}
    notes = list(found.notes)
    parts = _parts(found, document, texts, shown, notes)
    main = [p for p in parts if not p.appendix]
    for part, text in zip(main, merge_injected([p.execution for p in main], [p.text for p in main]), strict=True):
        part.text = text
    hoisted = hoist_imports([p.text for p in main], fixed=[i for i, p in enumerate(main) if p.failed])
    for part, text in zip(main, hoisted.cells, strict=True):
        part.text = text
    lifted = parameterize(
        hoisted.source,
        [p.text for p in main],
        [p.execution for p in main],
        after=[p.text for p in parts if p.appendix],
        tagged=_tagged(main, document),
        known=known,
        limit=limit,
        names=names,
    )
    notes += _told([p for p in parts if p.text.strip()], document)
    for part, text in zip(main, lifted.texts, strict=True):
        part.text = text
    parts = [p for p in parts if p.text.strip()]

    builder = _Builder()
    title = first_heading(document) if document is not None else None
    builder.markdown("mlops-title", _title(found, title), role="title")
    if hoisted.source:
        executions = _importers(main, hoisted)
        builder.code("mlops-imports", hoisted.source, role="imports", executions=executions)
    if not lifted.parameters:
        for index in _tagged(main, document)[:1]:
            main[index].tags.append("parameters")
    else:
        builder.code("parameters", parameters_source(lifted.parameters), "parameters", role="parameters")
    without = frozenset() if title is None else frozenset({title[0]})
    before = (
        place(document, [p.index for p in parts], without=without) if document is not None else tuple(() for _ in parts)
    )
    in_appendix = False
    for part, prose in zip(parts, before, strict=True):
        if part.appendix and not in_appendix:
            in_appendix = True
            builder.markdown("mlops-appendix", _APPENDIX, APPENDIX_TAG, role="appendix")
        _add_part(builder, part, prose)
    return Conversion(
        document=_document(found, document, builder.cells, lifted.parameters),
        parameters=lifted.parameters,
        offered=lifted.offered,
        kept=found.kept,
        appendix=tuple(shown),
        dropped=tuple(dropped),
        notes=tuple(dict.fromkeys(notes)),
        origin=found.origin,
        inputs=tuple(v for v in found.inputs if v.kind is EntityKind.FILE),
    )


_APPENDIX = (
    "## Appendix: shown along the way\n\nThese cells only show something. Nothing above depends on them, and they can "
    "be left out."
)


def _parts(
    found: GatheredSlice,
    document: NotebookDocument | None,
    texts: Mapping[str, str],
    shown: Sequence[CellExecution],
    notes: list[str],
) -> list[_Part]:
    parts: list[_Part] = []
    finder = CellFinder(document)
    for execution in (*found.kept, *shown):
        source = texts.get(execution.execution_id, execution.source)
        text, installs = _without_installs(_clean(source))
        if installs:
            notes.append(
                f"In [{count_of(execution)}] installed packages ({'; '.join(installs)}); the line is left out, because "
                "a run must not change the environment that is recorded with it."
            )
        parts.append(
            _Part(
                execution=execution,
                text=text,
                appendix=len(parts) >= len(found.kept),
                index=finder.index(execution),
                track=track_arguments(source),
                failed=execution.status is not ExecutionStatus.OK,
            )
        )
    return parts


def _clean(source: str) -> str:
    return without_magics(source).rstrip()


def _without_installs(text: str) -> tuple[str, list[str]]:
    """The text without top-level lines that install packages, and these lines."""
    if cell_magic(text) is not None:
        return text, []
    kept, installs = [], []
    for line in text.split("\n"):
        # In a cell that is Python as it stands such a line can only be inside of a string.
        if _INSTALL.match(line) and not line.endswith("\\"):
            installs.append(line.strip()[:100])
        else:
            kept.append(line)
    if not installs or _is_plain_python(text):
        return text, []
    return "\n".join(kept).strip("\n"), installs


def _is_plain_python(text: str) -> bool:
    import ast

    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _told(parts: Sequence[_Part], document: NotebookDocument | None) -> list[str]:
    """Notes on where the notebook is not any more as it was when it ran."""
    notes = []
    last: dict[str, _Part] = {}
    versions: dict[str, int] = {}
    for part in parts:
        key = cell_key(part.execution)
        if key in last and _clean(last[key].execution.source) != _clean(part.execution.source):
            versions[key] = versions.get(key, 1) + 1
        last[key] = part
    for key, count in versions.items():
        notes.append(
            f"In [{count_of(last[key].execution)}] is one of {count} versions of one cell that are all needed."
        )
    if document is None:
        return [*notes, "The notebook's file is gone, so there is no Markdown."]
    for part in last.values():
        label = f"In [{count_of(part.execution)}]"
        if part.index is None:
            notes.append(f"{label} is not in the notebook any more; its recorded text is used.")
        elif _edited(part, document):
            notes.append(f"{label} was edited after it ran; the recorded text is used.")
    return notes


def _edited(part: _Part, document: NotebookDocument) -> bool:
    from mlops_jupyter.analysis import redact

    now = document.cells[part.index].source if part.index is not None else ""
    return redact(now).strip() != part.execution.source.strip()


def _importers(parts: Sequence[_Part], hoisted: Hoisted) -> list[str]:
    found = dict.fromkeys(i for where in hoisted.moved for i in where)
    return [parts[i].execution.execution_id for i in sorted(found)]


def _title(found: GatheredSlice, title: tuple[int, str, str] | None) -> str:
    name = found.notebook or "a notebook"
    stem = name.replace("\\", "/").rpartition("/")[2].removesuffix(".ipynb")
    heading = title[1] if title is not None else escaped(stem)
    what = (
        f"Converted from {code_span(name)}: the recorded cells behind {_what(found.target)}, in the order in which "
        "they ran."
        if found.origin == "recorded"
        else f"**By static analysis, not from a recorded run.** Converted from {code_span(name)}, which was never "
        f"tracked: the cells behind {_what(found.target)}, as far as their text tells. It may keep or miss a cell."
    )
    how = (
        "Run it headless with `mlops run` (`-p NAME VALUE` sets a parameter, `--help` lists them) or with papermill, "
        "in the folder of the notebook that it comes from."
    )
    text = f"# {heading}\n\n{what} {how}"
    if title is not None and title[2]:
        text += f"\n\n{title[2]}"
    return text


def _what(target: str) -> str:
    return code_span(target) if target.isidentifier() else escaped(target)


def _add_part(builder: _Builder, part: _Part, prose: Sequence[Prose]) -> None:
    tags = [APPENDIX_TAG] if part.appendix else list(part.tags)
    for each in prose:
        builder.markdown(each.cell_id or f"heading {each.source}", each.source, *tags)
    if part.failed:
        tags.append("raises-exception")
    execution = part.execution
    ours: dict[str, object] = {
        "execution_id": execution.execution_id,
        "position": execution.position,
        "cell_id": execution.cell_id,
    }
    if part.track is not None:
        ours["track"] = part.track
    builder.code(execution.cell_id or f"{execution.position} {part.text}", part.text, *tags, **ours)


def _tagged(parts: Sequence[_Part], document: NotebookDocument | None) -> list[int]:
    """Indices of the parts that the notebook tags as ``parameters``."""
    if document is None:
        return []
    return [i for i, p in enumerate(parts) if p.index is not None and "parameters" in document.cells[p.index].tags]


def _document(
    found: GatheredSlice,
    document: NotebookDocument | None,
    cells: list[dict[str, Any]],
    parameters: Sequence[Candidate],
) -> dict[str, Any]:
    texts = [c.source for c in document.code_cells] if document is not None else [e.source for e in found.kept]
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "replace")).hexdigest()
    converted = {
        "version": FORMAT_VERSION,
        "notebook": found.notebook,
        "origin": found.origin,
        "target": found.target,
        "executions": list(found.executions),
        "inputs": [{"path": v.name, "digest": v.digest} for v in found.inputs if v.kind is EntityKind.FILE],
        "source_digest": f"sha256:{digest}",
        "grade": None,
    }
    kernel: Any = document.metadata.get("kernelspec") if document is not None else None
    if not isinstance(kernel, Mapping) or not isinstance(kernel.get("name"), str):
        kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": dict(kernel),
            "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
            "mlops": {"converted": converted, "parameters": parameters_schema(parameters)},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


__all__ = ["APPENDIX_TAG", "FORMAT_VERSION", "Conversion", "Known", "convert_slice"]
