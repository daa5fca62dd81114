"""The workspace of the tracking tests, and MLflow's warnings about its own dependencies excused as there."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_jupyter.config import Settings
from mlops_jupyter.store import Connection
from mlops_jupyter.workspace import Workspace
from tests.tracking.conftest import _EXCUSED, settings, store, template

__all__ = ["settings", "store", "template"]


@pytest.fixture
def workspace(settings: Settings, store: Connection) -> Workspace:
    """An open workspace with an empty MLflow."""
    return Workspace(settings, store)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            for excused in _EXCUSED:
                item.add_marker(pytest.mark.filterwarnings(excused), append=False)
