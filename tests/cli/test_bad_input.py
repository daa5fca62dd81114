"""What gather, convert, register and submit are given by people who err, and by notebooks that mean harm.

Each ends with one sentence, the right exit code and nothing changed.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_jupyter.cli import invoke
from tests.notebook.documents import notebook_bytes

GOOD = notebook_bytes("lr = 0.1\nn = 5", "y = lr * n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".mlops").mkdir()
    (tmp_path / "g.ipynb").write_bytes(GOOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLOPS_DELIVER", "false")
    return tmp_path


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line of the error stream that is no progress."""
    lines = [
        line for line in capsys.readouterr().err.splitlines() if not line.startswith(("mlops: reading", "mlops: writ"))
    ]
    assert len(lines) == 1, lines
    assert lines[0].startswith("mlops: ")
    assert lines[0].isprintable()
    return lines[0]


def _text(change: Callable[[str], str]) -> bytes:
    return change(GOOD.decode()).encode()


NOTEBOOKS = {
    "no code": (notebook_bytes("md:words"), "has no code"),
    "R": (notebook_bytes("x <- 1", language="R"), "is a notebook in r; only Python"),
    "julia": (notebook_bytes("y = 1", language="julia"), "is a notebook in julia; only Python"),
    "bash": (notebook_bytes("y=1", language="bash"), "is a notebook in bash; only Python"),
    "truncated": (GOOD[:60], "is not JSON"),
    "deep": (b"[" * 200_000, "is not JSON"),
    "digits": (_text(lambda t: t.replace('"nbformat": 4', f'"nbformat": {"9" * 6000}')), "is not JSON"),
    "binary": (bytes(range(128, 256)), "is not UTF-8"),
    "empty": (b"", "is empty"),
    "list": (b"[1]", "is JSON but not a notebook"),
    "cells": (json.dumps({"nbformat": 4, "cells": {}}).encode(), "has no list of cells"),
    "kind": (json.dumps({"nbformat": 4, "cells": [{"cell_type": "\x1b[31m" * 99}]}).encode(), "has the type"),
    "source": (json.dumps({"nbformat": 4, "cells": [{"cell_type": "code", "source": 5}]}).encode(), "is not text"),
    "old": (json.dumps({"nbformat": 3, "worksheets": []}).encode(), "is in notebook format 3"),
}


