"""Models of recorded runs become versions that plain MLflow loads, once, with where they came from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import IsolationForest, RandomForestClassifier

from mlops_jupyter.data.exchange import open_exchange
from mlops_jupyter.entities import RunStatus, RunUid
from mlops_jupyter.errors import CorruptObjectError, TargetNotFoundError, UnreachableError, UsageError
from mlops_jupyter.registry.serialise import compare
from mlops_jupyter.store import audit, open_team_store, open_workspace_store, runs
from mlops_jupyter.verbs.lineage import lineage
from mlops_jupyter.verbs.models import models_list, models_show
from mlops_jupyter.verbs.register import register
from mlops_jupyter.workspace import Workspace
from tests.schemas import check
from tests.tracking.servers import hanging
from tests.tracking.workspaces import child_environment, new_model, new_run, settings_of

from .fitted import PINNED, SIGNATURE, X, Y, classifier, record_run


def client_of(workspace: Workspace) -> MlflowClient:
    settings = workspace.settings
    return MlflowClient(tracking_uri=settings.tracking_uri, registry_uri=settings.registry_uri)


def files_of(document: dict[str, Any]) -> Path:
    return Path(document["source"].removeprefix("file://"))


def loaded(workspace: Workspace, document: dict[str, Any]) -> Any:
    return mlflow.sklearn.load_model(str(files_of(document)))


def test_a_recorded_classifier_becomes_a_version_in_skops(workspace: Workspace) -> None:
    fitted = classifier()
    run = record_run(workspace.settings, workspace.store, {"clf": fitted})
    document = register(workspace, run[:8], name="delay", description="the first")
    check(document, "register")
    assert (document["version"], document["created"], document["format"], document["flavor"]) == (
        1,
        True,
        "skops",
        "sklearn",
    )
    assert (document["variable"], document["run_id"]) == ("clf", run)
    assert document["notes"] == []
    again = loaded(workspace, document)
    assert (again.predict_proba(X) == fitted.predict_proba(X)).all()
    generic = mlflow.pyfunc.load_model(str(files_of(document)))
    assert (generic.predict(X) == fitted.predict(X)).all()
    assert generic.input_example.tolist() == X[:3].tolist()
    version = client_of(workspace).get_model_version("delay", "1")
    assert version.description == "the first"
    assert version.run_id == runs.get_run(workspace.store, run).mlflow_run_id
    assert version.tags["mlops.run_uid"] == run
    assert version.tags["mlops.git.commit"] == "c0ffee"
    assert version.tags["mlops.notebook"] == "train.ipynb"
    assert version.tags["mlops.data"] == "X@xxh3:" + "ab" * 16


def test_the_files_beside_the_model_say_where_it_came_from(workspace: Workspace) -> None:
    run = record_run(workspace.settings, workspace.store, {"clf": classifier()})
    folder = files_of(register(workspace, run, name="delay")) / "mlops"
    assert "clf = fit()" in (folder / "slice.py").read_text()
    assert "%%track" not in (folder / "slice.py").read_text()
    notebook = json.loads((folder / "slice.ipynb").read_text())
    assert (notebook["nbformat"], len(notebook["cells"])) == (4, 1)
    lineage_document = json.loads((folder / "lineage.json").read_text())
    assert lineage_document["run"]["run_id"] == run
    assert lineage_document["datasets"][0]["digest"] == "xxh3:" + "ab" * 16
    assert lineage_document["git"] == {"commit": "c0ffee", "dirty": "false"}
    assert set(PINNED) < set((folder.parent / "requirements.txt").read_text().split())


def test_repeating_gives_the_same_version_and_one_audit_entry(workspace: Workspace) -> None:
    run = record_run(workspace.settings, workspace.store, {"clf": classifier()})
    first = register(workspace, run, name="delay")
    second = register(workspace, run, name="delay", description="now with words")
    assert (second["version"], second["created"]) == (1, False)
    assert first["registration_id"] == second["registration_id"]
    other = record_run(workspace.settings, workspace.store, {"clf": classifier(C=2)})
    assert register(workspace, other, name="delay")["version"] == 2
    assert client_of(workspace).get_model_version("delay", "1").description == "now with words"
    entries = [(e.action, e.subject) for e in audit.entries(workspace.store)]
    assert entries == [("register", "model:delay/1"), ("register", "model:delay/2")]
    assert audit.verify(workspace.store).intact


def test_list_and_show(workspace: Workspace) -> None:
    assert models_list(workspace)["models"] == []
    run = record_run(workspace.settings, workspace.store, {"clf": classifier()})
    register(workspace, run, name="delay")
    client_of(workspace).set_registered_model_alias("delay", "champion", "1")
    listed = models_list(workspace)
    check(listed, "models-list")
    assert [(m["name"], m["latest_version"], m["aliases"]) for m in listed["models"]] == [("delay", 1, {"champion": 1})]
    for text in ("delay", "delay/1", "delay@champion", "models:/delay/1"):
        shown = models_show(workspace, text)
        check(shown, "models-show")
        assert [(v["version"], v["run_id"], v["aliases"]) for v in shown["versions"]] == [(1, run, ["champion"])]
    for text, told in (("delai", "Did you mean 'delay'"), ("delay/7", "no version 7"), ("delay@x", "no alias 'x'")):
        with pytest.raises(TargetNotFoundError, match=told):
            models_show(workspace, text)


def test_several_models_are_listed_and_one_is_chosen(workspace: Workspace) -> None:
    run = record_run(workspace.settings, workspace.store, {"one": classifier(), "two": classifier(C=3)})
    with pytest.raises(UsageError, match=r"has 2 models: one .*; two .*--model VARIABLE"):
        register(workspace, run, name="delay")
    with pytest.raises(TargetNotFoundError, match=r"no model 'three'.*one, two"):
        register(workspace, run, name="delay", model="three")
    document = register(workspace, run, name="delay", model="two")
    assert loaded(workspace, document).C == 3


def test_a_headless_parent_stands_for_its_children(workspace: Workspace) -> None:
    parent = new_run(workspace.store, "headless")
    child = record_run(workspace.settings, workspace.store, {"clf": classifier()}, parent_uid=parent)
    document = register(workspace, parent, name="delay")
    assert document["run_id"] == child
    record_run(workspace.settings, workspace.store, {"clf": classifier()}, parent_uid=parent)
    with pytest.raises(UsageError, match=r"has 2 models.*mlops register [0-9a-f]{8} --name"):
        register(workspace, parent, name="delay")


def test_a_run_without_a_model_says_why(workspace: Workspace) -> None:
    empty = new_run(workspace.store, "nothing")
    with pytest.raises(TargetNotFoundError, match="recorded no model"):
        register(workspace, empty, name="delay")
    for error, remedy in (
        ("larger than model_size_limit (1 bytes)", "MLOPS_MODEL_SIZE_LIMIT"),
        ("cannot be pickled: lock", "locks"),
    ):
        run = new_run(workspace.store, "lost")
        model = new_model(workspace.settings, 1, name="clf")
        runs.add_model(workspace.store, run, replace(model, digest=None, error=error))
        with pytest.raises(UsageError) as caught:
            register(workspace, run, name="delay")
        assert error in caught.value.message
        assert remedy in caught.value.hint
    with pytest.raises(TargetNotFoundError, match="neither a run nor a file"):
        register(workspace, "nosuchthing", name="delay")


def test_bytes_that_are_not_those_recorded_are_refused(workspace: Workspace) -> None:
    run = record_run(workspace.settings, workspace.store, {"clf": classifier()})
    (model,) = runs.run_models(workspace.store, run)
    place = open_exchange(workspace.settings).path(model.digest)
    place.chmod(0o644)
    place.write_bytes(b"\x80\x05cos\nsystem\n.")
    with pytest.raises(CorruptObjectError):
        register(workspace, run, name="delay")
    assert models_list(workspace)["models"] == []


def notebook_class() -> Any:
    """An estimator whose class lives in ``__main__``, as one of a notebook does."""
    space: dict[str, Any] = {"BaseEstimator": BaseEstimator, "__name__": "__main__"}
    exec(
        "class Halves(BaseEstimator):\n    def fit(self, X, y=None):\n        return self\n"
        "    def predict(self, X):\n        return X[:, 0] / 2\n",
        space,
    )
    return space["Halves"]()


def test_a_class_of_the_notebook_travels_inside(workspace: Workspace) -> None:
    run = record_run(workspace.settings, workspace.store, {"m": notebook_class()})
    document = register(workspace, run, name="halves")
    assert document["format"] == "cloudpickle"
    assert "code that the notebook defined" in document["notes"][0]
    program = predicting(document, 8.0)
    assert python(program, workspace.settings.root) == "[4.]"


def predicting(document: dict[str, Any], value: float) -> str:
    """A program that loads the version's files and prints what they predict for one row."""
    load = f"mlflow.pyfunc.load_model({document['source']!r})"
    return f"import mlflow, numpy as np; print({load}.predict(np.array([[{value}, 0.0]])))"


