"""Models, data and scores of tracked cells, with scikit-learn itself."""

from __future__ import annotations

import ast
import json
import pickle
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from mlops_jupyter.capture import valueprobes
from mlops_jupyter.capture.valueprobes import UNSEEN, Seen
from mlops_jupyter.entities import DatasetVersion, ModelRecord, ParamSource
from mlops_jupyter.store import runs as store_runs
from tests.capture.support import run
from tests.capture.test_session import session
from tests.capture.test_track import runs

SETUP = """
import numpy as np, pandas as pd
from sklearn import metrics
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import StandardScaler
iris = load_iris(as_frame=True)
X_train, X_test = iris.data[::2], iris.data[1::2]
y_train, y_test = iris.target[::2], iris.target[1::2]
"""


@pytest.fixture
def sklearn_shell(ipython: InteractiveShell) -> InteractiveShell:
    """A shell with iris split in two."""
    pytest.importorskip("sklearn")
    shown = run(ipython, SETUP)
    assert (shown.error, shown.stderr) == (None, "")
    return ipython


def _models(index: int = 0) -> list[ModelRecord]:
    return store_runs.run_models(session().store, runs()[index].run_uid)


def _datasets(index: int = 0) -> list[DatasetVersion]:
    return store_runs.run_datasets(session().store, runs()[index].run_uid)


def test_fit_and_scores_are_recorded(sklearn_shell: InteractiveShell) -> None:
    code = """
        %%track
        model = LogisticRegression(C=0.5, max_iter=300).fit(X_train, y_train)
        predicted = model.predict(X_test)
        accuracy = accuracy_score(y_test, predicted)
        again = metrics.accuracy_score(y_test, model.predict(X_train[:75]))
        model.score(X_test, y_test)
    """
    shown = run(sklearn_shell, textwrap.dedent(code).strip())
    (found,) = runs()
    space = sklearn_shell.user_ns
    assert shown.result == space["model"].score(space["X_test"], space["y_test"])
    assert found.metrics == {
        "accuracy": space["accuracy"],
        "again": space["again"],
        "accuracy_score_X_test": space["accuracy"],
        "accuracy_score-2_y_test": space["again"],
        "LogisticRegression_score_X_test": shown.result,
    }
    assert found.params.items() >= {"C": "0.5", "max_iter": "300", "solver": "lbfgs", "tol": "0.0001"}.items()
    sources = {p.key: p.source for p in store_runs.run_params(session().store, found.run_uid)}
    assert (sources["C"], sources["solver"]) == (ParamSource.LITERAL, ParamSource.ESTIMATOR)
    data = {(d.name, d.context): d for d in _datasets()}
    assert data.keys() == {("X_train", "training"), ("y_train", "training"), ("X_test", "evaluation")}
    assert data["X_train", "training"].shape == (75, 4)
    assert json.loads(data["X_train", "training"].schema)[0] == {"name": "sepal length (cm)", "type": "float64"}


def test_model_is_spooled_with_signature_example_and_requirements(sklearn_shell: InteractiveShell) -> None:
    run(sklearn_shell, "%%track\nmodel = LogisticRegression(max_iter=300).fit(X_train, y_train)")
    (model,) = _models()
    exchange = session().tracker.exchange
    assert (model.name, model.flavor, model.error) == ("model", "sklearn", None)
    assert model.class_name == "sklearn.linear_model._logistic.LogisticRegression"
    assert model.digest is not None
    assert model.input_example is not None
    content = exchange.get(model.digest)
    assert model.size == len(content)
    again = pickle.loads(content)
    assert (again.coef_ == sklearn_shell.user_ns["model"].coef_).all()
    names = [requirement.split("==")[0] for requirement in model.requirements]
    assert names == ["scikit-learn", "numpy", "scipy", "cloudpickle", "pandas"]
    example = json.loads(exchange.get(model.input_example))["dataframe_split"]
    assert len(example["data"]) == 5
    from mlflow.models import ModelSignature

    signature = ModelSignature.from_dict(json.loads(model.signature))
    assert signature.inputs.input_names() == list(sklearn_shell.user_ns["X_train"].columns)
    assert signature.outputs is not None


