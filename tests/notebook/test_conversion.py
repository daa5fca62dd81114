"""From recorded executions to a clean notebook, as a pure function."""

from __future__ import annotations

import json
from typing import Any

import nbformat
import pytest

from mlops_jupyter.entities import ExecutionStatus
from mlops_jupyter.errors import UsageError
from mlops_jupyter.notebook import GatheredSlice, parse_notebook
from mlops_jupyter.notebook.conversion import APPENDIX_TAG, Conversion, convert_slice
from mlops_jupyter.notebook.leaves import default_roots, display_leaves, track_arguments
from mlops_jupyter.notebook.refusals import check, check_language, texts_of
from mlops_jupyter.provenance import Records, backward_slice
from tests.lineage.histories import History, training
from tests.notebook.documents import notebook_bytes


def records(history: History) -> Records:
    return Records(tuple(history.executions), tuple(history.versions), tuple(history.uses))


def gathered(history: History, target: str) -> GatheredSlice:
    found = backward_slice(history.source(), target=target, version=history.version(target))
    return GatheredSlice.of(found, origin="recorded", notebook=history.notebook)


def converted(history: History, target: str, *cells: str, limit: int = 0) -> Conversion:
    """``cells``: the notebook as it is now; none: gone. Parameters are a matter of tests of their own."""
    document = parse_notebook(notebook_bytes(*cells), name="n") if cells else None
    found = gathered(history, target)
    shown = display_leaves(records(history), [e.execution_id for e in found.kept])
    conversion = convert_slice(found, document, shown=shown, limit=limit)
    nbformat.validate(nbformat.from_dict(conversion.document))
    return conversion


def code(conversion: Conversion) -> list[str]:
    return ["".join(c["source"]) for c in conversion.document["cells"] if c["cell_type"] == "code"]


def cells(conversion: Conversion) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = conversion.document["cells"]
    return found


def ours(conversion: Conversion) -> dict[str, Any]:
    found: dict[str, Any] = conversion.document["metadata"]["mlops"]["converted"]
    return found


def test_a_training_becomes_imports_and_the_cells_that_it_needs() -> None:
    conversion = converted(training(), "auc")

    assert code(conversion) == [
        "import pandas as pd\nimport numpy as np",
        "raw = pd.read_csv('data/flights.csv')",
        "raw.to_csv('delays.csv')",
        "df = pd.read_csv('delays.csv')",
        "df['late'] = df.delay > 15",
        "X, y = df[['a', 'b']], df.late",
        "model = Logistic().fit(X, y)",
        "auc = score(model, X, y)",
        "raw.head()",
    ]
    assert "auc" in "".join(cells(conversion)[0]["source"])
    assert [v.name for v in conversion.inputs] == ["data/flights.csv"]
    assert ours(conversion)["executions"] == [1, 2, 4, 5, 6, 8, 9, 10]
    assert ours(conversion)["grade"] is None
    assert ours(conversion)["inputs"][0]["path"] == "data/flights.csv"


def test_what_was_tracked_is_in_the_metadata_and_no_magic_of_ours_in_the_text() -> None:
    conversion = converted(training(), "auc")
    text = json.dumps(conversion.document)

    assert "%%track" not in text
    assert "load_ext" not in text
    tracked = [c["metadata"]["mlops"] for c in cells(conversion) if "track" in c["metadata"].get("mlops", {})]
    assert [(m["track"], m["cell_id"], m["position"]) for m in tracked] == [("logistic", "cell-9", 9)]


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        ("%%track\nx = 1", ""),
        ("%%track a -t k=v --seed 3\nx", "a -t k=v --seed 3"),
        ("\n%%time\n%%track a\nx", "a"),
        ("%%track?", None),
        ("x = 1\n%%track", None),
        ("%%tracker\nx", None),
        ("%track on", None),
    ],
)
def test_arguments_of_a_tracked_cell(source: str, arguments: str | None) -> None:
    assert track_arguments(source) == arguments


def test_the_same_input_gives_the_same_document() -> None:
    assert json.dumps(converted(training(), "auc").document) == json.dumps(converted(training(), "auc").document)


