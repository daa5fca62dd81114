"""Kill a delivery at every fault point, deliver again, and print as JSON what MLflow then holds.

A program of its own: it imports MLflow once and forks for each point, which a test process with threads must not.
Arguments: a folder to work in, a fresh MLflow database to copy.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 imported here so that no child has to

from mlops_jupyter.store import open_workspace_store, outbox
from mlops_jupyter.tracking import sync
from mlops_jupyter.tracking.faults import FAULT_POINTS
from mlops_jupyter.tracking.target import target_of
from tests.tracking.workspaces import in_mlflow, record_everything, settings_of, use_template


def main(folder: Path, template: Path, points: list[str]) -> None:
    results = {}
    for point in points:
        settings = settings_of(folder / point.replace(":", "-"))
        use_template(settings, template)
        store = open_workspace_store(settings)
        ids = record_everything(settings, store)
        store.close()
        died_of = in_child(lambda settings=settings: sync(settings), MLOPS_FAULT=point)

        def check(settings=settings, ids=ids, point=point, died_of=died_of) -> None:
            report = sync(settings)
            store = open_workspace_store(settings)
            left = outbox.backlog(store, target_of(settings).key)
            result = {
                "died_of": died_of,
                "error": str(report.error or ""),
                "pending": left.pending,
                "dead": left.dead,
                "found": in_mlflow(settings, store, ids),
            }
            (folder / f"{point}.json").write_text(json.dumps(result))

        in_child(check)
        results[point] = json.loads((folder / f"{point}.json").read_text())
    print(json.dumps(results))


def in_child(work, **environ: str) -> int:
    """Run ``work`` in a fork; the signal that it died of, or 0."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.environ.update(environ)
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"a child failed with {os.WEXITSTATUS(status)}")
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or [f"{point}:1" for point in FAULT_POINTS])
