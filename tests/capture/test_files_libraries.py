"""Wrapped libraries stay what they were: signatures, classes, tracebacks; URLs without their secrets."""

from __future__ import annotations

import http.server
import inspect
import io
import os
import pickle
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import fsspec.core
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_jupyter.capture import import_hooks
from mlops_jupyter.capture._file_paths import PathRules, uri_key
from mlops_jupyter.capture.files import FileAccess, FileTracker
from mlops_jupyter.entities import Grade


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
def url() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"a,b\n1,2\n")

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_args: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def reads(access: FileAccess) -> list[str]:
    return [record.key for record in access.reads]


def test_urls_are_declared_reads_whatever_fetches_them(tracker: FileTracker, url: str) -> None:
    for fetch in (
        lambda place: pd.read_csv(place),
        lambda place: urlopen(place).close(),
        lambda place: requests.get(place, timeout=10).close(),
    ):
        tracker.begin()
        fetch(f"{url}/a.csv?year=2013&token=hunter2#part")
        access = tracker.end()
        assert reads(access) == [f"{url}/a.csv?year=2013&token=REDACTED"]
        assert (access.reads[0].digest, access.reads[0].grade) == (None, Grade.DECLARED)


def test_httpx_is_heard(tracker: FileTracker, url: str) -> None:
    httpx = pytest.importorskip("httpx")
    tracker.begin()
    httpx.get(f"{url}/a.csv")
    httpx.post(f"{url}/b.csv")
    assert reads(tracker.end()) == [f"{url}/a.csv"]


def test_what_is_sent_to_a_server_is_no_read(tracker: FileTracker, url: str) -> None:
    tracker.begin()
    requests.post(url, data={"a": 1}, timeout=10).close()
    assert tracker.end().reads == ()


def test_remote_files_of_fsspec_are_read_and_written(tracker: FileTracker) -> None:
    class Stored:
        protocol = ("s3", "s3a")

    tracker.begin()
    fsspec.core.OpenFile(Stored(), "bucket/a.csv", mode="rb")
    fsspec.core.OpenFile(Stored(), "bucket/b.csv", mode="wb")
    access = tracker.end()
    assert reads(access) == ["s3://bucket/a.csv"]
    assert [record.key for record in access.writes] == ["s3://bucket/b.csv"]


