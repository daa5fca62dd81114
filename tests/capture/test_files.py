"""What a cell reads and writes, on real files and with the real libraries."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from mlops_jupyter.capture import import_hooks
from mlops_jupyter.capture._file_hook import get_switch, unobserved
from mlops_jupyter.capture._file_paths import PathRules
from mlops_jupyter.capture.files import FileAccess, FileTracker
from mlops_jupyter.data import file_digest
from mlops_jupyter.entities import Grade

FRAME = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5]})

Cell = Callable[[Callable[[], object]], FileAccess]


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileTracker]:
    monkeypatch.chdir(tmp_path)
    found = FileTracker(tmp_path, "session")
    found.install()
    yield found
    found.uninstall()
    assert found.faults == []
    assert list(import_hooks.faults) == []


@pytest.fixture
def cell(tracker: FileTracker) -> Cell:
    def run(code: Callable[[], object]) -> FileAccess:
        tracker.begin()
        try:
            code()
        finally:
            access = tracker.end("execution")
        return access

    return run


def names(access: FileAccess) -> tuple[list[str], list[str]]:
    return [record.key for record in access.reads], [record.key for record in access.writes]


ROUND_TRIPS: dict[str, tuple[str, Callable[[], object], Callable[[], object]]] = {
    "open": ("a.txt", lambda: Path("a.txt").write_text("x"), lambda: Path("a.txt").read_text()),
    "pandas csv": ("a.csv", lambda: FRAME.to_csv("a.csv"), lambda: pd.read_csv("a.csv")),
    "pandas csv.gz": ("a.csv.gz", lambda: FRAME.to_csv("a.csv.gz"), lambda: pd.read_csv("a.csv.gz")),
    "pandas parquet": (
        "a.parquet",
        lambda: FRAME.to_parquet("a.parquet"),
        lambda: pd.read_parquet("a.parquet"),
    ),
    "pandas pickle": ("a.pkl", lambda: FRAME.to_pickle("a.pkl"), lambda: pd.read_pickle("a.pkl")),
    "pandas feather": (
        "a.feather",
        lambda: FRAME.to_feather("a.feather"),
        lambda: pd.read_feather("a.feather"),
    ),
    "pandas json": ("a.json", lambda: FRAME.to_json("a.json"), lambda: pd.read_json("a.json")),
    "numpy npy": ("a.npy", lambda: np.save("a.npy", np.ones(3)), lambda: np.load("a.npy")),
    "numpy npz": ("a.npz", lambda: np.savez("a.npz", x=np.ones(3)), lambda: np.load("a.npz").close()),
    "joblib": ("a.joblib", lambda: joblib.dump(FRAME, "a.joblib"), lambda: joblib.load("a.joblib")),
    "pyarrow parquet": (
        "sub/a.parquet",
        lambda: (Path("sub").mkdir(), pq.write_table(pa.table({"x": [1]}), "sub/a.parquet")),
        lambda: pq.read_table(Path("sub/a.parquet")),
    ),
    "pyarrow csv": (
        "b.csv",
        lambda: pa.csv.write_csv(pa.table({"x": [1]}), "b.csv"),
        lambda: pa.csv.read_csv("b.csv"),
    ),
    "pyarrow feather": (
        "b.feather",
        lambda: pa.feather.write_feather(pa.table({"x": [1]}), "b.feather"),
        lambda: pa.feather.read_table("b.feather"),
    ),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_a_file_is_written_then_read_with_the_same_digest(cell: Cell, tmp_path: Path, name: str) -> None:
    key, write, read = ROUND_TRIPS[name]
    written, was_read = cell(write), cell(read)
    assert names(written) == ([], [key])
    assert names(was_read) == ([key], [])
    record = written.writes[0]
    assert record.digest == was_read.reads[0].digest == file_digest(tmp_path / key)
    assert (record.size, record.grade, record.strong) == ((tmp_path / key).stat().st_size, Grade.EXACT, True)
    assert was_read.reads[0].grade is Grade.EXACT


@pytest.mark.parametrize(
    ("library", "key", "write", "read"),
    [
        ("openpyxl", "a.xlsx", "FRAME.to_excel('a.xlsx')", "pd.read_excel('a.xlsx')"),
        ("polars", "a.pq", "lib.DataFrame().write_parquet('a.pq')", "lib.read_parquet('a.pq')"),
        ("polars", "a.csv", "lib.DataFrame({'x': [1]}).write_csv('a.csv')", "lib.scan_csv('*.csv')"),
        ("polars", "a.ipc", "lib.LazyFrame({'x': [1]}).sink_ipc('a.ipc')", "lib.scan_ipc('a.ipc').collect()"),
        ("h5py", "a.h5", "lib.File('a.h5', 'w').close()", "lib.File('a.h5').close()"),
        ("duckdb", "a.csv", "lib.sql(\"COPY (SELECT 1) TO 'a.csv'\")", "lib.read_csv('a.csv').fetchall()"),
    ],
)  # fmt: skip
def test_libraries_that_open_behind_pythons_back(cell: Cell, library: str, key: str, write: str, read: str) -> None:
    scope = {"lib": pytest.importorskip(library), "pd": pd, "FRAME": FRAME}
    written = cell(lambda: exec(write, scope))
    was_read = cell(lambda: exec(read, scope))
    assert names(written) == ([], [key])
    assert names(was_read) == ([key], [])
    assert written.writes[0].digest == was_read.reads[0].digest


def test_sql_names_files(cell: Cell) -> None:
    duckdb = pytest.importorskip("duckdb")
    FRAME.to_csv("a.csv")
    access = cell(lambda: duckdb.sql("SELECT * FROM 'a.csv' JOIN (SELECT 'not a file' AS t) ON true").fetchall())
    assert names(access) == (["a.csv"], [])
    assert access.reads[0].grade is Grade.ASSUMED


def test_pandas_parquet_folder_is_its_files(cell: Cell) -> None:
    FRAME.to_parquet("parts", partition_cols=["a"])
    reads, writes = names(cell(lambda: pd.read_parquet("parts")))
    assert len(reads) == 3
    assert all(key.startswith("parts/a=") for key in reads)
    assert writes == []


def test_a_dataset_of_pyarrow_is_its_files(cell: Cell) -> None:
    dataset = pytest.importorskip("pyarrow.dataset")
    FRAME.to_parquet("parts", partition_cols=["a"])
    access = cell(lambda: dataset.dataset("parts", partitioning="hive").to_table())
    assert len(names(access)[0]) == 3
    written = cell(lambda: dataset.write_dataset(pa.table({"x": [1]}), "out", format="parquet"))
    assert names(written)[1] == ["out/part-0.parquet"]


def test_the_rename_pattern_gives_the_final_name_alone(cell: Cell) -> None:
    def code() -> None:
        Path("out.tmp").write_text("x")
        Path("out.tmp").replace("out.txt")

    access = cell(code)
    assert names(access) == ([], ["out.txt"])
    assert access.writes[0].reason == "renamed from out.tmp"


def test_a_folder_renamed_into_place_gives_its_files(cell: Cell) -> None:
    def code() -> None:
        Path("model.tmp").mkdir()
        Path("model.tmp/weights").write_text("x")
        Path("model.tmp").rename("model")

    assert names(cell(code)) == ([], ["model/weights"])


def test_moving_an_older_file_reads_removes_and_writes(cell: Cell) -> None:
    Path("a").write_text("x")
    access = cell(lambda: shutil.move("a", "b"))
    assert [(record.key, record.deleted) for record in access.writes] == [("a", True), ("b", False)]
    assert access.reads[0].digest == access.writes[1].digest
    assert names(access)[0] == ["a"]


def test_copying_reads_and_writes(cell: Cell) -> None:
    Path("a").write_text("x")
    access = cell(lambda: shutil.copy("a", "b"))
    assert names(access) == (["a"], ["b"])


def test_appending_is_a_weak_write_that_knows_what_was_there(cell: Cell) -> None:
    Path("log").write_text("one\n")
    before = file_digest("log")

    def code() -> None:
        with Path("log").open("a") as stream:
            stream.write("two\n")

    access = cell(code)
    assert names(access) == ([], ["log"])
    record = access.writes[0]
    assert (record.strong, record.digest) == (False, file_digest("log"))
    assert record.before is not None
    assert (record.before.digest, record.before.size) == (before, 4)


def test_appending_to_a_new_file_is_strong(cell: Cell) -> None:
    def code() -> None:
        with Path("log").open("a") as stream:
            stream.write("one\n")

    assert cell(code).writes[0].strong


def test_changing_in_place_reads_and_writes(cell: Cell) -> None:
    Path("a").write_text("one")
    before = file_digest("a")

    def code() -> None:
        with Path("a").open("r+") as stream:
            stream.write("two")

    access = cell(code)
    assert names(access) == (["a"], ["a"])
    assert access.reads[0].digest == before
    assert access.writes[0].before is not None
    assert access.writes[0].before.digest == before
    assert not access.writes[0].strong


def test_a_file_read_then_overwritten_keeps_the_digest_that_was_read(cell: Cell) -> None:
    FRAME.to_csv("a.csv", index=False)
    before = file_digest("a.csv")
    access = cell(lambda: pd.read_csv("a.csv").assign(c=1).to_csv("a.csv", index=False))
    assert names(access) == (["a.csv"], ["a.csv"])
    assert access.reads[0].digest == before
    assert access.writes[0].digest == file_digest("a.csv") != before


def test_a_file_written_then_read_in_one_cell_is_no_read_from_outside(cell: Cell) -> None:
    access = cell(lambda: (FRAME.to_csv("a.csv"), pd.read_csv("a.csv")))
    assert names(access) == ([], ["a.csv"])


def test_what_is_gone_at_the_end_was_temporary(cell: Cell) -> None:
    def code() -> None:
        Path("scratch").write_text("x")
        Path("scratch").unlink()

    assert names(cell(code)) == ([], [])


def test_a_removed_file_is_a_deletion(cell: Cell) -> None:
    Path("old").write_text("x")
    access = cell(lambda: Path("old").unlink())
    assert [(record.key, record.deleted, record.digest) for record in access.writes] == [("old", True, None)]


def test_what_did_not_happen_is_not_recorded(cell: Cell) -> None:
    Path("there").write_text("x")

    def code() -> None:
        for path, mode in (("absent", "r"), ("no/such/folder", "w"), ("there", "x")):
            with pytest.raises(OSError, match=path), Path(path).open(mode):
                pass
        with Path("there").open("a"):
            pass

    assert names(cell(code)) == ([], [])


def test_files_of_a_failing_cell_count(tracker: FileTracker) -> None:
    tracker.begin()
    Path("a").write_text("x")
    with pytest.raises(FileNotFoundError):
        pd.read_csv("absent.csv")
    assert names(tracker.end()) == ([], ["a"])


def test_data_that_packages_ship_is_data(cell: Cell) -> None:
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    access = cell(sklearn_datasets.load_breast_cancer)
    assert names(access) == (["package:scikit-learn/datasets/data/breast_cancer.csv"], [])
    assert access.reads[0].digest is not None


def test_code_caches_and_devices_are_no_data(cell: Cell, tmp_path: Path) -> None:
    for folder in (".mlops", ".git", "__pycache__", "venv/lib/python3.11/site-packages/pkg"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.csv").write_text("a\n")
    (tmp_path / "helper_of_test_files.py").write_text("x = 1\n")

    def code() -> None:
        for folder in (".mlops", ".git", "__pycache__", "venv/lib/python3.11/site-packages/pkg"):
            (tmp_path / folder / "x.csv").read_text()
            (tmp_path / folder / "y.csv").write_text("")
        (tmp_path / "helper_of_test_files.py").read_text()
        Path("/dev/null").write_text("x")
        Path("/proc/self/status").read_text()
        Path(sys.executable).read_bytes()
        Path(os.__file__).read_text()
        with socket_pair():
            pass

    assert names(cell(code)) == ([], [])


class socket_pair:
    """A pipe opened by number, as libraries do."""

    def __enter__(self) -> None:
        self.ends = os.pipe()
        os.write(self.ends[1], b"x")

    def __exit__(self, *_error: object) -> None:
        with os.fdopen(self.ends[0], "rb") as reading, os.fdopen(self.ends[1], "wb"):
            reading.read(1)


def test_a_written_module_is_a_file(cell: Cell) -> None:
    assert names(cell(lambda: Path("helper.py").write_text("x = 1"))) == ([], ["helper.py"])


def test_a_file_outside_of_the_workspace_has_its_absolute_path(
    cell: Cell, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("elsewhere") / "a.csv"
    outside.write_text("x")
    assert names(cell(outside.read_text)) == ([str(outside)], [])


def test_paths_are_those_of_the_moment(cell: Cell, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()

    def code() -> None:
        os.chdir("sub")
        Path("a").write_text("x")
        os.chdir("..")
        Path("sub/../b").write_text("x")

    assert names(cell(code)) == ([], ["sub/a", "b"])


def test_names_that_are_no_text_can_be_stored(cell: Cell, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/bad\xff.csv"

    def code() -> None:
        with open(path, "wb") as stream:
            stream.write(b"x")

    assert names(cell(code)) == ([], ["bad\\udcff.csv"])


def test_all_threads_count(cell: Cell) -> None:
    def code() -> None:
        threads = [threading.Thread(target=Path(f"t{n}").write_text, args=("x",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(names(cell(code))[1]) == [f"t{n}" for n in range(8)]


def test_a_database_is_written_when_it_changed_and_read_when_not(cell: Cell) -> None:
    def create() -> None:
        connection = sqlite3.connect("a.db")
        connection.execute("CREATE TABLE t (x)")
        connection.commit()
        connection.close()

    def read() -> None:
        connection = sqlite3.connect("file:a.db?mode=ro", uri=True)
        connection.execute("SELECT * FROM t").fetchall()
        connection.close()

    created, was_read = cell(create), cell(read)
    assert names(created) == ([], ["a.db"])
    assert names(was_read) == (["a.db"], [])
    assert created.writes[0].grade is was_read.reads[0].grade is Grade.ASSUMED
    assert names(cell(lambda: sqlite3.connect(":memory:").close())) == ([], [])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_handle_left_open_counts_in_the_cell_that_writes(cell: Cell) -> None:
    found: list[IO[str]] = []
    opened = cell(lambda: found.append(Path("log").open("w")))  # noqa: SIM115 - left open
    written = cell(lambda: (found[0].write("x"), found[0].flush()))
    closed = cell(lambda: (found[0].write("y"), found[0].close()))
    assert [names(access)[1] for access in (opened, written, closed)] == [["log"]] * 3
    assert not closed.writes[0].strong
    Path("log").write_text("by nobody")
    assert names(cell(lambda: None)) == ([], [])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_connection_left_open_counts_in_the_cell_that_writes(cell: Cell) -> None:
    found: list[sqlite3.Connection] = []
    cell(lambda: found.append(sqlite3.connect("a.db")))
    cell(lambda: (found[0].execute("CREATE TABLE t (x)"), found[0].commit()))
    access = cell(lambda: (found[0].execute("INSERT INTO t VALUES (1)"), found[0].commit()))
    found[0].close()
    assert names(access)[1] == ["a.db"]
    assert access.writes[0].grade is Grade.ASSUMED
    assert names(cell(lambda: None)) == ([], [])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_write_ahead_log_is_part_of_the_database(cell: Cell) -> None:
    connection = sqlite3.connect("a.db")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (x)")
    connection.commit()
    found: list[sqlite3.Connection] = []
    opened = cell(lambda: found.append(sqlite3.connect("a.db")))
    written = cell(lambda: (found[0].execute("INSERT INTO t VALUES (1)"), found[0].commit()))
    idle = cell(lambda: None)
    found[0].close()
    connection.close()
    assert [names(access)[1] for access in (opened, written, idle)] == [[], ["a.db"], []]


def test_commands_are_assumed_to_read_and_write(cell: Cell) -> None:
    FRAME.to_csv("a.csv")
    access = cell(lambda: subprocess.run("sort a.csv > sorted.csv", shell=True, check=True))
    assert names(access) == (["a.csv"], ["sorted.csv"])
    assert {record.grade for record in access.reads + access.writes} == {Grade.ASSUMED}


def test_what_a_command_changes_in_place_is_a_weak_write(cell: Cell) -> None:
    FRAME.to_csv("a.csv")
    access = cell(lambda: subprocess.run(["sh", "-c", "echo 4 >> a.csv"], check=True))
    assert names(access) == (["a.csv"], ["a.csv"])
    assert not access.writes[0].strong


def test_the_users_own_open_and_id_work(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = open

    def replaced(*args: object, **options: object) -> object:
        return real(*args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(builtins, "open", replaced)

    def code() -> None:
        with open("a", "w") as stream:
            stream.write("x")
        id(stream)

    assert names(cell(code)) == ([], ["a"])


def test_a_forked_child_is_left_alone(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from mlops_jupyter.capture.files import FileTracker\n"
        "tracker = FileTracker(Path(sys.argv[1]), 's'); tracker.install(); tracker.begin()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    Path(sys.argv[1], 'child').write_text('x')\n"
        "    os._exit(len(tracker._touches.paths))\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "0"


def test_nothing_is_seen_between_cells_and_after_uninstalling(tracker: FileTracker, cell: Cell) -> None:
    Path("a").write_text("x")
    assert names(cell(lambda: None)) == ([], [])
    tracker.uninstall()
    assert not get_switch().wanted
    Path("b").write_text("x")
    assert tracker.end() == FileAccess()


def test_there_is_one_hook_however_often_it_is_installed() -> None:
    code = (
        "import sys\n"
        "hooks = []\n"
        "sys.addaudithook(lambda event, args: hooks.append(args) if event == 'sys.addaudithook' else None)\n"
        "from pathlib import Path\n"
        "for _ in range(3):\n"
        "    from mlops_jupyter.capture.files import FileTracker\n"
        "    tracker = FileTracker(Path('.'), 's')\n"
        "    tracker.install(); tracker.install(); tracker.uninstall()\n"
        "    for name in [name for name in sys.modules if name.startswith('mlops_jupyter')]:\n"
        "        del sys.modules[name]\n"
        "print(len(hooks))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "1"


def test_too_many_files_are_counted_not_kept(tracker: FileTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_jupyter.capture._file_touches.MAX_PATHS", 3)
    tracker.begin()
    for number in range(5):
        Path(f"f{number}").write_text("x")
    access = tracker.end()
    assert (len(access.writes), access.dropped) == (3, 2)


def test_ordinary_files_have_a_full_digest_on_the_slowest_machine(
    tracker: FileTracker, cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_jupyter.capture.files.MIN_SECONDS", -60.0)
    monkeypatch.setattr("mlops_jupyter.capture._file_touches.HOOK_SECONDS", -60.0)
    (tmp_path / "a.bin").write_bytes(os.urandom(9_000_000))
    (tmp_path / "b.bin").write_bytes(b"1")
    expected = file_digest(tmp_path / "a.bin")

    def work() -> None:
        Path("b.bin").write_bytes(Path("a.bin").read_bytes())

    access = cell(work)
    assert [(r.digest, r.grade) for r in (*access.reads, *access.writes)] == [(expected, Grade.EXACT)] * 2


def test_what_our_own_threads_do_is_not_the_cells(cell: Cell, tmp_path: Path) -> None:
    def git() -> None:
        with unobserved():
            subprocess.run(["sh", "-c", "echo 1 > ours.txt"], check=True)
            Path("more.txt").write_text("ours")

    def work() -> None:
        thread = threading.Thread(target=git)
        thread.start()
        thread.join()
        Path("theirs.txt").write_text("x")

    assert [record.key for record in cell(work).writes] == ["theirs.txt"]
    assert [record.key for record in cell(git).writes] == []
    assert [record.key for record in cell(lambda: Path("theirs.txt").write_text("y")).writes] == ["theirs.txt"]


def test_a_hook_that_fails_does_not_fail_the_users_open(tracker: FileTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_path: str) -> str:
        raise RuntimeError("ours")

    tracker.begin()
    with monkeypatch.context() as patch:
        patch.setattr(tracker.rules, "key", broken)
        assert Path("a").write_text("x") == 1
    tracker.end()  # has no file to tell of: the fault is told all the same
    assert any("ours" in fault for fault in tracker.faults)
    tracker.faults.clear()


def test_a_home_that_is_the_workspace_hides_its_settings_and_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    rules = PathRules(tmp_path, exclude=[tmp_path / "elsewhere"])
    assert rules.key(str(tmp_path / ".cache/matplotlib/fontlist.json")) is None
    assert rules.key(str(tmp_path / ".ipython/profile_default/history.sqlite")) is None
    assert rules.key(str(tmp_path / "elsewhere/lineage.db")) is None
    assert rules.key(str(tmp_path / "data/a.csv")) == "data/a.csv"


def test_a_workspace_within_a_prefix_has_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/opt/conda")
    rules = PathRules(Path("/opt/conda/notebooks"))
    assert rules.key("/opt/conda/notebooks/a.csv") == "a.csv"
    assert rules.key("/opt/conda/share/a.csv") is None
    assert PathRules(Path("/usr/src/app")).key("/usr/src/app/data/a.csv") == "data/a.csv"
    assert PathRules(Path("/usr/src/app")).key("/usr/share/zoneinfo/UTC") is None


def test_an_idle_cell_costs_microseconds(tracker: FileTracker) -> None:
    def idle() -> None:
        tracker.begin()
        tracker.end()

    assert min(timeit.repeat(idle, number=100, repeat=20)) / 100 <= 20e-6
