"""``mlops demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ._output import echo, emit_json, heading, lasted, number, pairs, plain, table
from .convert import MovingLine
from .run import Progress


@click.command(short_help="The whole life cycle on real data.")
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
    """A working session on real data, made a notebook that runs headless, proven, compared and registered."""
    from mlops_jupyter.verbs.demo import demo as demo_verb

    cells, checks = Progress(as_json=False), MovingLine()

    def leave() -> None:
        cells.close()
        checks.close()

    def step(text: str) -> None:
        leave()
        click.echo(f"· {text} …", err=True)

    try:
        document = demo_verb(folder.absolute(), on_step=step, on_cell=cells, on_check=checks)
    finally:
        leave()
    if as_json:
        emit_json(document)
    else:
        show_report(document)
    return 0 if document["conversion"]["verification"]["grade"] in ("A", "B") else 3


def show_report(document: dict[str, Any]) -> None:
    """The report at the end of the demo."""
    conversion = document["conversion"]
    verification = conversion["verification"]
    cells = conversion["cells"]
    echo()
    heading(f"quickstart.ipynb became {Path(document['converted']).name}: grade {verification['grade']}")
    echo(f"  {plain(verification['reason'])}")
    echo(f"  {cells['kept']} cells kept, {cells['appendix']} in the appendix, {cells['dropped']} left out")
    shown = "  ".join(f"{p['name']}={number(p['default'])}" for p in conversion["parameters"])
    echo(f"  parameters found: {plain(shown)}")
    echo()
    heading("The numbers, in the session and headless")
    other = "  ".join(f"{name}={number(value)}" for name, value in document["other"].items())
    table(
        ["TRACKED CELL", "METRIC", "INTERACTIVE", "HEADLESS, SAME", "", f"HEADLESS, {other}"],
        [
            [
                row["cell"],
                row["metric"],
                _value(row["interactive"]),
                _value(row["same"]),
                "equal" if row["equal"] else "DIFFERS",
                _value(row["other"]),
            ]
            for row in document["side_by_side"]
        ],
    )
    heading("The runs")
    labels = {"interactive": "session", "same": "headless", "other": f"headless, {other}"}
    table(
        ["RUN", "WHERE", "NAME", "METRICS", "PARAMETERS", "MODEL", "DATA"],
        [
            [
                run["run_id"][:8],
                labels[where],
                run["name"],
                pairs(run["metrics"], limit=1, short_first=True),
                pairs(run["params"], limit=4),
                " ".join(model["class"].rpartition(".")[2] for model in run["models"]),
                " ".join(f"{data['name']} {' × '.join(map(str, data['shape']))}" for data in run["datasets"][:1]),
            ]
            for where, runs in document["runs"].items()
            for run in runs
        ],
    )
    best, registered = document["best"], document["registered"]
    value = best["metrics"][document["metric"]]
    heading(f"Registered: {registered['name']} version {registered['version']}")
    echo(f"  {best['name']} of run {best['run_id'][:8]}, {document['metric']} {value:.4f}")
    echo(f"  load it with {plain(registered['load'])}")
    for note in registered["notes"]:
        echo(f"  {plain(note)}")
    echo()
    heading("What it was made from")
    for line in document["lineage"].splitlines():
        echo(f"  {plain(line)}")
    echo()
    heading("Where things are")
    for what, where in document["stored"].items():
        echo(f"  {what:<18} {plain(where)}")
    echo()
    heading(f"Look further (all of this took {lasted(document['duration'])})")
    for what, command in document["commands"].items():
        echo(f"  {what:<28} {plain(command)}")


def _value(value: Any) -> str:
    return "" if value is None else f"{value:.6f}" if isinstance(value, float) else str(value)
