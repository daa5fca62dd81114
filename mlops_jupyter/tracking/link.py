"""An open connection to one MLflow, and what every step of a delivery needs of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlops_jupyter.config import Settings
from mlops_jupyter.data.exchange import Exchange, open_exchange
from mlops_jupyter.store import Connection

from .embedded import prepare_database
from .failures import no_mlflow, target_error
from .target import Target, mlflow_environment, target_of

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True, slots=True)
class Link:
    """Our store on one side, MLflow on the other."""

    store: Connection
    settings: Settings
    target: Target
    client: MlflowClient
    exchange: Exchange
    run_ids: dict[str, str] = field(default_factory=dict)
    """Our run ids to MLflow's, as far as this process has met them."""
    experiment_ids: dict[str, str] = field(default_factory=dict)


def open_link(settings: Settings, store: Connection) -> Link:
    """Connect to the MLflow of the settings, its embedded database created or upgraded where needed.

    Raises:
        UnreachableError: no MLflow answers there.
        UsageError: MLflow is not installed, or the database cannot be used.
        TransientError: the database is being set up by another process.
    """
    target = target_of(settings)
    with mlflow_environment():
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise no_mlflow(error) from error
        try:
            if prepare_database(target, settings.artifacts):
                _start_over(store, target)
            with _few_database_retries():
                client = MlflowClient(tracking_uri=target.uri)
                client.search_experiments(max_results=1)
        except Exception as error:
            raise target_error(error, target.key) from error
    return Link(store, settings, target, client, open_exchange(settings))


@contextmanager
def _few_database_retries() -> Iterator[None]:
    """MLflow tries a database that does not answer for 100 seconds, and has no setting for that."""
    from mlflow.store.db import utils

    before = utils.MAX_RETRY_COUNT
    utils.MAX_RETRY_COUNT = 2
    try:
        yield
    finally:
        utils.MAX_RETRY_COUNT = before


def _start_over(store: Connection, target: Target) -> None:
    """Forget what was delivered to a database that was removed since: all of it is wanted again."""
    with store.transaction():
        for table in ("cursors", "deliveries", "dead_letters"):
            store.execute(f"DELETE FROM {table} WHERE target = ?", (target.key,))


def answers(link: Link) -> bool:
    """Whether MLflow still answers: tells an item that it chokes on from a server that is down."""
    try:
        link.client.search_experiments(max_results=1)
    except Exception:  # noqa: BLE001 whatever it is, it does not answer
        return False
    return True
