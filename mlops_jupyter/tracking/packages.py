"""An MLflow model as a folder: the bytes of a model as they are, and the files that say how to load them.

Nothing here loads a model. What is written is what MLflow's own ``save_model`` writes, so that
``mlflow.sklearn.load_model`` and ``mlflow.pyfunc.load_model`` load it anywhere, without this package.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlops_jupyter.entities import RunUid
from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.store import Connection

from .failures import first_line
from .target import mlflow_environment

if TYPE_CHECKING:
    from mlflow.models import Model as Model  # other packages name the type through this one

Serialization = Literal["cloudpickle", "skops"]

_NAMES: dict[Serialization, str] = {"cloudpickle": "model.pkl", "skops": "model.skops"}
_NATIVE_MODULES = {"torch": "pytorch"}
"""MLflow's module for a library, where it has another name."""
_NATIVE_LOADERS = {"lightgbm": ("skops",), "torch": ("cloudpickle",)}
"""What loading MLflow's format for a library needs besides it."""
_CODE = "code"
_PIP = "requirements.txt"
_CONDA = "conda.yaml"
_PYTHON = "python_env.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What goes into a package."""

    data: Path | bytes
    """The serialised model: a file, or its bytes."""
    serialization: Serialization = "cloudpickle"
    sklearn: bool = True
    """Whether it keeps scikit-learn's conventions, so that ``mlflow.sklearn`` loads it."""
    signature: Mapping[str, Any] | None = None
    """MLflow's signature as ``ModelSignature.to_dict`` gives it."""
    example: Any = None
    """Input example in ``dataframe_split`` or ``inputs`` form, or None."""
    requirements: Sequence[str] = ()
    """Pinned distributions; what loading needs besides them is added."""
    python: str = ""
    """Version of the Python that made it; empty: this one's."""
    trusted: Sequence[str] = ()
    """Types beyond skops' own list that loading may make."""
    code: Mapping[str, bytes] | None = None
    """Modules that travel with the model: path below ``code/`` -> text."""
    has_predict: bool | None = None
    """Whether it has ``predict``, where that was seen."""

    @property
    def predicts(self) -> bool:
        """Whether it has ``predict``; where that was not seen: a transformer's signature has no outputs."""
        if self.has_predict is not None:
            return self.has_predict
        return not self.signature or bool(self.signature.get("outputs"))


def class_predicts(class_name: str) -> bool | None:
    """Whether a class of scikit-learn has ``predict``; None for a pipeline, which has what its last step has, and for
    classes of others, which are not imported for it."""
    module, _, name = class_name.rpartition(".")
    if module.partition(".")[0] != "sklearn" or name == "Pipeline":
        return None
    try:
        return hasattr(getattr(importlib.import_module(module), name), "predict")
    except (ImportError, AttributeError):
        return None


def write_package(folder: Path, described: Model, contents: Contents) -> None:
    """Write the model and what describes it into the empty ``folder``.

    Raises:
        TargetNotFoundError: the input example is in no form that MLflow knows.
    """
    from mlflow.models import ModelSignature
    from mlflow.models.model import MLMODEL_FILE_NAME

    name = _NAMES[contents.serialization]
    if isinstance(contents.data, bytes):
        (folder / name).write_bytes(contents.data)
    else:
        shutil.copyfile(contents.data, folder / name)
    write_code(folder / _CODE, contents.code)
    requirements = with_loaders(contents.requirements, contents.serialization)
    if contents.signature:
        described.signature = ModelSignature.from_dict(dict(contents.signature))
    if contents.example is not None:
        write_example(described, contents.example, folder)
    _add_flavors(described, contents, name, requirements)
    described.model_size_bytes = (folder / name).stat().st_size
    write_environment(folder, requirements, contents.python or platform.python_version())
    described.save(str(folder / MLMODEL_FILE_NAME))


def write_code(folder: Path, code: Mapping[str, bytes] | None) -> None:
    """Write modules that travel with a model below ``folder``."""
    for path, text in (code or {}).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text)


def _add_flavors(described: Model, contents: Contents, name: str, requirements: Sequence[str]) -> None:
    from mlflow import pyfunc

    code = _CODE if contents.code else None
    if contents.predicts:
        pyfunc.add_to_model(
            described,
            loader_module="mlflow.sklearn",
            model_path=name,
            conda_env=_CONDA,
            python_env=_PYTHON,
            code=code,
            predict_fn="predict",
        )
    if contents.sklearn or not contents.predicts:
        described.add_flavor(
            "sklearn",
            pickled_model=name,
            sklearn_version=version_of("scikit-learn", requirements),
            serialization_format=contents.serialization,
            code=code,
            skops_trusted_types=list(contents.trusted) or None,
        )


def with_loaders(recorded: Sequence[str], serialization: Serialization | None) -> list[str]:
    """The recorded distributions and what loading the package needs besides them."""
    from importlib.metadata import version

    wanted = [requirement for requirement in recorded if requirement.isprintable()]
    for name in ("mlflow", *([serialization] if serialization else [])):
        if version_of(name, wanted) is None:
            wanted.append(f"{name}=={version(name)}")
    return sorted(wanted, key=str.lower)


