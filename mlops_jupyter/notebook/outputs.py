"""Whether a notebook may be written to a place; asked before any work is done for it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mlops_jupyter.errors import TargetNotFoundError, UsageError

from .document import read_notebook

_TEXT = "text"
"""Key of the digest of the cells, beside what else a verb says of the notebook that it made."""


def check_place(
    out: Path, *, made_by: str, is_ours: Callable[[Path], bool], force: bool = False, notebook: Path | None = None
) -> None:
    """Nothing is written here; what may not be replaced is not even with ``force``.

    Args:
        out: the file to write.
        made_by: what the verb does, for the message: "converted".
        is_ours: whether a file that is there already was made by this verb, so that it is replaced.
        force: replace a regular file whatever it is.
        notebook: the notebook that ``out`` is made from.

    Raises:
        UsageError: it is a folder, a device, the notebook itself or somebody's own file; or its folder is missing or
            cannot be written.
    """
    try:
        found = out.stat() if out.exists() else None
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise UsageError(f"{out} is a folder.", hint="Give the name of a notebook file.")
        check_regular(out)
        if not out.parent.is_dir():
            raise UsageError(f"The folder {out.parent} does not exist.", hint="Create it first.")
        if notebook is not None and _same(out, notebook):
            raise UsageError(f"{out} is the notebook itself.", hint=f"Give the {made_by} one another name.")
        there = found is not None or out.is_symlink()  # a link to nothing is somebody's too
        if there and not force and not is_ours(out):
            raise UsageError(
                f"{out} exists and was not {made_by}, or was edited since.",
                hint="Choose another name, or give --force.",
            )
        if not os.access(out.parent, os.W_OK | os.X_OK):
            raise UsageError(
                f"The folder {out.parent} cannot be written.", hint="Make it writable, or choose another place."
            )
    except OSError as error:
        raise UsageError(
            f"{str(out)[:100]!r} cannot be written: {error.strerror or error}.", hint="Choose another name."
        ) from error


def check_regular(path: Path) -> None:
    """A file takes the place of a file only: replacing a device or a pipe would destroy it.

    Raises:
        UsageError: something else is there.
        OSError: it cannot be told.
    """
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise UsageError(f"{path} is no regular file.", hint="Choose another name; nothing was changed.")


def _same(out: Path, notebook: Path) -> bool:
    if out.exists() and notebook.exists() and out.samefile(notebook):
        return True
    return os.path.realpath(out) == os.path.realpath(notebook)


def signed(document: dict[str, Any], verb: str) -> dict[str, Any]:
    """``document`` with the digest of its cells in ``metadata.mlops[verb]``, by which an edited one is known."""
    cells = ((cell["cell_type"], "".join(cell["source"])) for cell in document["cells"])
    ours = document["metadata"]["mlops"]
    told = {**ours, verb: {**ours[verb], _TEXT: _digest(cells)}}
    return {**document, "metadata": {**document["metadata"], "mlops": told}}


def is_as_made(path: Path, verb: str) -> bool:
    """Whether a file is a notebook that ``verb`` made, its cells still as it made them. Outputs do not count."""
    try:
        found = read_notebook(path)
    except (UsageError, TargetNotFoundError):
        return False
    ours = found.metadata.get("mlops")
    told = ours.get(verb) if isinstance(ours, dict) else None
    return isinstance(told, dict) and told.get(_TEXT) == _digest((c.cell_type, c.source) for c in found.cells)


def _digest(cells: Iterable[tuple[str, str]]) -> str:
    hasher = hashlib.sha256()
    for kind, source in cells:
        hasher.update(f"{kind} {len(source)}\n{source}\n".encode("utf-8", "backslashreplace"))
    return f"sha256:{hasher.hexdigest()}"
