"""Reading and writing notebook files: what a headless run needs, strict on what it takes, fast on what it writes.

nbformat's writer validates and walks the whole document in Python; a run writes its notebook many times, so this
one renders the same layout (indent 1, sorted keys, lines split) without either.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Callable
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

import nbformat
import nbformat.v4
import nbformat.v4.rwbase
from nbformat import NotebookNode

from mlops_jupyter.errors import TargetNotFoundError, UsageError

_DEEPEST = 200
"""Levels of nesting that are taken: far more than any output has, far fewer than Python's stack."""
_CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")

# nbformat's functions carry no types; these do.
node: Callable[..., NotebookNode] = NotebookNode
to_nodes: Callable[[Any], Any] = nbformat.from_dict
rejoin_lines: Callable[[NotebookNode], NotebookNode] = nbformat.v4.rwbase.rejoin_lines
new_code_cell: Callable[[str], NotebookNode] = nbformat.v4.new_code_cell
new_markdown_cell: Callable[[str], NotebookNode] = nbformat.v4.new_markdown_cell


def read_notebook(path: Path) -> NotebookNode:
    """The notebook at ``path`` in nbformat 4.5, every cell with an id.

    A cell without one (nbformat ≤ 4.4), or with one that nbformat does not allow, gets an id from its position and
    text, so that two runs of the same file name the same cell alike.

    Raises:
        TargetNotFoundError: there is no such file.
        UsageError: a folder, not readable, not JSON, not a notebook of nbformat 4.
    """
    document = _load(path)
    if _is_deeper(document, _DEEPEST):
        raise UsageError(f"{path} is not a valid notebook: it is nested more than {_DEEPEST} levels deep.")
    version = document.get("nbformat")
    if version != 4:
        if version is None or not isinstance(version, int):
            raise UsageError(f"{path} is JSON but not a Jupyter notebook: it has no nbformat number.")
        hint = (
            f"Convert it first: jupyter nbconvert --to notebook --nbformat 4 {path.name}"
            if version < 4
            else "Use a newer release of this package."
        )
        raise UsageError(f"{path} is a notebook of nbformat {version}; nbformat 4 is needed.", hint=hint)
    cells = document.get("cells")
    if not isinstance(cells, list) or not all(_is_cell(cell) for cell in cells):
        raise UsageError(f"{path} is not a valid notebook: its cells are missing or malformed.")
    if not isinstance(document.setdefault("metadata", {}), dict):
        raise UsageError(f"{path} is not a valid notebook: its metadata is no object.")
    notebook = rejoin_lines(to_nodes(document))
    _give_ids(notebook)
    minor = document.get("nbformat_minor")
    notebook.nbformat_minor = max(5, minor) if isinstance(minor, int) else 5
    return notebook


def _load(path: Path) -> dict[str, Any]:
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():  # a pipe or device may never end
            raise UsageError(f"{path} is not a notebook: it is no regular file.", hint="Name the .ipynb file.")
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise TargetNotFoundError(
            f"There is no notebook {str(path)!r}.", hint="Check the path and the current folder."
        ) from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder, not a notebook.", hint="Name the .ipynb file in it.") from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}.", hint="Check the path and its permissions."
        ) from error
    except UsageError:
        raise  # it is a ValueError too
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a notebook: it is not valid JSON ({error}).") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path} is not a notebook: its JSON is no object.")
    return document


def _is_deeper(value: Any, limit: int) -> bool:
    """Whether lists and objects are nested more than ``limit`` levels deep."""
    level = [value]
    for _ in range(limit + 1):
        level = [
            part
            for item in level
            for part in (item.values() if isinstance(item, dict) else item)
            if isinstance(part, dict | list)
        ]
        if not level:
            return False
    return True


def _is_cell(cell: Any) -> bool:
    if not isinstance(cell, dict) or cell.get("cell_type") not in {"code", "markdown", "raw"}:
        return False
    source = cell.setdefault("source", "")
    if isinstance(source, list) and not all(isinstance(line, str) for line in source):
        return False
    if not isinstance(cell.setdefault("metadata", {}), dict) or not isinstance(source, str | list):
        return False
    tags = cell["metadata"].get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return False
    if cell["cell_type"] == "code":
        cell.setdefault("execution_count", None)
        outputs = cell.setdefault("outputs", [])
        return isinstance(outputs, list) and all(isinstance(output, dict) for output in outputs)
    return True


