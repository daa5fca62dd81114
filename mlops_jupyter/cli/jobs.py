"""``mlops submit`` and ``mlops jobs``: notebooks on a cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from mlops_jupyter.workspace import open_workspace

from ._groups import ListingGroup
from ._output import echo, emit_json, heading, lasted, number, pairs, plain, table, when

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
_INTERRUPTED = 130
_FILE_HELP = "Parameters from a YAML or JSON file; of several the last one counts."


@click.command(short_help="Run a notebook on a Ray cluster.")
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option("--cpus", type=float, default=1.0, show_default=True, metavar="N", help="Processors to reserve.")
@click.option("--gpus", type=float, default=0.0, show_default=True, metavar="N", help="GPUs to reserve.")
@click.option("--memory", metavar="SIZE", help="Memory to reserve, for example 4GB.")
@click.option("--address", metavar="URL", help="The cluster's dashboard; default: RAY_ADDRESS, else one started here.")
@click.option("-p", "--parameter", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="Set a parameter.")
@click.option("-f", "--params-file", multiple=True, type=click.Path(path_type=Path), help=_FILE_HELP)
@click.option("-y", "--yaml", "yaml_text", multiple=True, metavar="YAML", help="Parameters as YAML text.")
@click.option("--include", multiple=True, type=click.Path(path_type=Path), help="A file or folder to take along.")
@click.option("--name", metavar="NAME", help="Name of the job; default: the notebook's.")
@click.option("--wait", is_flag=True, help="Stay until it is over, and end with its exit code.")
@_JSON
def submit(
    notebook: Path,
    cpus: float,
    gpus: float,
    memory: str | None,
    address: str | None,
    parameters: tuple[tuple[str, str], ...],
    params_file: tuple[Path, ...],
    yaml_text: tuple[str, ...],
    include: tuple[Path, ...],
    name: str | None,
    wait: bool,
    as_json: bool,
) -> int:
    """Run NOTEBOOK on a Ray cluster; what it reads goes along, and its run, outputs and log come back."""
    from mlops_jupyter.compute.options import parse_memory
    from mlops_jupyter.verbs.submit import submit as submit_verb

    submitted: list[str] = []

    def on_submitted(job_id: str) -> None:
        submitted.append(job_id)
        click.echo(f"job {job_id}", err=True)

    try:
        document = submit_verb(
            notebook,
            cpus=cpus,
            gpus=gpus,
            memory=0 if memory is None else parse_memory(memory),
            address=address,
            parameters=parameters,
            params_file=params_file,
            yaml=yaml_text,
            include=include,
            name=name,
            wait=wait,
            tell=lambda line: click.echo(plain(line), err=True),
            on_log=_show_log,
            on_submitted=on_submitted,
        )
    except KeyboardInterrupt:
        return _detached(submitted)
    if as_json:
        emit_json(document)
    else:
        _show(document["job"])
    return int(document["exit_code"])


def _detached(submitted: list[str]) -> int:
    if not submitted:
        raise KeyboardInterrupt
    job_id = submitted[0]
    click.echo(
        f"mlops: not waiting any more; the job goes on. Look: mlops jobs show {job_id[:8]}. "
        f"Stop it: mlops jobs cancel {job_id[:8]}",
        err=True,
    )
    return _INTERRUPTED


def _show_log(text: str) -> None:
    """What a job printed, on standard error, without what would drive the terminal."""
    for line in text.splitlines():
        click.echo(plain(line), err=True)


@click.group(cls=ListingGroup)
def jobs() -> None:
    """Notebooks that were submitted to a cluster. Without a verb: list."""


@jobs.command("list")
@click.option(
    "--limit", default=50, show_default=True, metavar="N", type=click.IntRange(1, 100_000), help="Most to list."
)
@_JSON
def list_(limit: int, as_json: bool) -> None:
    """List jobs, latest first."""
    from mlops_jupyter.verbs.jobs import jobs_list

    with open_workspace() as workspace:
        document = jobs_list(workspace, limit=limit)
    if as_json:
        emit_json(document)
        return
    if not document["jobs"]:
        echo("No jobs yet. Start one with: mlops submit NOTEBOOK")
        return
    table(
        ["JOB", "SUBMITTED", "STATE", "NAME", "RESOURCES", "RUN", "TOOK", "REASON"],
        [
            [
                job["job_id"][:8],
                when(job["submit_time"]),
                job["state"],
                job["name"],
                _resources(job),
                (job["run_id"] or "")[:8],
                lasted(job["duration"]),
                job["reason"][:60],
            ]
            for job in document["jobs"]
        ],
        right=(6,),
    )
    if document["total"] > len(document["jobs"]):
        echo(f"{len(document['jobs'])} of {document['total']} jobs; more with --limit.")


@jobs.command()
@click.argument("job_id")
@_JSON
def show(job_id: str, as_json: bool) -> None:
    """One job with what came back. JOB_ID: the id or its first 8 characters."""
    from mlops_jupyter.verbs.jobs import jobs_show

    with open_workspace() as workspace:
        document = jobs_show(workspace, job_id)
    if as_json:
        emit_json(document)
        return
    _show(document["job"])
    run = document["run"]
    if run is not None and run["output"]:
        echo(f"  output    {plain(run['output'])}")
    for file in document["files"]:
        echo(f"  file      {plain(file['at'])}")
    for warning in document["warnings"]:
        click.echo(f"mlops: {plain(warning)}", err=True)


@jobs.command()
@click.argument("job_id")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job is over.")
@_JSON
def logs(job_id: str, follow: bool, as_json: bool) -> int:
    """What a job has printed. JOB_ID: the id or its first 8 characters."""
    from mlops_jupyter.store.jobs import resolve_job
    from mlops_jupyter.verbs.jobs import jobs_logs
    from mlops_jupyter.verbs.submit import wait_for

    def show_text(text: str) -> None:
        for line in text.splitlines():
            echo(plain(line))

    with open_workspace() as workspace:
        job = resolve_job(workspace.store, job_id)
        if follow:
            try:
                wait_for(workspace, job.job_id, on_log=(lambda _: None) if as_json else show_text)
            except KeyboardInterrupt:
                return _detached([job.job_id])
        if as_json:
            emit_json(jobs_logs(workspace, job.job_id))
        elif not follow:
            show_text(jobs_logs(workspace, job.job_id)["log"])
    return 0


@jobs.command()
@click.argument("job_id")
@_JSON
def cancel(job_id: str, as_json: bool) -> None:
    """Stop a job, also one that still waits. JOB_ID: the id or its first 8 characters."""
    from mlops_jupyter.verbs.jobs import jobs_cancel

    with open_workspace() as workspace:
        document = jobs_cancel(workspace, job_id)
    if as_json:
        emit_json(document)
    else:
        _show(document)


def _show(job: dict[str, Any]) -> None:
    heading(f"{job['state']}  {job['name']}{'' if job['duration'] is None else '  in ' + lasted(job['duration'])}")
    if job["reason"]:
        echo(f"  reason    {plain(job['reason'])}")
    echo(f"  job       {job['job_id']}")
    if job["run_id"]:
        echo(f"  run       {job['run_id']}")
    echo(f"  notebook  {plain(job['notebook'])}")
    echo(f"  cluster   {'this machine, ' if job['local'] else ''}{plain(job['address'])}")
    echo(f"  with      {_resources(job)}{'' if not job['parameters'] else '  ' + plain(pairs(job['parameters']))}")
    if job["state"] not in {"SUCCEEDED", "STOPPED"} and sys.stdout.isatty():
        echo(f"  look      mlops jobs logs -f {job['job_id'][:8]}")


def _resources(job: dict[str, Any]) -> str:
    asked = job["resources"]
    parts = [f"{number(asked['cpus'])} CPU"]
    if asked["gpus"]:
        parts.append(f"{number(asked['gpus'])} GPU")
    if asked["memory"]:
        parts.append(f"{number(asked['memory'] / 1024**3)} GiB")
    return " ".join(parts)
