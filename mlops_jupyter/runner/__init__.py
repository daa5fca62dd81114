"""Headless runs: a notebook executed in a kernel of its own, with capture, truthful end states and whole output.

The only place that imports nbclient and papermill. ``run_notebook`` is what ``mlops run`` calls; ``MlopsEngine``
gives papermill the same loop.
"""

from __future__ import annotations

from .cancellation import Cancellation
from .parameters import Parameter, infer_parameters
from .recover import recover_runs
from .result import CellCallback, CellResult, FailedCell, KernelDeath, RunResult, State
from .run import run_notebook

__all__ = [
    "Cancellation",
    "CellCallback",
    "CellResult",
    "FailedCell",
    "KernelDeath",
    "Parameter",
    "RunResult",
    "State",
    "infer_parameters",
    "recover_runs",
    "run_notebook",
]
