"""``mlops run``: a notebook headless, recorded as a run of the workspace that its folder belongs to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_jupyter.config import Settings
from mlops_jupyter.errors import MlopsError, TargetNotFoundError, UsageError
from mlops_jupyter.workspace import open_workspace

if TYPE_CHECKING:
    from mlops_jupyter.runner import Cancellation, RunResult, State

OnCell = Callable[[int, int, str, str], None]
"""Called with (0-based number of the code cell, how many there are, state, first line of the cell). The state is
``started``, then ``succeeded``, ``failed``, ``timed_out``, ``kernel_died``, ``cancelled`` or ``skipped``."""

INFRASTRUCTURE_FAILED = 75


def run(
    notebook: Path,
    out: Path | None = None,
    *,
    parameters: Iterable[tuple[str, str]] | Mapping[str, Any] = (),
    params_file: Path | Sequence[Path] | None = None,
    yaml: Sequence[str] = (),
    timeout: float | None = None,
    cell_timeout: float | None = None,
    cwd: Path | None = None,
    require_sync: bool = False,
    on_cell: OnCell | None = None,
    on_output: Callable[[str, str], None] | None = None,
    cancellation: Cancellation | None = None,
) -> dict[str, Any]:
    """Run ``notebook`` headless; the document of ``mlops run --json``.

    ``parameters`` are pairs of name and text, or plain data by name; they outrank ``yaml``, which outranks
    ``params_file``. Time limits are in seconds. ``exit_code`` in the document is what the command line ends with:
    0, 1 a cell raised, 75 the kernel died (or with ``require_sync``: not all was delivered), 124 timed out, 130 / 143
    interrupted.

    Raises:
        TargetNotFoundError: there is no such notebook.
        UsageError: bad input; nothing was started or written.
        TransientError: the workspace or the output cannot be written.
    """
    from mlops_jupyter.runner import run_notebook  # nbclient and what it needs: only a run pays for it

    notebook = Path(notebook)
    _check_exists(notebook)
    files = () if params_file is None else (params_file,) if isinstance(params_file, str | Path) else params_file
    warnings: list[str] = []
    with open_workspace(notebook.absolute().parent) as workspace:
        result = run_notebook(
            workspace,
            notebook,
            out,
            parameters=parameters,
            parameter_files=files,
            parameter_yaml=yaml,
            cell_timeout=cell_timeout,
            timeout=timeout,
            cwd=cwd,
            on_cell=_progress(workspace.settings, on_cell),
            on_output=on_output,
            deliver=lambda seconds: _deliver(workspace.settings, seconds, warnings, insist=require_sync),
            cancellation=cancellation,
        )
    document = as_document(result)
    document["warnings"] += warnings
    if require_sync and not result.delivered and result.exit_code == 0:
        document["exit_code"] = INFRASTRUCTURE_FAILED
    return document


def describe(notebook: Path) -> dict[str, Any]:
    """The parameters that ``notebook`` takes; the document of ``mlops run NOTEBOOK --help --json``. Starts nothing.

    Raises:
        TargetNotFoundError: there is no such notebook.
        UsageError: it is no notebook.
    """
    from mlops_jupyter.runner.listing import list_parameters

    notebook = Path(notebook)
    _check_exists(notebook)
    return list_parameters(notebook)


def _check_exists(notebook: Path) -> None:
    """Before a workspace is made for it: a typo must not leave a folder behind."""
    try:
        is_folder, exists = notebook.is_dir(), notebook.exists()
    except OSError as error:  # a name that is too long
        raise UsageError(f"{str(notebook)[:200]!r} cannot be read: {error.strerror or error}.") from None
    if is_folder:
        raise UsageError(f"{notebook} is a folder, not a notebook.", hint="Name the .ipynb file in it.")
    if not exists:
        raise TargetNotFoundError(
            f"There is no notebook {str(notebook)!r}.", hint="Check the path and the current folder."
        )


def _progress(settings: Settings, on_cell: OnCell | None) -> Callable[[int, int, State, str], None]:
    """Passes progress on, and starts delivery with the first cell, so that the run is seen while it runs."""
    from mlops_jupyter.store.delivery_process import ensure_delivery

    started = False

    def tell(index: int, total: int, state: State, preview: str) -> None:
        nonlocal started
        if not started:
            started = True
            ensure_delivery(settings)
        if on_cell is not None:
            on_cell(index, total, "started" if state == "running" else str(state), preview)

    return tell


_PATIENCE = 5.0
"""Seconds that a run waits at its end for an MLflow that does not answer, unless it must have delivered."""


def _deliver(settings: Settings, seconds: float, warnings: list[str], *, insist: bool) -> bool:
    from mlops_jupyter.tracking import sync

    try:
        report = sync(settings, timeout=seconds, patience=None if insist else _PATIENCE)
    except MlopsError as error:
        warnings.append(f"The run is recorded here, but could not be delivered: {error}")
        return False
    if report.error is not None:
        warnings.append(f"The run is recorded here, but not all of it was delivered: {report.error}")
        return False
    if any(report.remaining.values()):
        warnings.append("The run is recorded here, but not all of it is in MLflow yet: mlops sync delivers the rest.")
        return False
    return True


def as_document(result: RunResult) -> dict[str, Any]:
    """The result as strict JSON with stable keys."""
    counts: dict[str, int] = {"total": len(result.cells)}
    for state in ("succeeded", "failed", "timed_out", "kernel_died", "cancelled", "skipped", "never_ran"):
        counts[state] = sum(1 for cell in result.cells if cell.state == state)
    failed = result.failed_cell
    death = result.death
    return {
        "run_id": result.run_id,
        "state": str(result.state),
        "exit_code": result.exit_code,
        "notebook": str(result.notebook),
        "output": str(result.output),
        "start_time": int(result.started_at * 1000),
        "duration": result.duration,
        "cells": counts,
        "failed_cell": None
        if failed is None
        else {
            "index": failed.index,
            "id": failed.cell_id,
            "source_preview": failed.source_preview,
            "error": failed.error,
            "traceback": list(failed.traceback),
        },
        "error": result.error,
        "kernel_death": None
        if death is None
        else {
            "exit_code": death.exit_code,
            "signal": death.signal,
            "peak_memory": death.peak_memory,
            "out_of_memory": death.out_of_memory,
        },
        "lineage": result.lineage,
        "warnings": list(result.warnings),
        "converted": None if result.converted is None else asdict(result.converted),
        "parameters": {name: as_json(value) for name, value in result.parameters.items()},
        "delivered": result.delivered,
    }


def as_json(value: Any) -> Any:
    """Plain data as strict JSON: NaN and infinities as text, tuples and sets as lists, keys as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, set):
        return [as_json(item) for item in sorted(value, key=repr)]
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)