def python(program: str, folder: Path) -> str:
    """Output of a fresh Python that has this environment's libraries and nothing of ours."""
    environ = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH",)} | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    blocked = "import sys; sys.modules['mlops_jupyter'] = None; "
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", blocked + program], capture_output=True, text=True, timeout=120,
        cwd=folder, env=environ, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


LOCAL = """
from sklearn.base import BaseEstimator

class Thirds(BaseEstimator):
    def fit(self, X, y=None):
        return self
    def predict(self, X):
        return X[:, 0] / 3
"""


def test_a_local_module_travels_with_the_model(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "thirds_of_mine.py"
    module.write_text(LOCAL)
    monkeypatch.syspath_prepend(tmp_path)
    import thirds_of_mine

    run = record_run(workspace.settings, workspace.store, {"m": thirds_of_mine.Thirds()})
    document = register(workspace, run, name="thirds")
    assert document["format"] == "cloudpickle"
    assert "thirds_of_mine.py" in document["notes"][0]
    (tmp_path / "elsewhere").mkdir()
    program = predicting(document, 9.0)
    assert python(program, tmp_path / "elsewhere") == "[3.]"
    module.unlink()
    monkeypatch.delitem(sys.modules, "thirds_of_mine")
    with pytest.raises(UsageError, match="'thirds_of_mine', which is neither installed nor in the workspace"):
        register(workspace, run, name="other")


def test_recorded_with_another_library_version_it_is_not_loaded(workspace: Workspace) -> None:
    run = new_run(workspace.store)
    model = new_model(
        workspace.settings, classifier(), name="clf", requirements=("scikit-learn==1.0.1",), signature=SIGNATURE
    )
    runs.add_model(workspace.store, run, model)
    document = register(workspace, run, name="old")
    assert document["format"] == "cloudpickle"
    assert "recorded with scikit-learn 1.0.1 (here" in document["notes"][0]
    assert "scikit-learn==1.0.1" in document["requirements"]


def test_types_of_scikit_learn_itself_are_trusted_in_the_package(workspace: Workspace) -> None:
    forest = RandomForestClassifier(3, random_state=0).fit(X, Y)
    run = record_run(workspace.settings, workspace.store, {"forest": forest})
    document = register(workspace, run, name="forest")
    assert document["format"] == "skops"
    assert (loaded(workspace, document).predict(X) == forest.predict(X)).all()


def test_without_an_example_made_up_numbers_are_compared(workspace: Workspace) -> None:
    run = new_run(workspace.store)
    runs.add_model(workspace.store, run, new_model(workspace.settings, classifier(), name="clf", requirements=PINNED))
    document = register(workspace, run, name="bare")
    assert (document["format"], document["signature"], document["input_example"]) == ("skops", False, False)
    assert "no signature" in document["notes"][0]


def test_a_version_that_predicts_otherwise_is_told_apart() -> None:
    one, two = (DummyRegressor(strategy="constant", constant=c).fit(X, Y) for c in (1.0, 2.0))
    example = {"inputs": X[:2].tolist()}
    assert compare(one, one, example) is None
    assert "another predict()" in str(compare(one, two, example))
    nan = DummyRegressor(strategy="constant", constant=1.0).fit(X, Y)
    nan.constant_ = np.array([[np.nan]])
    assert compare(nan, nan, example) is None
    assert "could not be checked" in str(compare(object(), object(), example))


def test_what_was_not_delivered_is_delivered_first(workspace: Workspace) -> None:
    run = record_run(workspace.settings, workspace.store, {"clf": classifier()})
    assert runs.get_run(workspace.store, run).mlflow_run_id is None
    register(workspace, run, name="delay")
    mirrored = runs.get_run(workspace.store, run).mlflow_run_id
    assert client_of(workspace).get_run(mirrored).info.status == "FINISHED"


def test_a_server_that_does_not_answer_is_exit_code_five(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_jupyter.tracking.target.REQUEST_TIMEOUT", 1)
    monkeypatch.setattr("mlops_jupyter.verbs.register.PATIENCE", 0.1)
    run = record_run(workspace.settings, workspace.store, {"clf": classifier()})
    settings = settings_of(workspace.settings.root, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    with pytest.raises(UnreachableError) as caught:
        register(Workspace(settings, workspace.store), run, name="delay")
    assert caught.value.exit_code == 5
    assert list(audit.entries(workspace.store)) == []


def test_a_registry_of_its_own(workspace: Workspace, template: Path) -> None:
    place = workspace.settings.root / "registry.db"
    place.write_bytes(template.read_bytes())
    settings = settings_of(workspace.settings.root, MLFLOW_REGISTRY_URI=f"sqlite:///{place}")
    other = Workspace(settings, workspace.store)
    run = record_run(settings, workspace.store, {"clf": classifier()})
    document = register(other, run, name="delay")
    assert document["registry_uri"] == f"sqlite:///{place}"
    assert MlflowClient(tracking_uri=settings.tracking_uri).search_registered_models() == []
    client = MlflowClient(tracking_uri=settings.tracking_uri, registry_uri=settings.registry_uri)
    assert client.get_model_version("delay", "1").run_id == document["mlflow_run_id"]
    program = textwrap.dedent(f"""
        import mlflow
        mlflow.set_tracking_uri({settings.tracking_uri!r})
        mlflow.set_registry_uri({settings.registry_uri!r})
        print(mlflow.sklearn.load_model("models:/delay/1").C)
    """)
    assert python(program, settings.root) == "0.5"
    graph = lineage(other, "model:delay/1", direction="up")
    assert any(node.id == f"run:{run}" for node in graph.nodes)


@pytest.mark.parametrize(
    "name", ["a'b", 'say "hi"', "<script>alert(1)</script>".replace("/", ""), "naïve – модель", "a%2fb", "x" * 256]
)
def test_odd_names_are_names(workspace: Workspace, name: str) -> None:
    run = record_run(workspace.settings, workspace.store, {"clf": classifier()})
    assert register(workspace, run, name=name)["version"] == 1
    assert register(workspace, run, name=name)["created"] is False
    assert [v["version"] for v in models_show(workspace, name)["versions"]] == [1]


@pytest.mark.parametrize(
    "name", ["", " ", "a/b", "models:/x", "a@b", "..", ".", "a\nb", "\x1b[31mred", " a", "x" * 257]
)
def test_bad_names_are_refused_before_anything_happens(workspace: Workspace, name: str) -> None:
    run = record_run(workspace.settings, workspace.store, {"clf": classifier()})
    with pytest.raises(UsageError, match="cannot be the name of a registered model"):
        register(workspace, run, name=name)
    assert runs.get_run(workspace.store, run).mlflow_run_id is None


def test_lineage_of_a_version_and_of_an_alias(workspace: Workspace) -> None:
    run = record_run(workspace.settings, workspace.store, {"clf": classifier()})
    register(workspace, run, name="delay")
    client_of(workspace).set_registered_model_alias("delay", "champion", "1")
    for target in ("model:delay/1", "model:delay@champion"):
        graph = lineage(workspace, target)
        check(graph.to_json(), "lineage")
        assert graph.focus[0].startswith("model:")
        assert {node.type for node in graph.upstream().nodes} >= {"model", "run", "execution"}
        assert "clf" in graph.to_text()
    with pytest.raises(TargetNotFoundError, match="no registered model 'nix'"):
        lineage(workspace, "model:nix/1")
    with pytest.raises(UsageError, match="names no model version"):
        lineage(workspace, "model:delay")


def test_two_processes_make_one_version(workspace: Workspace) -> None:
    run = record_run(workspace.settings, workspace.store, {"clf": classifier()})
    command = [sys.executable, "-W", "ignore", "-m", "mlops_jupyter", "register", run, "--name", "delay", "--json"]
    environ = child_environment(MLOPS_HOME=str(workspace.settings.home), MLOPS_DELIVER="false")
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ, cwd=workspace.settings.root)
        for _ in range(2)
    ]
    documents = [json.loads(process.communicate(timeout=120)[0]) for process in started]
    assert sorted(document["created"] for document in documents) == [False, True]
    assert [document["version"] for document in documents] == [1, 1]


def test_a_run_that_still_runs_can_be_registered(workspace: Workspace) -> None:
    run = new_run(workspace.store, status=RunStatus.RUNNING)
    runs.add_model(workspace.store, run, new_model(workspace.settings, classifier(), name="clf", requirements=PINNED))
    assert register(workspace, RunUid(run), name="early")["version"] == 1


def test_a_server_that_hangs_is_given_up(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        __import__("mlops_jupyter.tracking.target", fromlist=["x"])._ENVIRONMENT, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1"
    )
    run = record_run(workspace.settings, workspace.store, {"clf": classifier()})
    register(workspace, run, name="here")  # delivered: only the registry is asked from now on
    with hanging() as url, pytest.raises(UnreachableError, match="does not answer"):
        settings = settings_of(workspace.settings.root, MLFLOW_REGISTRY_URI=url)
        register(Workspace(settings, workspace.store), run, name="there")


def test_looking_for_models_does_not_make_a_database(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    store = open_workspace_store(settings)
    workspace = Workspace(settings, store)
    assert models_list(workspace)["models"] == []
    with pytest.raises(TargetNotFoundError, match="no registered model 'delay'"):
        models_show(workspace, "delay")
    assert not (settings.state / "mlflow.db").exists()
    store.close()


def test_a_deleted_run_is_refused_and_a_failed_one_says_so(workspace: Workspace) -> None:
    gone = record_run(workspace.settings, workspace.store, {"clf": classifier()})
    runs.delete_run(workspace.store, gone)
    with pytest.raises(UsageError, match="was deleted"):
        register(workspace, gone, name="delay")
    failed = new_run(workspace.store, "failed")
    model = new_model(workspace.settings, classifier(), name="clf", requirements=PINNED, signature=SIGNATURE)
    runs.add_model(workspace.store, failed, model)
    runs.end_run(workspace.store, failed, RunStatus.FAILED)
    assert "Its run is FAILED" in register(workspace, failed, name="delay")["notes"][0]


@pytest.mark.postgres
def test_the_audit_record_is_the_teams_where_it_has_one(workspace: Workspace, postgres_url: str) -> None:
    settings = replace(workspace.settings, store_url=postgres_url)
    run = record_run(settings, workspace.store, {"clf": classifier()})
    for _ in range(2):
        assert register(Workspace(settings, workspace.store), run, name="delay")["version"] == 1
    assert list(audit.entries(workspace.store)) == []
    team = open_team_store(settings)
    (entry,) = audit.entries(team)
    team.close()
    assert (entry.action, entry.subject, entry.actor_source) == ("register", "model:delay/1", "postgresql")
    unreachable = replace(settings, store_url="postgresql://127.0.0.1:9/none")
    with pytest.raises(UnreachableError):
        register(Workspace(unreachable, workspace.store), run, name="other")
    assert [m["name"] for m in models_list(workspace)["models"]] == ["delay"]


def test_an_outlier_detector_fitted_without_a_target_predicts(workspace: Workspace) -> None:
    fitted = IsolationForest(n_estimators=5, random_state=0).fit(X)
    run = record_run(workspace.settings, workspace.store, {"detector": fitted})
    no_outputs = json.dumps(json.loads(SIGNATURE) | {"outputs": None})
    workspace.store.execute("UPDATE models SET signature = ? WHERE run_uid = ?", (no_outputs, run))
    document = register(workspace, run, name="outliers")
    generic = mlflow.pyfunc.load_model(str(files_of(document)))
    assert (generic.predict(X) == fitted.predict(X)).all()
    assert generic.metadata.signature.outputs is not None
