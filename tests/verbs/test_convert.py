"""``convert`` in a workspace with a history that a real kernel recorded, and the converted notebook run by others."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest

from mlops_jupyter.cli import invoke
from mlops_jupyter.entities import Origin, Session, SessionId
from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.store.executions import start_session
from mlops_jupyter.verbs.convert import convert
from mlops_jupyter.verbs.gather import gather
from mlops_jupyter.workspace import Workspace, open_workspace
from tests.capture.support import Kernel, run, shell
from tests.lineage.histories import History, training
from tests.notebook.documents import notebook_bytes
from tests.schemas import check

CELLS = (
    "md:# Costs\n\nOf the *work*.",
    "%load_ext mlops_jupyter",
    "import json\nfrom pathlib import Path",
    "md:## Data",
    "data = [3, 1, 2]\nPath('data.json').write_text(json.dumps(data))",
    "data[:2]",
    "rate = 0.5  # share that is added\nrounds = 2",
    "def cost(values):\n    return sum(values) * (1 + rate)",
    "md:## Result",
    "%%track costs -t kind=test\nvalues = json.loads(Path('data.json').read_text())\ntotal = cost(values) ** rounds",
    "print(total)",
    "draft = 'nothing'",
)
NAME = "naïve work (1).ipynb"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in a folder of an odd name, in which a kernel ran the notebook."""
    root = tmp_path_factory.mktemp("über uns")
    (root / "mlops.toml").write_text("")
    notebook = root / NAME
    notebook.write_bytes(notebook_bytes(*CELLS))
    folder = str(Path(__file__).parents[2])
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "MLFLOW_"))},
        "PYTHONPATH": os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")])),
        "JPY_SESSION_NAME": str(notebook), "MLOPS_DELIVER": "false",
    }  # fmt: skip
    kernel = Kernel(root, environ)
    try:
        for number, text in enumerate(CELLS):
            if not text.startswith("md:"):
                assert kernel.execute(text, cell_id=f"cell-{number}").status == "ok"
    finally:
        kernel.close()
    return root


