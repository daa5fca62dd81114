"""The panel in a real JupyterLab: a tracked cell in a real kernel, seen live."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Console, Lab, Write
from tests.browser.screen import open_lab, open_panel, run, run_all, section

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


def test_tracked_cell_appears_live_with_everything(page: Any, lab: Lab, write_notebook: Write, console: Console) -> None:
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
