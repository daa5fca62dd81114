"""``mlops submit``: a notebook on a Ray cluster, as a job that this workspace remembers and takes the results of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops_jupyter.compute.folders import job_log, read_log
from mlops_jupyter.compute.inputs import Input, find_inputs
from mlops_jupyter.compute.options import load_options
from mlops_jupyter.compute.reconcile import reconcile
from mlops_jupyter.compute.submission import check_size, check_target, notebook_name, shown_size, submit_job
from mlops_jupyter.entities import Job, Resources
from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.store.jobs import get_job
from mlops_jupyter.workspace import Workspace, open_workspace

from .jobs import job_document

Tell = Callable[[str], None]
"""Gets text for people: lines of progress, or what the job prints."""

PAUSE = 0.5
"""Seconds between two looks at a job that somebody waits for."""


def submit(
    notebook: Path,
    *,
    cpus: float = 1.0,
    gpus: float = 0.0,
    memory: int = 0,
    address: str | None = None,
    parameters: Iterable[tuple[str, str]] | Mapping[str, Any] = (),
    params_file: Sequence[Path] = (),
    yaml: Sequence[str] = (),
    include: Sequence[Path] = (),
    name: str | None = None,
    wait: bool = False,
    tell: Tell = lambda _: None,
    on_log: Tell = lambda _: None,
    on_submitted: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run ``notebook`` on a cluster; the document of ``mlops submit --json``.

    ``memory`` in bytes. ``address``: the cluster's dashboard; None: the one of the settings, else one on this machine
    that is started where there is none. ``include``: files and folders to take along besides those that are found.
    ``wait``: until the job is over; ``on_log`` gets what it prints meanwhile, ``on_submitted`` the job's id before.

    Raises:
        TargetNotFoundError: there is no such notebook, or no such file to include.
        UsageError: bad input, or a request that the cluster can never serve; nothing was sent.
        UnreachableError: cluster or exchange do not answer.
        TransientError: Ray did not come up, or the workspace cannot be written.
    """
    notebook = Path(notebook)
    if notebook.is_dir():
        raise UsageError(f"{notebook} is a folder, not a notebook.", hint="Name the .ipynb file in it.")
    if not notebook.exists():
        raise TargetNotFoundError(f"There is no notebook {str(notebook)!r}.", hint="Check the path.")
    notebook = notebook.absolute()
    with open_workspace(notebook.parent) as workspace:
        settings = workspace.settings
        options = load_options(settings)
        resources = Resources(cpus=cpus, gpus=gpus, memory=memory)
        given, cells = _check(workspace, notebook, parameters, params_file, yaml)
        target = check_target(settings, options, resources, address)
        inputs = find_inputs(workspace.store, settings.root, notebook, cells, values=given.values(), include=include)
        size = check_size(inputs, options.input_limit)
        tell(_what_travels(inputs, size))
        job = submit_job(
            settings, workspace.store, options, target, notebook=notebook_name(settings.root, notebook),
            inputs=inputs, resources=resources, name=name or notebook.stem, parameters=_json_of(given),
            parameters_yaml=_yaml_of(given), submitter=_actor(settings.root), tell=tell,
        )  # fmt: skip
        on_submitted(job.job_id)
        if wait:
            job = wait_for(workspace, job.job_id, on_log=on_log)
        return {
            "job": job_document(job, settings),
            "sent": {
                "files": [{"path": i.path, "size": i.size, "reason": i.reason} for i in inputs],
                "bytes": size,
            },
            "exit_code": (job.exit_code or 0) if job.state.is_end else 0,
        }


def wait_for(workspace: Workspace, job_id: str, *, on_log: Tell, start: int = 0) -> Job:
    """Stay with a job until it is over, passing on what it prints from byte ``start`` of its log on."""
    log, position = job_log(workspace.settings, job_id), start
    while True:
        reconcile(workspace.settings, workspace.store, only=[job_id])
        job = get_job(workspace.store, job_id)
        text, position = read_log(log, position)
        if text:
            on_log(text)
        if job.state.is_end:
            return job
        time.sleep(PAUSE)


def _check(
    workspace: Workspace,
    notebook: Path,
    parameters: Iterable[tuple[str, str]] | Mapping[str, Any],
    files: Sequence[Path],
    texts: Sequence[str],
) -> tuple[dict[str, Any], list[str]]:
    """Everything that a run would refuse is refused here, before anything travels."""
    from mlops_jupyter.runner.plan import make_plan

    plan = make_plan(workspace.settings, notebook, None, parameters, files, texts, None)
    cells = [str(cell.source) for cell in plan.document.cells if cell.cell_type == "code"] if plan.is_python else []
    return plan.given, cells


def _what_travels(inputs: Sequence[Input], size: int) -> str:
    others = [file.path for file in inputs[1:]]
    listed = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
    return f"sends the notebook{' with ' + listed if others else ''} ({shown_size(size)})"


def _yaml_of(given: Mapping[str, Any]) -> str:
    if not given:
        return ""
    import yaml

    try:
        return yaml.safe_dump({name: _plain(value) for name, value in given.items()}, allow_unicode=True)
    except yaml.YAMLError as error:
        raise UsageError(f"A parameter cannot be sent: {error}.", hint="Give plain data.") from error


def _plain(value: Any) -> Any:
    """Subclasses of text and tuples as what YAML knows."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _json_of(given: Mapping[str, Any]) -> dict[str, Any]:
    from .run import as_json

    return {name: as_json(value) for name, value in given.items()}


def _actor(root: Path) -> str:
    from mlops_jupyter.runner.parent import actor

    return actor(root)
