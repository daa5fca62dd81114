"""Searching runs: MLflow itself is the oracle, on SQLite and PostgreSQL."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_jupyter.entities import DatasetVersion, Digest, RunStatus, RunUid
from mlops_jupyter.errors import UsageError
from mlops_jupyter.store import Connection, open_store, open_url, runs
from mlops_jupyter.store.search import search_runs

from . import make

# MLflow's own use of SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

# Seconds as a float hold eighths exactly.
_START = 1_700_000_000_125
_STATUSES = [RunStatus.RUNNING, RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED]
_ACCURACIES = [0.5, 0.9, 0.9, math.nan, None, math.inf, -math.inf, 0.0, -1.5]
_MODELS = ["tree", "Tree", "a%b", "a_b", "a*b", "a?b", "[x]", None, 'it"s', "größe", "GRÖSSE"]
_TEAMS = ["red", "blue", "Red", None]


def _rows() -> Iterator[dict[str, Any]]:
    for n in range(44):
        status = _STATUSES[n % 4]
        yield {
            "n": n,
            "name": f"run {n % 5}",
            "user": "ada" if n % 3 else "bob",
            "status": status,
            # Not in the order of n, and never the same twice: ties are broken by ids, which differ.
            "start": _START + (n * 17 % 44) * 1000,
            "end": None if status is RunStatus.RUNNING else _START + n * 500,
            "metrics": {
                k: v for k, v in (("acc", _ACCURACIES[n % 9]), ("val loss", n / 7 if n % 2 else None)) if v is not None
            },
            "params": {
                k: v
                for k, v in (("model", _MODELS[n % 11]), ("learning-rate", "0.1" if n % 4 else None))
                if v is not None
            },
            "tags": {k: v for k, v in (("team", _TEAMS[n % 4]),) if v is not None},
            "datasets": [
                (name, f"d{n % 2}", context)
                for name, context in (("iris", "training"), ("wine", "testing"))
                if (n + len(name + context)) % 3
            ],
        }


def _fill_ours(store: Connection) -> None:
    with store.transaction():
        for row in _rows():
            uid = RunUid(f"{row['n']:032x}")
            runs.start_run(
                store,
                make.run(
                    run_uid=uid, name=row["name"], user=row["user"], started_at=row["start"] / 1000,
                    params=row["params"], tags=row["tags"], experiment="A" if row["n"] % 2 else "B",
                    notebook=f"{row['n'] % 2}.ipynb",
                ),
            )  # fmt: skip
            runs.log_metrics(store, uid, [make.metric(k, v) for k, v in row["metrics"].items()])
            for name, digest, context in row["datasets"]:
                runs.add_dataset(
                    store, uid, DatasetVersion(name=name, digest=Digest(digest), source="s", context=context)
                )
            if row["end"] is not None:
                runs.end_run(store, uid, row["status"], at=row["end"] / 1000)


@pytest.fixture(scope="module")
def sqlite_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    store = open_store(tmp_path_factory.mktemp("ours") / "lineage.db")
    _fill_ours(store)
    yield store
    store.close()


@pytest.fixture(scope="module")
def postgres_store(postgres_server: str) -> Iterator[Connection]:
    import psycopg

    with psycopg.connect(postgres_server, autocommit=True) as raw:
        raw.execute("DROP SCHEMA IF EXISTS search CASCADE")
        raw.execute("CREATE SCHEMA search")
    store = open_url(f"{postgres_server}&options=-csearch_path%3Dsearch")
    _fill_ours(store)
    yield store
    store.close()


class Oracle:
    """The same runs in an embedded MLflow."""

    def __init__(self, folder: Path) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        store = self._client._tracking_client.store
        self._experiment = self._client.create_experiment("e", artifact_location=folder.as_uri())
        self._numbers: dict[str, int] = {}
        for row in _rows():
            run = store.create_run(self._experiment, row["user"], row["start"], [], row["name"])
            run_id = run.info.run_id
            self._numbers[run_id] = row["n"]
            self._client.log_batch(
                run_id,
                [Metric(k, v, _START, 0) for k, v in row["metrics"].items()],
                [Param(k, v) for k, v in row["params"].items()],
                [RunTag(k, v) for k, v in row["tags"].items()],
            )
            inputs = [
                DatasetInput(Dataset(name, digest, "local", "s"), [InputTag("mlflow.data.context", context)])
                for name, digest, context in row["datasets"]
            ]
            if inputs:
                store.log_inputs(run_id, inputs)
            if row["end"] is not None:
                self._client.set_terminated(run_id, str(row["status"]), row["end"])

    def search(self, filter_string: str, order_by: list[str]) -> list[int]:
        found = self._client.search_runs([self._experiment], filter_string, order_by=order_by, max_results=1000)
        return [self._numbers[run.info.run_id] for run in found]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    return Oracle(tmp_path_factory.mktemp("mlflow"))


def _ours(store: Connection, filter_string: str, order_by: list[str]) -> list[int]:
    found, total = search_runs(store, filter=filter_string, order_by=order_by)
    assert total == len(found)
    return [int(uid, 16) for uid in found]


FILTERS = [
    "",
    "metrics.acc > 0.5",
    "metrics.acc >= 0.9 AND params.model = 'tree'",
    "metric.acc != 0.9",
    "metrics.acc = 0",
    "metrics.acc <= -1.5",
    "metrics.acc < 1e300",
    "metrics.`val loss` < 3 and metrics.\"val loss\" >= .5",
    "metrics.missing > 0",
    "params.model LIKE 't%'",
    "params.model ILIKE 'T%'",
    "params.model ILIKE '%größe%'",
    "params.model LIKE 'a_b'",
    "params.model LIKE 'a*b'",
    "params.model LIKE 'a?b'",
    "params.model LIKE '[x]'",
    "params.model LIKE '%'",
    "params.model != 'tree'",
    "params.model = \"a%b\"",
    "parameter.`learning-rate` = '0.1'",
    "params.model IS NULL",
    "params.model IS NOT NULL AND tags.team IS NULL",
    "tags.team ILIKE 'RED'",
    "tag.team = 'red'",
    "tags.mlflow.runName = 'run 3'",
    "tags.`mlflow.runName` LIKE 'run%'",
    "status = 'FINISHED'",
    "attributes.status != 'FINISHED'",
    "attribute.status = 'finished'",
    "run.status ILIKE 'fin%'",
    "attr.run_name = 'run 1'",
    "run_name LIKE '%2'",
    "user_id = 'ada'",
    f"start_time > {_START + 10_000}",
    f"attributes.start_time <= {_START + 10_000}",
    f"created = {_START + 17_000}",
    f"end_time < {_START + 5_000}",
    "end_time > 0",
    "datasets.name = 'iris'",
    "dataset.name = 'iris' AND datasets.name = 'wine'",
    "datasets.name != 'iris'",
    "datasets.digest IN ('d0', 'd9')",
    "datasets.name NOT IN ('iris')",
    "datasets.context = 'training' AND datasets.digest LIKE 'd%'",
    "datasets.name ILIKE 'IR%'",
]  # fmt: skip
ORDERS = [
    [],
    ["metrics.acc DESC"],
    ["metrics.acc ASC"],
    ["metrics.`val loss`"],
    ["metrics.missing DESC"],
    ["params.model"],
    ["params.model DESC", "metrics.acc"],
    ["params.`learning-rate` desc"],
    ["tags.team asc", "start_time ASC"],
    ["attributes.start_time"],
    ["start_time DESC"],
    ["end_time"],
    ["attributes.end_time DESC"],
    ["status", "run_name DESC"],
    ["user_id", "created"],
    ["tags.mlflow.runName DESC"],
]


@pytest.mark.peer
@pytest.mark.parametrize("text", FILTERS)
def test_filters_find_what_mlflow_finds(sqlite_store: Connection, oracle: Oracle, text: str) -> None:
    assert _ours(sqlite_store, text, []) == oracle.search(text, [])


@pytest.mark.peer
@pytest.mark.parametrize("order_by", ORDERS, ids=str)
def test_orders_are_mlflows_orders(sqlite_store: Connection, oracle: Oracle, order_by: list[str]) -> None:
    assert _ours(sqlite_store, "", order_by) == oracle.search("", order_by)


@pytest.mark.postgres
def test_postgresql_finds_what_sqlite_finds(sqlite_store: Connection, postgres_store: Connection) -> None:
    for text in FILTERS:
        assert _ours(postgres_store, text, []) == _ours(sqlite_store, text, []), text
    for order_by in ORDERS:
        assert _ours(postgres_store, "", order_by) == _ours(sqlite_store, "", order_by), order_by


_numbers = st.sampled_from(["0", "0.5", "0.9", "-1.5", "3", "1e3", "-2e-1", "1.5"])
_texts = st.sampled_from(["tree", "Tree", "t%", "a_b", "%", "a*b", "0.1", "red", "run 1", "FINISHED", "iris", "d0", ""])
_equalities = st.sampled_from(["=", "!=", "LIKE", "ILIKE", "like", "ilike"])
_comparisons = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
_conditions = st.one_of(
    st.builds("{} {} {}".format, st.sampled_from(["metrics.acc", "metric.`val loss`"]), _comparisons, _numbers),
    st.builds(
        "{} {} '{}'".format,
        st.sampled_from(["params.model", 'param."learning-rate"', "tags.team", "run_name", "status", "user_id"]),
        _equalities,
        _texts,
    ),
    st.builds(
        "{} {}".format,
        st.sampled_from(["params.model", "tags.team"]),
        st.sampled_from(["IS NULL", "is not null"]),
    ),
    st.builds(
        "{} {} {}".format,
        st.sampled_from(["start_time", "attributes.end_time"]),
        _comparisons,
        st.integers(_START - 1000, _START + 45_000).map(str),
    ),
    st.builds("datasets.{} {} '{}'".format, st.sampled_from(["name", "digest", "context"]), _equalities, _texts),
)
_order_keys = [
    "metrics.acc",
    "metrics.`val loss`",
    "params.model",
    "tags.team",
    "end_time",
    "run_name",
    "status",
]
_orders = st.lists(st.sampled_from(_order_keys), max_size=2, unique=True).flatmap(
    lambda keys: st.tuples(*(st.sampled_from([k, f"{k} DESC", f"{k} asc"]) for k in keys)).map(list)
)


@pytest.mark.peer
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conditions=st.lists(_conditions, min_size=1, max_size=3), order_by=_orders)
def test_any_filter_and_order_agrees_with_mlflow(
    sqlite_store: Connection, oracle: Oracle, conditions: list[str], order_by: list[str]
) -> None:
    text = " AND ".join(conditions)
    assert _ours(sqlite_store, text, order_by) == oracle.search(text, order_by)


@pytest.fixture(params=["sqlite_store", pytest.param("postgres_store", marks=pytest.mark.postgres)])
def filled(request: pytest.FixtureRequest) -> Connection:
    """The filled store on each database."""
    store: Connection = request.getfixturevalue(request.param)
    return store


def test_pages_join_to_the_whole(filled: Connection) -> None:
    whole, total = search_runs(filled, order_by=["metrics.acc DESC"])
    pages = [search_runs(filled, order_by=["metrics.acc DESC"], limit=10, offset=at) for at in range(0, 60, 10)]
    assert list(itertools.chain.from_iterable(page for page, _ in pages)) == whole
    assert {n for _, n in pages} == {total}
    assert search_runs(filled, offset=40)[0] == search_runs(filled)[0][40:]
    assert search_runs(filled, limit=0) == ([], 44)
    assert search_runs(filled, filter="params.model = 'tree'", limit=1, offset=50) == ([], 4)
    assert search_runs(filled, order_by="metrics.acc DESC") == (whole, total)


def test_what_only_we_take(filled: Connection) -> None:
    def found(text: str) -> list[int]:
        return sorted(int(uid, 16) for uid in search_runs(filled, filter=text)[0])

    assert found("notebook = '1.ipynb'") == found("experiment = 'A'") == list(range(1, 44, 2))
    assert found(f"run_id = '{5:032x}'") == [5]
    assert found(f"run_id IN ('{5:032x}', '{6:032x}')") == [5, 6]
    assert len(found(f"run_id != '{5:032x}'")) == 43
    assert found("params.model IN ('tree', 'Tree')") == sorted([*range(0, 44, 11), *range(1, 44, 11)])
    assert found("metrics.acc IS NULL") == list(range(4, 44, 9))
    assert found("end_time IS NULL") == list(range(0, 44, 4))
    assert found("params.model = 'it''s'") == []


def test_the_shown_start_time_finds_the_run(store: Connection) -> None:
    run = make.run(started_at=1_700_000_000.1239)
    runs.start_run(store, run)
    assert search_runs(store, filter="start_time = 1700000000123")[0] == [run.run_uid]


def test_mlflows_id_of_a_run_works_too(store: Connection) -> None:
    one, two = make.run(), make.run()
    for run in (one, two):
        runs.start_run(store, run)
    runs.set_mlflow_run_id(store, one.run_uid, "f" * 32)
    assert search_runs(store, filter=f"run_id = '{'f' * 32}'")[0] == [one.run_uid]
    assert search_runs(store, filter=f"run_id NOT IN ('{'f' * 32}')")[0] == [two.run_uid]


def test_deleted_runs_are_left_out(store: Connection) -> None:
    run = make.run()
    runs.start_run(store, run)
    runs.delete_run(store, run.run_uid)
    assert search_runs(store) == ([], 0)
    assert search_runs(store, include_deleted=True) == ([run.run_uid], 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metrics.acc > ", "at character 15: expected a number, found the end"),
        ("metrics.acc > 'a'", "at character 15: expected a number without quotes"),
        ("metrics.acc LIKE 'a'", "at character 1: LIKE does not apply"),
        ("params.a = 5", "at character 12: expected a value in quotes"),
        ("params.a == '5'", "at character 10: == is written ="),
        ("params.a <> '5'", "<> is written !="),
        ("params.a = '5", "at character 12: the quote ' is never closed"),
        ("params.a = '5' OR params.b = '6'", "at character 16: OR is not part"),
        ("params.a = '5' params.b = '6'", "at character 16: expected AND"),
        ("params.a = '5' AND", "expected a field"),
        ("(params.a = '5')", "at character 1: expected a field"),
        ("stauts = 'x'", "there is no attribute 'stauts'; known: end_time"),
        ("foo.a = '1'", "'foo' is none of metrics, params"),
        ("datasets.size = '1'", "a data set has context, digest, name"),
        ("datasets.name IS NULL", "IS NULL does not apply"),
        ("run_id IN ()", "expected a value in quotes"),
        ("run_id IN ('a' 'b')", "expected a comma"),
        ("run_id IN 'a'", "expected a list"),
        ("status NOT LIKE 'a'", "expected an operator"),
        ("status", "expected an operator, found the end"),
        ("metrics.acc > 1; DROP TABLE runs", "unexpected ';'"),
        ("metrics.acc > 1.2.3", "unexpected"),
        ("\0", "unexpected"),
    ],
)
def test_a_wrong_filter_is_told_with_its_place(sqlite_store: Connection, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        search_runs(sqlite_store, filter=text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "clause",
    ["", "metrics.acc UP", "metrics.acc DESC DESC", "datasets.name", "nonsense", "metrics.acc, status"],
)
def test_a_wrong_order_is_told(sqlite_store: Connection, clause: str) -> None:
    with pytest.raises(UsageError, match="order_by clause"):
        search_runs(sqlite_store, order_by=[clause])


def test_one_key_twice_in_the_order_is_refused(sqlite_store: Connection) -> None:
    with pytest.raises(UsageError, match="twice"):
        search_runs(sqlite_store, order_by=["metrics.acc", "metrics.acc DESC"])
    with pytest.raises(UsageError, match="negative"):
        search_runs(sqlite_store, limit=-1)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60))
def test_any_text_is_a_filter_or_a_usage_error(sqlite_store: Connection, text: str) -> None:
    for call in ({"filter": text}, {"order_by": [text]}):
        try:
            search_runs(sqlite_store, **call)  # type: ignore[arg-type]
        except UsageError as error:
            assert "character" in str(error)
