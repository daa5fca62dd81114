"""Models in files: a pickle only where it is trusted, skops by its types, MLflow's folders without loading anything."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import joblib
import mlflow
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier

from mlops_jupyter.cli import invoke
from mlops_jupyter.data import file_digest
from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.verbs.lineage import lineage
from mlops_jupyter.verbs.models import models_list
from mlops_jupyter.verbs.register import register
from mlops_jupyter.workspace import Workspace
from tests.schemas import check
from tests.tracking.workspaces import new_session

from .fitted import X, Y, append_cell, classifier


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (Path(self.path), "unpickled"))


class Mine(BaseEstimator):
    """An estimator that skops does not know."""

    def fit(self, X: Any, y: Any = None) -> Mine:
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X: Any) -> Any:
        return X[:, 0]


@pytest.fixture
def folder(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workspace.settings.root)
    return workspace.settings.root


def test_a_pickle_is_not_loaded_unless_it_is_trusted(workspace: Workspace, folder: Path) -> None:
    mark = folder / "mark"
    for name in ("model.pkl", "model.joblib"):
        (folder / name).write_bytes(pickle.dumps(Bomb(str(mark))))
        with pytest.raises(UsageError, match=r"loading a pickle runs whatever code.*--trust pickle"):
            register(workspace, name, name="m")
    assert not mark.exists()
    assert models_list(workspace)["models"] == []


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "le modèle ü.pickle"])
def test_a_trusted_pickle_becomes_skops(workspace: Workspace, folder: Path, name: str) -> None:
    fitted = classifier()
    if name.endswith("joblib"):
        joblib.dump(fitted, folder / name, compress=3)
    else:
        (folder / name).write_bytes(pickle.dumps(fitted))
    document = register(workspace, name, name="m", trust=["pickle"])
    check(document, "register")
    assert (document["format"], document["file"], document["run_id"]) == ("skops", name, None)
    assert "was unpickled" in document["notes"][0]
    assert any(r.startswith("scikit-learn==") for r in document["requirements"])
    assert (mlflow.sklearn.load_model(document["source"]).predict(X) == fitted.predict(X)).all()
    assert register(workspace, name, name="m", trust=["pickle"])["created"] is False


def test_a_skops_file_names_the_types_that_it_needs(workspace: Workspace, folder: Path) -> None:
    skops.io.dump(classifier(), folder / "plain.skops")
    assert register(workspace, "plain.skops", name="plain")["format"] == "skops"
    skops.io.dump(RandomForestClassifier(2).fit(X, Y), folder / "forest.skops")
    with pytest.raises(UsageError, match=r"harmless: sklearn.tree._tree.Tree.*--trust sklearn.tree._tree.Tree"):
        register(workspace, "forest.skops", name="forest")
    document = register(workspace, "forest.skops", name="forest", trust=["sklearn.tree._tree.Tree"])
    assert mlflow.sklearn.load_model(document["source"]).n_estimators == 2
    skops.io.dump(Mine().fit(X), folder / "mine.skops")
    with pytest.raises(UsageError, match=r"test_files\.Mine"):
        register(workspace, "mine.skops", name="mine")


def test_an_mlflow_folder_is_copied_and_nothing_in_it_is_loaded(workspace: Workspace, folder: Path) -> None:
    mark = folder / "mark"
    mlflow.sklearn.save_model(
        classifier(), str(folder / "saved"), serialization_format="cloudpickle", pip_requirements=["numpy"]
    )
    (folder / "saved" / "model.pkl").write_bytes(pickle.dumps(Bomb(str(mark))))
    document = register(workspace, "saved", name="copied")
    check(document, "register")
    assert (document["format"], document["flavor"]) == ("mlflow", "sklearn")
    assert not mark.exists()
    copied = Path(document["source"].removeprefix("file://"))
    assert (copied / "model.pkl").read_bytes() == (folder / "saved" / "model.pkl").read_bytes()
    assert (copied / "mlops" / "lineage.json").is_file()


def test_a_folder_with_a_link_out_of_it_is_refused(workspace: Workspace, folder: Path) -> None:
    mlflow.sklearn.save_model(classifier(), str(folder / "saved"), pip_requirements=["numpy"])
    secret = folder / "secret"
    secret.write_text("s")
    (folder / "saved" / "extra").symlink_to(secret)
    with pytest.raises(UsageError, match="leads out of the model's folder"):
        register(workspace, "saved", name="m")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (pickle.dumps({"a": 1}), "holds a dict, which is no model"),
        (pickle.dumps(classifier())[:100], "cannot be loaded"),
        (b"", "cannot be loaded"),
        (b"c__main__\nOnlyThere\n.", "only the name of a class that a notebook defined"),
        (b"cno_such_module_of_mine\nThing\n.", "cannot be loaded"),
    ],
)
def test_what_is_no_model_is_told_in_one_sentence(
    workspace: Workspace, folder: Path, content: bytes, told: str
) -> None:
    (folder / "model.pkl").write_bytes(content)
    with pytest.raises(UsageError, match=told):
        register(workspace, "model.pkl", name="m", trust=["pickle"])


def test_paths_that_are_no_models(workspace: Workspace, folder: Path) -> None:
    (folder / "plain").mkdir()
    (folder / "notes.txt").write_text("x")
    (folder / "broken.skops").write_text("x")
    with pytest.raises(UsageError, match="has no MLmodel file"):
        register(workspace, "plain", name="m")
    with pytest.raises(UsageError, match="of no kind that can be registered"):
        register(workspace, "notes.txt", name="m")
    with pytest.raises(UsageError, match="is no skops file"):
        register(workspace, "broken.skops", name="m")
    with pytest.raises(TargetNotFoundError, match="There is no file"):
        register(workspace, "gone.skops", name="m")
    with pytest.raises(UsageError, match="--model names a variable of a run"):
        register(workspace, "broken.skops", name="m", model="clf")


def test_a_file_that_a_recorded_cell_wrote_knows_its_cell(workspace: Workspace, folder: Path) -> None:
    skops.io.dump(classifier(), folder / "model.skops")
    session = new_session(workspace.store)
    digest = file_digest(folder / "model.skops")
    cell = append_cell(workspace.store, session, "skops.io.dump(clf, 'model.skops')", files={"model.skops": digest})
    document = register(workspace, "model.skops", name="m")
    assert document["execution_id"] == cell.execution_id
    assert document["tags"]["mlops.notebook"] == "train.ipynb"
    assert "skops.io.dump" in (Path(document["source"].removeprefix("file://")) / "mlops" / "slice.py").read_text()
    assert f"execution:{cell.execution_id}" in lineage(workspace, "model:m/1").focus
    skops.io.dump(classifier(C=9), folder / "model.skops")  # other bytes: not what the cell wrote
    assert register(workspace, "model.skops", name="m")["execution_id"] is None
    with pytest.raises(TargetNotFoundError, match="Nothing recorded here made model:m/2"):
        lineage(workspace, "model:m/2")


@pytest.mark.parametrize("content", ["flavors: 5", "flavors: {sklearn: 5}", "flavors: ["])
def test_a_model_folder_with_another_description_is_refused(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".mlops").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text(content)
    monkeypatch.chdir(tmp_path)
    assert invoke(["register", "model", "--name", "m"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mlops: model is no MLflow model: ")
    assert len(said.splitlines()) == 1
