"""The dearer checks: V2, started as a scheduler would, and V3, each parameter changed once."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_jupyter.errors import MlopsError

from .checks import (
    Context,
    Outcome,
    against_replay,
    cannot_tell,
    check_of,
    new_scratch,
    outcome_of,
    replayed_facts,
    run_once,
)
from .compare import compare_facts
from .documents import converted_parameters, parameter_schemas
from .perturb import other_values
from .replay import blocked_path, prepare, replay_environment, run_child
from .replayed import Replay, as_replay
from .result import Check, Parameter
from .scratch import Scratch, remove_scratch

if TYPE_CHECKING:
    from .verify import Fast

_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "VIRTUAL_ENV", "LD_LIBRARY_PATH",
                   "PYTHONPATH", "SYSTEMROOT")  # fmt: skip
"""What a scheduler gives a process."""


def run_as_scheduled(context: Context, fast: Fast, *, name: str) -> Outcome:
    """V2: ``mlops run`` as a process of its own, from another folder, with little environment. One notebook is one
    step, so the pipeline that a scheduler sees is of one."""
    if fast.first is None or cannot_tell(context, fast.first) is not None:
        return Outcome(check_of("V2", "unknown", "there is no replay to compare it with", 0.0), cannot=True)
    if context.left <= 0:
        return Outcome(check_of("V2", "skipped", "the time budget was used up", 0.0), cannot=True)
    try:
        scratch = new_scratch(context)
    except MlopsError as error:
        return Outcome(check_of("V2", "unknown", str(error), 0.0), cannot=True)
    try:
        run = _scheduled(context, scratch, name)
    except MlopsError as error:
        run = str(error)
    finally:
        remove_scratch(scratch)
    comparison = None
    if isinstance(run, Replay):
        comparison = against_replay(context, fast.first, run)
    outcome = outcome_of(context, "V2", run, comparison, fast.instability)
    if outcome.within:
        check = outcome.check
        outcome.check = check_of("V2", check.state, f"one notebook, so one step: {check.detail}", check.seconds)
    return outcome


def _scheduled(context: Context, scratch: Scratch, name: str) -> Replay | str:
    began = time.monotonic()
    folder = Path(os.path.normpath(scratch.root / context.folder))
    folder.mkdir(parents=True, exist_ok=True)
    notebook = folder / name
    document = prepare(context.converted)
    notebook.write_text(json.dumps(document), encoding="utf-8")
    place = scratch.folder / "scheduled"
    place.mkdir()
    output, home = place / "out.ipynb", scratch.root / ".mlops"
    given = [part for item in converted_parameters(context.converted).items() for part in _given(*item)]
    environment = replay_environment(scratch, home=home)
    # How many threads a library takes, and which kernels, is the machine's and changes the last bits of a number.
    wanted = (
        "OMP_",
        "OPENBLAS_",
        "MKL_",
        "BLIS_",
        "MLOPS_",
        "MLFLOW_",
        "TMPDIR",
        "JUPYTER_RUNTIME_DIR",
        "PYTHONDONTWRITEBYTECODE",
        *_KEPT_VARIABLES,
    )
    least = {key: value for key, value in environment.items() if key.startswith(wanted)}
    command = [
        sys.executable, "-m", "mlops_jupyter.verification.confined", str(scratch.folder), str(scratch.original),
        sys.executable, "-m", "mlops_jupyter", "run", str(notebook), str(output), *given, "--json",
        "--timeout", str(max(1.0, context.left)),
    ]  # fmt: skip
    answer: list[str] = []
    log = run_child(
        command, environment=least, cwd=place, limit=max(1.0, context.left) + 60.0, cancelled=context.cancelled,
        capture=answer,
    )  # fmt: skip
    try:
        result: Mapping[str, Any] = json.loads("".join(answer))
    except ValueError:
        return "the time budget was used up" if context.left <= 0 else f"mlops run gave no answer: {log}"
    if "state" not in result:
        return str(result.get("message") or result)
    return as_replay(
        document, result, home=home, output=output, seconds=time.monotonic() - began, confined=True,
        blocked=blocked_path(result.get("error"), scratch),
    )  # fmt: skip


def _given(name: str, value: Any) -> list[str]:
    """A parameter for the command line: text as it is, else JSON."""
    return ["-p", name, value if isinstance(value, str) else json.dumps(value)]


def try_parameters(context: Context, fast: Fast) -> tuple[Check, tuple[Parameter, ...]]:
    """V3: each parameter changed once; something that a cell leaves must change with it."""
    began = time.monotonic()
    schemas = parameter_schemas(context.converted)
    base = fast.second
    if not schemas:
        return check_of("V3", "skipped", "the notebook has no parameters", 0.0), ()
    if base is None or cannot_tell(context, base) is not None or not base.succeeded:
        return check_of("V3", "unknown", "the converted notebook did not run, so there is nothing to compare", 0.0), ()
    defaults = converted_parameters(context.converted)
    with ThreadPoolExecutor(max_workers=2) as pool:
        try:
            jobs = [pool.submit(_try_one, context, fast, base, n, defaults, schemas[n]) for n in schemas]
            found = tuple(job.result() for job in jobs)
        except BaseException:
            context.cancelled.set()
            raise
    states = [p.state for p in found]
    dead = [p.name for p in found if p.state == "dead"]
    told = f"{states.count('alive')} of {len(found)} change what follows"
    told += f"; nothing depends on {', '.join(dead)}" if dead else ""
    failed = [p.name for p in found if p.state == "failed"]
    told += f"; the notebook fails with another {', '.join(failed)}" if failed else ""
    left_out = states.count("skipped")
    told += f"; {left_out} not tried" if left_out else ""
    tried = len(found) - left_out
    state = "failed" if dead else "passed" if tried else "skipped"
    return check_of("V3", state, told, time.monotonic() - began), found  # type: ignore[arg-type]


def _try_one(
    context: Context, fast: Fast, base: Replay, name: str, defaults: Mapping[str, Any], schema: Mapping[str, Any]
) -> Parameter:
    if name not in defaults:
        return Parameter(name=name, state="skipped", detail="it has no default")
    values = other_values(defaults[name], schema)
    if not values:
        return Parameter(name=name, state="skipped", detail="no other value can be made up for a text, path or list")
    failures = []
    for value in values:
        if context.left <= 0:
            return Parameter(name=name, state="skipped", detail="budget: the time was used up")
        run = run_once(context, f"V3-{name}", context.converted, {**defaults, name: value})
        reason = cannot_tell(context, run)
        if reason is not None or not isinstance(run, Replay):
            budget = "budget" in (reason or "")
            return Parameter(name=name, state="skipped", detail=f"{'budget: ' if budget else ''}{reason}")
        changed = _changed(context, fast, base, run, name)
        if changed is not None:
            return Parameter(name=name, state="alive", detail=f"with {value!r} {changed} changes")
        if run.succeeded:
            return Parameter(name=name, state="dead", detail=f"with {value!r} nothing changes")
        failures.append(f"with {value!r} the notebook fails: {run.error or run.state}")
    return Parameter(name=name, state="failed", detail=failures[0])


def _changed(context: Context, fast: Fast, base: Replay, run: Replay, name: str) -> str | None:
    """What else than the parameter itself is not as at the default; None where nothing is."""
    before, after = replayed_facts(context, base), replayed_facts(context, run)
    ran = [facts for key, facts in before.items() if key in after]
    for difference in compare_facts(ran, after, tolerance=0.0).differences:
        if fast.instability.explains(difference) or difference.name == name or difference.kind == "parameter":
            continue
        label = context.labels.get(difference.key, "a cell")
        return f"{difference.name or 'the output'} of {label}"
    return None
