"""``mlops runs``: list, show, compare, reproduce, note, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from mlops_jupyter.workspace import open_workspace

from ._groups import ListingGroup
from ._output import echo, emit_json, heading, lasted, number, pairs, plain, table, when
from .reproduce import reproduce

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
_TEAM = click.option("--team", is_flag=True, help="Read the team's PostgreSQL (MLOPS_STORE_URL).")


@click.group(cls=ListingGroup)
def runs() -> None:
    """Runs with their parameters, metrics and lineage. Without a verb: list."""


@runs.command("list")
@click.option("--filter", "filter_", default="", metavar="EXPR", help="MLflow's filter grammar: metrics.acc > 0.9")
@click.option("--order-by", multiple=True, metavar="EXPR", help="metrics.acc DESC; may be given several times.")
@click.option(
    "--limit", metavar="N", default=50, show_default=True, type=click.IntRange(1, 100_000), help="Most to list."
)
@click.option("--offset", metavar="N", default=0, show_default=True, type=click.IntRange(0), help="Leave out so many.")
@_TEAM
@_JSON
def list_(filter_: str, order_by: tuple[str, ...], limit: int, offset: int, team: bool, as_json: bool) -> None:
    """List runs, latest first."""
    from mlops_jupyter.verbs.runs import list_runs

    with open_workspace() as workspace:
        document = list_runs(workspace, filter=filter_, order_by=list(order_by), limit=limit, offset=offset, team=team)
    if as_json:
        emit_json(document)
        return
    if not document["runs"]:
        echo(
            "No run fits the filter."
            if filter_
            else "No runs yet. Put %%track on the first line of a cell after %load_ext mlops_jupyter."
        )
        return
    table(
        ["RUN", "STARTED", "STATUS", "NAME", "METRICS", "PARAMETERS", "TOOK"],
        [
            [
                run["run_id"][:8],
                when(run["start_time"]),
                run["status"],
                run["name"],
                pairs(run["metrics"], limit=2, short_first=True),
                pairs(run["params"], limit=3),
                lasted(run["duration"]),
            ]
            for run in document["runs"]
        ],
        right=(6,),
    )
    if document["total"] > offset + len(document["runs"]):
        echo(f"{len(document['runs'])} of {document['total']} runs; more with --limit.")


@runs.command()
@click.argument("run_id")
@_TEAM
@_JSON
def show(run_id: str, team: bool, as_json: bool) -> None:
    """Everything that is known of one run. RUN_ID: ours, MLflow's, or the first 8 characters of either."""
    from mlops_jupyter.verbs.runs import show_run

    with open_workspace() as workspace:
        document = show_run(workspace, run_id, team=team)
    if as_json:
        emit_json(document)
    else:
        show_document(document)


def show_document(run: Mapping[str, Any]) -> None:
    """One run for people."""
    heading(f"{run['name']}  {run['run_id']}")
    facts = {
        "status": run["status"],
        "experiment": run["experiment"],
        "notebook": run["notebook"],
        "started": when(run["start_time"]),
        "took": lasted(run["duration"]),
        "deleted": when(run["deleted_time"]) and f"{when(run['deleted_time'])}; mlops gc removes it",
        "reproduced": _reproduced(run["reproduced"]),
        "user": run["user"],
        "parent run": run["parent_run_id"],
        "MLflow run": run["mlflow_run_id"],
        "commit": run["tags"].get("mlflow.source.git.commit"),
        "note": run["note"],
    }
    for key, value in facts.items():
        if value:
            echo(f"  {key:<11} {plain(value)}")
    if run["param_details"]:
        table(
            ["PARAMETER", "VALUE", "TYPE", "FOUND AS"],
            [[p["key"], p["value"], p["type"], p["source"]] for p in run["param_details"]],
        )
    if run["metrics"]:
        history = run["metric_history"]
        table(
            ["METRIC", "LAST VALUE", "VALUES"],
            [[key, number(value), len(history.get(key, ())) or 1] for key, value in run["metrics"].items()],
            right=(1, 2),
        )
    if run["datasets"]:
        table(
            ["DATA SET", "CONTEXT", "SHAPE", "DIGEST", "FROM"],
            [
                [d["name"], d["context"], " × ".join(map(str, d["shape"])), d["digest"][:20], d["source"]]
                for d in run["datasets"]
            ],
        )
    if run["models"]:
        table(
            ["MODEL", "CLASS", "BYTES", "DIGEST"],
            [[m["name"], m["class"], m["size"], (m["digest"] or m["error"] or "")[:40]] for m in run["models"]],
            right=(2,),
        )
    if run["artifacts"]:
        table(["FILE", "BYTES"], [[a["path"], a["size"]] for a in run["artifacts"]], right=(1,))
    if run["executions"]:
        table(
            ["CELL", "STATUS", "TOOK", "SOURCE"],
            [
                [
                    f"In [{e['execution_count'] or ' '}]",
                    e["status"],
                    lasted(e["duration"]),
                    next((line for line in e["source"].splitlines() if line.strip()), "")[:80],
                ]
                for e in run["executions"]
            ],
        )
    if run["children"]:
        echo("  child runs  " + " ".join(child[:8] for child in run["children"]))
    echo(f"  lineage     mlops lineage run:{run['run_id'][:8]}")


def _reproduced(reproduced: Mapping[str, Any] | None) -> str:
    return "" if reproduced is None else f"{when(reproduced['at'])}, {reproduced['verdict'].replace('_', ' ')}"


@runs.command()
@click.argument("run_ids", nargs=-1, required=True)
@_TEAM
@_JSON
def compare(run_ids: tuple[str, ...], team: bool, as_json: bool) -> None:
    """Parameters and metrics of several runs side by side."""
    from mlops_jupyter.verbs.runs import compare_runs

    with open_workspace() as workspace:
        document = compare_runs(workspace, list(run_ids), team=team)
    if as_json:
        emit_json(document)
        return
    ids = [run["run_id"] for run in document["runs"]]
    rows: list[list[object]] = [["name", *(run["name"] for run in document["runs"])]]
    rows += [["status", *(run["status"] for run in document["runs"])]]
    for section in ("params", "metrics"):
        differing = set(document[f"differing_{section}"])
        for key, values in document[section].items():
            mark = "≠ " if key in differing else "  "
            rows.append([f"{mark}{section}.{key}", *(number(values.get(uid, "")) for uid in ids)])
    table(["", *(uid[:8] for uid in ids)], rows)


@runs.command()
@click.argument("run_id")
@click.argument("text")
@_JSON
def note(run_id: str, text: str, as_json: bool) -> None:
    """Replace the note of a run (Markdown)."""
    from mlops_jupyter.verbs.runs import note_run

    with open_workspace() as workspace:
        document = note_run(workspace, run_id, text)
    if as_json:
        emit_json(document)
    else:
        echo(f"Noted on run {document['run_id'][:8]}.")


@runs.command(short_help="Mark a run as deleted.")
@click.argument("run_id")
@_JSON
def delete(run_id: str, as_json: bool) -> None:
    """Mark a run as deleted; mlops gc removes what only it needed."""
    from mlops_jupyter.verbs.runs import delete_run

    with open_workspace() as workspace:
        document = delete_run(workspace, run_id)
    if as_json:
        emit_json(document)
    else:
        echo(f"Deleted run {document['run_id'][:8]}.")


runs.add_command(reproduce)
