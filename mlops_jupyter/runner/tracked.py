"""Cells whose metadata say that they are tracked: ``metadata.mlops.track`` holds the words of a ``%%track`` line.

The words travel beside the cell's text, never in it: nothing in them can become code, and the lines that a traceback
counts are those of the notebook's cell.
"""

from __future__ import annotations

from nbformat import NotebookNode

from mlops_jupyter.capture.options import find_track_line, parse_options
from mlops_jupyter.errors import UsageError

_LONGEST = 4096


def track_words(cell: NotebookNode) -> str | None:
    """The words of the ``%%track`` line that the cell's metadata ask for, or None where there are none.

    A cell that begins with ``%%track`` itself says all there is to say.

    Raises:
        UsageError: they are no text, more than one line, longer than 4096 characters, or no options of ``%%track``.
    """
    ours = cell.metadata.get("mlops")
    if not isinstance(ours, dict) or ours.get("track") is None:
        return None
    words = ours["track"]
    if not isinstance(words, str):
        raise UsageError(f"metadata.mlops.track must be text, got {type(words).__name__}.")
    if len(words) > _LONGEST or not words.isprintable():
        raise UsageError(f"metadata.mlops.track must be one line of at most {_LONGEST} printable characters.")
    if find_track_line(cell.source.splitlines()) is not None:
        return None
    if find_track_line([f"%%track {words}"]) is None:  # as where it asks for help with "?"
        raise UsageError(f"metadata.mlops.track is no line of %%track: {words[:80]!r}.")
    parse_options(words)
    return words.strip()


def untrackable(notebook: NotebookNode) -> list[str]:
    """One sentence for each code cell whose wish cannot be met: it runs untracked."""
    sentences = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        try:
            track_words(cell)
        except UsageError as error:
            sentences.append(f"Cell {index + 1} runs without being tracked: {error}")
    return sentences
