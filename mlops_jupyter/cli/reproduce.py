"""``mlops runs reproduce``: a recorded run once more, in a scratch copy, and how its numbers compare."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from mlops_jupyter.workspace import open_workspace

from ._numbers import FiniteRange
from ._output import echo, emit_json, heading, lasted, number, plain, table

_HEADLINES = {
    "equal": "reproduced: every metric is equal",
    "within_tolerance": "reproduced: every metric is equal within the tolerance",
    "differs": "not reproduced: a metric differs",
    "no_metrics": "ran again; the run has no metric to compare",
    "failed": "not reproduced: the code did not run to its end",
}
_VERDICTS = {"within_tolerance": "within tolerance", "new": "only now"}
_UNPINNED = {
    "time": "time",
    "randomness": "randomness",
    "network": "network",
    "environment": "environment",
    "absolute_path": "absolute path",
    "command": "command",
    "input": "typed input",
}


@click.command(short_help="Run a run's code again and compare each metric.")
@click.argument("run_id")
@click.option("--timeout", metavar="SECONDS", type=FiniteRange(0, min_open=True), help="Limit of each replay.")
@click.option(
    "--tolerance",
    metavar="NUMBER",
    type=FiniteRange(0, 1, max_open=True),
    default=1e-6,
    show_default=True,
    help="Relative difference up to which two values count as the same.",
)
@click.option("--once", is_flag=True, help="No second replay where a metric differs.")
@click.option("--keep", is_flag=True, help="Leave the scratch copy and say where it is.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def reproduce(run_id: str, timeout: float | None, tolerance: float, once: bool, keep: bool, as_json: bool) -> int:
    """Run the recorded code of a run again, on the recorded data, and compare each metric.

    It runs in a fresh kernel and in a scratch copy: no file of yours is written, and no run is added. Exits with 3
    where a metric differs and with 1 where the code fails.
    """
    from mlops_jupyter.verbs.reproduce import reproduce as reproduce_verb

    progress = _Progress()
    try:
        with open_workspace() as workspace:
            document = reproduce_verb(
                workspace, run_id, timeout=timeout, tolerance=tolerance, repeat=not once, keep=keep, on_step=progress
            )
    finally:
        progress.close()
    if as_json:
        emit_json(document)
    else:
        show_reproduction(document)
    return int(document["exit_code"])


class _Progress:
    """One moving line on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._moving = sys.stderr.isatty()

    def __call__(self, attempt: int, cell: int, total: int) -> None:
        again = "" if attempt == 1 else "once more: "
        line = f"{again}cell {cell}/{total}"
        if self._moving:
            done = round(24 * (cell - 1) / max(total, 1))
            click.echo(f"\r{'█' * done}{'░' * (24 - done)} {line}".ljust(60), nl=False, err=True)
        else:
            click.echo(line, err=True)

    def close(self) -> None:
        """Leave the moving line."""
        if self._moving:
            click.echo("\r" + " " * 60 + "\r", nl=False, err=True)


def show_reproduction(document: Mapping[str, Any]) -> None:
    """The result for people."""
    heading(f"{document['name']}  {document['run_id'][:8]}  {_HEADLINES[document['verdict']]}")
    if document["error"]:
        where = f"{document['failed_cell']} " if document["failed_cell"] else ""
        echo(f"  {plain(where)}{plain(document['error'])}")
        if document["failed_before"]:
            echo("  The recorded run failed with the same error.")
    if document["metrics"]:
        several = len({m["run_id"] for m in document["metrics"]}) > 1
        table(
            [*(["RUN"] if several else []), "METRIC", "RECORDED", "REPRODUCED", "DIFFERENCE", "RELATIVE", ""],
            [
                [
                    *([m["run_name"]] if several else []),
                    m["key"],
                    *("" if m[key] is None else _exact(m[key]) for key in ("recorded", "reproduced")),
                    "" if not m["difference"] else number(m["difference"]),
                    "" if not m["relative"] else f"{m['relative']:+.2%}",
                    _verdict(m),
                ]
                for m in document["metrics"]
            ],
            right=tuple(range(1 + several, 5 + several)),
        )
    for param in document["params"]:
        values = (plain("none" if v is None else v) for v in (param["recorded"], param["reproduced"]))
        echo(f"  parameter {plain(param['key'])}: {' → '.join(values)}")
    for line in [*_about_data(document), *_about_code(document), *_about_environment(document)]:
        echo(f"  {line}")
    _show_unpinned(document)
    for note in document["notes"]:
        echo(f"  {plain(note)}")
    if document["scratch"]:
        echo(f"  scratch copy  {plain(document['scratch'])}")
    times = {1: "once", 2: "twice"}.get(document["attempts"], f"{document['attempts']} times")
    cells = len(document["cells"])
    echo(f"  {cells} cell{'' if cells == 1 else 's'}, replayed {times}, in {lasted(document['duration'])}")