@pytest.mark.parametrize("verb", [["gather", "--target", "y"], ["convert"]], ids=["gather", "convert"])
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_bad_notebook_is_refused(
    name: str, verb: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, told = NOTEBOOKS[name]
    (folder / "bad.ipynb").write_bytes(content)
    assert invoke([*verb, "bad.ipynb", "-o", "new.ipynb"]) == 2
    said = sentence(capsys)
    assert told in said
    assert said.count(".") > 2 or ":" in said.partition(told)[2]  # and what to do
    assert not (folder / "new.ipynb").exists()


@pytest.mark.parametrize("verb", [["gather", "--target", "y"], ["convert"]], ids=["gather", "convert"])
def test_a_pipe_is_not_waited_for(verb: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(folder / "pipe.ipynb")
    assert invoke([*verb, "pipe.ipynb", "-o", "new.ipynb"]) == 2
    assert "no regular file" in sentence(capsys)


def test_half_a_character_is_no_end_of_the_world(folder: Path) -> None:
    (folder / "half.ipynb").write_bytes(notebook_bytes("x = '\ud800'", "y = 1"))
    assert invoke(["gather", "half.ipynb", "--target", "y", "-o", "a.ipynb"]) == 0
    assert invoke(["convert", "half.ipynb", "-o", "b.ipynb", "--verify", "none"]) == 0


@pytest.mark.parametrize("target", ["9" * 5000, "9" * 30, "7", "-1", "", "٣", "²", "\x1b[31m", "a\nb", "x" * 9999])
@pytest.mark.parametrize("verb", ["gather", "convert"])
def test_a_target_that_nothing_wrote(verb: str, target: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke([verb, "g.ipynb", "-o", "new.ipynb", f"--target={target}"]) == 2
    said = sentence(capsys)
    assert "It assigns: lr, n, y." in said or "Positions go from 0 to 1." in said
    assert len(said) < 300
    assert not (folder / "new.ipynb").exists()


OUTPUTS = {
    "itself": "g.ipynb",
    "by another way": "sub/../g.ipynb",
    "link": "link.ipynb",
    "hard link": "hard.ipynb",
    "folder link": "here/g.ipynb",
    "pipe": "pipe.ipynb",
    "socket": "socket.ipynb",
    "folder": "sub",
    "missing folder": "nowhere/x.ipynb",
    "file as folder": "g.ipynb/x.ipynb",
    "long": "x" * 300,
}
"""Refused with ``--force`` too."""
MINE = {"mine": "mine.ipynb", "link to mine": "to-mine.ipynb", "link to nothing": "dangling.ipynb", "loop": "loop"}


@pytest.mark.parametrize("verb", [["gather", "--target", "y"], ["convert"]], ids=["gather", "convert"])
@pytest.mark.parametrize(
    ("output", "force"), [(o, f) for o in OUTPUTS for f in (False, True)] + [(o, False) for o in MINE]
)
def test_an_output_that_must_not_be_replaced(
    output: str, force: bool, verb: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "sub").mkdir()
    (folder / "mine.ipynb").write_text("mine")
    for name, to in {
        "link.ipynb": "g.ipynb",
        "here": ".",
        "to-mine.ipynb": "mine.ipynb",
        "dangling.ipynb": "no",
    }.items():
        (folder / name).symlink_to(to)
    (folder / "loop").symlink_to("loop")
    (folder / "hard.ipynb").hardlink_to(folder / "g.ipynb")
    os.mkfifo(folder / "pipe.ipynb")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.ipynb")  # relative: such a path must be short
        before = {p.name: os.lstat(p).st_ino for p in folder.iterdir() if p.name != ".mlops"}
        forced = ["--force"] if force else []
        assert invoke([*verb, "g.ipynb", "-o", (OUTPUTS | MINE)[output], *forced]) == 2
        after = {p.name: os.lstat(p).st_ino for p in folder.iterdir() if p.name != ".mlops"}
    sentence(capsys)
    assert after == before
    assert (folder / "g.ipynb").read_bytes() == GOOD
    assert (folder / "mine.ipynb").read_text() == "mine"


@pytest.mark.parametrize("verb", [["gather", "--target", "y"], ["convert", "-o", "x.ipynb"]], ids=["gather", "convert"])
@pytest.mark.parametrize("path", ["no.ipynb", "sub/deep/no.ipynb", "x" * 300 + ".ipynb"])
def test_a_notebook_that_is_not_there_leaves_nothing_behind(
    path: str, verb: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke([verb[0], path, *verb[1:]]) == 2
    assert path[:50] in sentence(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["submit", "g.ipynb", "--memory", "9" * 5000 + "GB"], "is no amount of memory"),
        (["submit", "g.ipynb", "--memory", "nan"], "is no amount of memory"),
        (["submit", "g.ipynb", "--address", ""], "'' is no address of a cluster"),
        (["submit", "g.ipynb", "--address", "http://127.0.0.1:1", "-p", "1x", "1"], "takes no parameter '1x'"),
        (["register", "empty", "--name", "m"], "has no MLmodel file"),
        (["runs", "reproduce", "x" * 100_000], "List runs with: mlops runs list"),
        (["jobs", "show", "x" * 100_000], "List jobs with: mlops jobs"),
        (["models", "show", "x" * 100_000], "There is no registered model"),
    ],
)
def test_other_verbs(arguments: list[str], told: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty").mkdir()
    assert invoke(arguments) == 2
    said = sentence(capsys)
    assert told in said
    assert len(said) < 1300


@pytest.mark.parametrize("number", ["nan", "inf", "-1", "x"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "g.ipynb", "-o", "new.ipynb", "--budget"],
        ["run", "g.ipynb", "new.ipynb", "--timeout"],
        ["run", "g.ipynb", "new.ipynb", "--cell-timeout"],
        ["runs", "reproduce", "0", "--timeout"],
        ["runs", "reproduce", "0", "--tolerance"],
        ["sync", "--timeout"],
        ["gc", "--older-than"],
    ],
    ids=" ".join,
)
def test_numbers_that_are_none(
    arguments: list[str], number: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([*arguments, number]) == 2
    assert arguments[-1] in sentence(capsys)
    assert sorted(p.name for p in folder.iterdir()) == [".mlops", "g.ipynb"]
