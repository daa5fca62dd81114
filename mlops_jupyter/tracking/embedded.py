"""The embedded MLflow database: created once, upgraded with a backup, never touched by an older version.

MLflow's own start-up is not safe for several processes at once, and upgrades an older database without a
backup. So both happen here, under a lock beside the file's real path, before a client opens it. A new
database is built under another name and linked into place: other programs see all of it or nothing.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from enum import Enum
from pathlib import Path

from mlops_jupyter.errors import NewerSchemaError, TransientError, UsageError
from mlops_jupyter.store import FileLock

from .failures import first_line
from .target import Target

CREATION_TIMEOUT = 120.0
"""Seconds to wait for another process that creates or upgrades the database (a creation takes about five)."""

SETTLING_TIME = 5.0
"""Seconds without a change after which an unfinished database is nobody's work in progress."""

_log = logging.getLogger(__name__)


def prepare_database(target: Target, artifacts: Path) -> bool:
    """Make the SQLite database behind ``target`` ready for this MLflow; whether it is a new, empty one.

    Nothing to do for servers.

    Raises:
        NewerSchemaError: the database is of a newer MLflow; nothing was touched.
        UsageError: it is of an older one and not the workspace's own, or it is no MLflow database.
        TransientError: another process holds it, or it cannot be written.
    """
    path = target.database
    if path is None:
        return False
    head = _head_revision()
    if _state(path) == head:
        return False
    lock = FileLock(path.with_name(path.name + ".lock"))
    if not lock.acquire(timeout=CREATION_TIMEOUT):
        raise TransientError(f"{path} is being set up by another process.", hint="Try again in a minute.")
    try:
        return _make_ready(target, path, head, artifacts)
    finally:
        lock.release()


def _make_ready(target: Target, path: Path, head: str, artifacts: Path) -> bool:
    made = False
    deadline = time.monotonic() + CREATION_TIMEOUT
    while time.monotonic() < deadline:
        state = _state(path)
        if state == head:
            return made
        if state is State.MISSING:
            made = _create(path, artifacts)
        elif isinstance(state, str) and state not in _known_revisions():
            raise NewerSchemaError(
                f"The MLflow database {path} is of a newer MLflow (schema {state}); it was left as it is.",
                hint="Upgrade with: pip install -U mlflow",
            )
        elif state is State.BUSY or not _settled(path):
            # A cell that uses mlflow itself makes the database in place, through every schema that there ever was.
            time.sleep(0.1)
        elif state is State.EMPTY:
            path.unlink(missing_ok=True)
        elif state is State.FOREIGN:
            raise UsageError(
                f"{path} is no MLflow database.", hint="Move it away or set MLFLOW_TRACKING_URI to another one."
            )
        elif not target.embedded:
            raise UsageError(
                f"The MLflow database {path} has an older schema ({state}) than this MLflow needs.",
                hint=f"Back it up and run: mlflow db upgrade sqlite:///{path}",
            )
        else:
            _upgrade(path, str(state))
    raise TransientError(f"{path} is being set up by another process.", hint="Try again in a minute.")


def _settled(path: Path) -> bool:
    """Whether nobody has written to the database for a while."""
    newest = 0.0
    for file in (path, path.with_name(path.name + "-journal"), path.with_name(path.name + "-wal")):
        with suppress(FileNotFoundError):
            newest = max(newest, file.stat().st_mtime)
    return abs(time.time() - newest) > SETTLING_TIME


def _head_revision() -> str:
    from mlflow.store.db.utils import _get_latest_schema_revision

    return str(_get_latest_schema_revision())  # type: ignore[no-untyped-call]


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    config = _get_alembic_config(db_url="")  # type: ignore[no-untyped-call]
    scripts = ScriptDirectory.from_config(config)
    return {script.revision for script in scripts.walk_revisions()}


class State(Enum):
    """What is there in place of a database with a known schema."""

    MISSING = "missing"
    EMPTY = "empty"
    FOREIGN = "foreign"
    """Tables, but not MLflow's record of its schema."""
    BUSY = "busy"


def _state(path: Path) -> str | State:
    """Schema of the database, or what is there instead.

    Raises:
        UsageError: a file that is no database at all.
        TransientError: a file that cannot be read.
    """
    if not path.exists():
        return State.MISSING
    if path.stat().st_size == 0:
        return State.EMPTY
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as raw:
            tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return State.EMPTY
            row = None
            if "alembic_version" in tables:
                row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
            return State.FOREIGN if row is None else str(row[0])
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return State.BUSY
        raise TransientError(f"{path} cannot be read: {error}.", hint="Check the file's permissions.") from error
    except sqlite3.DatabaseError as error:
        raise UsageError(f"{path} is no SQLite database: {error}.", hint="Move it away; a new one is made.") from error


@contextmanager
def _without_chatter() -> Iterator[None]:
    """MLflow tells each step of a creation on standard error, where ours are to say what matters to the user."""
    logger = logging.getLogger("mlflow.store.db.utils")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def _create(path: Path, artifacts: Path) -> bool:
    """Make the database; False where someone else was faster."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    started = time.monotonic()
    building = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        building.unlink(missing_ok=True)
        with _without_chatter():
            store = SqlAlchemyStore(f"sqlite:///{building}", artifacts.as_uri())  # type: ignore[no-untyped-call]
        store.engine.dispose()
        SqlAlchemyStore._engine_map.pop(f"sqlite:///{building}", None)
        try:
            os.link(building, path)  # unlike rename it never replaces a database that someone else made meanwhile
        except FileExistsError:
            return False
    except OSError as error:
        raise TransientError(
            f"The MLflow database {path} cannot be created: {error.strerror or error}.",
            hint="Make the folder writable or set MLOPS_HOME to a folder that is.",
        ) from error
    finally:
        building.unlink(missing_ok=True)
    stale = SqlAlchemyStore._engine_map.get(f"sqlite:///{path}")
    if stale is not None:
        stale.dispose()  # its connections are to the file that was removed
    _log.info("created %s in %.1f s", path, time.monotonic() - started)
    return True


def _upgrade(path: Path, revision: str) -> None:
    from mlflow.store.db.utils import _upgrade_db, create_sqlalchemy_engine

    backup = path.with_name(f"{path.name}.{revision}.{time.strftime('%Y%m%d-%H%M%S')}.backup")
    _copy(path, backup)
    _log.info("upgrading %s from schema %s, backup in %s", path, revision, backup)
    engine = create_sqlalchemy_engine(f"sqlite:///{path}")  # type: ignore[no-untyped-call]
    try:
        _upgrade_db(engine)  # type: ignore[no-untyped-call]
    except Exception as error:
        engine.dispose()
        _copy(backup, path)
        backup.unlink()  # it is what was put back, and the next attempt makes its own
        raise UsageError(
            f"{path} could not be upgraded from MLflow's schema {revision}: {first_line(error)}. It was put back.",
            hint="Move it away: a new one is made and filled with what was recorded here.",
        ) from error
    finally:
        engine.dispose()


def _copy(source: Path, destination: Path) -> None:
    """Copy through SQLite, so that what others write meanwhile is in it whole or not at all."""
    try:
        with (
            closing(sqlite3.connect(source, timeout=20)) as old,
            closing(sqlite3.connect(destination, timeout=20)) as new,
        ):
            old.backup(new)
    except sqlite3.Error as error:
        raise TransientError(f"{source} cannot be copied to {destination}: {error}.") from error
