"""``mlops lineage`` and ``mlops gather``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlops_jupyter.workspace import open_workspace

if TYPE_CHECKING:
    from mlops_jupyter.verbs.lineage import Direction

from ._output import echo, emit_json, plain


@click.command()
@click.argument("target")
@click.option("--up", "direction", flag_value="up", help="Only what TARGET was made from.")
@click.option("--down", "direction", flag_value="down", help="Only what was made from TARGET.")
@click.option(
    "--format",
    "format_",
    default="text",
    show_default=True,
    type=click.Choice(["text", "mermaid", "dot", "json", "openlineage", "prov"]),
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def lineage(target: str, direction: Direction | None, format_: str, as_json: bool) -> None:
    """What TARGET was made from, and what was made from it.

    TARGET: path/to/file, a URL, run:ID, model:NAME/VERSION, model:NAME@ALIAS, cell:EXECUTION_ID,
    cell:NOTEBOOK#CELL_ID, or a variable's name.
    """
    from mlops_jupyter.verbs.lineage import lineage as find

    with open_workspace() as workspace:
        graph = find(workspace, target, direction=direction or "both")
    if as_json or format_ == "json":
        emit_json(graph.to_json())
    elif format_ in ("openlineage", "prov"):
        document = graph.to_openlineage() if format_ == "openlineage" else graph.to_prov()
        echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        if format_ == "text":
            text = graph.to_text(direction=direction or "both")
        else:
            text = graph.to_mermaid() if format_ == "mermaid" else graph.to_dot()
        echo("\n".join(plain(line) for line in text.splitlines()))


@click.command(short_help="The smallest set of cells that makes a variable.")
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option("--target", required=True, metavar="NAME", help="Variable to make, or a cell's position (0-based).")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write a notebook instead of printing the code.")
@click.option("--force", is_flag=True, help="Replace OUTPUT where it exists.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def gather(notebook: Path, target: str, output: Path | None, force: bool, as_json: bool) -> None:
    """The smallest ordered set of recorded cell sources that makes --target.

    From the recorded history of NOTEBOOK, or by static analysis where there is none (and says so).
    """
    from mlops_jupyter.verbs._history import check_there
    from mlops_jupyter.verbs._targets import position_or_name
    from mlops_jupyter.verbs.gather import check_output, document_of
    from mlops_jupyter.verbs.gather import gather as find

    check_there(notebook)
    if output is not None:
        check_output(notebook, output, force=force)
    with open_workspace(notebook.absolute().parent) as workspace:
        found = find(workspace, notebook=notebook, target=position_or_name(target))
        if output is not None:
            found.to_notebook(output, force=force, document=document_of(workspace, found))
    if as_json:
        emit_json(found.to_json())
    elif output is not None:
        echo(f"{len(found.executions)} cells that make {target} are in {output}.")
    else:
        echo(found.source)
    if found.origin == "static":
        click.echo("mlops: no recorded history of this notebook; this is by static analysis alone.", err=True)
