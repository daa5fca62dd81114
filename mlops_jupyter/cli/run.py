"""``mlops run``: a notebook headless, with the same capture and a truthful end state."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

from ._numbers import FiniteRange
from ._output import echo, emit_json, heading, lasted, number, plain, sentence


class Progress:
    """Shows cells as they run: one moving line on a terminal, plain or JSON lines elsewhere."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._moving = sys.stderr.isatty() and not as_json
        self._started = time.monotonic()

    def __call__(self, index: int, total: int, state: str, preview: str) -> None:
        """``index``: 0-based position of the cell; ``state``: started, succeeded, failed …"""
        if self._as_json:
            event = {"time": time.time(), "cell": index + 1, "of": total, "state": state, "source": preview}
            click.echo(json.dumps(event), err=True)
        elif self._moving:
            done = round(24 * (index + (state != "started")) / max(total, 1))
            bar = "█" * done + "░" * (24 - done)
            took = lasted(time.monotonic() - self._started)
            line = f"\r{bar} {index + 1}/{total} {state} {took}  {plain(preview)[:40]}"
            click.echo(line.ljust(110)[:110], nl=False, err=True)
        elif state != "started":
            click.echo(f"cell {index + 1}/{total} {state}: {plain(preview)[:70]}", err=True)

    def close(self) -> None:
        """Leave the moving line."""
        if self._moving:
            click.echo("\r" + " " * 110 + "\r", nl=False, err=True)


class _RunCommand(click.Command):
    """``mlops run NOTEBOOK --help`` lists the notebook's parameters too; nothing is started for it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def get_help(self, ctx: click.Context) -> str:
        arguments = ctx.meta.get(_ARGUMENTS, [])
        notebook = self._notebook(ctx, arguments)
        if notebook is None:
            return super().get_help(ctx)
        from mlops_jupyter.verbs.run import describe

        document = describe(Path(notebook))
        if "--json" in arguments:
            return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        return f"{super().get_help(ctx)}\n\n{parameter_text(document, width=_width(ctx))}"

    def _notebook(self, ctx: click.Context, arguments: list[str]) -> str | None:
        """The notebook among the arguments, where the rest of them can be read."""
        rest = [argument for argument in arguments if argument not in ctx.help_option_names]
        try:
            values, _, _ = self.make_parser(ctx).parse_args(rest)
        except click.UsageError:
            return None
        found = values.get("notebook")
        return found if isinstance(found, str) else None


_ARGUMENTS = "mlops_jupyter.run.arguments"


def _width(ctx: click.Context) -> int:
    return min(shutil.get_terminal_size().columns, ctx.max_content_width or 80)


def parameter_text(document: dict[str, Any], *, width: int = 80) -> str:
    """The parameters of a notebook for people: name, type, default, and the help below."""
    name = plain(Path(document["notebook"]).name)
    if not document["parameters"]:
        return f"Parameters of {name}: none. {plain(document['note'])}".rstrip()
    formatter = click.HelpFormatter(width=width)
    rows = []
    for parameter in document["parameters"]:
        default = "computed by the cell" if parameter["default"] is None else parameter["default"]
        default = default if len(default) <= _LONGEST_DEFAULT else default[: _LONGEST_DEFAULT - 1] + "…"
        words = [parameter["help"], *([parameter["limits"]] if parameter["limits"] else []), f"[default: {default}]"]
        text = "  ".join(word for word in words if word)
        rows.append((plain(f"{parameter['name']}  {parameter['type']}"), plain(text)))
    with formatter.section(f"Parameters of {name}, given as -p NAME VALUE"):
        formatter.write_dl(rows, col_max=34)
    return formatter.getvalue().rstrip()


_LONGEST_DEFAULT = 120


@click.command(cls=_RunCommand, short_help="Run a notebook headless, with parameters.")
@click.argument("notebook", type=click.Path(path_type=Path))
@click.argument("out", required=False, type=click.Path(path_type=Path))
@click.option("-p", "--parameter", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="Set a parameter.")
@click.option(
    "-f", "--params-file", "params_files", type=click.Path(path_type=Path), multiple=True,
    help="Parameters from a YAML or JSON file; of several the last one counts.",
)  # fmt: skip
@click.option("-y", "--yaml", "yaml_text", multiple=True, metavar="YAML", help="Parameters as YAML text.")
@click.option("--timeout", metavar="SECONDS", type=FiniteRange(0, min_open=True), help="Limit of the whole run.")
@click.option("--cell-timeout", metavar="SECONDS", type=FiniteRange(0, min_open=True), help="Limit of each cell.")
@click.option("--cwd", type=click.Path(path_type=Path), help="Working folder; default: the notebook's.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Form of the progress on standard error.",
)
@click.option("--require-sync", is_flag=True, help="Exit with 75 where the record could not be delivered.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def run(
    notebook: Path,
    out: Path | None,
    parameters: tuple[tuple[str, str], ...],
    params_files: tuple[Path, ...],
    yaml_text: tuple[str, ...],
    timeout: float | None,
    cell_timeout: float | None,
    cwd: Path | None,
    log_format: str,
    require_sync: bool,
    as_json: bool,
) -> int:
    """Run NOTEBOOK headless and write the executed notebook to OUT (default: .mlops/runs/ID/).

    mlops run NOTEBOOK --help lists the notebook's own parameters. The value env:NAME of a text parameter is read in
    the kernel, from its environment, and kept out of everything that is recorded.
    """
    from mlops_jupyter.verbs.run import run as run_verb

    progress = Progress(as_json=log_format == "json")
    try:
        document = run_verb(
            notebook,
            out,
            parameters=parameters,
            params_file=params_files,
            yaml=yaml_text,
            timeout=timeout,
            cell_timeout=cell_timeout,
            cwd=cwd,
            require_sync=require_sync,
            on_cell=progress,
        )
    finally:
        progress.close()
    if as_json:
        emit_json(document)
    else:
        show_result(document)
    return int(document["exit_code"])


def show_result(document: dict[str, Any]) -> None:
    """The end of a run for people."""
    cells = document["cells"]
    heading(f"{document['state']}  {document['notebook']}  in {lasted(document['duration'])}")
    converted = document["converted"]
    if converted:
        grade = f"grade {converted['grade']}" if converted["grade"] else "not verified"
        echo(f"  made      from {plain(converted['notebook']) or 'a notebook'} by mlops convert, {grade}")
    echo(f"  run       {document['run_id']}")
    echo(f"  cells     {cells['succeeded']} of {cells['total']} succeeded")
    if document["parameters"]:
        shown = "  ".join(f"{key}={number(value)}" for key, value in document["parameters"].items())
        echo(f"  with      {plain(shown)}")
    echo(f"  output    {plain(document['output'])}")
    failed = document["failed_cell"]
    if failed:
        click.echo(f"  cell {failed['index'] + 1} {sentence(failed['error'])}", err=True)
    for warning in document["warnings"]:
        click.echo(f"mlops: {plain(warning)}", err=True)
