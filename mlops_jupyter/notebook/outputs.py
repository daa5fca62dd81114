"""Whether a notebook may be written to a place; asked before any work is done for it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from mlops_jupyter.errors import UsageError


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
            raise UsageError(f"{out} exists and was not {made_by}.", hint="Choose another name, or give --force.")
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
