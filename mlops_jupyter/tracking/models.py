"""Models in MLflow, packaged from the pickled bytes as they are.

The delivery process never unpickles: a model is user code that it has no business to run. So the files that
``mlflow.sklearn.save_model`` writes are written here from what was recorded when the model was fitted, and
``mlflow.sklearn.load_model`` and ``mlflow.pyfunc.load_model`` load them anywhere. Requirements are always
those that were recorded: guessing them takes MLflow many seconds and a process that imports the model.
"""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_jupyter.entities import Digest, RunUid
from mlops_jupyter.errors import TargetNotFoundError
from mlops_jupyter.store import outbox

from .faults import fault_point
from .files import upload_environment
from .link import Link
from .names import escape_key

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import Model

MODEL_UID_TAG = "mlops.model_uid"
"""Our id of a model; what it is found by."""

_PICKLE = "model.pkl"
_BAD_NAME_CHARACTERS = str.maketrans(dict.fromkeys("/:.%\"'\\", "_"))
_PIP = "requirements.txt"
_CONDA = "conda.yaml"
_PYTHON = "python_env.yaml"


def send_model(link: Link, run_id: str, row: outbox.Item) -> None:
    """Package, upload and finish one model; a half-made one of an earlier attempt is finished.

    A model whose bytes could not be recorded is a tag of the run that says why.

    Raises:
        TargetNotFoundError: the exchange has lost the bytes.
    """
    data = row.data
    if data["digest"] is None:
        link.client.set_tag(run_id, escape_key(f"mlops.model.{data['name']}"), f"not stored: {data['error']}"[:5000])
        return
    digests = [Digest(d) for d in (data["digest"], data["input_example"]) if d is not None]
    link.exchange.push(digests)
    source = link.exchange.path(Digest(data["digest"]))
    model = _found(link, run_id, data["model_uid"]) or _created(link, run_id, data)
    _link_to_run(link, run_id, model.model_id)
    if str(model.status) not in ("READY", "LoggedModelStatus.READY"):
        with (
            tempfile.TemporaryDirectory(prefix="mlops-") as folder,
            upload_environment(source.stat().st_size),
        ):
            package = Path(folder)
            write_package(link, run_id, model, data, source, package)
            link.client.log_model_artifacts(model.model_id, str(package))
        fault_point("model_uploaded")
        link.client.finalize_logged_model(model.model_id, "READY")
        fault_point("model_finalized")
    _measure(link, run_id, str(row.run_uid), model.model_id)
    outbox.remember(link.store, link.target.key, "model", data["model_uid"], model.model_id)
    fault_point("model_remembered")


def _found(link: Link, run_id: str, model_uid: str) -> LoggedModel | None:
    experiment = link.client.get_run(run_id).info.experiment_id
    found: Sequence[LoggedModel] = link.client.search_logged_models(
        [experiment], f"tags.`{MODEL_UID_TAG}` = '{model_uid}'", max_results=1
    )
    return found[0] if found else None


def _created(link: Link, run_id: str, data: Any) -> LoggedModel:
    experiment = link.client.get_run(run_id).info.experiment_id
    model = link.client.create_logged_model(
        experiment,
        name=(data["name"] or data["class_name"] or "model").translate(_BAD_NAME_CHARACTERS)[:200],
        source_run_id=run_id,
        tags={
            MODEL_UID_TAG: data["model_uid"],
            "mlops.class": data["class_name"],
            "mlops.digest": data["digest"],
        },
        model_type=None,
    )
    fault_point("model_created")
    return model


def _link_to_run(link: Link, run_id: str, model_id: str) -> None:
    from mlflow.entities import LoggedModelOutput

    # MLflow would add the same output again and again.
    outputs = link.client.get_run(run_id).outputs
    if outputs is None or all(output.model_id != model_id for output in outputs.model_outputs):
        link.client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    fault_point("model_linked")


def _measure(link: Link, run_id: str, run_uid: str, model_id: str) -> None:
    """Show the run's metrics on the model too, where the run fitted only this one."""
    from mlflow.entities import Metric

    ((models,),) = link.store.execute("SELECT COUNT(*) FROM models WHERE run_uid = ?", (run_uid,))
    if models == 1:
        rows = link.store.execute(
            "SELECT key, value, timestamp, step FROM latest_metrics "
            "WHERE run_uid = ? AND value IS NOT NULL ORDER BY key LIMIT 1000",
            (run_uid,),
        )
        metrics = [Metric(escape_key(k), v, t, s, model_id=model_id, run_id=run_id) for k, v, t, s in rows]
        if metrics:
            link.client.log_batch(run_id, metrics=metrics)
    fault_point("model_measured")


