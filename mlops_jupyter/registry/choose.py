"""Which model of a run is meant. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlops_jupyter.entities import ModelRecord, Run
from mlops_jupyter.errors import TargetNotFoundError, UsageError

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Candidate:
    """A recorded model and the run that fitted it."""

    run: Run
    model: ModelRecord

    @property
    def shown(self) -> str:
        """For people: ``model (LogisticRegression) of run 0a1b2c3d``."""
        return f"{self.model.name} ({self.model.class_name.rpartition('.')[2]}) of run {self.run.run_uid[:8]}"


def choose(run: Run, candidates: Sequence[Candidate], *, variable: str | None) -> Candidate:
    """The model to register: the only one, or the one that ``variable`` held.

    Of several models under one name in one run the last one counts: that is what the variable held at the end.

    Raises:
        TargetNotFoundError: the run recorded no model, or none under that name.
        UsageError: several fit, or the one that fits was recorded without its bytes.
    """
    latest = list({(c.run.run_uid, c.model.name): c for c in candidates}.values())
    if not latest:
        raise TargetNotFoundError(
            f"Run {run.run_uid[:8]} ({run.name}) recorded no model.",
            hint="A model is recorded where a tracked cell fits it; one in a file is registered by its path.",
        )
    if variable is not None:
        fitting = [c for c in latest if c.model.name == variable]
        if not fitting:
            names = ", ".join(sorted({c.model.name for c in latest})[:_SHOWN])
            raise TargetNotFoundError(
                f"Run {run.run_uid[:8]} recorded no model {variable!r}.", hint=f"It recorded: {names}."
            )
    else:
        whole = [c for c in latest if c.model.digest is not None]
        fitting = whole if len(whole) == 1 else latest
    if len(fitting) > 1:
        raise _several(run, fitting, variable)
    found = fitting[0]
    if found.model.digest is None:
        raise UsageError(
            f"The model {found.shown} was recorded without its bytes: {found.model.error or 'no reason is recorded'}.",
            hint=_remedy(found.model.error or ""),
        )
    return found


def _several(run: Run, fitting: Sequence[Candidate], variable: str | None) -> UsageError:
    shown = "; ".join(c.shown for c in fitting[:_SHOWN]) + (" …" if len(fitting) > _SHOWN else "")
    by_name = len({c.model.name for c in fitting}) == len(fitting)
    where = f"Run {run.run_uid[:8]} has {len(fitting)} models" + (f" {variable!r}" if variable is not None else "")
    if by_name:
        hint = f"Say which with --model VARIABLE, for example --model {fitting[-1].model.name}"
    else:
        hint = f"Name the run that fitted it, for example: mlops register {fitting[-1].run.run_uid[:8]} --name NAME"
    return UsageError(f"{where}: {shown}.", hint=hint)


def _remedy(error: str) -> str:
    if error.startswith("larger than"):
        return "Raise model_size_limit (mlops.toml or MLOPS_MODEL_SIZE_LIMIT, in bytes) and run the cell again."
    if error.startswith("cannot be pickled"):
        return "Keep what cannot be pickled (locks, open files, connections) out of the model and run the cell again."
    return "Run the cell again with capture_models on."