def test_several_versions_of_a_cell_are_all_there_with_ids_of_their_own() -> None:
    h = History()
    h.cell("x = [1]", writes=["x"])
    h.cell("x.append(2)", mutates=["x"])
    h.cell("x.append(3)", mutates=["x"])
    for number in (1, 2):
        object.__setattr__(h.executions[number], "cell_id", "same")

    conversion = converted(h, "x", "x = [1]", "x.append(3)")

    assert code(conversion) == ["x = [1]", "x.append(2)", "x.append(3)"]
    assert [c["id"] for c in cells(conversion)][1:] == ["cell-0", "same", "same-2"]
    assert any("2 versions of one cell" in note for note in conversion.notes)


def test_an_edited_cell_is_converted_as_it_ran_and_that_is_told() -> None:
    h = History()
    h.cell("x = 1", writes=["x"])
    h.cell("y = x + 1", reads=["x"], writes=["y"])

    conversion = converted(h, "y", "x = 2", "y = x + 1")

    assert code(conversion) == ["x = 1", "y = x + 1"]
    assert conversion.notes == ("In [1] was edited after it ran; the recorded text is used.",)
    assert "not in the notebook any more" in converted(h, "y", "x = 1").notes[0]
    assert "file is gone" in converted(h, "y").notes[0]


def test_markdown_stands_above_its_cells_and_the_title_is_taken_over() -> None:
    h = History()
    for text in ("", "", "x = 1", "", "y = 2", "", "z = x"):
        name = text[:1]
        h.cell(text, writes=[name] if name else [], reads=["x"] if name == "z" else [])

    conversion = converted(h, "z", "md:# My *work*\n\nAll of it.", "md:a", "x = 1", "md:b", "y = 2", "md:## C", "z = x")
    markdown = ["".join(c["source"]) for c in cells(conversion) if c["cell_type"] == "markdown"]

    assert markdown[0].startswith("# My *work*\n")
    assert markdown[0].endswith("All of it.")
    assert markdown[1:] == ["a", "## C"]
    assert [c["id"] for c in cells(conversion)] == ["mlops-title", "cell-1", "cell-2", "cell-5", "cell-6"]


def test_what_only_shows_is_in_the_appendix_under_a_tag() -> None:
    h = History()
    h.cell("import matplotlib.pyplot as plt", writes=["plt"], type_name="module")
    h.cell("df = load()", writes=["df"], type_name="pandas.core.frame.DataFrame")
    h.cell("df.head()", reads=["df"])
    h.cell("fig, ax = plt.subplots()\nax.plot(df)\nplt.show()", reads=["plt", "df"], writes=["fig", "ax"])
    h.cell("model = fit(df)", reads=["df"], writes=["model"])
    h.cell("print(model)", reads=["model"])

    conversion = converted(h, "model")

    at = next(i for i, c in enumerate(cells(conversion)) if c["id"] == "mlops-appendix")
    assert all(APPENDIX_TAG not in c["metadata"].get("tags", ()) for c in cells(conversion)[:at])
    assert all(APPENDIX_TAG in c["metadata"]["tags"] for c in cells(conversion)[at:])
    assert code(conversion) == [
        "df = load()",
        "model = fit(df)",
        "import matplotlib.pyplot as plt",
        "df.head()",
        "fig, ax = plt.subplots()\nax.plot(df)\nplt.show()",
        "print(model)",
    ]
    assert [e.position for e in conversion.appendix] == [0, 2, 3, 5]


@pytest.mark.parametrize(
    ("source", "how"),
    [
        ("df.drop(0, inplace=True)\ndf", {"mutates": ["df"]}),
        ("df = df.dropna()\ndf", {"reads": ["df"], "writes": ["df"]}),
        ("df.to_csv('x.csv')\ndf", {"reads": ["df"], "writes": ["file:x.csv"]}),
        ("aside = df.sum()", {"reads": ["df"], "writes": ["aside"]}),
        ("print(other)", {"reads": ["other"]}),
        ("!ls\nprint(df)", {"reads": ["df"]}),
        ("os.chdir('..')\nprint(df)", {"reads": ["df"], "writes": ["state:cwd"]}),
    ],
)
def test_what_does_more_than_show_or_needs_more_is_left_out(source: str, how: dict[str, list[str]]) -> None:
    h = History()
    h.cell("df = load()", writes=["df"])
    h.cell("other = 1", writes=["other"])
    h.cell("model = fit(df)", reads=["df"], writes=["model"])
    target = gathered(h, "model")
    h.cell(source, **how)

    assert display_leaves(records(h), [e.execution_id for e in target.kept]) == ()


