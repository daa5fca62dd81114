"""Commands in a real IPython shell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

from mlops_jupyter.capture._file_paths import PathRules
from mlops_jupyter.capture.commands import named_files, snapshot
from mlops_jupyter.capture.files import FileAccess, FileTracker
from mlops_jupyter.entities import Grade
from tests.capture.notebook import new_shell


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    yield new_shell()
    InteractiveShell.clear_instance()


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: InteractiveShell) -> Iterator[FileTracker]:
    monkeypatch.chdir(tmp_path)
    found = FileTracker(tmp_path, "session")
    found.install()
    assert shell.user_ns is not None  # the shell is there before what wraps it
    yield found
    found.uninstall()
    assert found.faults == []


def run(tracker: FileTracker, shell: InteractiveShell, source: str) -> FileAccess:
    tracker.begin()
    shell.run_cell(source).raise_error()
    return tracker.end("execution")


def names(access: FileAccess) -> tuple[list[str], list[str]]:
    return [record.key for record in access.reads], [record.key for record in access.writes]


@pytest.mark.parametrize(
    "source",
    [
        "!sort a.csv > b.csv",
        "source = 'a.csv'\n!sort {source} > b.csv",
        "def go(source):\n    !sort $source -o b.csv\ngo('a.csv')",
        "lines = !sort --output=b.csv a.csv; echo done",
        "import os\nos.system('sort a.csv > b.csv')",
        "import subprocess\nsubprocess.check_output(['sort', '-o', 'b.csv', 'a.csv'])",
        "!cat < a.csv | tee b.csv > /dev/null",
    ],
)
def test_a_command_reads_what_it_names_and_writes_what_changed(
    tracker: FileTracker, shell: InteractiveShell, tmp_path: Path, source: str
) -> None:
    (tmp_path / "a.csv").write_text("b\na\n")
    (tmp_path / "idle.csv").write_text("")
    access = run(tracker, shell, source)
    assert names(access) == (["a.csv"], ["b.csv"])
    assert (access.reads[0].grade, access.writes[0].grade) == (Grade.ASSUMED, Grade.ASSUMED)
    assert access.writes[0].strong


def test_a_script_cell_is_seen_by_what_it_changed(
    tracker: FileTracker, shell: InteractiveShell, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    access = run(tracker, shell, "%%bash\necho x > sub/out.txt\n")
    assert names(access)[1] == ["sub/out.txt"]


def test_commands_print_and_answer_as_ever(
    tracker: FileTracker, shell: InteractiveShell, capfd: pytest.CaptureFixture[str]
) -> None:
    run(tracker, shell, "x = 5\n!echo {x + 1}\nanswer = !echo one; echo two\n!false")
    assert "6" in capfd.readouterr().out
    assert list(shell.user_ns["answer"]) == ["one", "two"]
    assert shell.user_ns["_exit_code"] == 1


def test_uninstalling_puts_the_shell_back() -> None:
    import IPython.core.interactiveshell as module

    before = (module.system, module.getoutput)
    tracker = FileTracker(Path.cwd(), "s")
    tracker.install()
    assert (module.system, module.getoutput) != before
    tracker.uninstall()
    assert (module.system, module.getoutput) == before


def test_the_snapshot_is_shallow_capped_and_of_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "x/b.csv", "x/y/c.csv", "x/y/z/deep.csv", ".git/config", ".hidden/d.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = snapshot(tmp_path, PathRules(tmp_path))
    assert sorted(str(Path(path).relative_to(tmp_path)) for path in found if not path.endswith("/")) == [
        "a.csv",
        "x/b.csv",
        "x/y/c.csv",
    ]
    monkeypatch.setattr("mlops_jupyter.capture.commands.MAX_ENTRIES", 2)
    assert len(snapshot(tmp_path, PathRules(tmp_path))) == 2


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_command(text: str) -> None:
    for path in named_files(text):
        assert Path(path).is_file()
