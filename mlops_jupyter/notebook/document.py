"""Reading a notebook: the part of nbformat 4 that we need, with an error that says what is wrong with the
file."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlops_jupyter.errors import TargetNotFoundError, UsageError

SIZE_LIMIT = 512 * 1024 * 1024
"""Bytes: a larger file is refused rather than read into memory (JSON in Python takes several times its
size)."""

_ANOTHER = "Open it in Jupyter and save it again, or restore it from a copy."

CellType = Literal["code", "markdown", "raw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell without its outputs."""

    cell_id: str | None
    """As in the file; None before nbformat 4.5."""
    cell_type: CellType
    source: str
    execution_count: int | None
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    error: str | None = None
    """What it raised when it last ran, by its outputs; None where these show no error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookDocument:
    """A notebook without its outputs."""

    cells: tuple[Cell, ...]
    metadata: Mapping[str, Any]
    minor: int
    """The minor version of nbformat 4."""

    @property
    def code_cells(self) -> tuple[Cell, ...]:
        """The cells that hold code, in the order of the document."""
        return tuple(cell for cell in self.cells if cell.cell_type == "code")

    @property
    def language(self) -> str:
        """``python`` unless the notebook says otherwise."""
        for section, key in (("kernelspec", "language"), ("language_info", "name")):
            part = self.metadata.get(section)
            if isinstance(part, Mapping) and isinstance(part.get(key), str):
                return str(part[key]).lower()
        return "python"


def read_notebook(path: Path | str) -> NotebookDocument:
    """Read a notebook. Executes nothing and changes nothing.

    Raises:
        TargetNotFoundError: there is no such file.
        UsageError: a folder, unreadable, too large, not UTF-8, not JSON, not a notebook, or not nbformat 4.
    """
    path = Path(path)
    try:
        found = path.stat()
        size = found.st_size
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):  # a pipe or device may never end
            raise UsageError(f"{path} is not a notebook: it is no regular file.", hint="Name the .ipynb file.")
        if size > SIZE_LIMIT:
            raise UsageError(
                f"{path} has {size / 1e6:.0f} MB; notebooks up to {SIZE_LIMIT / 1e6:.0f} MB are read.",
                hint="Clear its outputs first.",
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise TargetNotFoundError(f"There is no notebook {path}.", hint="Check the path.") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder, not a notebook.", hint="Name the .ipynb file in it.") from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}.", hint="Check the path and its permissions."
        ) from error
    return parse_notebook(data, name=str(path))


def parse_notebook(data: bytes, *, name: str) -> NotebookDocument:
    """The notebook in ``data``; ``name`` is for messages.

    Raises:
        UsageError: not UTF-8, not JSON, not a notebook, or not nbformat 4.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text ({error.reason} at byte {error.start}).", hint=_ANOTHER) from error
    if not text.strip():
        raise UsageError(f"{name} is empty.", hint="A notebook is a JSON document; write it with Jupyter.")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:  # a number of too many digits is a plain ValueError
        place = f" (line {error.lineno}: {error.msg})" if isinstance(error, json.JSONDecodeError) else ""
        raise UsageError(f"{name} is not JSON{place}, so it is no notebook.", hint=_ANOTHER) from error
    if not isinstance(document, dict) or not isinstance(document.get("nbformat"), int):
        raise UsageError(f"{name} is JSON but not a notebook: it has no nbformat number.", hint=_ANOTHER)
    if document["nbformat"] != 4:
        raise UsageError(
            f"{name} is in notebook format {document['nbformat']}; version 4 is read.",
            hint=f"Convert it with: jupyter nbconvert --to notebook --inplace {name}"
            if document["nbformat"] < 4
            else "Upgrade mlops-jupyter.",
        )
    cells = document.get("cells")
    if not isinstance(cells, list):
        raise UsageError(f"{name} says that it is a notebook but has no list of cells.", hint=_ANOTHER)
    minor = document.get("nbformat_minor")
    return NotebookDocument(
        cells=tuple(_cell(cell, i, name) for i, cell in enumerate(cells)),
        metadata=_mapping(document.get("metadata")),
        minor=minor if isinstance(minor, int) else 0,
    )


def _cell(cell: Any, index: int, name: str) -> Cell:
    kind = cell.get("cell_type") if isinstance(cell, dict) else None
    if kind not in ("code", "markdown", "raw"):
        raise UsageError(
            f"Cell {index + 1} of {name} has the type {str(kind)[:40]!r}; code, markdown and raw are known.",
            hint=_ANOTHER,
        )
    source = cell.get("source", "")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise UsageError(f"Cell {index + 1} of {name} has a source that is not text.", hint=_ANOTHER)
    metadata = _mapping(cell.get("metadata"))
    tags = metadata.get("tags")
    count, cell_id = cell.get("execution_count"), cell.get("id")
    return Cell(
        cell_id=cell_id if isinstance(cell_id, str) else None,
        cell_type=kind,
        source=source,
        execution_count=count if isinstance(count, int) else None,
        tags=tuple(t for t in tags if isinstance(t, str)) if isinstance(tags, Sequence) else (),
        metadata=metadata,
        error=_error(cell.get("outputs")),
    )


def _error(outputs: Any) -> str | None:
    for output in outputs if isinstance(outputs, list) else ():
        if isinstance(output, dict) and output.get("output_type") == "error":
            return f"{output.get('ename', 'Error')}: {output.get('evalue', '')}"[:500]
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
