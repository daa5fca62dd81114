"""``mlops init``, ``doctor``, ``sync`` and ``gc``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from mlops_jupyter.workspace import open_workspace

from ._numbers import FiniteRange
from ._output import echo, emit_json, pairs, plain

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")


@click.command(short_help="Make the current folder a workspace.")
@_JSON
def init(as_json: bool) -> None:
    """Make the current folder a workspace: .mlops/ and a commented mlops.toml. Replaces nothing."""
    from mlops_jupyter.verbs.init import init as init_verb

    document = init_verb(Path.cwd())
    if as_json:
        emit_json(document)
        return
    for path in document["created"]:
        echo(f"created  {path}")
    for path in document["kept"]:
        echo(f"kept     {path}")
    echo("Next: %load_ext mlops_jupyter in a notebook, then %%track on the first line of a cell.")


@click.command()
@_JSON
def doctor(as_json: bool) -> int:
    """What works here, what is missing, and what to do about it."""
    from mlops_jupyter.verbs.doctor import doctor as doctor_verb

    document = doctor_verb(Path.cwd())
    if as_json:
        emit_json(document)
    else:
        marks = {
            "ok": ("✓", "green"),
            "warning": ("!", "yellow"),
            "failed": ("✗", "red"),
            "absent": ("·", None),
        }
        for check in document["checks"]:
            mark, colour = marks[check["status"]]
            echo(f"{click.style(mark, fg=colour)} {check['name']:<22} {plain(check['detail'])}")
            if check["hint"]:
                echo(f"  {'':<22} → {plain(check['hint'])}")
    return 0 if document["healthy"] else 75


@click.command()
@click.option("--watch", is_flag=True, help="Go on until interrupted.")
@click.option("--timeout", metavar="SECONDS", type=FiniteRange(0, min_open=True), help="Give up after so many seconds.")
@_JSON
def sync(watch: bool, timeout: float | None, as_json: bool) -> int:
    """Deliver what was recorded to MLflow, now."""
    from mlops_jupyter.verbs.sync import exit_code
    from mlops_jupyter.verbs.sync import sync as sync_verb

    moving = sys.stderr.isatty() and not as_json

    done: Counter[str] = Counter()

    def progress(kind: str, count: int) -> None:
        done[kind] += count
        if moving:
            click.echo(f"\rdelivered: {pairs(done)}".ljust(78)[:78], nl=False, err=True)

    with open_workspace() as workspace:
        document = sync_verb(workspace, watch=watch, timeout=timeout, progress=progress)
    if moving:
        click.echo("\r" + " " * 60 + "\r", nl=False, err=True)
    if as_json:
        emit_json(document)
    else:
        _show_sync(document)
    return exit_code(document)


def _show_sync(document: dict[str, Any]) -> None:
    delivered = ", ".join(f"{count} {kind}" for kind, count in document["delivered"].items() if count)
    if delivered or not document["error"]:
        echo(f"Delivered to {plain(document['target'])}: {delivered or 'nothing new'}.")
    if document["killed"]:
        echo(f"Marked as KILLED because their kernel is gone: {', '.join(u[:8] for u in document['killed'])}.")
    for letter in document["dead_letters"]:
        click.echo(f"mlops: refused by the target: {plain(letter['error'])}", err=True)
    if document["error"]:
        click.echo(f"mlops: {plain(document['error']['message'])} {plain(document['error']['hint'])}", err=True)
    elif document["remaining"]:
        click.echo(
            f"mlops: {sum(document['remaining'].values())} records are left; they go with the next sync.", err=True
        )


@click.command()
@click.option(
    "--older-than",
    "days",
    default=30.0,
    show_default=True,
    metavar="DAYS",
    type=FiniteRange(0),
    help="Only what was deleted, or not touched, for so long.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@_JSON
def gc(days: float, dry_run: bool, as_json: bool) -> None:
    """Remove deleted runs and files that nothing refers to any more."""
    from mlops_jupyter.verbs.gc import gc as gc_verb

    with open_workspace() as workspace:
        document = gc_verb(workspace, older_than_days=days, dry_run=dry_run)
    if as_json:
        emit_json(document)
        return
    verb = "would free" if dry_run else "freed"
    removed = ", ".join(f"{count} {kind}" for kind, count in document["removed"].items() if count)
    echo(f"{verb} {document['bytes'] / 1e6:.1f} MB: {removed or 'nothing to remove'}")
    waiting = document["kept"]["undelivered_runs"]
    if waiting:
        echo(f"kept {waiting} deleted runs that MLflow was not told of yet; first run: mlops sync")
