"""The graph as a value: what it holds, both directions, and its forms."""

from __future__ import annotations

import json
import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_jupyter.entities import (
    Digest,
    Grade,
    ModelRecord,
    Origin,
    Run,
    RunStatus,
    RunUid,
    Session,
)
from mlops_jupyter.provenance import LineageGraph, downstream, upstream
from mlops_jupyter.provenance.graph import version_id
from mlops_jupyter.provenance.layout import GAP_X, Size, layout
from mlops_jupyter.provenance.view import only_imports, view

from .histories import History, training

RUN = RunUid("1" * 32)
HOSTILE = "<script>alert(1)</script>\"'`|]\x1b[2J\n#;"


def graph_of(
    history: History, target: str, *, runs: Iterable[Run] = (), models: Iterable[ModelRecord] = ()
) -> LineageGraph:
    version = history.version(target)
    up = upstream(history.source(), [version.version_id])
    down = downstream(history.source(), [version.version_id])
    session = Session(
        session_id=history.session_id, origin=Origin.INTERACTIVE, host="h", pid=1, user="ann@example.org",
        notebook=history.notebook, python="3.11", environment=None, started_at=history.started,
    )  # fmt: skip
    return LineageGraph(
        target=target,
        focus=(version_id(version),),
        executions=tuple(dict.fromkeys(sorted(up.executions + down.executions, key=lambda e: e.position))),
        versions=tuple(dict.fromkeys(up.versions + down.versions)),
        uses=tuple(dict.fromkeys(up.uses + down.uses)),
        runs=tuple(runs),
        models=tuple((RUN, m) for m in models),
        sessions=(session,),
    )


@pytest.fixture
def trained() -> LineageGraph:
    run = Run(
        run_uid=RUN, name="logistic", experiment="e", status=RunStatus.FINISHED, started_at=1.0, ended_at=2.0,
        params={"C": "0.3"}, metrics={"auc": 0.73, "bad": float("nan")},
    )  # fmt: skip
    model = ModelRecord(
        model_uid="m1", name="model", class_name="sklearn.linear_model.LogisticRegression", flavor="sklearn",
        digest=Digest("sha256:00"), size=1,
    )  # fmt: skip
    return graph_of(training(), "df", runs=[run], models=[model])


def cells(graph: LineageGraph) -> list[int]:
    return [e.position for e in graph.executions]


def test_upstream_and_downstream_are_told_apart(trained: LineageGraph) -> None:
    assert cells(trained.upstream()) == [1, 2, 4, 5, 6]
    assert cells(trained.downstream()) == [7, 8, 9, 10]
    assert {n.id for n in trained.upstream().nodes} & {n.id for n in trained.downstream().nodes} == set(trained.focus)


def test_the_document_is_json_whose_edges_join_its_nodes(trained: LineageGraph) -> None:
    document = json.loads(json.dumps(trained.to_json(), allow_nan=False))

    ids = {node["id"] for node in document["nodes"]}
    assert {edge["relation"] for edge in document["edges"]} == {
        "used", "was_generated_by", "was_derived_from", "was_informed_by",
    }  # fmt: skip
    assert all(edge["source"] in ids and edge["target"] in ids for edge in document["edges"])
    assert {node["type"] for node in document["nodes"]} == {"execution", "variable", "file", "run", "model"}
    (run,) = [node for node in document["nodes"] if node["type"] == "run"]
    assert run["metrics"] == {"auc": 0.73, "bad": "NaN"}


def test_an_edge_points_to_what_its_source_depends_on(trained: LineageGraph) -> None:
    labels = {node.id: node.label for node in trained.nodes}
    found = {(labels[e.source], e.relation, labels[e.target]) for e in trained.edges}

    assert ("In [6]", "used", "delays.csv") in found
    assert ("delays.csv", "was_generated_by", "In [5]") in found
    assert ("df", "was_derived_from", "df") in found
    assert ("model (LogisticRegression)", "was_generated_by", "logistic") in found


def test_the_text_is_a_tree_down_to_the_file(trained: LineageGraph) -> None:
    lines = trained.to_text().splitlines()

    assert lines[0] == "df: made from"
    assert any("data/flights.csv  sha256:" in line for line in lines)
    assert any("run logistic  auc 0.73" in line for line in lines)
    assert lines[-1] == "imports: In [2]"
    assert all(len(line) <= 60 for line in trained.to_text(width=60).splitlines())


def test_the_text_of_a_thousand_cells_in_a_chain_needs_no_recursion() -> None:
    h = History()
    h.cell("x = 0", writes=["x"])
    for _ in range(1500):
        h.cell("x = x + 1", reads=["x"], writes=["x"])

    graph = graph_of(h, "x")

    assert len(graph.to_text().splitlines()) == 1503
    assert "1382 more are not drawn" in graph._repr_mimebundle_()["text/html"]


def test_what_nobody_made_or_used_says_so() -> None:
    h = History()
    h.cell("x = 1", writes=["x"])
    lonely = graph_of(h, "x").downstream()

    assert "nothing was made from it" in lonely.to_text()


def test_the_picture_is_one_svg_with_a_box_for_each_thing(trained: LineageGraph) -> None:
    root = ElementTree.fromstring(trained.to_svg())

    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"In [6]", "delays.csv", "logistic", "model", "df"} <= set(texts)
    assert "In [2]" not in texts, "a cell that only imports is a footnote"
    assert "prefers-color-scheme:dark" in trained.to_svg()
    assert "--jp-layout-color1" in trained.to_svg()


