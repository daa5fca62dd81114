"""The exchange on real folders, real processes and fsspec's own file systems."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_jupyter.config import load_settings
from mlops_jupyter.data import Exchange, measure, open_exchange
from mlops_jupyter.entities import Digest
from mlops_jupyter.errors import (
    CorruptObjectError,
    TargetNotFoundError,
    TransientError,
    UnreachableError,
    UsageError,
)

CONTENT = b"x,y\n1,2\n" * 1000
KEY = Digest("sha256:" + hashlib.sha256(CONTENT).hexdigest())


def objects(folder: Path) -> list[str]:
    return sorted(f"sha256:{path.parent.name}{path.name}" for path in (folder / "sha256").rglob("*") if path.is_file())


def leftovers(folder: Path) -> list[Path]:
    places = [folder / "tmp", folder / "incoming"]
    return [path for place in places if place.is_dir() for path in place.iterdir()]


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    return Exchange(tmp_path / "cache")


@given(st.binary(max_size=4000))
@settings(max_examples=60, deadline=None)
def test_what_is_put_comes_back_under_its_sha256(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    exchange = Exchange(tmp_path_factory.getbasetemp() / "round-trip")
    digest = exchange.put_bytes(content)
    assert digest == "sha256:" + hashlib.sha256(content).hexdigest()
    assert exchange.contains(digest)
    assert exchange.get(digest) == content
    assert exchange.path(digest).read_bytes() == content


def test_a_file_is_kept_only_as_what_it_was(tmp_path: Path, exchange: Exchange) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(CONTENT)
    assert exchange.keep(path, KEY) == KEY
    assert exchange.get(KEY) == CONTENT
    path.write_bytes(b"other")
    assert exchange.keep(path, KEY) == KEY, "it is there already"
    assert exchange.keep(path, Digest("sha256:" + "0" * 64)) is None
    assert (objects(exchange.folder), leftovers(exchange.folder)) == ([KEY], [])


def test_a_sampled_file_is_kept_under_the_digest_of_all_its_bytes(tmp_path: Path, exchange: Exchange) -> None:
    path = tmp_path / "large.bin"
    content = os.urandom(5 * 1024 * 1024)
    path.write_bytes(content)
    sampled = measure(path, full_limit=1024).digest
    assert sampled is not None
    assert sampled.startswith("sha256-sampled:")
    assert exchange.keep(path, sampled) == Digest("sha256:" + hashlib.sha256(content).hexdigest())
    path.write_bytes(content[:-1])
    assert exchange.keep(path, sampled) is None
    assert len(objects(exchange.folder)) == 1
    assert leftovers(exchange.folder) == []


@given(st.text(max_size=80) | st.from_regex(r"sha256:[0-9a-f/.]{60,70}", fullmatch=True))
@settings(max_examples=200, deadline=None)
def test_only_a_sha256_is_a_key(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    exchange = Exchange(tmp_path_factory.getbasetemp() / "keys")
    if len(key) == 71 and key.startswith("sha256:") and set(key[7:]) <= set("0123456789abcdef"):
        assert not exchange.contains(Digest(key))
        return
    with pytest.raises(UsageError, match="not a key"):
        exchange.contains(Digest(key))
    with pytest.raises(UsageError, match="not a key"):
        exchange.path(Digest(key))


def test_same_bytes_are_kept_once(exchange: Exchange, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(CONTENT)
    assert exchange.put_file(source) == exchange.put_bytes(CONTENT) == KEY
    before = exchange.path(KEY).stat().st_ino
    assert exchange.put_file(source) == KEY
    assert exchange.path(KEY).stat().st_ino == before
    assert objects(exchange.folder) == [KEY]


def test_a_kept_file_is_a_copy_that_later_writes_do_not_reach(exchange: Exchange, tmp_path: Path) -> None:
    source = tmp_path / "big.bin"
    source.write_bytes(bytes(3 * 1024 * 1024))
    digest = exchange.put_file(source)
    with source.open("r+b") as stream:
        stream.write(b"changed")
    assert exchange.get(digest) == bytes(3 * 1024 * 1024)
    assert exchange.put_file(source) != digest


def test_an_object_is_read_only_and_nothing_else_is_left(exchange: Exchange) -> None:
    exchange.put_bytes(CONTENT)
    assert exchange.path(KEY).stat().st_mode & 0o222 == 0
    assert leftovers(exchange.folder) == []


def test_a_missing_object_and_a_missing_file_are_said_so(exchange: Exchange, tmp_path: Path) -> None:
    with pytest.raises(TargetNotFoundError, match="no object"):
        exchange.get(KEY)
    with pytest.raises(TargetNotFoundError, match="no file"):
        exchange.put_file(tmp_path / "absent.csv")
    with pytest.raises(TargetNotFoundError, match="no file"):
        exchange.put_file(tmp_path)


@pytest.mark.parametrize("damage", [CONTENT[:-1], b"z" * len(CONTENT), b""])
def test_damage_is_found_set_aside_and_mended_by_the_same_bytes(exchange: Exchange, damage: bytes) -> None:
    exchange.put_bytes(CONTENT)
    place = exchange.path(KEY)
    place.chmod(0o644)
    place.write_bytes(damage)
    with pytest.raises(CorruptObjectError, match="damaged"):
        exchange.get(KEY)
    assert not exchange.contains(KEY)
    exchange.put_bytes(CONTENT)
    assert exchange.get(KEY) == CONTENT


def test_a_damaged_object_is_fetched_again(tmp_path: Path) -> None:
    exchange = Exchange(tmp_path / "cache", str(tmp_path / "shared"))
    exchange.put_bytes(CONTENT)
    exchange.push([KEY])
    place = exchange.path(KEY)
    place.chmod(0o644)
    place.write_bytes(b"rubbish")
    assert exchange.get(KEY) == CONTENT


@pytest.mark.parametrize("kind", ["path", "file", "memory"])
def test_push_brings_objects_to_another_workspace(tmp_path: Path, kind: str) -> None:
    url = {
        "path": str(tmp_path / "shared"),
        "file": (tmp_path / "shared").as_uri(),
        "memory": f"memory://{tmp_path.name}",
    }[kind]
    mine, theirs = Exchange(tmp_path / "mine", url), Exchange(tmp_path / "theirs", url)
    mine.put_bytes(CONTENT)
    assert not theirs.contains(KEY)
    assert mine.push([KEY, KEY]) == 1
    assert mine.push([KEY]) == 0
    assert theirs.contains(KEY)
    assert not theirs.contains(KEY, local_only=True)
    assert theirs.path(KEY).read_bytes() == CONTENT
    assert theirs.contains(KEY, local_only=True)
    if kind != "memory":
        assert objects(tmp_path / "shared") == [KEY]
        assert leftovers(tmp_path / "shared") == []


def test_what_arrives_damaged_is_refused(tmp_path: Path) -> None:
    mine, theirs = (Exchange(tmp_path / name, str(tmp_path / "shared")) for name in ("mine", "theirs"))
    mine.put_bytes(CONTENT)
    mine.push([KEY])
    there = tmp_path / "shared" / "sha256" / KEY[7:9] / KEY[9:]
    there.chmod(0o644)
    there.write_bytes(b"other bytes")
    with pytest.raises(CorruptObjectError, match="other bytes"):
        theirs.get(KEY)
    assert objects(theirs.folder) == []
    assert leftovers(theirs.folder) == []
    assert mine.push([KEY]) == 1  # another size there: sent again
    assert theirs.get(KEY) == CONTENT


def test_push_of_a_missing_object_names_it(tmp_path: Path) -> None:
    with pytest.raises(TargetNotFoundError, match=KEY):
        Exchange(tmp_path / "cache", str(tmp_path / "shared")).push([KEY])


def test_push_without_a_shared_part_does_nothing(exchange: Exchange) -> None:
    exchange.put_bytes(CONTENT)
    assert exchange.push([KEY]) == 0


def test_preflight_tries_both_parts(tmp_path: Path) -> None:
    report = Exchange(tmp_path / "cache", "file://" + str(tmp_path / "shared")).preflight()
    assert report.remote == "file://" + str(tmp_path / "shared")
    assert report.local_seconds > 0
    assert report.remote_seconds is not None
    assert leftovers(tmp_path / "cache") == leftovers(tmp_path / "shared") == []


def test_preflight_says_what_is_wrong_with_the_url(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fsspec"):
        Exchange(tmp_path, "nosuch://x").preflight()
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UnreachableError, match="cannot be written"):
        Exchange(tmp_path / "cache", str(tmp_path / "file")).preflight()


def test_credentials_in_the_url_are_not_shown(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        Exchange(tmp_path, "nosuch://me:hunter2@host/x?sig=hunter3").preflight()
    assert "hunter" not in str(caught.value)


def test_preflight_removes_what_killed_processes_left(exchange: Exchange) -> None:
    exchange.preflight()
    old, new = exchange.folder / "tmp" / "old", exchange.folder / "tmp" / "new"
    old.write_text("")
    new.write_text("")
    os.utime(old, (0, 0))
    exchange.preflight()
    assert leftovers(exchange.folder) == [new]


def test_a_full_disk_is_transient_and_leaves_nothing(tmp_path: Path) -> None:
    # RLIMIT_FSIZE is the disk that is full at 100,000 bytes (EFBIG instead of ENOSPC: the same path).
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from mlops_jupyter.data import Exchange\n"
        "from mlops_jupyter.errors import TransientError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    Exchange(Path(sys.argv[1])).put_bytes(bytes(200_000))\n"
        "except TransientError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert "cannot be written" in done.stdout
    assert objects(tmp_path) == []
    assert leftovers(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_transient(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(TransientError) as caught:
        Exchange(tmp_path / "cache").put_bytes(CONTENT)
    assert os.strerror(errno.ENOTDIR) in str(caught.value)


def _put(folder: str) -> str:
    return Exchange(Path(folder)).put_bytes(CONTENT * 50)


def test_many_processes_put_the_same_object(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        digests = set(pool.map(_put, [str(tmp_path)] * 24))
    assert len(digests) == 1
    assert objects(tmp_path) == [*digests]
    assert leftovers(tmp_path) == []
    assert Exchange(tmp_path).get(Digest(digests.pop())) == CONTENT * 50


KILLED_AT_LINE = """
import os, signal, sys
from pathlib import Path
from mlops_jupyter.data import exchange
lines, wanted = 0, int(sys.argv[2])