def _exact(value: object) -> str:
    """As many digits as tell two values apart."""
    return repr(value) if isinstance(value, float) else str(value)


def _verdict(metric: Mapping[str, Any]) -> str:
    verdict = _VERDICTS.get(metric["verdict"], metric["verdict"])
    if metric["stable"] is False and metric["verdict"] in ("differs", "missing"):
        return f"{verdict}, and again another value: it is not pinned"
    return str(verdict)


def _about_data(document: Mapping[str, Any]) -> list[str]:
    lines = []
    for item in document["inputs"]:
        name, recorded = plain(item["name"]), _short(item["recorded"])
        if item["state"] == "remote":
            lines.append(f"{name} comes from the network; nobody knows whether it is what it was")
        elif item["state"] == "unknown":
            lines.append(f"{name}: what it held was not recorded; it was used as it is")
        elif item["state"] == "snapshot" and item["as_recorded"]:
            now = "it is gone" if item["current"] is None else f"it changed since, now {_short(item['current'])}"
            lines.append(f"{name}: the recorded copy {recorded} was used ({now})")
        elif not item["as_recorded"]:
            reason = f" ({item['reason']})" if item["reason"] else ""
            kept = f"; no copy was kept{reason}" if item["state"] == "changed" else ""
            now = _short(item["used"] or item["current"])
            lines.append(f"{name} changed since: recorded {recorded}, now {now}{kept}")
    return lines


def _about_code(document: Mapping[str, Any]) -> list[str]:
    lines = []
    for code in document["code"]:
        name, recorded = plain(code["name"]), _short(code["recorded"])
        if code["as_recorded"]:
            now = "it is gone" if code["current"] is None else f"it changed since, now {_short(code['current'])}"
            lines.append(f"{name}: the recorded code {recorded} was used ({now})")
        else:
            lines.append(f"{name} is not the code that ran: recorded {recorded}, now {_short(code['used'])}")
    return lines


def _about_environment(document: Mapping[str, Any]) -> list[str]:
    environment = document["environment"]
    python = environment["python"]
    lines = []
    if python["recorded"] and python["current"] and python["recorded"] != python["current"]:
        lines.append(f"Python was {plain(python['recorded'])} and is {plain(python['current'])}")
    packages = environment["packages"]
    lines += [
        f"{plain(p['name'])} was {plain(p['recorded'] or 'not installed')} and is "
        f"{plain(p['current'] or 'not installed')}"
        for p in packages
        if p["imported"]
    ]
    others = sum(not p["imported"] for p in packages)
    if others:
        lines.append(f"{others} other distributions have another version (--json lists them)")
    return lines


def _show_unpinned(document: Mapping[str, Any]) -> None:
    found: dict[str, list[str]] = {}
    for item in document["unpinned"]:
        found.setdefault(_UNPINNED[item["kind"]], []).append(f"{plain(item['what'])} in {plain(item['where'])}")
    if not found:
        return
    echo("  No record pins:")
    for kind, things in found.items():
        more = f" and {len(things) - 4} more" if len(things) > 4 else ""
        echo(f"    {kind:<13} {', '.join(things[:4])}{more}")


def _short(digest: str | None) -> str:
    if digest is None:
        return "nothing"
    kind, _, value = digest.partition(":")
    return f"{kind}:{value[:8]}…"
