"""Several processes that want one MLflow database at the same instant; prints what each of them found.

Arguments: the workspaces (folders), one process for each. MLflow is imported once, before the forks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import mlflow.store.tracking.sqlalchemy_store
from workspaces import settings_of

from mlops_jupyter.tracking.embedded import prepare_database
from mlops_jupyter.tracking.target import mlflow_environment, target_of


def main(roots: list[Path]) -> None:
    ready, go = os.pipe()
    children = []
    for number, root in enumerate(roots):
        pid = os.fork()
        if pid == 0:
            os.close(go)
            os.read(ready, 1)  # ends for all at once, when the parent closes its side
            print(one(root, f"of {number}"), flush=True)
            os._exit(0)
        children.append(pid)
    os.close(go)
    for pid in children:
        os.waitpid(pid, 0)


def one(root: Path, name: str) -> str:
    settings = settings_of(root)
    try:
        with mlflow_environment():
            made = prepare_database(target_of(settings), settings.artifacts)
            client = mlflow.MlflowClient(tracking_uri=settings.tracking_uri)
            client.create_run(client.create_experiment(name))
    except Exception as error:
        return f"failed: {error!r}"
    return "made" if made else "found"


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
