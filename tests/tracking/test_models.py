"""A model that was recorded loads with plain MLflow, and packaging it never runs its code."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from mlflow import MlflowClient

from mlops_jupyter.config import Settings
from mlops_jupyter.data.exchange import open_exchange
from mlops_jupyter.entities import Metric, RunUid
from mlops_jupyter.store import Connection, runs
from mlops_jupyter.tracking import sync

from .workspaces import Doubler, new_model, new_run, new_session

SIGNATURE = json.dumps(
    {
        "inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]',
        "outputs": '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]',
    }
)


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (Path(self.path), "unpickled"))


def model_of(settings: Settings, store: Connection, run_uid: RunUid) -> Any:
    client = MlflowClient(tracking_uri=settings.tracking_uri)
    run = client.get_run(runs.get_run(store, run_uid).mlflow_run_id)
    (output,) = run.outputs.model_outputs
    return client.get_logged_model(output.model_id)


def package_of(settings: Settings, store: Connection, run_uid: RunUid) -> Path:
    return Path(model_of(settings, store, run_uid).artifact_location.removeprefix("file://"))


def test_a_fitted_estimator_loads_with_plain_mlflow(settings: Settings, store: Connection) -> None:
    import mlflow
    from sklearn.linear_model import LogisticRegression

    data, target = np.array([[0.0, 1.0], [1.0, 0.0]] * 5), np.array([0, 1] * 5)
    fitted = LogisticRegression(C=0.5).fit(data, target)
    example = open_exchange(settings).put_bytes(json.dumps({"inputs": data[:2].tolist()}).encode())
    run_uid = new_run(store, session_id=new_session(store, python="3.11.4 (main)"))
    runs.log_metrics(store, run_uid, [Metric(key="accuracy", value=1.0, step=0, timestamp=1)])
    runs.add_model(
        store, run_uid,
        new_model(settings, fitted, name="clf", signature=SIGNATURE, input_example=example,
                  requirements=("scikit-learn==1.9.1", "numpy==2.4.6")),
    )  # fmt: skip
    sync(settings)
    model = model_of(settings, store, run_uid)
    assert (model.name, str(model.status)) == ("clf", "READY")
    assert [(m.key, m.value) for m in model.metrics] == [("accuracy", 1.0)]
    package = package_of(settings, store, run_uid)
    loaded = mlflow.sklearn.load_model(str(package))
    assert (type(loaded), loaded.C) == (LogisticRegression, 0.5)
    generic = mlflow.pyfunc.load_model(str(package))
    assert (generic.predict(data) == target).all()
    assert generic.input_example.tolist() == data[:2].tolist()
    assert generic.metadata.signature.inputs.to_dict()[0]["type"] == "tensor"
    lines = (package / "requirements.txt").read_text().split()
    assert {"scikit-learn==1.9.1", "numpy==2.4.6"} < set(lines)
    assert {line.split("==")[0] for line in lines} == {"scikit-learn", "numpy", "mlflow", "cloudpickle"}
    assert '"python=3.11.4"' in (package / "conda.yaml").read_text()
    assert generic.metadata.flavors["sklearn"]["sklearn_version"] == "1.9.1"


def test_a_data_frame_example_is_one(settings: Settings, store: Connection) -> None:
    import mlflow

    split = {"columns": ["a", "b"], "data": [[1.0, 2.0], [3.0, 4.0]]}
    example = open_exchange(settings).put_bytes(json.dumps({"dataframe_split": split}).encode())
    run_uid = new_run(store)
    runs.add_model(store, run_uid, new_model(settings, Doubler(), input_example=example))
    sync(settings)
    loaded = mlflow.pyfunc.load_model(str(package_of(settings, store, run_uid)))
    assert list(loaded.input_example.columns) == ["a", "b"]
    assert loaded.predict(loaded.input_example).iloc[1, 1] == 8.0


def test_a_model_of_another_kind_loads_as_pyfunc(settings: Settings, store: Connection) -> None:
    import mlflow

    run_uid = new_run(store)
    runs.add_model(store, run_uid, new_model(settings, Doubler(), name="a/b:c", flavor="pyfunc"))
    sync(settings)
    assert model_of(settings, store, run_uid).name == "a_b_c"
    loaded = mlflow.pyfunc.load_model(str(package_of(settings, store, run_uid)))
    assert list(loaded.metadata.flavors) == ["python_function"]
    assert loaded.predict(np.array([2.0])) == 4.0


def test_packaging_never_unpickles(settings: Settings, store: Connection, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    example = open_exchange(settings).put_bytes(json.dumps({"inputs": [[1.0]]}).encode())
    run_uid = new_run(store)
    runs.add_model(store, run_uid, new_model(settings, Bomb(str(mark)), signature=SIGNATURE, input_example=example))
    assert sync(settings).dead_letters == ()
    assert str(model_of(settings, store, run_uid).status) == "READY"
    assert not mark.exists()
    cloudpickle.loads((package_of(settings, store, run_uid) / "model.pkl").read_bytes())
    assert mark.read_text() == "unpickled", "the bytes are not those that were recorded"


def test_a_transformer_has_no_predict(settings: Settings, store: Connection) -> None:
    import mlflow

    signature = json.dumps({"inputs": json.loads(SIGNATURE)["inputs"]})
    run_uid = new_run(store)
    runs.add_model(store, run_uid, new_model(settings, Doubler(), signature=signature))
    sync(settings)
    info = mlflow.models.Model.load(str(package_of(settings, store, run_uid)))
    assert list(info.flavors) == ["sklearn"]


def test_a_clustering_that_was_fitted_without_a_target_predicts(settings: Settings, store: Connection) -> None:
    import mlflow
    from sklearn.cluster import KMeans

    signature = json.dumps({"inputs": json.loads(SIGNATURE)["inputs"], "outputs": None})
    run_uid = new_run(store)
    runs.add_model(store, run_uid, new_model(settings, KMeans(2), signature=signature))
    sync(settings)
    info = mlflow.models.Model.load(str(package_of(settings, store, run_uid)))
    assert set(info.flavors) == {"sklearn", "python_function"}


def test_a_model_without_bytes_says_why(settings: Settings, store: Connection) -> None:
    from dataclasses import replace

    run_uid = new_run(store)
    model = replace(new_model(settings, Doubler(), name="net"), digest=None, error="larger than 1 MiB")
    runs.add_model(store, run_uid, model)
    report = sync(settings)
    assert (report.error, report.dead_letters) == (None, ())
    client = MlflowClient(tracking_uri=settings.tracking_uri)
    tags = client.get_run(runs.get_run(store, run_uid).mlflow_run_id).data.tags
    assert tags["mlops.model.net"] == "not stored: larger than 1 MiB"


def test_requirements_cannot_break_out_of_their_line(settings: Settings, store: Connection) -> None:
    import yaml

    run_uid = new_run(store)
    recorded = ('odd": [1', "two\nlines==1", "numpy==2.4.6")
    runs.add_model(store, run_uid, new_model(settings, Doubler(), requirements=recorded))
    sync(settings)
    package = package_of(settings, store, run_uid)
    pip = yaml.safe_load((package / "conda.yaml").read_text())["dependencies"][-1]["pip"]
    assert {line.split("==")[0] for line in pip} == {'odd": [1', "numpy", "mlflow", "cloudpickle"}
    assert (package / "requirements.txt").read_text().splitlines() == pip


@pytest.mark.parametrize("count", [5])
def test_a_model_takes_half_a_second_at_most(settings: Settings, store: Connection, count: int) -> None:
    sync(settings)  # MLflow's imports are not the model's
    warm = new_run(store)
    runs.add_model(store, warm, new_model(settings, Doubler()))
    sync(settings)
    run_uid = new_run(store)
    for number in range(count):
        runs.add_model(store, run_uid, new_model(settings, Doubler(), name=f"m{number}"))
    before = time.perf_counter()
    assert sync(settings).delivered["models"] == count
    assert (time.perf_counter() - before) / count < 0.5
