"""What a person does in JupyterLab, for tests to read as such."""

from __future__ import annotations

from typing import Any

from tests.browser.conftest import Lab

KERNEL_READY = """() => {
  const widget = window.jupyterapp?.shell.currentWidget;
  return widget?.sessionContext?.session?.kernel?.connectionStatus === 'connected';
}"""


def open_lab(page: Any, lab: Lab, path: str = "") -> None:
    """Load JupyterLab, and a notebook with its kernel where ``path`` names one."""
    page.goto(lab.open(path))
    page.wait_for_function("() => window.jupyterapp !== undefined")
    page.evaluate("() => window.jupyterapp.restored")
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    if path:
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.wait_for_function(KERNEL_READY)


def execute(page: Any, command: str, arguments: dict[str, object] | None = None) -> None:
    """Run a command of JupyterLab and wait for its end."""
    page.evaluate("([id, args]) => window.jupyterapp.commands.execute(id, args)", [command, arguments or {}])


def open_panel(page: Any) -> Any:
    """Show our panel and return it."""
    execute(page, "mlops:open")
    panel = page.get_by_role("region", name="MLOps")
    panel.wait_for()
    return panel


def run_all(page: Any) -> None:
    """Run all cells and wait until the kernel is done with them."""
    execute(page, "notebook:run-all-cells")
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"
    )


def run(page: Any, name: str) -> Any:
    """The row of a run."""
    return page.get_by_role("listbox", name="Runs").get_by_role("option").filter(has_text=name)


def use_theme(page: Any, theme: str) -> None:
    """Switch the theme and wait for it."""
    execute(page, "apputils:change-theme", {"theme": theme})
    page.wait_for_selector(f"body[data-jp-theme-name='{theme}']", state="attached")


def section(panel: Any, name: str) -> Any:
    """A section of the selected run's details, by its name in the markup."""
    return panel.locator(f"details[data-section='{name}']")
