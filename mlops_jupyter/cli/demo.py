"""``mlops demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ._output import echo, emit_json, heading, lasted, pairs, plain, table
from .run import Progress


@click.command()
@click.option(
    "--dir",
    "folder",
    default="mlops-demo",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the demo's workspace.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def demo(folder: Path, as_json: bool) -> int:
    """A real notebook on real data, headless and tracked, and a report of what there is now."""
    from mlops_jupyter.verbs.demo import demo as demo_verb

    progress = Progress(as_json=False)
    try:
        document = demo_verb(folder.absolute(), on_cell=progress)
    finally:
        progress.close()
    if as_json:
        emit_json(document)
    else:
        show_report(document)
    return int(document["result"]["exit_code"])


def show_report(document: dict[str, Any]) -> None:
    """The report at the end of the demo."""
    result = document["result"]
    echo()
    heading(f"quickstart.ipynb ran headless: {result['state']} in {lasted(result['duration'])}")
    table(
        ["RUN", "STATUS", "NAME", "METRICS", "PARAMETERS", "MODEL", "DATA"],
        [
            [
                run["run_id"][:8],
                run["status"],
                run["name"],
                pairs(run["metrics"], limit=2, short_first=True),
                pairs(run["params"], limit=5),
                " ".join(model["class"].rpartition(".")[2] for model in run["models"]),
                " ".join(f"{data['name']} {' × '.join(map(str, data['shape']))}" for data in run["datasets"][:1]),
            ]
            for run in document["runs"]
        ],
    )
    if document["best"]:
        best = document["best"]
        value = best["metrics"][document["metric"]]
        heading(f"What the best model was made from ({best['name']}, {document['metric']} {value:.4g})")
        for line in document["lineage"].splitlines():
            echo(f"  {plain(line)}")
        echo()
    heading("Where things are")
    for what, where in document["stored"].items():
        echo(f"  {what:<18} {plain(where)}")
    echo()
    heading("Look further")
    for what, command in document["commands"].items():
        if command:
            echo(f"  {what:<28} {plain(command)}")
