"""``%track`` and the entries for completion and help of ``%%track``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mlops_jupyter.errors import MlopsError

from .options import parse_options

if TYPE_CHECKING:
    from .session import CaptureSession

_USAGE = "%track on [NAME] [-e EXPERIMENT] [-t KEY=VALUE]… [--seed N] | %track off | %track status"


def line_magic(session: CaptureSession) -> Callable[[str], None]:
    """The function behind ``%track``."""

    def track(line: str) -> None:
        """Make every cell a step of one run, stop that, or show it.

        %track on [NAME] [-e EXPERIMENT] [-t KEY=VALUE]… [--seed N]
            From the next cell on every cell is a step of one run.
        %track off
            The run ends.
        %track status
            Which run is open, and where records go.

        To make one cell a run, put %%track in its first line.
        """
        from IPython.core.error import UsageError

        words = line.split(None, 1)
        verb = words[0] if words else "status"
        rest = words[1] if len(words) > 1 else ""
        try:
            text = _run(session, verb, rest)
        except MlopsError as error:
            raise UsageError(str(error).replace("%%track", "%track on")) from None
        if text is None:
            raise UsageError(f"%track expects on, off or status, got {verb!r}. Usage: {_USAGE}")
        print(text)  # noqa: T201 - the answer of the magic

    return track


def _run(session: CaptureSession, verb: str, rest: str) -> str | None:
    tracker = session.tracker
    if verb == "on":
        run = tracker.turn_on(parse_options(rest))
        return f"tracking on: every cell from the next one on is a step of run {run.run_uid[:8]} ({run.name})"
    if verb in ("off", "status") and rest:
        return None
    if verb == "off":
        ended = tracker.turn_off()
        if ended is None:
            return "tracking was not on"
        return f"tracking off: run {ended.run_uid[:8]} ({ended.name}) has {ended.cells} steps"
    if verb == "status":
        place = "memory only" if session.sink.in_memory else str(session.settings.database)
        steps = tracker.steps
        state = f"on: run {steps.run_uid[:8]} ({steps.name}), {steps.cells} steps" if steps else "off"
        return f"tracking {state}\nrecords: {place}\ncells recorded: {session.position}"
    return None


def cell_magic(session: CaptureSession) -> Callable[[str, str], None]:
    """The function behind ``%%track`` where it is called as a magic; in a cell its line is removed before."""

    def track(line: str, cell: str) -> None:
        """Make this cell a run: parameters, metrics, figures, data, models, environment and git state are
        recorded.

        %%track [NAME] [-e EXPERIMENT] [-t KEY=VALUE]… [-p NAME]… [-m NAME]… [--seed N]

        NAME
            Name of the run (default: the notebook's name and two words).
        -e EXPERIMENT
            MLflow experiment (default: MLFLOW_EXPERIMENT_NAME, else the notebook's path).
        -t KEY=VALUE
            A tag. May be given several times.
        -p NAME, -m NAME
            A variable to record as a parameter or metric besides those that are found.
        --seed N
            Seed random, and numpy and torch where they are loaded, before the cell runs.

        It stands in the first line of the cell; the rest runs as it would without it.
        """
        from IPython.core.error import UsageError

        if session.cell is not None:
            raise UsageError("%%track must be in the first line of the cell that it tracks.")
        session.shell.run_cell(f"%%track {line}\n{cell}")

    return track
