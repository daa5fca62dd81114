"""Every kind of bad input through the command line: one sentence, exit code 2, nothing started, nothing written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from mlops_jupyter.cli import invoke
from mlops_jupyter.runner import State, run_notebook
from mlops_jupyter.runner.document import read_notebook, render_notebook
from mlops_jupyter.workspace import Workspace

from .conftest import make, outputs


def code(source: Any = "print(1)", **other: Any) -> dict[str, Any]:
    """A code cell as plain data."""
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None, **other}


def plain(*cells: Any, **other: Any) -> dict[str, Any]:
    """A notebook as plain data."""
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells), **other}


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def version_3() -> str:
    """A notebook of the IPython of 2012."""
    from nbformat import v3

    return v3.writes_json(v3.new_notebook(worksheets=[v3.new_worksheet(cells=[v3.new_code_cell("print(1)")])]))


def written(text: str | bytes | dict[str, Any]) -> Callable[[Path], Path]:
    """Makes a notebook file of this content; the file."""

    def write(folder: Path) -> Path:
        path = folder / "nb.ipynb"
        content = json.dumps(text) if isinstance(text, dict) else text
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def pipe(folder: Path) -> Path:
    """A pipe that nobody writes to."""
    os.mkfifo(folder / "nb.ipynb")
    return folder / "nb.ipynb"


def loop(folder: Path) -> Path:
    """A link to itself."""
    (folder / "nb.ipynb").symlink_to("nb.ipynb")
    return folder / "nb.ipynb"


whole = json.dumps(plain(code()))
NOTEBOOKS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (written(""), "not valid JSON"),
    "truncated": (written(whole[: len(whole) // 2]), "not valid JSON"),
    "bytes": (written(b"\x80\x81\xff\x00"), "not valid JSON"),
    "nbformat 3": (written(version_3()), "nbformat 3; nbformat 4 is needed"),
    "nbformat as text": (written(plain(nbformat="4")), "no nbformat number"),
    "nested cells": (written(plain(nested(500))), "nested more than|not valid JSON"),
    "nested metadata": (written(plain(code(metadata={"x": nested(300)}))), "nested more than"),
    "metadata null": (written(plain(metadata=None)), "its metadata is no object"),
    "cell null": (written(plain(None)), "malformed"),
    "cell metadata null": (written(plain(code(metadata=None))), "malformed"),
    "tags": (written(plain(code(metadata={"tags": "parameters"}))), "malformed"),
    "tag": (written(plain(code(metadata={"tags": [1]}))), "malformed"),
    "source": (written(plain(code(source={"a": 1}))), "malformed"),
    "source lines": (written(plain(code(source=["a", 3]))), "malformed"),
    "outputs": (written(plain(code(outputs={"a": 1}))), "malformed"),
    "kernelspec list": (written(plain(metadata={"kernelspec": ["python3"]})), "metadata.kernelspec.name must be text"),
    "kernelspec number": (written(plain(metadata={"kernelspec": {"name": 3}})), "metadata.kernelspec.name must be"),
    "kernel path": (written(plain(metadata={"kernelspec": {"name": "../../bin/sh"}})), "not installed"),
    "no kernel, other language": (
        written(plain(code("x <- 1"), metadata={"language_info": {"name": "R"}})), "names no kernel and is written in",
    ),
    "folder": (lambda folder: folder, "is a folder"),
    "missing": (lambda folder: folder / "nb.ipynb", "no notebook"),
    "pipe": (pipe, "no regular file"),
    "device": (lambda _: Path("/dev/zero"), "no regular file"),
    "loop": (loop, "no notebook"),
    "long name": (lambda folder: folder / ("x" * 5000), "cannot be read"),
}  # fmt: skip


@pytest.fixture
def no_kernel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started; ``/dev`` belongs to no workspace but this one."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a kernel was started")

    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLOPS_HOME", str(folder / ".mlops"))
    monkeypatch.setattr("mlops_jupyter.runner.kernel.Kernel.start", refuse)


def refused(capsys: pytest.CaptureFixture[str], *words: Path) -> str:
    """Run the command line, which must refuse; its one sentence."""
    assert invoke(["run", *map(str, words)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("mlops: ")
    assert shown.err.count("\n") == 1, shown.err
    assert len(shown.err) < 1000
    return shown.err


@pytest.mark.usefixtures("no_kernel")
@pytest.mark.parametrize("case", NOTEBOOKS)
def test_a_notebook_that_cannot_be(case: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_it, words = NOTEBOOKS[case]
    source = make_it(folder)
    out = make(folder / "out.ipynb", "print('what was there')")
    before = out.read_bytes()
    assert re.search(words, refused(capsys, source, out))
    assert out.read_bytes() == before
    assert not (folder / ".mlops" / "runs").exists()


OUTPUTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "itself": (lambda folder: folder / "nb.ipynb", "the notebook itself"),
    "itself by another way": (lambda folder: folder / "a" / ".." / "nb.ipynb", "the notebook itself"),
    "link": (lambda folder: folder / "link.ipynb", "the notebook itself"),
    "hard link": (lambda folder: folder / "hard.ipynb", "the notebook itself"),
    "folder": (lambda folder: folder / "a", "is a folder"),
    "folder missing": (lambda folder: folder / "b" / "out.ipynb", "does not exist"),
    "below a file": (lambda folder: folder / "nb.ipynb" / "out.ipynb", "cannot be"),
    "device": (lambda _: Path("/dev/null"), "no regular file"),
    "pipe": (lambda folder: folder / "pipe", "no regular file"),
    "long name": (lambda folder: folder / ("x" * 5000), "cannot be: File name too long"),
    "remote": (lambda _: Path("s3://bucket/out.ipynb"), "must be a local file"),
}


@pytest.mark.usefixtures("no_kernel")
@pytest.mark.parametrize("case", OUTPUTS)
def test_an_output_that_cannot_be(case: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_it, words = OUTPUTS[case]
    source = make(folder / "nb.ipynb", "1")
    before = source.read_bytes()
    (folder / "a").mkdir()
    (folder / "link.ipynb").symlink_to(source)
    (folder / "hard.ipynb").hardlink_to(source)
    os.mkfifo(folder / "pipe")
    kept = sorted(folder.rglob("*"))
    assert words in refused(capsys, source, make_it(folder))
    assert source.read_bytes() == before
    assert not (folder / ".mlops" / "runs").exists()
    assert set(kept) <= set(folder.rglob("*")), "nothing was removed"
    assert Path("/dev/null").is_char_device()


def test_oddities_that_are_no_obstacle(workspace: Workspace, folder: Path) -> None:
    """Ids that are missing, double or not allowed, and metadata of wrong types elsewhere."""
    ours = {"kernelspec": {"name": "python3"}, "papermill": 3, "mlops": "x", "widgets": [], "language_info": 7}
    odd = {"execution": 3, "papermill": "x", "mlops": [1], "tags": []}
    cells = [
        code("a = 1", id="same"), code("print(a)", id="same"), code("print(a + 1)"), code("print(a + 2)", id=["x"]),
        code("print(a + 3)", id="not allowed ☃" * 50, metadata=odd, execution_count="x", outputs=[{"output_type": 3}]),
    ]  # fmt: skip
    source = folder / "mit Leerzeichen" / "Übung ☃.ipynb"
    source.parent.mkdir()
    source.write_text(json.dumps(plain(*cells, metadata=ours, nbformat_minor="x")))
    result = run_notebook(workspace, source, folder / "aus gabe ☃.ipynb")
    assert (result.state, result.exit_code) == (State.SUCCEEDED, 0)
    assert outputs(result.output) == ["", "1\n", "2\n", "3\n", "4\n"]
    ids = [cell.id for cell in nbformat.read(result.output, as_version=4).cells]
    assert ids[0] == "same"
    assert len(set(ids)) == 5
    again = read_notebook(result.output)
    assert render_notebook(again) == result.output.read_bytes()
