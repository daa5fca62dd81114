"""Messy notebooks are converted rightly, or it is said in a sentence why not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from .cases import BY_NAME, CASES
from .check import found_of, from_history, from_text
from .kernels import Kernels
from .model import Case
from .play import Played, child_environment, record
from .shells import Shells
from .table import PAGE, RESULTS, page

IN_KERNELS = ("line-magics", "input-in-a-draft", "async-cells", "kernel-restarted", "interrupted")
"""Cases that are worked through and run again in kernel processes; the table's command does so with all."""


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return child_environment(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def shells(environ: dict[str, str]) -> Iterator[Shells]:
    found = Shells(environ)
    yield found
    found.close()


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory, shells: Shells) -> Callable[[Case], Played]:
    """Works through a case in a shell, once for all tests."""
    return cache(lambda case: record(case, tmp_path_factory.mktemp(case.name) / "work", shells))


def check(case: Case, played: Played, tmp_path: Path, runner: Shells | Kernels) -> None:
    if case.equals is not None:
        assert played.values[case.checked] == case.equals, played.errors  # the mess is as it should be
    found = from_history(case, played, tmp_path / "scratch", runner)
    if case.refused is not None:
        assert found.result == "refused", found
        assert re.search(case.refused, found.detail), found.detail
    elif case.grade != "C":  # what verification says of those is in the table
        assert found.result == "same", found
    if case.kept is not None and case.refused is None:
        assert found.kept == tuple(case.kept)


@pytest.mark.parametrize("case", [c for c in CASES if c.kernel == "shell"], ids=lambda c: c.name)
def test_converted_from_its_history(case: Case, tmp_path: Path, shells: Shells, play: Callable[[Case], Played]) -> None:
    check(case, play(case), tmp_path, shells)


@pytest.mark.parametrize("name", IN_KERNELS)
def test_converted_from_its_history_in_kernels(name: str, tmp_path: Path, environ: dict[str, str]) -> None:
    kernels = Kernels(environ)
    check(BY_NAME[name], record(BY_NAME[name], tmp_path / "work", kernels), tmp_path, kernels)


@pytest.mark.parametrize("case", [c for c in CASES if c.kernel == "shell"], ids=lambda c: c.name)
def test_converted_from_its_text_alone(
    case: Case, tmp_path: Path, shells: Shells, play: Callable[[Case], Played]
) -> None:
    found = from_text(case, play(case), tmp_path, shells)
    assert found.result == {"right": "same"}.get(case.static, case.static), found


def test_each_mess_is_there_once() -> None:
    assert len(CASES) >= 30
    assert len(BY_NAME) == len(CASES)
    assert len({case.mess for case in CASES}) == len(CASES)


def test_the_page_says_what_the_command_found() -> None:
    results = json.loads(RESULTS.read_text())

    assert set(results) == set(BY_NAME), "run: python -m tests.corpus.table"
    assert PAGE.read_text() == page(results), "run: python -m tests.corpus.table --page"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_the_grade_found_is_the_one_that_the_case_has(case: Case) -> None:
    found = json.loads(RESULTS.read_text())[case.name]

    assert found["result"] == (case.grade or "refused"), found["sentence"]
    assert found["text"]["result"] == {"right": "same"}.get(case.static, case.static), found["text"]


def test_most_parameters_that_a_person_wants_are_found() -> None:
    results = json.loads(RESULTS.read_text())
    kept = [case for case in CASES if results[case.name]["result"] != "refused"]
    wanted = sum(len(case.parameters) for case in kept)
    found = sum(len(found_of(case, results[case.name]["parameters"])) for case in kept)

    assert found / wanted >= 0.7