def _give_ids(notebook: NotebookNode) -> None:
    taken: set[str] = set()
    for index, cell in enumerate(notebook.cells):
        cell_id = cell.get("id")
        if not isinstance(cell_id, str) or not _CELL_ID.fullmatch(cell_id) or cell_id in taken:
            text = f"{index}\0{cell.source}".encode("utf-8", "surrogatepass")
            cell_id = hashlib.sha256(text).hexdigest()[:8]
            while cell_id in taken:
                cell_id += "x"
            cell["id"] = cell_id
        taken.add(cell_id)


def render_notebook(notebook: NotebookNode) -> bytes:
    """The notebook as the bytes of a file, laid out as Jupyter does."""
    parts: list[str] = []
    top: dict[str, Any] = {key: value for key, value in notebook.items() if key != "cells"}
    top["cells"] = [_split(cell) for cell in notebook.cells]
    _render(top, "\n", parts)
    parts.append("\n")
    # A lone surrogate cannot be UTF-8; as \udxxx it is the JSON escape for itself.
    return "".join(parts).encode("utf-8", "backslashreplace")


def render_cell(cell: NotebookNode) -> str:
    """One code cell's results in one line of JSON, for the event log."""
    return json.dumps(
        {"execution_count": cell.execution_count, "outputs": cell.outputs, "metadata": cell.metadata},
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _split(cell: NotebookNode) -> dict[str, Any]:
    plain = dict(cell)
    plain["source"] = cell.source.splitlines(True)
    if cell.cell_type == "code":
        plain["outputs"] = [_split_output(output) for output in cell.outputs]
    return plain


def _split_output(output: NotebookNode) -> dict[str, Any]:
    plain = dict(output)
    if output.output_type == "stream" and isinstance(output.text, str):
        plain["text"] = _Lines(output.text)
    elif isinstance(output.get("data"), dict):
        plain["data"] = {
            mime: _Lines(value) if isinstance(value, str) and not _is_json(mime) else value
            for mime, value in output.data.items()
        }
    return plain


def _is_json(mime: str) -> bool:
    return mime == "application/json" or (mime.startswith("application/") and mime.endswith("+json"))


class _Lines(str):
    """Text that is written as the list of its lines."""

    __slots__ = ()


_BLOCK = 1 << 18


def _render_lines(text: str, line: str, parts: list[str]) -> None:
    """As ``_render`` of ``text.splitlines(True)``, which for a large output would take many times its memory."""
    separator, start = "[" + line + " ", 0
    while start < len(text):
        end = text.find("\n", min(start + _BLOCK, len(text)))  # a block ends where a line does
        end = len(text) if end < 0 else end + 1
        lines = text[start:end].splitlines(True)
        parts += (separator, ("," + line + " ").join(map(encode_basestring, lines)))
        separator, start = "," + line + " ", end
    parts.append(line + "]" if text else "[]")


def _render(value: Any, line: str, parts: list[str]) -> None:
    """Append JSON text; ``line`` is the line break with the indentation of the current level."""
    deeper = line + " "
    if type(value) is _Lines:
        _render_lines(value, line, parts)
    elif isinstance(value, str):
        parts.append(encode_basestring(value))
    elif isinstance(value, dict):
        if not value:
            parts.append("{}")
            return
        separator = "{" + deeper
        for key in sorted(value):
            parts.append(f"{separator}{encode_basestring(key)}: ")
            _render(value[key], deeper, parts)
            separator = "," + deeper
        parts.append(line + "}")
    elif isinstance(value, list | tuple):
        if not value:
            parts.append("[]")
        elif all(type(item) is str for item in value):
            body = ("," + deeper).join(map(encode_basestring, value))
            parts.append(f"[{deeper}{body}{line}]")
        else:
            separator = "[" + deeper
            for item in value:
                parts.append(separator)
                _render(item, deeper, parts)
                separator = "," + deeper
            parts.append(line + "]")
    else:
        parts.append(json.dumps(value))
