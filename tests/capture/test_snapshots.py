"""Data and code that a run read are kept in the exchange, as they were, and without the cell waiting."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from mlops_jupyter.data.exchange import open_exchange
from mlops_jupyter.entities import Digest, RunUid
from mlops_jupyter.store.snapshots import Snapshot, SnapshotState, find_object, kept_bytes, run_snapshots
from tests.capture.support import run, shell
from tests.capture.test_session import session


def _digest(content: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def _snapshots() -> dict[str, Snapshot]:
    """Snapshots in the workspace of the run that was started last, by name; the tests' own modules are elsewhere."""
    assert session().snapshots.wait(30)
    store = session().store
    ((uid,),) = store.execute("SELECT run_uid FROM runs ORDER BY seq DESC LIMIT 1")
    return {s.name: s for s in run_snapshots(store, [RunUid(uid)]) if not s.name.startswith("/")}


def _kept(name: str) -> bytes:
    found = _snapshots()[name]
    assert found.state is SnapshotState.KEPT
    assert found.object is not None
    return open_exchange(session().settings).get(found.object)


@pytest.fixture
def settled(workspace: Path) -> Path:
    """A data file that is old enough for its digest to be remembered."""
    path = workspace / "data.csv"
    path.write_bytes(b"a,b\n1,2\n")
    return path


def test_a_file_that_an_earlier_cell_read_is_kept(ipython: InteractiveShell, settled: Path) -> None:
    run(ipython, "from pathlib import Path\ntext = Path('data.csv').read_text()\nother = 1")
    run(ipython, "unrelated = Path('data.csv').read_bytes()")
    run(ipython, "%%track\nlength = len(text) * 1.0")
    assert _kept("data.csv") == b"a,b\n1,2\n"
    found = _snapshots()["data.csv"]
    assert found.digest == found.object == _digest(b"a,b\n1,2\n")
    assert find_object(session().store, "data.csv", found.digest) == found.object
    settled.write_bytes(b"something else")
    assert _kept("data.csv") == b"a,b\n1,2\n"


def test_a_file_that_no_cell_of_the_run_needs_is_not(ipython: InteractiveShell, settled: Path) -> None:
    run(ipython, "from pathlib import Path\ntext = Path('data.csv').read_text()")
    run(ipython, "%%track\nlength = 2 * 1.5")
    assert "data.csv" not in _snapshots()


def test_what_the_session_wrote_itself_is_not_kept(ipython: InteractiveShell, settled: Path) -> None:
    run(ipython, "from pathlib import Path\n_ = Path('made.txt').write_text(Path('data.csv').read_text())")
    run(ipython, "%%track\nlength = len(Path('made.txt').read_text()) * 1.0")
    assert set(_snapshots()) == {"data.csv"}


def test_a_file_that_changed_meanwhile_is_not_kept(ipython: InteractiveShell, settled: Path) -> None:
    run(
        ipython,
        "%%track\nfrom pathlib import Path\np = Path('data.csv')\ntext = p.read_text()\n_ = p.write_text('other')",
    )
    found = _snapshots()["data.csv"]
    assert found.state is SnapshotState.CHANGED
    assert found.object is None


def test_a_file_that_is_gone_is_not_kept(ipython: InteractiveShell, settled: Path) -> None:
    run(
        ipython,
        "%%track\nimport os\nfrom pathlib import Path\ntext = Path('data.csv').read_text()\nos.remove('data.csv')",
    )
    assert _snapshots()["data.csv"].object is None


@pytest.mark.parametrize(
    ("setting", "value", "state"),
    [("LIMIT", "5", SnapshotState.TOO_LARGE), ("TOTAL", "5", SnapshotState.NO_ROOM)],
)
def test_limits(
    workspace: Path, settled: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, state: SnapshotState
) -> None:
    monkeypatch.setenv(f"MLOPS_DATA_SNAPSHOT_{setting}", value)
    with shell() as ipython:
        run(ipython, "%%track\nfrom pathlib import Path\ntext = Path('data.csv').read_text()")
        assert _snapshots()["data.csv"].state is state
        assert kept_bytes(session().store) == 0


