"""The line magics in a real shell: what they show, what they return, and what they say of bad input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

import mlops_jupyter
from mlops_jupyter.cli import invoke
from tests.capture.support import run, shell

TRACKED = """%%track careful -t stage=draft
rate = 0.25
score = sum(data) * rate
"""


@pytest.fixture
def ipython(home: Path) -> Iterator[InteractiveShell]:
    """A shell in an empty workspace in which a cell was tracked."""
    with shell(captured=False) as made:
        assert made.run_line_magic("load_ext", "mlops_jupyter") is None
        run(made, "data = [1, 2, 3]")
        run(made, "unrelated = 'x'")
        run(made, TRACKED)
        yield made
        mlops_jupyter.unload_ipython_extension(made)


def test_lineage_of_a_variable_is_the_result_and_has_a_picture(ipython: InteractiveShell) -> None:
    graph = run(ipython, "%lineage score").result
    bundle = graph._repr_mimebundle_()
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "<svg" in bundle["text/html"]
    assert "data" in bundle["text/plain"]
    assert "unrelated" not in bundle["text/plain"]


def test_lineage_without_a_target_is_that_of_the_last_run(ipython: InteractiveShell) -> None:
    assert "careful" in run(ipython, "%lineage").result.to_text()


def test_lineage_of_a_variable_called_like_a_kind_of_target(ipython: InteractiveShell) -> None:
    run(ipython, "model = [1]\nrun = 2\ncell = 3")
    for name in ("model", "run", "cell"):
        ran = run(ipython, f"%lineage {name}")
        assert ran.stderr == ""
        assert ran.result.target == name


def test_gather_keeps_what_is_needed_and_writes_a_notebook(ipython: InteractiveShell, home: Path) -> None:
    found = run(ipython, "%gather score --to score.ipynb").result
    assert found.executions == (0, 2)
    notebook = json.loads((home / "score.ipynb").read_text())
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert any("data = [1, 2, 3]" in source for source in sources)
    assert not any("unrelated" in source or "%%track" in source for source in sources)


def test_gather_replaces_nobody_elses_file(ipython: InteractiveShell, home: Path) -> None:
    (home / "mine.ipynb").write_text("{}")
    ran = run(ipython, "%gather score --to mine.ipynb")
    assert ran.result is None and "mine.ipynb" in ran.stderr
    assert (home / "mine.ipynb").read_text() == "{}"
    assert run(ipython, "%gather score --to mine.ipynb --force").result is not None


def test_functions_say_the_same_as_the_magics(ipython: InteractiveShell) -> None:
    ran = run(ipython, "import mlops_jupyter as mlops\nmlops.gather('score').executions")
    assert ran.result == (0, 2)
    assert run(ipython, "mlops.gather(1).executions").result == (1,)
    assert "data" in run(ipython, "mlops.lineage('score').to_text()").result


def test_mlops_shows_a_table_in_a_notebook(ipython: InteractiveShell) -> None:
    page = run(ipython, "%mlops runs").result
    bundle = page._repr_mimebundle_()
    assert "careful" in bundle["text/plain"]
    assert "<table>" in bundle["text/html"]


def test_names_are_escaped_in_the_table(ipython: InteractiveShell) -> None:
    run(ipython, "%%track <script>alert(1)</script>\nother = sum(data) / 2")
    html = run(ipython, "%mlops runs").result._repr_mimebundle_()["text/html"]
    assert "<script>" not in html and "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%lineage nothing_here", "nothing_here"),
        ("%lineage a b", "one TARGET"),
        ("%lineage --sideways x", "--sideways"),
        ("%gather", "one TARGET"),
        ("%gather scor", "score"),
        ("%gather 99", "99"),
        ("%gather score --to", "--to needs"),
        ("%gather 'unclosed", "quotes"),
        ("%mlops nonsense", "no verb 'nonsense'"),
        ("%mlops runs show 00000000", "00000000"),
        ("%mlops runs list --limit x", "--limit"),
    ],
)
def test_bad_input_is_one_line_and_no_traceback(ipython: InteractiveShell, line: str, words: str) -> None:
    ran = run(ipython, line)
    assert ran.error is None and ran.result is None
    assert words in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "offered"), [("%mlops ", "doctor"), ("%mlops runs ", "compare"), ("%mlops runs list ", "--filter")]
)
def test_completion_offers_verbs_and_flags(ipython: InteractiveShell, line: str, offered: str) -> None:
    with provisionalcompleter():
        assert offered in {found.text for found in ipython.Completer.completions(line, len(line))}


@pytest.mark.parametrize("name", ["lineage", "gather", "mlops", "track"])
def test_every_magic_explains_itself(ipython: InteractiveShell, name: str) -> None:
    magic = ipython.find_line_magic(name)
    assert magic is not None and magic.__doc__ and f"%{name}" in magic.__doc__


def test_unload_takes_the_magics_away(home: Path) -> None:
    with shell(captured=False) as made:
        made.run_line_magic("load_ext", "mlops_jupyter")
        made.run_line_magic("unload_ext", "mlops_jupyter")
        left = {"lineage", "gather", "mlops", "track"} & set(made.magics_manager.magics["line"])
        assert not left


def test_what_a_notebook_shows_is_what_the_command_line_shows(
    ipython: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["lineage", "score"]) == 0
    assert "data = [1, 2, 3]" in capsys.readouterr().out


MODEL = """%%track fitted
from sklearn.linear_model import LinearRegression
model = LinearRegression(fit_intercept=False).fit([[1.0], [2.0]], [2.0, 4.0])
slope = round(float(model.coef_[0]), 6)
"""


def test_from_a_cell_to_a_registered_model_in_a_notebook(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the verbs show is text and HTML without what would drive a terminal, and refusals are one line."""
    notebook = home / "work.ipynb"
    cell = nbformat.v4.new_code_cell(MODEL, id="fitted")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), notebook)
    monkeypatch.setenv("JPY_SESSION_NAME", str(notebook))
    shown = {}
    with shell(captured=False) as made:
        made.run_line_magic("load_ext", "mlops_jupyter")
        run(
            made, "import warnings; warnings.simplefilter('error')"
        )  # what a verb does is no business of the notebook's
        assert run(made, MODEL, cell_id="fitted").error is None
        listed = run(made, "%mlops runs --json").result._repr_mimebundle_()["text/plain"]
        made.user_ns["RUN"] = json.loads(listed)["runs"][0]["run_id"]
        for line in (
            "%mlops convert work.ipynb -o clean.ipynb --verify none", "%mlops runs reproduce $RUN",
            "%mlops register $RUN --name slopes", "%mlops models show slopes/1",
        ):  # fmt: skip
            ran = run(made, line)
            assert ran.error is None and ran.result is not None and "Traceback" not in ran.stderr, (line, ran.stderr)
            shown[line.split()[1]] = ran.result._repr_mimebundle_()
        refused = run(made, "%mlops register $RUN --name slopes --model nothing")
        assert refused.result is None and refused.stderr.startswith("mlops: ") and refused.stderr.count("\n") == 1
        mlops_jupyter.unload_ipython_extension(made)
    for verb, bundle in shown.items():
        assert set(bundle) == {"text/plain", "text/html"}, verb
        assert "\x1b" not in "".join(bundle.values()), verb
    assert "clean.ipynb  from work.ipynb" in shown["convert"]["text/plain"] and (home / "clean.ipynb").exists()
    assert "every metric is equal" in shown["runs"]["text/plain"] and "replayed once" in shown["runs"]["text/plain"]
    assert "<table>" in shown["runs"]["text/html"]
    assert "Registered slopes version 1" in shown["register"]["text/plain"]
