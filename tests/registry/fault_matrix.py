"""Kill a registration at every fault point, repeat it, and print as JSON what MLflow then holds.

A program of its own: it imports MLflow once and forks for each point, which a test process with threads must not.
Arguments: a folder to work in, a fresh MLflow database to copy.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mlflow.sklearn
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store
import skops.io  # noqa: F401

from mlops_jupyter.store import audit, open_workspace_store
from mlops_jupyter.tracking.faults import REGISTRATION_POINTS
from mlops_jupyter.verbs.register import register
from mlops_jupyter.workspace import Workspace
from tests.registry.fitted import X, classifier, record_run
from tests.tracking.fault_matrix import in_child
from tests.tracking.workspaces import settings_of, use_template


def main(folder: Path, template: Path) -> None:
    results = {}
    for point in REGISTRATION_POINTS:
        settings = settings_of(folder / point)
        use_template(settings, template)
        store = open_workspace_store(settings)
        run = record_run(settings, store, {"clf": classifier()})
        store.close()

        def attempt(settings=settings, run=run) -> None:
            register(Workspace(settings, open_workspace_store(settings)), run, name="delay")

        died_of = in_child(attempt, MLOPS_FAULT=point)

        def check(settings=settings, run=run, point=point, died_of=died_of) -> None:
            from mlflow import MlflowClient

            store = open_workspace_store(settings)
            documents = [register(Workspace(settings, store), run, name="delay") for _ in range(2)]
            client = MlflowClient(tracking_uri=settings.tracking_uri)
            versions = client.search_model_versions("name = 'delay'")
            models = client.search_logged_models(["0", "1", "2"])
            ours = [m for m in models if "mlops.registration" in m.tags]
            folder_of = documents[0]["source"].removeprefix("file://")
            result = {
                "died_of": died_of,
                "versions": [d["version"] for d in documents],
                "in_mlflow": [int(v.version) for v in versions],
                "logged": [(str(m.status), m.tags.get("mlflow.modelVersions")) for m in ours],
                "audit": [e.subject for e in audit.entries(store)],
                "mirrored": store.execute("SELECT name, version, run_uid = ? FROM registrations", (run,)),
                "predicts": mlflow.sklearn.load_model(folder_of).predict(X[:2]).tolist(),
            }
            (folder / f"{point}.json").write_text(json.dumps(result))

        in_child(check)
        results[point] = json.loads((folder / f"{point}.json").read_text())
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