def test_train_function_of_another_cell_and_array_data(sklearn_shell: InteractiveShell) -> None:
    run(sklearn_shell, "def train(a, b, **kw):\n    return LogisticRegression(**kw).fit(X=a, y=b)")
    run(
        sklearn_shell,
        "%%track\nm = train(X_train.values, y_train.values, max_iter=250)\nm.score(X_test.values, y=y_test)",
    )
    (found,) = runs()
    assert found.params["max_iter"] == "250"
    assert list(found.metrics) == ["LogisticRegression_score_unknown_dataset"]
    assert {(d.name, d.context) for d in _datasets()} == {("a", "training"), ("b", "training"), ("X", "evaluation")}
    (model,) = _models()
    assert '"dtype\\": \\"float64\\"' in model.signature


def test_loop_is_one_metric_with_steps(sklearn_shell: InteractiveShell) -> None:
    code = """
        %%track
        for C in [0.1, 1.0]:
            m = LogisticRegression(C=C, max_iter=300).fit(X_train, y_train)
            m.score(X_test, y_test)
    """
    run(sklearn_shell, textwrap.dedent(code).strip())
    (found,) = runs()
    history = store_runs.metric_history(session().store, found.run_uid, "LogisticRegression_score_X_test")
    assert [m.step for m in history] == [0, 1]
    assert found.params["C"] == "1.0"
    assert [m.name for m in _models()] == ["m"]


def test_search_records_its_best(sklearn_shell: InteractiveShell) -> None:
    run(sklearn_shell, "from sklearn.model_selection import GridSearchCV, cross_val_score")
    code = """
        %%track
        search = GridSearchCV(LogisticRegression(max_iter=300), {"C": [0.1, 1.0]}, cv=2).fit(X_train, y_train)
        mean = cross_val_score(LogisticRegression(max_iter=300, tol=0.01), X_train, y_train, cv=2).mean()
    """
    run(sklearn_shell, textwrap.dedent(code).strip())
    (found,) = runs()
    best = sklearn_shell.user_ns["search"]
    assert found.params["best_C"] == str(best.best_params_["C"])
    assert found.metrics == {"best_cv_score": best.best_score_, "mean": sklearn_shell.user_ns["mean"]}
    assert found.params["tol"] == "0.01"
    assert [m.name for m in _models()] == ["search"]


def test_estimators_that_no_probe_saw(sklearn_shell: InteractiveShell) -> None:
    run(sklearn_shell, "%%track\nfit = StandardScaler.fit\nscaler = fit(StandardScaler(), X_train)")
    (model,) = _models()
    assert (model.name, model.error) == ("scaler", None)
    assert runs()[0].params["with_mean"] == "True"


def test_a_model_that_holds_on_to_the_data_is_no_model_of_later_runs(sklearn_shell: InteractiveShell) -> None:
    run(sklearn_shell, "from sklearn.neighbors import KNeighborsClassifier")
    run(sklearn_shell, "%%track\nknn = KNeighborsClassifier(3).fit(X_train.values, y_train.values)")
    run(sklearn_shell, "%%track\nscaler = StandardScaler().fit(X_train)")
    assert sorted(model.name for index in range(2) for model in _models(index)) == ["knn", "scaler"]


def test_the_example_is_of_rows_without_missing_values(sklearn_shell: InteractiveShell) -> None:
    run(sklearn_shell, "from sklearn.ensemble import HistGradientBoostingClassifier as Hgb")
    run(sklearn_shell, "holes = X_train.copy()\nholes.iloc[1, 0] = np.nan\nholes.iloc[3, 1] = np.nan")
    run(sklearn_shell, "%%track\nmodel = Hgb(max_iter=2).fit(holes, y_train)")
    (model,) = _models()
    assert model.input_example is not None
    example = json.loads(session().tracker.exchange.get(model.input_example))["dataframe_split"]["data"]
    frame = sklearn_shell.user_ns["holes"]
    assert example == frame.dropna().head(5).to_numpy().tolist()


def test_categories_have_no_signature(sklearn_shell: InteractiveShell) -> None:
    # MLflow would call the column a string, and then refuse the frame with the categories.
    run(sklearn_shell, "from sklearn.ensemble import HistGradientBoostingClassifier as Hgb")
    run(sklearn_shell, "kinds = pd.DataFrame({'kind': pd.Series(list('abc') * 25, dtype='category')})")
    run(sklearn_shell, "%%track\nmodel = Hgb(max_iter=2).fit(kinds, y_train)")
    (model,) = _models()
    assert model.signature == ""


