"""A slice as a notebook of its own, and the value that ``gather`` returns."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from mlops_jupyter.entities import ExecutionStatus
from mlops_jupyter.errors import TransientError, UsageError
from mlops_jupyter.provenance import Slice

from .document import NotebookDocument
from .markdown import CellFinder, place
from .outputs import check_place, check_regular, is_as_made, signed

SliceOrigin = Literal["recorded", "static"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatheredSlice(Slice):
    """A ``Slice`` that knows which notebook it came from and can be written as one."""

    origin: SliceOrigin
    """``recorded``: from what really ran; ``static``: from the source of a notebook that was never
    tracked."""
    notebook: str | None
    """Workspace-relative path of the notebook, where it is known."""

    @classmethod
    def of(cls, found: Slice, *, origin: SliceOrigin, notebook: str | None) -> GatheredSlice:
        """``found`` with where it came from."""
        return cls(**{f.name: getattr(found, f.name) for f in fields(Slice)}, origin=origin, notebook=notebook)

    def to_notebook(self, path: Path | str, *, force: bool = False, document: NotebookDocument | None = None) -> Path:
        """Write the slice as a notebook that runs by itself; the whole file or nothing.

        A file that is there already is replaced only where it was gathered before, or with ``force``. With
        ``document``, the notebook that the slice is of, the Markdown above its cells is kept.

        Returns:
            The path of the file.

        Raises:
            UsageError: the file is somebody's own, its folder does not exist, or it cannot be written.
            TransientError: the disk is full.
        """
        path = Path(path)
        check_place(path, made_by="gathered", is_ours=is_gathered, force=force)
        text = json.dumps(signed(slice_document(self, document), "gathered"), indent=1, ensure_ascii=False) + "\n"
        # A lone surrogate cannot be UTF-8; as \udxxx it is the JSON escape for itself.
        write_atomically(path, text.encode("utf-8", "backslashreplace"))
        return path

    def to_json(self) -> dict[str, Any]:
        """The slice as a document; fits ``gather.json``."""
        return {
            "target": self.target,
            "notebook": self.notebook,
            "origin": self.origin,
            "certainty": self.certainty,
            "executions": list(self.executions),
            "source": self.source,
            "edges": [
                {
                    "user": e.user,
                    "maker": e.maker,
                    "kind": str(e.kind),
                    "name": e.name,
                    "grade": str(e.grade),
                    "reason": e.reason,
                }
                for e in self.edges
            ],
            "inputs": [{"kind": str(v.kind), "name": v.name, "digest": v.digest} for v in self.inputs],
            "notes": list(self.notes),
        }

    def _repr_mimebundle_(self, **_asked_for: object) -> dict[str, str]:
        fence = "`" * max(3, 1 + _longest_run(self.source, "`"))
        title = f"# {self.target}: {len(self.kept)} cells ({self.origin})"
        notes = "".join(f"# {note}\n" for note in self.notes)
        code = f"{title}\n{notes}\n{self.source}"
        return {"text/plain": code, "text/markdown": f"{fence}python\n{code}\n{fence}"}


def slice_document(found: GatheredSlice, document: NotebookDocument | None = None) -> dict[str, Any]:
    """The slice as an nbformat 4.5 document; the same slice gives the same document."""
    cells: list[dict[str, Any]] = []
    kept = [(i, e, text) for i, (e, text) in enumerate(zip(found.kept, found.cells, strict=True)) if text.strip()]
    finder = CellFinder(document)
    before = place(document, [finder.index(e) for _, e, _ in kept]) if document is not None else ()
    for number, (index, execution, source) in enumerate(kept):
        for at, prose in enumerate(before[number] if before else ()):
            cells.append(
                {
                    "cell_type": "markdown",
                    "id": hashlib.sha256(f"{index}.{at}\n{prose.source}".encode("utf-8", "replace")).hexdigest()[:12],
                    "metadata": {},
                    "source": prose.source.splitlines(keepends=True),
                }
            )
        # A cell that failed stays a cell that may fail: what it left before is needed.
        failed = execution.status is not ExecutionStatus.OK
        cells.append(
            {
                "cell_type": "code",
                "execution_count": None,
                "id": hashlib.sha256(f"{index}\n{source}".encode()).hexdigest()[:12],
                "metadata": {"tags": ["raises-exception"]} if failed else {},
                "outputs": [],
                "source": source.splitlines(keepends=True),
            }
        )
    gathered = {
        "target": found.target,
        "notebook": found.notebook,
        "origin": found.origin,
        "executions": list(found.executions),
        "inputs": [{"path": v.name, "digest": v.digest} for v in found.inputs if v.kind == "file"],
    }
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
            "mlops": {"gathered": gathered},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` so that a reader sees the old file or the whole new one.

    Raises:
        UsageError: the folder does not exist or cannot be written.
        TransientError: the disk is full.
    """
    # Opened by hand and not through tempfile, whose files only their owner may read: this one follows the
    # umask.
    temporary = path.parent / f".{path.name[:100]}.{secrets.token_hex(4)}.tmp"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:  # noqa: PTH123
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        check_regular(path)
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except (OSError, UsageError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, UsageError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TransientError(f"The disk is full: {path} was not written.", hint="Free some space.") from error
        if isinstance(error, FileNotFoundError):
            raise UsageError(f"The folder {path.parent} does not exist.", hint="Create it first.") from error
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}.", hint="Choose another place."
        ) from error


def is_gathered(path: Path) -> bool:
    """Whether a file is a notebook that was gathered, and not edited since."""
    return is_as_made(path, "gathered")


def _longest_run(text: str, char: str) -> int:
    longest = here = 0
    for c in text:
        here = here + 1 if c == char else 0
        longest = max(longest, here)
    return longest
