"""The table of lineage cases, run in a real shell: reads, writes, edges, and slices that re-run."""

from __future__ import annotations

import pytest
from IPython.core.interactiveshell import InteractiveShell

from tests.capture.notebook import Notebook, execute, fresh, new_shell, notebook
from tests.cases.lineage_cases import CASES, LineageCase


@pytest.fixture(scope="module")
def shell() -> InteractiveShell:
    return new_shell()


def _params() -> list[object]:
    return [pytest.param(c, id=c.name, marks=[pytest.mark.xfail(reason=c.unsound)] if c.unsound else []) for c in CASES]


def _run(shell: InteractiveShell, case: LineageCase, book: Notebook) -> None:
    for cell in case.cells:
        book.run(cell.source)


@pytest.mark.parametrize("case", _params())
def test_reads_writes_and_edges(case: LineageCase, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    with notebook(shell) as book:
        _run(shell, case, book)
        found = [
            (
                set(seen.reads),
                set(seen.writes) | {f"state:{name}" for name in book.states(number)},
                book.depends(number),
            )
            for number, seen in enumerate(book.observed)
        ]
    capsys.readouterr()
    assert found == [(set(c.reads), set(c.writes), set(c.depends)) for c in case.cells]


@pytest.mark.parametrize("case", [c for c in CASES if not c.unsound and "unseeded" not in c.name], ids=lambda c: c.name)
def test_slice_gives_the_value_again(
    case: LineageCase, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = (int, float, str, bool, list, dict, set)
    with notebook(shell) as book:
        _run(shell, case, book)
        values = {
            name: repr(shell.user_ns[name])
            for seen in book.observed
            for name in seen.writes
            if type(shell.user_ns.get(name)) in plain and case.name != "hostile object"
        }  # fmt: skip
        values = {name: text for name, text in values.items() if " at 0x" not in text}

        slices = {name: book.slice(name) for name in values}
        sources = list(book.sources)
    for name, wanted in values.items():
        fresh(shell)
        for number, source in enumerate(sources):
            if number in slices[name]:
                shell.execution_count = number + 1
                execute(shell, source)
        assert repr(shell.user_ns.get(name)) == wanted, f"{name} from cells {slices[name]}"
    capsys.readouterr()
