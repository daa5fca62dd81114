"""The delivery process: ``python -m mlops_jupyter.tracking --home HOME``, started by ``ensure_delivery``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from mlops_jupyter.config import load_settings
from mlops_jupyter.store import FileLock, open_workspace_store, outbox
from mlops_jupyter.store.delivery_process import LOG_LIMIT, delivery_lives, delivery_lock, delivery_log

from .syncing import IDLE_TIME, Watch
from .target import target_of


def main(arguments: list[str] | None = None) -> int:
    """Deliver until idle; 0 also where another process is at it already."""
    parser = argparse.ArgumentParser(prog="mlops_jupyter.tracking", description="Deliver the outbox of a workspace.")
    parser.add_argument("--home", required=True, help="the workspace's .mlops folder")
    parser.add_argument("--idle", type=float, default=IDLE_TIME, help="seconds of idleness after which to end")
    options = parser.parse_args(arguments)
    os.environ["MLOPS_HOME"] = options.home
    settings = load_settings(Path.cwd())
    lease = FileLock(delivery_lock(settings))
    if not lease.acquire():
        return 0
    with suppress(OSError):
        os.nice(10)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    store = open_workspace_store(settings)
    try:
        while True:
            Watch(store, settings, idle_time=options.idle, tick=lambda: _cap_log(delivery_log(settings))).run()
            delivery_lives(settings)
            lease.release()
            # A kernel that recorded something while the lock was still held saw a living process and started
            # none.
            news = settings.database.exists() and outbox.backlog(store, target_of(settings).key).pending
            if not news or not lease.acquire():
                return 0
    finally:
        store.close()
        lease.release()


def _cap_log(path: Path) -> None:
    """Begin the log anew where it grew too long; one old one is kept. MLflow writes to it as well."""
    with suppress(OSError):
        if path.stat().st_size > LOG_LIMIT and os.fstat(2).st_ino == path.stat().st_ino:
            path.with_suffix(".log.1").write_bytes(path.read_bytes())
            os.truncate(path, 0)


if __name__ == "__main__":
    sys.exit(main())