@pytest.fixture
def work(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as the current folder."""
    folder = tmp_path / "a copy"
    shutil.copytree(recorded, folder)
    monkeypatch.chdir(folder)
    return folder


def code(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_a_recorded_notebook_becomes_a_clean_one(work: Path) -> None:
    document = convert(Path(NAME), Path("out.ipynb"), verify="none")

    check(document, "convert")
    nbformat.validate(nbformat.read("out.ipynb", as_version=4))
    assert document["origin"] == "recorded"
    assert document["cells"] == {"kept": 5, "dropped": 1, "appendix": 2}
    cells = code(Path("out.ipynb"))
    assert cells[0] == "import json\nfrom pathlib import Path"
    assert "rate: float = 0.5  # share that is added" in cells[1].split("\n")
    assert cells[-2:] == ["data[:2]", "print(total)"]
    text = Path("out.ipynb").read_text()
    assert "%%track" not in text and "load_ext" not in text and "draft = " not in text
    assert '"track": "costs -t kind=test"' in text
    assert "## Data" in text and "## Result" in text and str(work) not in text


def test_the_same_history_gives_the_same_bytes(work: Path) -> None:
    convert(Path(NAME), Path("one.ipynb"), verify="none")
    convert(Path(NAME), Path("two.ipynb"), verify="none")

    assert Path("one.ipynb").read_bytes() == Path("two.ipynb").read_bytes()


def test_papermill_runs_it_with_another_parameter(work: Path) -> None:
    convert(Path(NAME), Path("out.ipynb"), target="total", verify="none")

    assert set(papermill.inspect_notebook("out.ipynb")) >= {"rate", "rounds"}
    papermill.execute_notebook("out.ipynb", "ran.ipynb", {"rate": 1.0}, progress_bar=False)

    ran = nbformat.read("ran.ipynb", as_version=4)
    assert ran.cells[-1].outputs[0].text == "144.0\n"


def test_mlops_run_runs_it_with_the_same_and_tracks_what_was_tracked(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(Path(NAME), Path("out.ipynb"), verify="none")
    assert invoke(["run", "out.ipynb", "ran.ipynb", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)

    assert document["state"] == "succeeded"
    assert nbformat.read("ran.ipynb", as_version=4).cells[-1].outputs[0].text == "81.0\n"
    with open_workspace(work) as workspace:
        rows = workspace.store.execute("SELECT name FROM runs WHERE parent_uid = ?", (document["run_id"],))
    assert [row[0] for row in rows] == ["costs"]


def test_the_command_verifies_and_says_what_it_made(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["convert", NAME, "-o", "out.ipynb"]) == 0
    said = capsys.readouterr()

    assert "5 kept, 1 left out, 2 in the appendix" in said.out
    assert "share that is added" in said.out
    assert "mlops run out.ipynb -p " in said.out
    assert "grade     A" in said.out
    assert "writing out.ipynb" in said.err
    assert json.loads(Path("out.ipynb").read_text())["metadata"]["mlops"]["converted"]["grade"] == "A"


def test_chosen_parameters_and_none(work: Path) -> None:
    assert [p["name"] for p in convert(Path(NAME), Path("a.ipynb"), names=["rounds"], verify="none")["parameters"]] == [
        "rounds"
    ]
    none = convert(Path(NAME), Path("a.ipynb"), limit=0, verify="none")
    assert none["parameters"] == [] and {"rate", "rounds"} <= {p["name"] for p in none["offered"]}
    with pytest.raises(UsageError, match="'nothing' is no literal"):
        convert(Path(NAME), Path("b.ipynb"), names=["nothing"], verify="none")
    assert not Path("b.ipynb").exists()


def test_a_target_by_name_and_by_position(work: Path) -> None:
    assert convert(Path(NAME), Path("a.ipynb"), target="rate", verify="none")["cells"]["kept"] == 1
    assert convert(Path(NAME), Path("a.ipynb"), target="2", verify="none")["cells"]["kept"] == 3
    with pytest.raises(TargetNotFoundError, match="Did you mean 'total'"):
        convert(Path(NAME), Path("b.ipynb"), target="totl", verify="none")
    with pytest.raises(TargetNotFoundError, match="no cell at position 99"):
        convert(Path(NAME), Path("b.ipynb"), target=99, verify="none")


def test_a_notebook_that_changed_or_went_is_converted_as_it_ran(work: Path) -> None:
    Path(NAME).write_bytes(notebook_bytes(*[c.replace("rounds = 2", "rounds = 3") for c in CELLS]))
    document = convert(Path(NAME), Path("out.ipynb"), target="total", limit=0, verify="none")
    assert any("was edited after it ran" in note for note in document["notes"])
    assert "rounds = 2" in "\n".join(code(Path("out.ipynb")))

    Path(NAME).unlink()
    assert any("file is gone" in note for note in convert(Path(NAME), Path("out.ipynb"), verify="none")["notes"])


def test_from_inside_of_the_notebook(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = notebook("md:# T", "x = 2", "y = x + 1", name="my work.ipynb")
    monkeypatch.setenv("JPY_SESSION_NAME", str(path.absolute()))
    with shell(captured=False) as made:
        run(made, "%load_ext mlops_jupyter")
        run(made, "x = 2", cell_id="cell-1")
        run(made, "y = x + 1", cell_id="cell-2")
        said = run(made, "page = %mlops convert 'my work.ipynb' -o out.ipynb --target y --verify none --parameters 0")

    assert said.error is None
    assert "writing out.ipynb" in said.stderr
    assert code(Path("out.ipynb")) == ["x = 2", "y = x + 1"]


def test_gather_keeps_the_markdown(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["gather", NAME, "--target", "total", "-o", "slice.ipynb"]) == 0
    assert "cells that make total" in capsys.readouterr().out

    cells = nbformat.read("slice.ipynb", as_version=4).cells
    assert [c.source for c in cells if c.cell_type == "markdown"] == [
        "# Costs",
        "## Data",
        "## Result",
    ]


# ---------------------------------------------------------------------------------------------- outputs that may not be


@pytest.mark.parametrize(
    ("out", "said"),
    [
        (NAME, "is the notebook itself"),
        ("link.ipynb", "is the notebook itself"),
        ("mine.ipynb", "exists and was not converted"),
        ("none/out.ipynb", "folder none does not exist"),
        (".", "is a folder"),
    ],
)
def test_nothing_of_the_user_is_written_over(
    work: Path, out: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.ipynb").write_text("mine")
    Path("link.ipynb").symlink_to(NAME)
    before = Path(NAME).read_bytes()

    assert invoke(["convert", NAME, "-o", out]) == 2

    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert Path("mine.ipynb").read_text() == "mine"
    assert Path(NAME).read_bytes() == before
    assert not list(Path().glob(".*.tmp"))


def test_force_replaces_a_file_but_never_the_notebook(work: Path) -> None:
    Path("mine.ipynb").write_text("mine")
    convert(Path(NAME), Path("mine.ipynb"), force=True, verify="none")
    assert len(code(Path("mine.ipynb"))) > 3
    with pytest.raises(UsageError, match="the notebook itself"):
        convert(Path(NAME), Path(NAME), force=True, verify="none")


def test_what_was_edited_since_is_replaced_by_force_only(work: Path) -> None:
    out = Path("clean.ipynb")
    convert(Path(NAME), out, verify="none")
    convert(Path(NAME), out, verify="none")
    document = json.loads(out.read_text())
    document["cells"][-1]["source"] = ["mine = 1"]
    out.write_text(json.dumps(document))
    with pytest.raises(UsageError, match="or was edited since"):
        convert(Path(NAME), out, verify="none")
    assert "mine = 1" in out.read_text()
    convert(Path(NAME), out, force=True, verify="none")
    assert "mine = 1" not in out.read_text()


# ---------------------------------------------------------------------------------------------- made histories


@pytest.fixture
def workspace(home: Path) -> Iterator[Workspace]:
    with open_workspace(home) as opened:
        yield opened


def notebook(*cells: str, name: str = "work.ipynb", **how: Any) -> Path:
    path = Path(name)
    path.write_bytes(notebook_bytes(*cells, **how))
    return path


def converted(path: Path, **how: Any) -> tuple[dict[str, Any], list[str]]:
    document = convert(path, Path("out.ipynb"), verify="none", **{"limit": 0, **how})
    return document, code(Path("out.ipynb"))


def headless(workspace: Workspace, history: History) -> None:
    start_session(
        workspace.store,
        Session(
            session_id=SessionId(history.session_id), origin=Origin.HEADLESS, host="h", pid=1, user="ann",
            notebook=history.notebook, python="3.11", environment=None, started_at=history.started,
        ),
    )  # fmt: skip
    workspace.store.execute("UPDATE sessions SET origin = 'headless' WHERE session_id = ?", (history.session_id,))


def test_a_session_of_a_person_comes_before_a_headless_one(workspace: Workspace) -> None:
    person, robot = History("person"), History("robot", started=1_800_000_000.0)
    person.cell("x = 1", writes=["x"])
    robot.cell("x = 2", writes=["x"])
    robot.cell("y = 3", writes=["y"])
    for history in (person, robot):
        history.save(workspace.store)
    headless(workspace, robot)
    path = notebook("x = 2")

    assert converted(path, target="x")[1] == ["x = 1"]
    assert converted(path, target="y")[1] == ["y = 3"]
    assert converted(path)[1] == ["x = 1"]


def test_without_a_target_the_latest_session_with_a_tracked_cell_counts(workspace: Workspace) -> None:
    training("old").save(workspace.store)
    newer = History("new", started=1_800_000_000.0)
    newer.cell("x = 1", writes=["x"])
    newer.save(workspace.store)
    Path("data").mkdir()

    document, cells = converted(notebook("x = 1"))

    assert document["target"] == "the tracked cell and the files written"
    assert "model = Logistic().fit(X, y)" in cells


def test_a_result_that_cannot_be_converted_is_left_out_and_a_target_is_refused(workspace: Workspace) -> None:
    h = History()
    h.cell("x = 1", writes=["x"])
    h.cell("name = input()", writes=["name"])
    h.save(workspace.store)
    path = notebook("x = 1", "name = input()")

    document, cells = converted(path)

    assert cells == ["x = 1"]
    assert "In [2] is left out: In [2] waits for input" in document["notes"][0]
    with pytest.raises(UsageError, match="waits for input"):
        converted(path, target="name")


def test_where_nothing_but_our_own_line_ran_the_text_counts(workspace: Workspace) -> None:
    h = History()
    h.cell("%load_ext mlops_jupyter")
    h.save(workspace.store)

    document, cells = converted(notebook("%load_ext mlops_jupyter", "x = 1"))

    assert (document["origin"], cells) == ("static", ["x = 1"])


def test_a_secret_is_taken_from_the_notebook_and_told(workspace: Workspace) -> None:
    h = History()
    h.cell('token = "***"\nx = len(token)', writes=["token", "x"])
    h.save(workspace.store)
    text = 'token = "0123456789abcdef"\nx = len(token)'

    document, cells = converted(notebook(text), target="x")

    assert cells == [text]
    assert "holds a secret" in document["notes"][-1]
    assert "0123456789" not in json.dumps(document)


def test_inputs_that_changed_or_went_are_told(workspace: Workspace) -> None:
    h = History()
    h.cell("x = read('a'), read('b')", reads=["file:a", "file:b"], writes=["x"])
    h.save(workspace.store)
    Path("a").write_text("other")

    notes = converted(notebook("x = read('a'), read('b')"))[0]["notes"]

    assert "a is not as it was when it was read." in notes
    assert "b, which it reads, is not there any more." in notes


def test_a_notebook_that_was_never_tracked_is_converted_by_its_text_and_says_so(home: Path) -> None:
    path = notebook("md:# Title", "import json\na = 1", "b = 2", "c = a + 1", "print(c)")
    document, cells = converted(path, target="c")

    assert document["origin"] == "static"
    assert document["notes"][0].startswith("No recorded run makes it")
    assert cells[:2] == ["a = 1", "c = a + 1"] or cells[:3] == ["import json", "a = 1", "c = a + 1"]
    title = nbformat.read("out.ipynb", as_version=4).cells[0].source
    assert title.startswith("# Title\n\n**By static analysis, not from a recorded run.**")


@pytest.mark.parametrize(
    ("cells", "how", "said"),
    [
        ((), {}, "has no code to convert"),
        (("md:only text",), {}, "has no code to convert"),
        (("", "  "), {}, "has no code to convert"),
        (("x <- 1",), {"language": "R"}, "a notebook in r; only Python notebooks can be converted"),
        (("x = input()",), {}, "waits for input"),
    ],
)
def test_a_notebook_that_is_nothing_to_convert(home: Path, cells: Sequence[str], how: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        converted(notebook(*cells, **how))
    assert not Path("out.ipynb").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ('{"nbformat": 3, "worksheets": []}', "in notebook format 3"),
        ('{"a": 1}', "no nbformat number"),
        ("", "is empty"),
    ],
)
def test_what_is_no_notebook(home: Path, text: str, said: str) -> None:
    Path("bad.ipynb").write_text(text)

    with pytest.raises(UsageError, match=said):
        converted(Path("bad.ipynb"))
    with pytest.raises(TargetNotFoundError, match="no notebook"):
        converted(Path("none.ipynb"))


def test_gather_of_a_notebook_in_an_odd_place(home: Path) -> None:
    folder = home / "zwei wörter"
    folder.mkdir()
    path = notebook("md:## A `b`", "größe = 1", name=str(folder / "an other.ipynb"))
    with open_workspace(folder) as opened:
        assert gather(opened, notebook=path, target="größe").executions == (0,)
    assert converted(path, target="größe")[1] == ["größe = 1"]
