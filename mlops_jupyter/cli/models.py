"""``mlops register`` and ``mlops models``."""

from __future__ import annotations

import sys
from typing import Any

import click

from mlops_jupyter.workspace import open_workspace

from ._groups import ListingGroup
from ._output import echo, emit_json, heading, plain, table, when

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")


@click.command(short_help="Make a model a version in MLflow's registry.")
@click.argument("target", metavar="RUN|PATH")
@click.option(
    "--name", metavar="NAME", required=True, help="Name of the registered model; made where it does not exist."
)
@click.option("--model", metavar="VARIABLE", help="Which model, where the run has several: the variable that held it.")
@click.option("-m", "--description", metavar="TEXT", help="Description of the version.")
@click.option(
    "--trust",
    multiple=True,
    metavar="pickle|TYPE",
    help="Allow to load a pickle file, or a type that a skops file may make. May be given several times.",
)
@_JSON
def register(
    target: str, name: str, model: str | None, description: str | None, trust: tuple[str, ...], as_json: bool
) -> None:
    """Make the model of RUN, or the one in the file PATH, a version of the registered model NAME in MLflow.

    RUN: our id, MLflow's, or the first 8 characters of either. PATH: .skops, .pkl, .joblib, or an MLflow model folder.
    Repeating it gives the same version.
    """
    from mlops_jupyter.verbs.register import register as register_verb

    with open_workspace() as workspace:
        document = register_verb(
            workspace, target, name=name, model=model, description=description, trust=trust,
            on_step=_step if sys.stderr.isatty() else None,
        )  # fmt: skip
    if as_json:
        emit_json(document)
        return
    word = "Registered" if document["created"] else "Registered before:"
    heading(f"{word} {document['name']} version {document['version']}")
    facts = {
        "class": document["class"],
        "format": f"{document['flavor']} ({document['format']})",
        "variable": document["variable"],
        "file": document["file"],
        "run": document["run_id"] and document["run_id"][:8],
        "registry": document["registry_uri"],
        "load": document["load"],
        "lineage": f"mlops lineage model:{document['name']}/{document['version']}",
    }
    _show(facts)
    for note in document["notes"]:
        echo(f"  note        {plain(note)}")


def _step(sentence: str) -> None:
    click.echo(f"mlops: {plain(sentence)}", err=True)


@click.group(cls=ListingGroup)
def models() -> None:
    """Registered models with their versions and where they came from. Without a verb: list."""


@models.command("list")
@_JSON
def list_(as_json: bool) -> None:
    """List registered models."""
    from mlops_jupyter.verbs.models import models_list

    with open_workspace() as workspace:
        document = models_list(workspace)
    if as_json:
        emit_json(document)
    elif not document["models"]:
        echo("No registered models yet. Register one with: mlops register RUN --name NAME")
    else:
        table(
            ["MODEL", "LATEST", "ALIASES", "UPDATED", "DESCRIPTION"],
            [
                [
                    m["name"],
                    m["latest_version"] or "",
                    _aliases(m["aliases"]),
                    when(m["updated"]),
                    m["description"][:60],
                ]
                for m in document["models"]
            ],
            right=(1,),
        )


@models.command()
@click.argument("model", metavar="NAME[/VERSION|@ALIAS]")
@_JSON
def show(model: str, as_json: bool) -> None:
    """One registered model with its versions, or all of one version."""
    from mlops_jupyter.verbs.models import models_show

    with open_workspace() as workspace:
        document = models_show(workspace, model)
    if as_json:
        emit_json(document)
        return
    heading(document["name"])
    _show(
        {
            "about": document["description"],
            "aliases": _aliases(document["aliases"]),
            "registry": document["registry_uri"],
        }
    )
    table(
        ["VERSION", "ALIASES", "CREATED", "RUN", "CLASS", "FORMAT", "DESCRIPTION"],
        [
            [
                v["version"], " ".join(v["aliases"]), when(v["created"]), (v["run_id"] or "")[:8],
                (v["class"] or "").rpartition(".")[2], v["format"] or "", v["description"][:60],
            ]
            for v in document["versions"]
        ],
        right=(0,),
    )  # fmt: skip
    if len(document["versions"]) == 1:
        only = document["versions"][0]
        _show({**only["tags"], "source": only["source"], "load": f"mlflow.pyfunc.load_model({only['uri']!r})"})


def _show(facts: dict[str, Any]) -> None:
    width = max((len(key) for key, value in facts.items() if value), default=0)
    for key, value in facts.items():
        if value:
            echo(f"  {plain(key):<{max(width, 11)}} {plain(value)}")


def _aliases(aliases: dict[str, int]) -> str:
    return " ".join(f"{alias}→{version}" for alias, version in aliases.items())
