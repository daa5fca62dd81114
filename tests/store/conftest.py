"""One store, two databases: every contract test runs on both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlops_jupyter.store import Connection, open_store, open_url

Opener = Callable[[], Connection]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens one more connection to the same empty store; all are closed at the end."""
    opened: list[Connection] = []
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""

    def open_another() -> Connection:
        connection = open_url(url) if url else open_store(tmp_path / "lineage.db")
        opened.append(connection)
        return connection

    yield open_another
    for connection in opened:
        connection.close()


@pytest.fixture
def store(opener: Opener) -> Connection:
    """An open, empty store."""
    return opener()
