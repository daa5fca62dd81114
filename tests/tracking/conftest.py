"""One fresh MLflow database for all tests, and a workspace that uses a copy of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_jupyter.config import Settings
from mlops_jupyter.store import Connection, open_workspace_store

from .workspaces import settings_of, use_template

_EXCUSED = (
    "ignore::DeprecationWarning:mlflow",
    "ignore:The ``noload`` loader strategy:DeprecationWarning",
    "ignore:.*type hint is inferred:UserWarning",
)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh MLflow database, made by the code under test."""
    from mlops_jupyter.tracking.embedded import prepare_database
    from mlops_jupyter.tracking.target import mlflow_environment, target_of

    settings = settings_of(tmp_path_factory.mktemp("template"))
    settings.home.mkdir()
    with mlflow_environment():
        assert prepare_database(target_of(settings), settings.artifacts)
    return settings.state / "mlflow.db"


@pytest.fixture
def settings(tmp_path: Path, template: Path) -> Settings:
    """Settings of a workspace whose MLflow database is there and empty."""
    found = settings_of(tmp_path)
    use_template(found, template)
    return found


@pytest.fixture
def store(settings: Settings) -> Iterator[Connection]:
    """The workspace's local store."""
    connection = open_workspace_store(settings)
    yield connection
    connection.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """MLflow uses what its own dependencies deprecate; nothing of ours is excused."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            for excused in _EXCUSED:
                item.add_marker(pytest.mark.filterwarnings(excused), append=False)
