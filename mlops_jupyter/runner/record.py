"""What a run leaves on disk while it runs, so that a killed runner loses nothing that a cell had finished.

In the run's folder: ``events.jsonl`` (what happened when), and until the run has ended ``notebook.json`` (the
notebook as it started) and ``cells.jsonl`` (the results of each finished cell, appended). The output notebook
itself is written now and then, and always whole: to a file beside it that then takes its place.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from mlops_jupyter.errors import TransientError

from .document import render_cell, render_notebook

EVENTS = "events.jsonl"
CELLS = "cells.jsonl"
SKELETON = "notebook.json"

SHARE = 0.05
"""Largest fraction of the elapsed time that is spent on writing the output while cells run."""
INTERVAL = 1.0
"""Least seconds between two such writes."""


class EventLog:
    """The append-only log of one run. A line is whole or, after a crash, the last and ignored."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        self._events = os.open(folder / EVENTS, flags, 0o644)
        self._cells = os.open(folder / CELLS, flags, 0o644)

    def event(self, kind: str, **data: Any) -> None:
        """Append one event. Raises TransientError where the disk does not take it."""
        line = json.dumps({"event": kind, "at": time.time(), **data}, ensure_ascii=False)
        self._append(self._events, line)

    def cell(self, index: int, cell: NotebookNode) -> None:
        """Append the results of a finished cell; of several for one cell the last counts."""
        self._append(self._cells, f'{{"index":{index},"cell":{render_cell(cell)}}}')

    def _append(self, descriptor: int, line: str) -> None:
        data = memoryview((line + "\n").encode("utf-8", "backslashreplace"))
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError as error:
            raise TransientError(
                f"The log of the run in {self.folder} cannot be written: {error.strerror or error}.",
                hint="Free some space and run again.",
            ) from error

    def close(self, *, complete: bool) -> None:
        """Close the files; ``complete``: the output notebook holds it all, so drop what only recovery needs."""
        os.close(self._events)
        os.close(self._cells)
        if complete:
            for name in (CELLS, SKELETON):
                with contextlib.suppress(OSError):
                    (self.folder / name).unlink()


class Throttle:
    """Lets something be done now and then: at most ``SHARE`` of the elapsed time, ``INTERVAL`` apart."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()
        self._spent = self._cost = 0.0

    def offer(self, action: Callable[[], object]) -> None:
        """Do it if it is time to, judged by what it took last time."""
        now = time.monotonic()
        if now - self._last < INTERVAL or self._spent + self._cost > SHARE * (now - self._started):
            return
        try:
            action()
        finally:
            self._last = time.monotonic()
            self._cost = self._last - now
            self._spent += self._cost


class Output:
    """The output notebook of one run: at every moment either what was there before or a whole notebook of ours."""

    def __init__(self, path: Path, run_id: str) -> None:
        self.path = path
        self._part = part_file(path, run_id)
        self._throttle = Throttle()

    def offer(self, notebook: NotebookNode) -> None:
        """Write if the share of time allows it. A full disk is not an error yet."""
        with contextlib.suppress(TransientError):  # the last write reports; the event log has it all until then
            self._throttle.offer(lambda: self.write(notebook))

    def write(self, notebook: NotebookNode) -> None:
        """Write now.

        Raises:
            TransientError: it cannot be written (full disk, the folder vanished).
        """
        replace_file(self.path, self._part, render_notebook(notebook))


def part_file(path: Path, run_id: str) -> Path:
    """Where the next version of the output ``path`` is written before it takes its place."""
    return path.with_name(f".mlops-{run_id}.part")


def replace_file(path: Path, part: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` atomically, through ``part`` in the same folder, safe against a power cut.

    Raises:
        TransientError: it cannot be written; what was at ``path`` is untouched.
    """
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise TransientError(
            f"The output {path} cannot be written: {error.strerror or error}.",
            hint="Make room or make the folder writable and run again.",
        ) from error