def trace(frame, event, arg):
    global lines
    if not frame.f_code.co_filename.endswith("exchange.py"):
        return None
    if event == "line":
        lines += 1
        if lines == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace

target = exchange.Exchange(Path(sys.argv[1]))
sys.settrace(trace)
target.put_bytes(bytes(100_000))
"""


def test_killed_at_any_line_no_half_object_is_left(tmp_path: Path) -> None:
    whole = Digest("sha256:" + hashlib.sha256(bytes(100_000)).hexdigest())
    line, killed = 0, 0
    while True:
        line += 1
        folder = tmp_path / str(line)
        done = subprocess.run([sys.executable, "-c", KILLED_AT_LINE, str(folder), str(line)], timeout=60, check=False)
        assert objects(folder) in ([], [whole])
        if objects(folder):
            assert Exchange(folder).get(whole) == bytes(100_000)
        assert Exchange(folder).put_bytes(bytes(100_000)) == whole
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        killed += 1
    assert killed > 15


def test_opening_takes_the_settings_and_imports_no_fsspec(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_text("")
    relative = open_exchange(load_settings(tmp_path, {"MLOPS_DATA_URL": "shared"}))
    assert relative == Exchange(tmp_path / ".mlops" / "cache", str(tmp_path / "shared"))
    assert open_exchange(load_settings(tmp_path, {"MLOPS_DATA_URL": "s3://b/p"})).url == "s3://b/p"
    code = (
        "import sys; before = set(sys.modules)\n"
        "import mlops_jupyter.data\n"
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before} & "
        "{'fsspec', 'asyncio', 'numpy', 'pandas', 'ssl'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
