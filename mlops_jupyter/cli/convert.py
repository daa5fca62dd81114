"""``mlops convert``."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._numbers import FiniteRange
from ._output import echo, emit_json, heading, lasted, plain, table
from ._verification import show_verification

if TYPE_CHECKING:
    from mlops_jupyter.verbs.convert import Level

_OFFERED = 6
_ORIGINS = {"recorded": "as it ran", "static": "by its text alone"}


@click.command(short_help="Make a clean, verified notebook with parameters.")
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The notebook to write.")
@click.option("--target", metavar="NAME", help="Variable to make, or a cell's position (0-based).")
@click.option(
    "-p",
    "--parameter",
    "names",
    multiple=True,
    metavar="NAME",
    help="Take this parameter and no others; may be given several times.",
)
@click.option(
    "--parameters",
    "limit",
    metavar="N",
    type=click.IntRange(0),
    default=8,
    show_default=True,
    help="Most parameters to take.",
)
@click.option(
    "--verify",
    type=click.Choice(["fast", "full", "none"]),
    default="fast",
    show_default=True,
    help="How the result is checked by running it in a scratch copy.",
)
@click.option(
    "--budget",
    type=FiniteRange(0, min_open=True),
    metavar="SECONDS",
    help="Most time for the check; default: 600, with --verify full 1800.",
)
@click.option("--force", is_flag=True, help="Replace OUTPUT where it is a file of yours.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def convert(
    notebook: Path,
    output: Path,
    target: str | None,
    names: tuple[str, ...],
    limit: int,
    verify: Level,
    budget: float | None,
    force: bool,
    as_json: bool,
) -> int:
    """Make a clean notebook with parameters from what NOTEBOOK really ran, and check that it gives the same.

    Without --target: the latest executions of tracked cells and what wrote files; where there are none, the results
    at the end. A notebook that was never tracked is converted by its text, and the result says so.
    """
    from mlops_jupyter.verbs.convert import convert as convert_verb

    progress = MovingLine()
    try:
        document = convert_verb(
            notebook,
            output,
            target=target,
            names=names or None,
            limit=limit,
            verify=verify,
            budget=budget,
            force=force,
            on_progress=progress,
        )
    finally:
        progress.close()
    if as_json:
        emit_json(document)
    else:
        show(document)
    return 3 if (document["verification"] or {}).get("grade") == "C" else 0


class MovingLine:
    """One moving line on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._moving = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._moving:
            click.echo(f"\r{plain(text)[:100]:<100}", nl=False, err=True)
        else:
            click.echo(f"mlops: {plain(text)}", err=True)

    def close(self) -> None:
        """Leave the moving line."""
        if self._moving:
            click.echo("\r" + " " * 100 + "\r", nl=False, err=True)


def show(document: dict[str, Any]) -> None:
    """A conversion for people."""
    cells = document["cells"]
    took = lasted(document["duration"])
    heading(f"{document['output']}  from {document['notebook']}, {_ORIGINS[document['origin']]}, in {took}")
    echo(f"  target    {plain(document['target'])}")
    echo(f"  cells     {cells['kept']} kept, {cells['dropped']} left out, {cells['appendix']} in the appendix")
    for each in document["inputs"]:
        echo(f"  reads     {plain(each['path'])}")
    if document["parameters"]:
        table(
            ["PARAMETER", "TYPE", "DEFAULT", "FOUND AS", "HELP"],
            [[p["name"], p["type"], _short(p["default"]), p["reason"], p["help"]] for p in document["parameters"]],
        )
    if document["offered"]:
        offered = [f"{p['name']}={_short(p['default'], 20)}" for p in document["offered"]]
        more = f" … +{len(offered) - _OFFERED}" if len(offered) > _OFFERED else ""
        echo(f"  offered   {plain('  '.join(offered[:_OFFERED]))}{more}")
        echo("            (-p NAME takes those named and no others)")
    for note in document["notes"]:
        echo(f"  note      {plain(note)}")
    if document["verification"] is not None:
        show_verification(document["verification"])
    given = ""
    for first in document["parameters"][:1]:
        value = first["default"]
        text = value if isinstance(value, str) else json.dumps(value)
        given = f" -p {first['name']} {shlex.quote(text)}"
    command = f"mlops run {shlex.quote(document['output'])}{given}"
    echo(f"  next      {plain(command)}")


def _short(value: object, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"