def test_what_showed_a_value_that_changed_afterwards_is_left_out() -> None:
    h = History()
    h.cell("df = load()", writes=["df"])
    h.cell("df.head()", reads=["df"])
    h.cell("df['x'] = 1", mutates=["df"])

    assert converted(h, "df").appendix == ()


def test_lines_that_install_packages_are_left_out_and_told() -> None:
    h = History()
    h.cell("%pip install -q pandas\n!pip3 install numpy\nx = 1", writes=["x"])
    h.cell("y = '''\n!pip install z\n'''\nz = x", reads=["x"], writes=["z"])

    conversion = converted(h, "z")

    assert code(conversion) == ["x = 1", "y = '''\n!pip install z\n'''\nz = x"]
    assert "%pip install -q pandas; !pip3 install numpy" in conversion.notes[0]


def test_other_magics_and_commands_are_kept() -> None:
    h = History()
    h.cell("%matplotlib inline\nimport os\n!mkdir -p out\nx = 1", writes=["x", "os"])

    assert code(converted(h, "x")) == ["import os", "%matplotlib inline\n!mkdir -p out\nx = 1"]


def test_a_cell_that_failed_and_is_needed_may_fail_again() -> None:
    h = History()
    h.cell("x = [1]", writes=["x"])
    h.cell("import os\nx.append(2)\n1 / 0", mutates=["x"], writes=["os"], status=ExecutionStatus.ERROR)

    conversion = converted(h, "x")

    assert code(conversion)[1] == "import os\nx.append(2)\n1 / 0"
    assert "raises-exception" in cells(conversion)[2]["metadata"]["tags"]
    assert "failed" in conversion.notes[0]


def test_parameters_stand_in_a_cell_of_their_own_and_the_rest_is_offered() -> None:
    h = History()
    h.cell("import lib\nrows = 10  # how many", writes=["lib", "rows"])
    h.cell("def fit(**given): return given", writes=["fit"])
    h.cell("model = fit(max_depth=3, learning_rate=0.1, n=rows)", reads=["rows", "fit"], writes=["model"])

    conversion = converted(h, "model", limit=2)

    names = {p.name for p in conversion.parameters}
    assert len(names) == 2
    assert code(conversion)[0] == "import lib"
    cell = cells(conversion)[2]
    assert cell["metadata"]["tags"] == ["parameters"]
    assert all(f"{name}: " in code(conversion)[1] for name in names)
    assert {p.name for p in conversion.offered}.isdisjoint(names)
    assert set(conversion.document["metadata"]["mlops"]["parameters"]["properties"]) == names
    assert len(converted(h, "model", limit=0).offered) == len(conversion.parameters) + len(conversion.offered)


def test_a_tagged_cell_gives_its_names_and_is_gone() -> None:
    h = History()
    h.cell("rows = 10", writes=["rows"])
    h.cell("x = rows", reads=["rows"], writes=["x"])
    document = parse_notebook(notebook_bytes("rows = 10", "x = rows", tags={0: ["parameters"]}), name="n")

    conversion = convert_slice(gathered(h, "x"), document)

    assert code(conversion) == ["rows: int = 10", "x = rows"]
    assert conversion.parameters[0].origin == "tagged"


def test_all_names_of_a_tagged_cell_are_taken_or_it_keeps_its_tag() -> None:
    text = "\n".join(f"p{n} = {n}" for n in range(12))
    h = History()
    h.cell(text, writes=[f"p{n}" for n in range(12)])
    h.cell("x = p0", reads=["p0"], writes=["x"])
    document = parse_notebook(notebook_bytes(text, "x = p0", tags={0: ["parameters"]}), name="n")

    assert len(convert_slice(gathered(h, "x"), document, limit=3).parameters) == 12
    none = convert_slice(gathered(h, "x"), document, limit=0)
    assert [c["metadata"].get("tags") for c in cells(none)] == [None, ["parameters"], None]
    assert code(none) == [text, "x = p0"]