def test_zero_keeps_nothing(workspace: Path, settled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_DATA_SNAPSHOT_LIMIT", "0")
    with shell() as ipython:
        run(ipython, "%%track\nfrom pathlib import Path\ntext = Path('data.csv').read_text()")
        assert _snapshots() == {}


def test_one_content_is_kept_once(ipython: InteractiveShell, settled: Path) -> None:
    for _ in range(2):
        run(ipython, "%%track\nfrom pathlib import Path\ntext = Path('data.csv').read_text()")
        assert _kept("data.csv")
    assert kept_bytes(session().store) == len(b"a,b\n1,2\n")


def test_a_private_file_stays_private(ipython: InteractiveShell, settled: Path) -> None:
    settled.chmod(0o600)
    run(ipython, "%%track\nfrom pathlib import Path\ntext = Path('data.csv').read_text()")
    found = _snapshots()["data.csv"]
    assert found.object is not None
    path = open_exchange(session().settings).path(found.object)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


def test_data_of_an_installed_distribution_is_not_copied(ipython: InteractiveShell) -> None:
    pytest.importorskip("sklearn")
    run(ipython, "%%track\nfrom sklearn.datasets import load_iris\nX, y = load_iris(return_X_y=True)")
    assert not [name for name in _snapshots() if "iris" in name]


@pytest.fixture
def module(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of the user's own, importable."""
    path = workspace / "own_helpers.py"
    path.write_text("FACTOR = 2.0\n")
    monkeypatch.syspath_prepend(str(workspace))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield path
    sys.modules.pop("own_helpers", None)


def test_a_module_is_kept_as_it_was_when_it_was_imported(ipython: InteractiveShell, module: Path) -> None:
    run(ipython, "import own_helpers")
    assert session().snapshots.wait(30)
    module.write_text("FACTOR = 3.0\n")
    run(ipython, "%%track\nscaled = own_helpers.FACTOR * 2")
    assert _kept("own_helpers.py") == b"FACTOR = 2.0\n"
    assert _snapshots()["own_helpers.py"].module == "own_helpers"

    run(ipython, "import importlib\nimportlib.reload(own_helpers)")
    run(ipython, "%%track\nscaled = own_helpers.FACTOR * 2")
    assert _kept("own_helpers.py") == b"FACTOR = 3.0\n"


def test_a_script_that_was_run_is_kept(ipython: InteractiveShell, workspace: Path) -> None:
    (workspace / "prepare.py").write_text("prepared = 1.5\n")
    run(ipython, "%run -i prepare.py")
    run(ipython, "%%track\ndoubled = prepared * 2")
    assert _kept("prepare.py") == b"prepared = 1.5\n"
    assert _snapshots()["prepare.py"].module == ""


def test_a_lazily_loaded_module_is_not_woken_up(ipython: InteractiveShell) -> None:
    code = """
import importlib.util, sys
spec = importlib.util.find_spec("colorsys")
spec.loader = importlib.util.LazyLoader(spec.loader)
lazy = sys.modules["colorsys"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lazy)
"""
    before = sys.modules.pop("colorsys", None)
    try:
        run(ipython, code)
        run(ipython, "%%track\nx = 1.5 * 2")
        _snapshots()
        assert type(sys.modules["colorsys"]).__name__ == "_LazyModule"
    finally:
        sys.modules.pop("colorsys", None)
        if before is not None:
            sys.modules["colorsys"] = before


def test_what_only_says_that_it_is_a_module_does_no_harm(ipython: InteractiveShell, settled: Path) -> None:
    class Pretender:
        __class__ = type(sys)  # type: ignore[assignment]

    sys.modules["pretender"] = Pretender()  # type: ignore[assignment]
    try:
        run(ipython, "%%track\nfrom pathlib import Path\ntext = Path('data.csv').read_text()")
        assert _kept("data.csv")
        assert not session().faults.pending
    finally:
        del sys.modules["pretender"]


def test_the_cell_does_not_wait_for_the_copy(ipython: InteractiveShell, workspace: Path) -> None:
    path = workspace / "big.bin"
    with path.open("wb") as file:
        for _ in range(48):
            file.write(os.urandom(1024 * 1024))
    run(ipython, "with open('big.bin', 'rb') as f: content = f.read(1)")
    keeper = session().snapshots
    began = time.perf_counter()
    run(ipython, "%%track\nlength = len(content) * 1.0")
    waited = time.perf_counter() - began
    began = time.perf_counter()
    assert keeper.wait(60)
    found = _snapshots()["big.bin"]
    assert found.state is SnapshotState.KEPT
    assert found.object == _digest(path.read_bytes())
    copied = time.perf_counter() - began
    assert waited < max(1.0, 5 * copied)


def test_bytes_under_another_digest_are_not_kept(workspace: Path, settled: Path) -> None:
    with shell() as ipython:
        exchange = open_exchange(session().settings)
        assert exchange.keep(settled, _digest(b"other")) is None
        assert not exchange.contains(_digest(settled.read_bytes()))
        assert exchange.keep(settled, _digest(settled.read_bytes())) == _digest(settled.read_bytes())
        run(ipython, "1")