@given(
    st.text("abcdefghij0123456789", min_size=12, max_size=12).map(lambda text: f"zz{text}zz"),
    st.sampled_from(
        [
            "https://me:{}@host/x", "https://{}@host/x", "https://host/x?token={}", "https://host/x?sig={}&a=1",
            "https://host/x?X-Amz-Signature={}", "https://host/x?api_key={}", "https://host/x#access_token={}",
            "s3://key:{}@bucket/x", "https://host/x?password={}", "https://host/x?q={0}{0}{0}{0}",
        ]
    ),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_no_secret_of_a_url_is_kept(secret: str, pattern: str) -> None:
    key = uri_key(pattern.format(secret))
    assert key is not None
    assert secret not in key


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_has_a_key_that_can_be_stored(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    for prefix in ("https://", "https://[", "s3://bucket/", ""):
        key = uri_key(prefix + text)
        assert key is None or key.encode()
    key = PathRules(tmp_path_factory.getbasetemp()).key(f"/data/{text}")
    assert key is None or key.encode()


def test_the_tracking_server_is_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    assert uri_key("http://host:5000/api/2.0/mlflow/runs/create") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://tracking.example/ml")
    assert uri_key("https://tracking.example/ml/anything") is None
    assert uri_key("https://data.example/ml/anything") == "https://data.example/ml/anything"


def test_signatures_names_and_documentation_stay(tracker: FileTracker) -> None:
    tracker.uninstall()
    bare = [
        (inspect.signature(call), call.__name__, call.__doc__, call.__module__)
        for call in (pq.ParquetFile, pq.ParquetWriter, pa.OSFile, requests.models.PreparedRequest.prepare)
        if call is not pa.OSFile
    ]
    documentation = pa.OSFile.__doc__
    tracker.install()
    wrapped = [
        (inspect.signature(call), call.__name__, call.__doc__, call.__module__)
        for call in (pq.ParquetFile, pq.ParquetWriter, pa.OSFile, requests.models.PreparedRequest.prepare)
        if call is not pa.OSFile
    ]
    assert wrapped == bare
    assert pa.OSFile.__doc__ == documentation


def test_classes_that_cannot_be_changed_are_stood_in_for(tracker: FileTracker) -> None:
    original = pa.lib.OSFile
    assert pa.OSFile is not original
    with pa.OSFile("a", "wb") as stream:
        assert isinstance(stream, original)
        assert isinstance(stream, pa.OSFile)
        assert isinstance(stream, pa.NativeFile)
    with original("a", "rb") as older:
        assert isinstance(older, pa.OSFile)

    class Mine(pa.OSFile):  # type: ignore[misc, name-defined]
        pass

    with Mine("a", "rb") as mine:
        assert isinstance(mine, Mine)
        assert isinstance(mine, pa.OSFile)
    assert not isinstance(io.BytesIO(), pa.OSFile)
    tracker.uninstall()
    assert pa.OSFile is original


def test_an_error_in_a_wrapped_class_has_the_traceback_it_always_had(tracker: FileTracker) -> None:
    def failure() -> list[tuple[str, str]]:
        try:
            pq.read_table("absent.parquet")
        except FileNotFoundError as error:
            return [(frame.filename, frame.name) for frame in traceback.extract_tb(error.__traceback__)]
        raise AssertionError("read")

    wrapped = failure()
    tracker.uninstall()
    assert wrapped == failure()


@pytest.mark.usefixtures("tracker")
def test_an_error_in_a_wrapped_function_shows_one_frame_more_that_ipython_hides() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        pa.csv.read_csv("absent.csv")
    frames = list(traceback.walk_tb(caught.value.__traceback__))
    ours = [frame for frame, _ in frames if frame.f_code.co_filename.endswith("_file_libraries.py")]
    assert len(ours) == 1
    assert ours[0].f_locals["__tracebackhide__"] is True


def test_wrong_arguments_are_the_librarys_to_refuse(tracker: FileTracker) -> None:
    tracker.begin()
    with pytest.raises(TypeError, match="ParquetFile"):
        pq.ParquetFile()
    with pytest.raises(TypeError, match="argument"):
        pa.OSFile()
    assert tracker.end().reads == ()


def test_everything_is_put_back_and_may_be_wrapped_again(tracker: FileTracker) -> None:
    for _ in range(3):
        tracker.uninstall()
        assert pa.csv.read_csv.__module__ == "pyarrow._csv"
        assert not hasattr(pa.csv.read_csv, "__wrapped__")
        pq.write_table(pa.table({"x": [1]}), "a.parquet")
        tracker.install()
        tracker.begin()
        pq.read_table("a.parquet")
        assert reads(tracker.end()) == ["a.parquet"]


@pytest.mark.usefixtures("tracker")
def test_wrapped_classes_pickle() -> None:
    opened = fsspec.core.OpenFile(fsspec.filesystem("file"), str(Path("a").absolute()), mode="rb")
    assert pickle.loads(pickle.dumps(opened)).path == opened.path


def test_objects_of_the_users_are_not_called(tracker: FileTracker) -> None:
    calls: list[str] = []

    class Odd(os.PathLike[str]):
        def __fspath__(self) -> str:
            calls.append("fspath")
            return "a.csv"

        def __str__(self) -> str:
            calls.append("str")
            return "a.csv"

    Path("a.csv").write_text("x\n1\n")
    pa.csv.read_csv(Odd())
    bare = list(calls)
    calls.clear()
    tracker.begin()
    pa.csv.read_csv(Odd())
    tracker.end()
    assert calls == bare