def test_classes_of_the_notebook_and_models_that_cannot_be_kept(sklearn_shell: InteractiveShell) -> None:
    code = """
        %%track
        import threading
        from sklearn.base import BaseEstimator
        class Mean(BaseEstimator):
            def __init__(self, lock=None): self.lock = lock
            def fit(self, X, y=None):
                self.mean_ = float(np.mean(y))
                return self
        kept = Mean().fit(X_train, y_train)
        lost = Mean(lock=threading.Lock()).fit(X_train, y_train)
    """
    shown = run(sklearn_shell, textwrap.dedent(code).strip())
    assert (shown.error, shown.stderr) == (None, "")
    kept, lost = _models()
    assert (kept.name, kept.error) == ("kept", None)
    assert kept.digest is not None
    content = session().tracker.exchange.get(kept.digest)
    del sklearn_shell.user_ns["Mean"]
    assert pickle.loads(content).mean_ == sklearn_shell.user_ns["kept"].mean_
    assert (lost.name, lost.digest) == ("lost", None)
    assert lost.error is not None and lost.error.startswith("cannot be pickled: TypeError")


def test_size_limit_and_switch(sklearn_shell: InteractiveShell) -> None:
    from dataclasses import replace

    cell = "%%track\nm = LogisticRegression(max_iter=300).fit(X_train, y_train)"
    session().settings = replace(session().settings, model_size_limit=100)
    run(sklearn_shell, cell)
    session().settings = replace(session().settings, capture_models=False)
    run(sklearn_shell, cell)
    assert _models(0)[0].error == "larger than model_size_limit (100 bytes)"
    assert _models(1) == []


def test_source_of_data_is_the_file_it_came_from(sklearn_shell: InteractiveShell, workspace: Any) -> None:
    sklearn_shell.user_ns["iris"].frame.to_csv(workspace / "iris.csv", index=False)
    run(sklearn_shell, "table = pd.read_csv('iris.csv')\nA, b = table.drop(columns='target'), table['target']")
    run(sklearn_shell, "%%track\nm = LogisticRegression(max_iter=300).fit(A, b)")
    assert {d.source for d in _datasets()} == {"iris.csv"}


@pytest.fixture
def heard() -> Iterator[list[Seen]]:
    """What the probes say."""
    found: list[Seen] = []
    valueprobes.listen(found.append)
    yield found
    valueprobes.listen(None)


def _probed(code: str, **names: Any) -> dict[str, Any]:
    tree = valueprobes.transform(ast.parse(code))
    ast.fix_missing_locations(tree)
    namespace = dict(names)
    exec(compile(tree, "cell", "exec"), namespace)  # type: ignore[arg-type]
    return namespace


class _Model:
    def fit(self, *args: Any, **kwargs: Any) -> _Model:
        if kwargs.pop("fail", False):
            raise ValueError
        return self

    def predict(self, X: Any) -> Any:
        return [X]


def test_probes_see_arguments_in_any_shape(heard: list[Seen]) -> None:
    model = _Model()
    _probed("m.fit(X, y=Y)\nm.fit(*pair)\nm.fit(y=Y, X=X)\nm.fit(X + X, Y)", m=model, X=[1], Y=[2], pair=([3], [4]))
    assert [seen.receiver for seen in heard] == [model] * 4
    assert [seen.site.names for seen in heard] == [("X", "Y"), (None, None), ("X", "Y"), (None, "Y")]
    assert [seen.arguments for seen in heard] == [[[1], [2]], [UNSEEN, UNSEEN], [[1], [2]], [[1, 1], [2]]]


def test_probes_survive_calls_that_raise(heard: list[Seen]) -> None:
    code = """
        for fail in (True, False):
            try:
                m.fit(m.predict(X), [fail], fail=fail)
            except ValueError:
                pass
    """
    _probed(textwrap.dedent(code), m=_Model(), X=[1])
    fits = [seen for seen in heard if seen.site.kind == "fit"]
    assert [seen.arguments for seen in fits] == [[[[1]], [False]]]


def test_a_listener_that_raises_is_not_felt() -> None:
    def broken(_: Seen) -> None:
        raise RuntimeError

    valueprobes.listen(broken)
    try:
        assert _probed("r = m.predict(3)", m=_Model())["r"] == [3]
    finally:
        valueprobes.listen(None)


@pytest.mark.parametrize(
    "code",
    ["@njit\ndef f(m):\n    return m.fit(1)", "class A(B):\n    def fit(self, X):\n        return super().fit(X)"],
)
def test_code_that_must_not_change_is_left_alone(code: str) -> None:
    assert ast.dump(valueprobes.transform(ast.parse(code))) == ast.dump(ast.parse(code))