def test_a_name_that_the_appendix_uses_is_no_name_for_a_parameter() -> None:
    h = History()
    h.cell("df = load()", writes=["df"])
    h.cell("model = fit(df, max_depth=3)", reads=["df"], writes=["model"])
    h.cell("max_depth = 7\nprint(model)", reads=["model"], writes=["max_depth"])

    conversion = converted(h, "model", limit=8)

    assert code(conversion)[-1] == "max_depth = 7\nprint(model)"
    assert "max_depth" not in {p.name for p in (*conversion.parameters, *conversion.offered)}


def test_hostile_names_are_only_text() -> None:
    h = History(notebook="a`<script>alert(1)</script>\n# x.ipynb")
    h.cell("x = 1", writes=["x"])

    title = "".join(cells(converted(h, "x"))[0]["source"])

    assert "\n# x" not in title
    assert "``a`<script>" in title
    assert "# \\# x" in title.split("\n")[0] or "<" not in title.split("\n")[0]


# ---------------------------------------------------------------------------------------------- what it is about


def roots(history: History, *, headless: bool = False) -> list[int]:
    return [e.position for e in default_roots(records(history), headless=headless).executions]


def test_tracked_cells_and_written_files_are_what_a_notebook_is_about() -> None:
    assert roots(training()) == [4, 9]


def test_only_the_latest_execution_of_a_tracked_cell_counts_and_only_one_that_succeeded() -> None:
    h = History()
    h.cell("%%track a\nx = 1", writes=["x"])
    h.cell("%%track a\nx = 2", writes=["x"])
    h.cell("%%track a\nx = no", status=ExecutionStatus.ERROR)
    for execution in h.executions:
        object.__setattr__(execution, "cell_id", "same")

    assert roots(h) == [1]


def test_in_a_headless_session_all_cells_are_of_a_run_and_only_tracked_ones_count() -> None:
    h = History()
    h.cell("x = 1", writes=["x"], run="1" * 32)
    h.cell("%%track a\ny = x", reads=["x"], writes=["y"], run="2" * 32)

    assert roots(h, headless=True) == [1]
    assert roots(h) == [0, 1]


def test_without_tracked_cells_and_files_the_results_at_the_end_count() -> None:
    h = History()
    h.cell("import json", writes=["json"], type_name="module")
    h.cell("def f(): pass", writes=["f"], type_name="function")
    h.cell("x = 1", writes=["x"])
    h.cell("y = x", reads=["x"], writes=["y"])
    h.cell("gone = 2", writes=["gone"])
    h.cell("del gone", deletes=["gone"])
    h.cell("print(y)", reads=["y"])
    h.cell("best = [1]", writes=["best"])
    h.cell("best.append(y)", reads=["y"], mutates=["best"])

    assert roots(h) == [8]


def test_a_file_that_another_session_wrote_is_none_of_this_one() -> None:
    h = History()
    h.cell("x = read('f')", reads=["file:f"], writes=["x"])

    assert roots(h) == [0]


def test_where_nothing_is_made_what_is_shown_counts_and_at_last_all() -> None:
    h = History()
    h.cell("import json", writes=["json"], type_name="module")
    h.cell("print(1)")
    assert roots(h) == [1]

    h = History()
    h.cell("%load_ext mlops_jupyter")
    h.cell("import json", writes=["json"], type_name="module")
    assert roots(h) == [1]


# ---------------------------------------------------------------------------------------------- refusals


def refused(*sources: str, status: ExecutionStatus = ExecutionStatus.OK) -> str:
    h = History()
    for number, source in enumerate(sources):
        h.cell(source, reads=[f"v{number - 1}"] if number else [], writes=[f"v{number}"], status=status)
    found = gathered(h, f"v{len(sources) - 1}")
    with pytest.raises(UsageError) as raised:
        check(found, texts_of(found, None))
    return str(raised.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("name = input('? ')", r"In [1] waits for input (input())"),
        ("from getpass import getpass\nkey = getpass()", "waits for input (getpass())"),
        ("import getpass\nkey = getpass.getpass()", "waits for input (getpass.getpass())"),
        ("def ask():\n    return input()\nx = ask()", "waits for input"),
        ("x = Out[3] + 1", "reads Out[3]"),
        ("x = _ + 1", "reads '_'"),
        ("x = _12", "reads '_12'"),
        ("import ipywidgets as w\ns = w.IntSlider(3)\nx = s.value", "reads the widget 's'"),
        ("from ipywidgets import IntSlider\ns = IntSlider(3)\nx = 2 * s.value", "reads the widget 's'"),
        ("%lineage x", "no code to convert"),
    ],
)
def test_what_cannot_run_by_itself_is_refused_in_one_sentence(source: str, said: str) -> None:
    assert said in refused(source)


