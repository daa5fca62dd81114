"""Secrets as parameters: the reference is kept, the value is nowhere but in the kernel."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_jupyter.analysis.scrubbing import Scrubber
from mlops_jupyter.cli._main import invoke
from mlops_jupyter.errors import UsageError
from mlops_jupyter.runner import RunResult, run_notebook
from mlops_jupyter.runner.coercion import from_annotation
from mlops_jupyter.runner.references import MessageScrubber, Reference, as_reference, read_by_code
from mlops_jupyter.workspace import Workspace, open_workspace

from .conftest import make, outputs, tagged

SECRET = "s3cr<t 'va\\lue'=42é"
OTHER = "other-hush-hush"

CELLS = (
    tagged("token: str = ''\ndefault: str = 'env:OTHER_SECRET'  # from the environment\nn = 1", "parameters"),
    "names = dir()\nimport os, sys, subprocess\n"
    "from IPython.display import HTML, JSON, display\nconn = 'user:' + token",
    "print(token); print([token]); print(default, file=sys.stderr)",
    "for c in token:\n    print(c, end='', flush=True)\n    sys.stdout.flush()",
    "display(HTML('<b>' + token + '</b>')); display(JSON({'k': token})); token",
    "_ = os.write(1, ('kernel says ' + token + '\\n').encode())",
    "_ = subprocess.run(['echo', 'child says ' + token])",
    "%%track\nmodel = token\nsettings = {'t': token}\n"
    "import mlops_jupyter as mlops\nmlops.log_param('mine', token)\nmlops.set_tag('tag', token)",
    "ok = (token == os.environ['MY_SECRET'], default == os.environ['OTHER_SECRET'], len(token)); ok",
    "'os' in names, '__import__' in names, [n for n in names if not n.startswith('_')]",
    "raise ValueError('it was ' + token)",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, RunResult, list[str]]]:
    """One run that says its secrets in every way; the folder, the result, what was passed on while it ran."""
    folder = tmp_path_factory.mktemp("secret")
    (folder / "mlops.toml").touch()
    heard: list[str] = []
    with pytest.MonkeyPatch.context() as patch, open_workspace(folder) as workspace:
        patch.setenv("MY_SECRET", SECRET)
        patch.setenv("OTHER_SECRET", OTHER)
        source = make(folder / "nb.ipynb", *CELLS)
        result = run_notebook(
            workspace, source, folder / "out.ipynb", parameters=[("token", "env:MY_SECRET")],
            on_output=lambda _name, text: heard.append(text),
        )  # fmt: skip
    yield folder, result, heard


def test_the_cells_work_with_the_value(finished: tuple[Path, RunResult, list[str]]) -> None:
    folder, result, _ = finished
    assert result.failed_cell is not None and result.failed_cell.error == "ValueError: it was ***"
    texts = outputs(folder / "out.ipynb")
    assert f"(True, True, {len(SECRET)})" in texts[9]
    assert texts[10].split()[:2] == ["(False,", "False,"]  # the injected cell leaves no name behind


def test_the_reference_is_what_is_recorded(finished: tuple[Path, RunResult, list[str]]) -> None:
    folder, result, _ = finished
    assert result.parameters == {"token": "env:MY_SECRET", "default": "env:OTHER_SECRET", "n": 1}
    document = json.loads((folder / "out.ipynb").read_text())
    injected = next(c for c in document["cells"] if "injected-parameters" in c["metadata"].get("tags", []))
    assert 'token = __import__("os").environ["MY_SECRET"]' in "".join(injected["source"])


def test_no_spelling_of_a_value_is_in_any_file(finished: tuple[Path, RunResult, list[str]]) -> None:
    folder, result, heard = finished
    spellings = [SECRET, repr(SECRET)[1:-1], json.dumps(SECRET)[1:-1], SECRET.replace("<", "&lt;"), "va\\lue", OTHER]
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert any(file.name.startswith("lineage.db") for file in files)
    assert any(file.name == "kernel.log" and b"kernel says ***" in file.read_bytes() for file in files)
    for file in files:
        content = file.read_bytes()
        assert not [s for s in spellings if s.encode() in content], file
    said = "".join(heard) + repr(result)
    assert not [s for s in spellings if s in said]
    assert "***" in said


@pytest.mark.parametrize(("value", "words"), [(None, "not set"), ("", "empty")])
def test_a_variable_that_is_missing_ends_it_before_anything_starts(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, value: str | None, words: str
) -> None:
    monkeypatch.delenv("MISSING_ONE", raising=False)
    if value is not None:
        monkeypatch.setenv("MISSING_ONE", value)
    source = make(folder / "nb.ipynb", tagged("token: str = ''", "parameters"), "open('ran', 'w')")
    assert invoke(["run", str(source), str(folder / "out.ipynb"), "-p", "token", "env:MISSING_ONE"]) == 2
    error = capsys.readouterr().err
    assert f"'token' refers to the environment variable MISSING_ONE, which is {words}" in error
    assert len(error.strip().splitlines()) == 1
    assert not (folder / "out.ipynb").exists() and not (folder / "ran").exists()


def test_a_default_that_refers_to_a_missing_variable(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MISSING_ONE", raising=False)
    source = make(folder / "nb.ipynb", tagged("token: str = 'env:MISSING_ONE'", "parameters"))
    with pytest.raises(UsageError, match="MISSING_ONE, which is not set"):
        run_notebook(workspace, source)


@pytest.mark.parametrize(
    ("annotation", "value", "is_reference"),
    [
        ("str", "env:A", True), ("str | None", "env:A_1", True), ("str", "env:", False), ("str", "env:a-b", False),
        ("str", "env:A\n", False), ("str", "ENV:A", False), ("str", 'env:A"]+x["', False), ("list", "env:A", False),
        ("int", "env:A", False), ("any", "env:A", True), ("str", "xenv:A", False),
    ],
)  # fmt: skip
def test_what_is_a_reference(annotation: str, value: str, is_reference: bool) -> None:
    assert isinstance(as_reference(value, from_annotation(annotation)), Reference) is is_reference


@given(
    st.lists(st.text(min_size=4, max_size=12), min_size=1, max_size=3),
    st.lists(st.one_of(st.text(max_size=20), st.integers(0, 2)), max_size=12),
    st.data(),
)
def test_a_value_split_over_messages_never_comes_through(
    secrets: list[str], parts: list[str | int], data: st.DataObject
) -> None:
    text = "".join(secrets[part % len(secrets)] if isinstance(part, int) else part for part in parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    scrub = Scrubber(secrets)
    messages = MessageScrubber(scrub)
    passed = messages.iopub([{"msg_type": "stream", "content": {"name": "stdout", "text": p}} for p in pieces])
    said = "".join(m["content"]["text"] for m in [*passed, *messages.flush()])
    assert said == scrub.text(text) or "***" in said
    for secret in secrets:
        assert secret not in said or secret in "***" * len(said) or _made_of_blanks(secret, said)


def _made_of_blanks(secret: str, said: str) -> bool:
    """A value may appear by chance across a blank, where it was not in the text."""
    return all(secret not in piece for piece in said.split("***"))


def test_streams_do_not_mix_and_order_is_kept() -> None:
    messages = MessageScrubber(Scrubber(["abcdef"]))
    sent = [
        {"msg_type": "stream", "content": {"name": "stdout", "text": "x abc"}},
        {"msg_type": "stream", "content": {"name": "stderr", "text": "def"}},
        {"msg_type": "status", "content": {"execution_state": "idle"}},
    ]
    passed = messages.iopub(sent)
    assert [m["content"].get("text", "") for m in passed] == ["x ", "def", "abc", ""]


def test_a_process_left_behind_does_not_hold_the_run(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", SECRET)
    cell = "import subprocess\n_ = subprocess.Popen(['sleep', '20'], start_new_session=True)\nlen(token)"
    source = make(folder / "nb.ipynb", tagged("token: str = ''", "parameters"), cell)
    began = time.monotonic()
    result = run_notebook(workspace, source, parameters=[("token", "env:MY_SECRET")])
    assert result.exit_code == 0 and time.monotonic() - began < 15
    assert outputs(result.output)[-1] == str(len(SECRET))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (Reference("env:DB").code, ("DB",)),
        ("x = os.environ['API_KEY'] + os.environ.get( \"MY_SECRET\", '')", ("API_KEY", "MY_SECRET")),
        ("os.getenv('GITHUB_TOKEN'); os.getenv('GITHUB_TOKEN')", ("GITHUB_TOKEN",)),
        ("os.environ['HOME'], os.getenv('LANG'), os.environ[API_KEY], environ['TOKENIZERS_PARALLELISM']", ()),
    ],
)
def test_secrets_that_code_reads(source: str, names: tuple[str, ...]) -> None:
    assert read_by_code([source]) == names


def test_a_reference_that_became_code_is_as_secret_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    """A recorded or converted notebook holds the reference as a line of code: its replays and runs hide the value."""
    monkeypatch.setenv("DB", SECRET)
    source = make(
        tmp_path / "code.ipynb", f"conn = {Reference('env:DB').code}", "%%track\nurl = conn + '/x'\nprint(url)"
    )
    result = run_notebook(workspace, source, tmp_path / "out.ipynb")
    assert result.exit_code == 0
    workspace.store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for file in tmp_path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not any(spelling.encode() in content for spelling in (SECRET, repr(SECRET)[1:-1])), file
    assert "***/x" in (tmp_path / "out.ipynb").read_text()