def version_of(name: str, requirements: Sequence[str]) -> str | None:
    """The version to which a distribution is pinned, or None."""
    for requirement in requirements:
        distribution, _, version = requirement.partition("==")
        if distribution.strip().lower().replace("_", "-") == name:
            return version.strip()
    return None


def python_version(store: Connection, run_uid: RunUid) -> str:
    """Version of the Python that fitted a run's models, not of the one that delivers them; empty where unknown."""
    rows = store.execute(
        "SELECT s.python FROM runs r JOIN sessions s ON s.session_id = r.session_id WHERE r.run_uid = ?",
        (run_uid,),
    )
    text = str(rows[0][0]).split()[0] if rows and str(rows[0][0]).strip() else ""
    return text if text[:1].isdigit() else ""


def write_environment(folder: Path, requirements: Sequence[str], python: str) -> None:
    """The three files in which MLflow keeps an environment."""
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


def write_example(described: Model, example: Any, folder: Path) -> None:
    """The input example in MLflow's two files: as data, and as a request to a scoring server.

    Raises:
        TargetNotFoundError: it is in no form that MLflow knows.
    """
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


def write_native(folder: Path, described: Model, library: str, model: Any, contents: Contents) -> None:
    """Write a loaded model in the format that MLflow has for its library (``xgboost``, ``torch``, …).

    Raises:
        UsageError: MLflow cannot save it.
    """
    from mlflow.models import ModelSignature

    requirements = native_requirements(library, contents.requirements)
    try:
        _native(library).save_model(
            model,
            str(folder),
            mlflow_model=described,
            signature=ModelSignature.from_dict(dict(contents.signature)) if contents.signature else None,
            pip_requirements=list(requirements),
        )
    except Exception as error:
        raise UsageError(f"MLflow cannot save this {library} model: {first_line(error)}.") from error
    if contents.example is not None:
        write_example(described, contents.example, folder)
        described.save(str(folder / "MLmodel"))
    write_environment(folder, requirements, contents.python or platform.python_version())


def native_trial(library: str, model: Any) -> Any:
    """The model saved in MLflow's format for its library and loaded again.

    Raises:
        UsageError: MLflow cannot save or load it.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-") as folder, mlflow_environment():
        try:
            _native(library).save_model(model, f"{folder}/model", pip_requirements=["mlflow"])
            return _native(library).load_model(f"{folder}/model")
        except Exception as error:
            raise UsageError(f"MLflow cannot hold this {library} model ({first_line(error)})") from error


def native_requirements(library: str, recorded: Sequence[str]) -> list[str]:
    """The recorded distributions, the library itself, and what its format needs besides them."""
    from importlib.metadata import PackageNotFoundError, version

    wanted = with_loaders(recorded, None)
    for name in (library, *_NATIVE_LOADERS.get(library, ())):
        if version_of(name, wanted) is None:
            with contextlib.suppress(PackageNotFoundError):  # a library that another distribution brings
                wanted.append(f"{name}=={version(name)}")
    return sorted(wanted, key=str.lower)


def _native(library: str) -> Any:
    import importlib

    return importlib.import_module(f"mlflow.{_NATIVE_MODULES.get(library, library)}")


def describe(source: Path) -> Model:
    """The description of an MLflow model folder.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with mlflow_environment():
            from mlflow.models import Model as MlflowModel

            model = MlflowModel.load(str(source))
    except Exception as error:
        raise UsageError(f"{source} is no MLflow model: {first_line(error)}.", hint=_WRITE_AGAIN) from error
    flavors = model.flavors
    if not isinstance(flavors, dict) or not all(isinstance(flavor, dict) for flavor in flavors.values()):
        raise UsageError(f"{source} is no MLflow model: its flavors are no table.", hint=_WRITE_AGAIN)
    return model


_WRITE_AGAIN = "Write it again with MLflow's save_model."


def read_requirements(source: Path) -> list[str]:
    """Requirements that an MLflow model folder lists."""
    try:
        lines = (source / _PIP).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def inferred_signature(inputs: Any, outputs: Any) -> dict[str, Any] | None:
    """MLflow's signature of these inputs and outputs, or None where it finds none."""
    import warnings

    with warnings.catch_warnings(), mlflow_environment():
        from mlflow.models import infer_signature

        warnings.simplefilter("ignore")
        try:
            return dict(infer_signature(inputs, outputs).to_dict())
        except Exception:  # noqa: BLE001 - data that MLflow has no type for
            return None


def copy_package(folder: Path, described: Model, source: Path, files: Sequence[Path]) -> None:
    """Copy an MLflow model folder, byte for byte but for its ids.

    Raises:
        UsageError: its description cannot be read.
    """
    found = describe(source)
    for file in files:
        target = folder / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    found.model_uuid, found.model_id = described.model_uuid, described.model_id
    found.artifact_path = described.artifact_path
    found.save(str(folder / "MLmodel"))
