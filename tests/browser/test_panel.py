"""The panel in a real JupyterLab: a tracked cell in a real kernel, seen live."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.browser.conftest import REPOSITORY, Console, Lab, Write, unavailable
from tests.browser.screen import open_lab, open_panel, run, run_all, section, use_theme

pytestmark = pytest.mark.browser

TRACKED = """\
%%track ridge
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

X, y = load_diabetes(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
model = Ridge(alpha=alpha).fit(X_train, y_train)
r2 = r2_score(y_test, model.predict(X_test))
"""


def test_tracked_cell_appears_live_with_everything(
    page: Any, lab: Lab, write_notebook: Write, console: Console
) -> None:
    write_notebook("train.ipynb", ["%load_ext mlops_jupyter", "alpha = 0.5", TRACKED])
    open_lab(page, lab, "train.ipynb")
    panel = open_panel(page)
    panel.get_by_text("No runs yet").wait_for()

    run_all(page)

    row = run(page, "ridge")
    row.wait_for()
    assert "train.ipynb" in row.inner_text()
    row.click()
    metrics = section(panel, "metrics")
    metrics.get_by_role("row").filter(has_text="r2").first.wait_for()
    assert "0.378" in metrics.inner_text()
    assert "0.5" in section(panel, "params").get_by_role("row").filter(has_text="alpha").first.inner_text()
    assert "Ridge(alpha=alpha)" in section(panel, "code").inner_text()
    graph = section(panel, "lineage").get_by_role("group", name="Lineage graph")
    graph.get_by_role("button", name="cell In [2]").wait_for()
    assert console.ours() == []


HOSTILE = '<img src=x onerror="window.hacked = true"><script>window.hacked = true</script>'

RECORDER = """
import sys, time
from pathlib import Path
from uuid import uuid4
from mlops_jupyter.config import load_settings
from mlops_jupyter.entities import Metric, Run, RunStatus, RunUid
from mlops_jupyter.store import open_workspace_store, runs
store = open_workspace_store(load_settings(Path(sys.argv[1])))
hostile, count = sys.argv[2], int(sys.argv[3])
now = time.time()
with store.transaction():
    for i in range(count):
        uid = RunUid(uuid4().hex)
        name = hostile if i == count - 1 else f"run {i}"
        params = {hostile: hostile} if i == count - 1 else {"i": str(i)}
        runs.start_run(store, Run(run_uid=uid, name=name, experiment="e", status=RunStatus.RUNNING,
            started_at=now - count + i, notebook="train.ipynb", user="me", params=params))
        steps = range(20 if i == count - 1 else 1)
        points = [Metric(key="loss", value=1 / (s + 1), step=s, timestamp=int(now * 1000)) for s in steps]
        runs.log_metrics(store, uid, points)
        if i == count - 1:
            runs.log_metrics(store, uid, [Metric(key=hostile[:200], value=float("nan"), step=0, timestamp=1)])
        else:
            runs.end_run(store, uid, RunStatus.FAILED if i % 3 == 0 else RunStatus.FINISHED)
store.close()
"""


def record_elsewhere(lab: Lab, environment: dict[str, str], count: int) -> None:
    """Runs that another process writes; the last one has a name, parameter and metric that are markup."""
    subprocess.run([sys.executable, "-c", RECORDER, str(lab.root), HOSTILE, str(count)], env=environment, check=True)


def test_markup_is_shown_as_text(page: Any, lab: Lab, jupyter_environment: dict[str, str], console: Console) -> None:
    open_lab(page, lab)
    panel = open_panel(page)
    panel.get_by_text("No runs yet").wait_for()

    record_elsewhere(lab, jupyter_environment, 1)

    run(page, "<img src=x").click()
    section(panel, "params").get_by_role("rowheader", name="<img src=x").wait_for()
    section(panel, "metrics").get_by_role("cell", name="NaN").wait_for()
    section(panel, "metrics").get_by_role("img", name="loss").wait_for()
    assert page.evaluate("() => window.hacked") is None
    assert console.ours() == []


def test_many_runs_are_scrolled_filtered_and_walked(
    page: Any, lab: Lab, jupyter_environment: dict[str, str], console: Console
) -> None:
    record_elsewhere(lab, jupyter_environment, 2000)
    open_lab(page, lab)
    panel = open_panel(page)
    run(page, "run 1998").wait_for()
    rows = page.get_by_role("listbox", name="Runs").get_by_role("option")
    assert rows.count() <= 100
    assert panel.get_by_text("2,000", exact=True).is_visible()

    box = panel.get_by_role("searchbox", name="Filter runs")
    box.fill("params.i = '1500'")
    run(page, "run 1500").wait_for()
    page.wait_for_function("() => document.querySelectorAll('.jp-mlops-Row').length === 1")
    box.fill("params.i >>> 5")
    panel.get_by_role("alert").wait_for()
    assert rows.count() == 1, "a filter that is being typed leaves the list as it is"
    box.fill("")
    run(page, "run 1998").wait_for()

    page.get_by_role("listbox", name="Runs").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    panel.get_by_role("heading", name="run 1998").wait_for()
    page.locator("[role=option][aria-selected=true]").wait_for()
    assert console.ours() == []


def test_note_and_deletion(page: Any, lab: Lab, jupyter_environment: dict[str, str]) -> None:
    record_elsewhere(lab, jupyter_environment, 3)
    open_lab(page, lab)
    panel = open_panel(page)
    run(page, "run 1").click()
    panel.get_by_role("button", name="Add a note").click()
    panel.get_by_role("textbox", name="Note of the run").fill("keep <b>this</b>")
    panel.get_by_role("button", name="Save").click()
    panel.get_by_text("keep <b>this</b>").wait_for()

    panel.get_by_role("button", name="Delete this run").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()

    run(page, "run 1").wait_for(state="detached")
    # The list draws in frames: for one of them the row that goes may still be there with its neighbour's text.
    page.wait_for_function(
        "() => [...document.querySelectorAll('[role=listbox][aria-label=Runs] [role=option]')]"
        ".filter(row => row.textContent.includes('run 0')).length === 1"
    )


def test_nothing_is_asked_while_the_panel_is_hidden(page: Any, lab: Lab) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/mlops/api/" in request.url else None)
    open_lab(page, lab)
    page.wait_for_timeout(500)
    assert asked == []

    panel = open_panel(page)
    panel.get_by_text("No runs yet").wait_for()
    assert asked


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_accessible(page: Any, lab: Lab, jupyter_environment: dict[str, str], theme: str) -> None:
    axe = REPOSITORY / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.exists():
        unavailable("axe-core is not installed: npm ci")
    record_elsewhere(lab, jupyter_environment, 4)
    open_lab(page, lab)
    use_theme(page, theme)
    panel = open_panel(page)
    run(page, "run 2").click()
    section(panel, "metrics").get_by_role("row").first.wait_for()

    page.evaluate(axe.read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run('#mlops-runs')).violations")

    assert [(v["id"], v["nodes"][0]["html"][:200], v["nodes"][0]["failureSummary"]) for v in found] == []