def write_package(link: Link, run_id: str, model: LoggedModel, data: Any, source: Path, folder: Path) -> None:
    """Write an MLflow model into ``folder``: the pickled bytes of ``source`` and what describes them."""
    from mlflow.models import Model, ModelSignature
    from mlflow.models.model import MLMODEL_FILE_NAME

    shutil.copyfile(source, folder / _PICKLE)
    requirements = _requirements(data["requirements"])
    described = Model(
        artifact_path=model.artifact_location,
        model_uuid=model.model_id,
        run_id=run_id,
        model_id=model.model_id,
    )
    signature = json.loads(data["signature"]) if data["signature"] else None
    if signature:
        described.signature = ModelSignature.from_dict(signature)
    if data["input_example"] is not None:
        _write_example(described, json.loads(link.exchange.get(Digest(data["input_example"]))), folder)
    _add_flavors(described, data, requirements, predicts=not signature or bool(signature.get("outputs")))
    described.model_size_bytes = source.stat().st_size
    _write_environment(folder, requirements, _python_version(link, RunUid(data["run_uid"])))
    described.save(str(folder / MLMODEL_FILE_NAME))


def _add_flavors(described: Model, data: Any, requirements: Sequence[str], *, predicts: bool) -> None:
    from mlflow import pyfunc

    if predicts:
        pyfunc.add_to_model(
            described,
            loader_module="mlflow.sklearn",
            model_path=_PICKLE,
            conda_env=_CONDA,
            python_env=_PYTHON,
            predict_fn="predict",
        )
    if data["flavor"] == "sklearn" or not predicts:
        described.add_flavor(
            "sklearn",
            pickled_model=_PICKLE,
            sklearn_version=_version_of("scikit-learn", requirements),
            serialization_format="cloudpickle",
            code=None,
        )


def _requirements(recorded: Sequence[str]) -> list[str]:
    """The recorded distributions and what loading the package needs besides them."""
    import cloudpickle
    import mlflow

    wanted = [requirement for requirement in recorded if requirement.isprintable()]
    for name, version in (("mlflow", mlflow.__version__), ("cloudpickle", cloudpickle.__version__)):
        if _version_of(name, wanted) is None:
            wanted.append(f"{name}=={version}")
    return sorted(wanted, key=str.lower)


def _version_of(name: str, requirements: Sequence[str]) -> str | None:
    for requirement in requirements:
        distribution, _, version = requirement.partition("==")
        if distribution.strip().lower().replace("_", "-") == name:
            return version.strip()
    return None


def _python_version(link: Link, run_uid: RunUid) -> str:
    """Version of the Python that fitted the model, not of the one that delivers it."""
    rows = link.store.execute(
        "SELECT s.python FROM runs r JOIN sessions s ON s.session_id = r.session_id WHERE r.run_uid = ?",
        (run_uid,),
    )
    text = str(rows[0][0]).split()[0] if rows and str(rows[0][0]).strip() else ""
    return text if text[:1].isdigit() else platform.python_version()


def _write_environment(folder: Path, requirements: Sequence[str], python: str) -> None:
    # JSON strings are YAML strings, so nothing that was recorded can break out of its line.
    quoted = [json.dumps(requirement) for requirement in requirements]
    (folder / _PIP).write_text("\n".join(requirements) + "\n", encoding="utf-8")
    (folder / _CONDA).write_text(
        "name: mlflow-env\nchannels:\n- conda-forge\ndependencies:\n"
        f"- {json.dumps('python=' + python)}\n- pip\n- pip:\n" + "".join(f"  - {q}\n" for q in quoted),
        encoding="utf-8",
    )
    (folder / _PYTHON).write_text(
        f"python: {json.dumps(python)}\nbuild_dependencies:\n- pip\ndependencies:\n- -r {_PIP}\n",
        encoding="utf-8",
    )


def _write_example(described: Model, example: Any, folder: Path) -> None:
    """The input example in MLflow's two files: as data, and as a request to a scoring server."""
    if not isinstance(example, dict) or not {"dataframe_split", "inputs"} & example.keys():
        raise TargetNotFoundError("The input example is in neither dataframe_split nor inputs form.")
    info = {"artifact_path": "input_example.json", "serving_input_path": "serving_input_example.json"}
    if "dataframe_split" in example:
        content = example["dataframe_split"]
        info |= {"type": "dataframe", "pandas_orient": "split"}
    else:
        content = example["inputs"]
        info["type"] = "ndarray"
    (folder / info["artifact_path"]).write_text(json.dumps(content), encoding="utf-8")
    (folder / info["serving_input_path"]).write_text(json.dumps(example, indent=2), encoding="utf-8")
    described.saved_input_example_info = info
