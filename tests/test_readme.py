"""What the README shows is what happens: its cells are run in a real shell and their output is compared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import mlops_jupyter
from mlops_jupyter.cli import cli, invoke
from tests.capture.support import run, shell

_CHANGING = re.compile(r"\b[0-9a-f]{8}\b(?! ·)|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\d+(\.\d+)? m?s\b|─+|\s+")
"""Ids, times, durations, rulers and the blanks that depend on their width."""


def shown(text: str) -> str:
    return _CHANGING.sub(" ", text).strip()


def plain_text(result: Any) -> str:
    bundle = result._repr_mimebundle_()
    return str((bundle[0] if isinstance(bundle, tuple) else bundle)["text/plain"])


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_ten_lines(home: Path, repository: Path) -> None:
    text = (repository / "README.md").read_text()
    section = text[text.index("## A run in ten lines") : text.index("## What it does")]
    blocks = re.findall(r"```(python|text)\n(.*?)```", section, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "python", "python", "python", "text", "python", "text"]
    with shell(captured=False) as made:
        result = None
        for kind, block in blocks:
            if kind == "python":
                ran = run(made, block)
                assert ran.error is None and ran.stderr == ""
                result = ran.result
            else:
                assert shown(plain_text(result)) == shown(block)
        mlops_jupyter.unload_ipython_extension(made)


def test_every_verb_that_the_readme_names_exists(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (repository / "README.md").read_text()
    named = set(re.findall(r"`%?mlops ([a-z]+)", text))
    assert len(named) > 6
    for verb in named:
        assert invoke([verb, "--help"]) == 0, verb
    capsys.readouterr()
    assert named <= set(cli.commands) | set(cli.list_commands(None))  # type: ignore[arg-type]


def test_every_page_that_the_readme_names_exists(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        assert (repository / link).exists(), link


def test_every_make_target_that_the_readme_names_exists(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", (repository / "README.md").read_text(), re.M):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