def test_what_only_looks_like_it_is_not_refused() -> None:
    for source in (
        "output = model(input)", "for _ in range(3):\n    x = _", "_, x = pair",
        "def ask():\n    return input()\nx = 1",
        "s.value = 3\nx = s.value", "input = ask\nx = input()",
    ):  # fmt: skip
        h = History()
        h.cell(source, writes=["x"])
        found = gathered(h, "x")
        check(found, {})


def test_a_variable_from_before_capture_is_refused() -> None:
    h = History()
    h.cell("y = x + 1", reads=["x"], writes=["y"])

    with pytest.raises(UsageError, match=r"'x' came from before capture started.*In \[1\] uses it"):
        check(gathered(h, "y"), {})


def test_an_interrupted_cell_is_refused() -> None:
    assert "was interrupted" in refused("x = work()", status=ExecutionStatus.INTERRUPTED)


def test_a_blanked_secret_comes_from_the_notebook_or_is_refused() -> None:
    h = History()
    h.cell('password = "***"\nx = 1', writes=["x"])
    found = gathered(h, "x")
    document = parse_notebook(notebook_bytes('password = "hunter22"\nx = 1'), name="n")
    edited = parse_notebook(notebook_bytes('password = "hunter22"\nx = 2'), name="n")

    assert texts_of(found, document) == {found.kept[0].execution_id: 'password = "hunter22"\nx = 1'}
    for other in (edited, None):
        with pytest.raises(UsageError, match=r"In \[1\] holds a secret"):
            texts_of(found, other)


def test_stars_in_a_comment_or_a_longer_row_are_no_secret() -> None:
    h = History()
    h.cell("# *** begin ***\nprint('*****')\nx = 1", writes=["x"])

    assert texts_of(gathered(h, "x"), None) == {}


def test_an_input_that_the_notebook_wrote_over_is_refused() -> None:
    h = History()
    h.cell("x = read('f')", reads=["file:f"], writes=["x"])
    found = gathered(h, "x")
    h.cell("write('f')", writes=["file:f"])

    check(found, {}, changed=[], versions=h.versions)
    with pytest.raises(UsageError, match="'f' was changed by the notebook itself"):
        check(found, {}, changed=["f"], versions=h.versions)


def test_another_language_is_refused() -> None:
    with pytest.raises(UsageError, match="in r; only Python"):
        check_language(parse_notebook(notebook_bytes("x <- 1", language="R"), name="n"), name="n.ipynb")
    check_language(None, name="n.ipynb")


# ---------------------------------------------------------------------------------------------- headless sessions


def test_values_that_a_run_was_given_stand_in_the_cell_that_they_override() -> None:
    h = History()
    h.cell("rows = 10  # how many\nname = 'a'", writes=["rows", "name"])
    h.cell("# Parameters\nrows = 500", writes=["rows"])
    object.__setattr__(h.executions[1], "cell_id", "injected-parameters")
    h.cell("x = rows, name", reads=["rows", "name"], writes=["x"])

    assert code(converted(h, "x")) == ["rows = 500  # how many\nname = 'a'", "x = rows, name"]


def test_values_that_a_run_was_given_stay_apart_where_the_cell_uses_them() -> None:
    h = History()
    h.cell("rows = 10\ntwice = rows * 2", writes=["rows", "twice"])
    h.cell("# Parameters\nrows = 500", writes=["rows"])
    object.__setattr__(h.executions[1], "cell_id", "injected-parameters")
    h.cell("x = rows, twice", reads=["rows", "twice"], writes=["x"])

    assert code(converted(h, "x")) == ["rows = 10\ntwice = rows * 2", "# Parameters\nrows = 500", "x = rows, twice"]
