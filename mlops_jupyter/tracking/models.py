"""Models in MLflow, packaged from the pickled bytes as they are.

The delivery process never unpickles: a model is user code that it has no business to run. So the files that
``mlflow.sklearn.save_model`` writes are written here from what was recorded when the model was fitted, and
``mlflow.sklearn.load_model`` and ``mlflow.pyfunc.load_model`` load them anywhere. Requirements are always
those that were recorded: guessing them takes MLflow many seconds and a process that imports the model.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_jupyter.entities import Digest, RunUid
from mlops_jupyter.store import outbox

from .faults import fault_point
from .files import upload_environment
from .link import Link
from .names import escape_key
from .packages import Contents, class_predicts, python_version, write_package

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import Model

MODEL_UID_TAG = "mlops.model_uid"
"""Our id of a model; what it is found by."""

_BAD_NAME_CHARACTERS = str.maketrans(dict.fromkeys("/:.%\"'\\", "_"))


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
            write_package(Path(folder), described(run_id, model), _contents(link, data, source))
            link.client.log_model_artifacts(model.model_id, folder)
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
        name=logged_name(data["name"] or data["class_name"] or "model"),
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


def logged_name(text: str) -> str:
    """``text`` as MLflow takes it for the name of a logged model."""
    return text.translate(_BAD_NAME_CHARACTERS)[:200]


def described(run_id: str | None, model: LoggedModel) -> Model:
    """The description that is to be saved with a logged model, still without flavors."""
    from mlflow.models import Model

    return Model(
        artifact_path=model.artifact_location, model_uuid=model.model_id, run_id=run_id, model_id=model.model_id
    )


def _contents(link: Link, data: Any, source: Path) -> Contents:
    example = data["input_example"]
    signature = json.loads(data["signature"]) if data["signature"] else None
    # A clustering is fitted without a target, so that its signature has no outputs either.
    silent = signature is not None and not signature.get("outputs")
    return Contents(
        data=source,
        sklearn=data["flavor"] == "sklearn",
        signature=signature,
        has_predict=class_predicts(data["class_name"]) if silent else None,
        example=None if example is None else json.loads(link.exchange.get(Digest(example))),
        requirements=tuple(data["requirements"]),
        python=python_version(link.store, RunUid(data["run_uid"])),
    )
