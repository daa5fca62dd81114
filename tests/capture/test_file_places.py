"""Files and folders of a session's own making that later cells depend on without opening them; code among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_jupyter.capture.hidden_state import changes_inside
from mlops_jupyter.entities import EntityKind
from mlops_jupyter.provenance import backward_slice
from mlops_jupyter.store import executions as records
from mlops_jupyter.store.provenance import StoreSource, latest_session, latest_version
from mlops_jupyter.workspace import open_workspace

from .support import run, shell


@pytest.fixture(autouse=True)
def workspace_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".mlops").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def kept(root: Path, target: str, *cells: str) -> tuple[int, ...]:
    """Positions of the cells that make ``target``, after all of them ran."""
    with shell() as ipython:
        for number, cell in enumerate(cells):
            shown = run(ipython, cell, cell_id=f"c{number}")
            assert shown.error is None, shown
    with open_workspace(root) as workspace:
        session = latest_session(workspace.store)
        assert session is not None
        assert len(records.session_executions(workspace.store, session)) == len(cells)
        version = latest_version(workspace.store, EntityKind.VARIABLE, target, session_id=session, present=True)
        assert version is not None
        return backward_slice(StoreSource(workspace.store), target=target, version=version).executions


@pytest.mark.parametrize(
    "look",
    [
        "import os\nn = os.path.getsize('a.txt')",
        "from pathlib import Path\nn = Path('a.txt').exists()",
        "import os\ndef there(p):\n    return os.path.isfile(p)\nn = there('a.txt')",
        "import os\nn = os.listdir('.')",
        "import glob\nn = glob.glob('*.txt')",
        "from pathlib import Path\nn = list(Path().iterdir())",
    ],
)
def test_who_looks_at_a_file_needs_the_cell_that_wrote_it(tmp_path: Path, look: str) -> None:
    assert kept(tmp_path, "n", "f = open('a.txt', 'w')\nf.close()", "x = 1", look) == (0, 2)


def test_an_import_lists_folders_and_needs_nothing_of_what_is_in_them(tmp_path: Path) -> None:
    (tmp_path / "plain_module.py").write_text("n = 1\n")
    cells = ("f = open('a.txt', 'w')\nf.close()", "import plain_module", "n = plain_module.n")
    assert kept(tmp_path, "n", *cells) == (1, 2)


@pytest.mark.parametrize(
    "make",
    [
        "import os\nos.makedirs('out/deep')",
        "from pathlib import Path\nPath('out/deep').mkdir(parents=True)",
        "!mkdir -p out/deep",
    ],
)
def test_who_writes_into_a_folder_needs_the_cell_that_made_it(tmp_path: Path, make: str) -> None:
    cells = (
        make,
        "f = open('out/deep/a.txt', 'w')\nf.close()",
        "n = __import__('pathlib').Path('out/deep/a.txt').read_text()",
    )
    assert kept(tmp_path, "n", *cells) == (0, 1, 2)


def test_a_folder_that_is_there_is_made_again_by_who_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    cells = (
        "import os\nos.makedirs('out', exist_ok=True)",
        "f = open('out/a.txt', 'w')\nf.close()",
        "n = __import__('pathlib').Path('out/a.txt').read_text()",
    )
    assert kept(tmp_path, "n", *cells) == (0, 1, 2)


def test_who_enters_a_folder_needs_the_cell_that_made_it(tmp_path: Path) -> None:
    assert kept(tmp_path, "n", "import os", "os.mkdir('out')", "os.chdir('out')", "n = os.getcwd()") == (
        0,
        1,
        2,
        3,
    )


def test_a_module_written_by_a_cell_is_needed_by_its_import(tmp_path: Path) -> None:
    cells = ("%%writefile corpus_tools.py\nK = 4", "import corpus_tools", "n = corpus_tools.K")
    assert kept(tmp_path, "n", *cells) == (0, 1, 2)


def test_a_script_cell_reads_the_files_that_it_names(tmp_path: Path) -> None:
    cells = (
        "f = open('a.txt', 'w')\nf.write('x')\nf.close()",
        "%%bash\nwc -c < a.txt > count.txt",
        "n = int(__import__('pathlib').Path('count.txt').read_text())",
    )
    assert kept(tmp_path, "n", *cells) == (0, 1, 2)


def test_an_import_needs_what_was_put_into_the_path(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "corpus_shapes.py").write_text("n = 1\n")
    cells = ("import sys", "sys.path.append('src')", "import corpus_shapes", "n = corpus_shapes.n")
    assert kept(tmp_path, "n", *cells) == (0, 1, 2, 3)


def test_an_object_of_a_library_feels_its_settings(tmp_path: Path) -> None:
    cells = (
        "import pandas as pd",
        "df = pd.DataFrame({'v': [1.5]})",
        "pd.options.display.precision = 2",
        "n = df.to_string()",
    )
    assert kept(tmp_path, "n", *cells) == (0, 1, 2, 3)


def test_an_object_of_the_notebook_changes_with_its_class(tmp_path: Path) -> None:
    cells = ("class M:\n    pass", "m = M()", "def go(self):\n    return 1", "M.go = go", "n = m.go()")
    assert kept(tmp_path, "n", *cells) == (0, 1, 2, 3, 4)


def test_functions_of_modules_are_no_changes() -> None:
    import sys

    import numpy

    assert changes_inside("sys.path.append", sys)
    assert not changes_inside("np.append", numpy)
    assert not changes_inside("np.ma.append", numpy)