def test_text_of_others_cannot_leave_its_place() -> None:
    h = History(notebook=HOSTILE)
    h.cell(HOSTILE, reads=[f"file:{HOSTILE}"], writes=[HOSTILE])
    run = Run(
        run_uid=RUN,
        name=HOSTILE,
        experiment="e",
        status=RunStatus.FINISHED,
        started_at=1.0,
        metrics={HOSTILE: 1.0},
    )
    h.cell("more", reads=[HOSTILE], writes=["z"], run=RUN)
    graph = graph_of(h, HOSTILE, runs=[run])

    bundle = graph._repr_mimebundle_()

    ElementTree.fromstring(graph.to_svg())
    assert "<script" not in bundle["text/html"]
    assert "\x1b" not in "".join([graph.to_text(), graph.to_mermaid(), graph.to_dot(), graph.to_svg()])
    assert "<script" not in bundle["text/markdown"]
    assert bundle["text/markdown"].count("`") == 6, "only the fence"
    assert graph.to_dot().replace('\\"', "").count('"') % 2 == 0


def test_mermaid_and_dot_show_doubt_as_dashes() -> None:
    h = History()
    h.cell("a = make()", writes=["a"])
    h.cell("b = look(a)", reads=["a"], writes=["b"], grade=Grade.ASSUMED)
    graph = graph_of(h, "b")

    assert '-.->|"a"|' in graph.to_mermaid()
    assert "style=dashed" in graph.to_dot()


def test_openlineage_names_files_as_data_sets(trained: LineageGraph) -> None:
    event = trained.to_openlineage()

    assert event["eventType"] == "COMPLETE"
    assert str(uuid.UUID(event["run"]["runId"])) == event["run"]["runId"]
    assert [d["name"] for d in event["inputs"]] == ["data/flights.csv"]
    assert [d["name"] for d in event["outputs"]] == ["delays.csv"]
    assert event["inputs"][0]["facets"]["version"]["datasetVersion"].startswith("sha256:")
    assert event["job"]["name"] == "work.ipynb.df"
    facets = [
        *event["run"]["facets"].values(),
        *event["job"]["facets"].values(),
        event["inputs"][0]["facets"]["version"],
    ]
    assert all({"_producer", "_schemaURL"} <= facet.keys() for facet in facets)
    assert event == trained.to_openlineage(), "the same target is the same event"


def test_openlineage_of_a_url_splits_it_into_namespace_and_name() -> None:
    h = History()
    h.cell("df = read('s3://bucket/a/b.parquet')", reads=["file:s3://bucket/a/b.parquet"], writes=["df"])

    (data,) = graph_of(h, "df").to_openlineage()["inputs"]

    assert (data["namespace"], data["name"]) == ("s3://bucket", "a/b.parquet")


def test_prov_relates_what_it_declares(trained: LineageGraph) -> None:
    document = json.loads(json.dumps(trained.to_prov(), allow_nan=False))

    entities, activities = document["entity"], document["activity"]
    assert all(u["prov:activity"] in activities and u["prov:entity"] in entities for u in document["used"].values())
    for made in document["wasGeneratedBy"].values():
        assert made["prov:entity"] in entities
        assert made["prov:activity"] in activities
    assert next(iter(document["agent"].values()))["prov:label"] == "ann@example.org"


def test_prov_is_read_by_the_reference_implementation(trained: LineageGraph) -> None:
    model = pytest.importorskip("prov.model")

    document = model.ProvDocument.deserialize(content=json.dumps(trained.to_prov()), format="json")

    assert len(list(document.get_records(model.ProvActivity))) == len(trained.executions) + 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import a\nfrom b import c", True),
        ("%matplotlib inline\nimport a", True),
        ("import a\na.seed(0)", False),
        ("x = (", False),
        ("", False),
    ],
)
def test_a_cell_that_only_imports(source: str, expected: bool) -> None:
    assert only_imports(source) is expected


def test_the_view_keeps_the_nearest_boxes(trained: LineageGraph) -> None:
    shown = view(trained, limit=3)

    assert len(shown.nodes) == 3
    assert any(node.focus for node in shown.nodes)
    assert shown.hidden == len(view(trained).nodes) - 3


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=40))
def test_boxes_never_overlap_and_arrows_end_at_their_boxes(pairs: list[tuple[int, int]]) -> None:
    sizes = {str(i): Size(40 + 10 * (i % 3), 20) for i in range(15)}
    arrows = list(dict.fromkeys((str(a), str(b)) for a, b in pairs))

    placed = layout(sizes, arrows)

    by_row: dict[float, list[tuple[float, float]]] = {}
    for key, (x, y) in placed.centres.items():
        by_row.setdefault(y, []).append((x - sizes[key].width / 2, x + sizes[key].width / 2))
    for row in by_row.values():
        row.sort()
        assert all(a[1] + GAP_X <= b[0] + 1e-6 for a, b in pairwise(row))
    for (a, b), route in placed.routes.items():
        assert abs(route[0][0] - placed.centres[a][0]) < 1e-6
        assert abs(route[-1][0] - placed.centres[b][0]) < 1e-6
    assert {frozenset(k) for k in placed.routes} == {frozenset(k) for k in arrows if k[0] != k[1]}
