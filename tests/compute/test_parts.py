"""The parts of remote work that need no cluster."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_jupyter.compute.capacity import check_request, refuse_impossible, waiting_reason, wanted
from mlops_jupyter.compute.client import Node, RayClient
from mlops_jupyter.compute.folders import copy_log, read_log
from mlops_jupyter.compute.head import ensure_head, local_capacity
from mlops_jupyter.compute.inputs import find_inputs, recorded_reads, safe_place
from mlops_jupyter.compute.options import (
    RayOptions,
    cluster_token,
    dashboard_url,
    is_loopback,
    load_options,
    parse_memory,
)
from mlops_jupyter.compute.package import build_package
from mlops_jupyter.compute.protocol import (
    Manifest,
    Result,
    SentFile,
    decode_manifest,
    decode_result,
    encode,
)
from mlops_jupyter.compute.submission import check_size, check_target
from mlops_jupyter.config import load_settings
from mlops_jupyter.data.exchange import Exchange
from mlops_jupyter.data.mailbox import collect, post
from mlops_jupyter.entities import Digest, EntityKind, Grade, Job, JobState, Resources, Used
from mlops_jupyter.errors import MlopsError, TargetNotFoundError, UnreachableError, UsageError
from mlops_jupyter.store import executions, open_store
from tests.store import make

ID = "0123456789abcdef" * 2
DIGEST = Digest("sha256:" + "a" * 64)


def job(**changes: object) -> Job:
    """A job of one processor."""
    plain = Job(
        job_id=ID, name="n", notebook="n.ipynb", address="http://h:8265", local=True, session="s", created_at=1.0
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://h:1", "http://h:1"),
        ("h", "http://h:8265"),
        ("h:1", "http://h:1"),
        (" h ", "http://h:8265"),
        ("auto", "http://127.0.0.1:8265"),
        ("https://h/ray/", "https://h:443/ray"),
        ("http://[::1]:9", "http://[::1]:9"),
    ],
)
def test_address(text: str, url: str) -> None:
    assert dashboard_url(text) == url


@pytest.mark.parametrize(
    "text", ["", "ray://h:10001", "ftp://h", "http://", "http://h:x", "http://u:p@h", "a b", "http://h?x=1", "h:99999"]
)
def test_address_refused(text: str) -> None:
    with pytest.raises(UsageError):
        dashboard_url(text)


@given(st.text(max_size=40))
def test_address_never_anything_else(text: str) -> None:
    try:
        url = dashboard_url(text)
    except UsageError:
        return
    assert url.startswith(("http://", "https://"))


def test_loopback() -> None:
    assert is_loopback("http://127.0.0.2:1") and is_loopback("http://localhost:1") and is_loopback("http://[::1]:1")
    assert not is_loopback("http://127.example.com.evil:1".replace("127.", "x127.")) and not is_loopback("http://h:1")


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("4GB", 4 * 1024**3), ("4 GiB", 4 * 1024**3), ("1.5m", 1536 * 1024), ("2k", 2048), ("0", 0)],
)
def test_memory(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "-1", "GB", "4XB", "1e3", "nan"])
def test_memory_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_memory(text)


def test_options_rank(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_text('[ray]\naddress = "file"\npython = "/p"\nidle_minutes = 3\ntoken_file = "t"\n')
    settings = load_settings(tmp_path)
    options = load_options(settings, {})
    assert (options.address, options.python, options.idle_minutes) == ("file", "/p", 3.0)
    assert options.token_file == tmp_path / "t"
    assert load_options(settings, {"RAY_ADDRESS": "ray"}).address == "ray"
    assert load_options(settings, {"RAY_ADDRESS": "ray", "MLOPS_RAY_ADDRESS": "ours"}).address == "ours"
    assert load_options(settings, {"MLOPS_RAY_AUTOSCALES": "yes"}).autoscales


@pytest.mark.parametrize("line", ["gpu = 2", "gpus = 1.5", "gpus = true", 'idle_minutes = "x"', "gpus = -1"])
def test_options_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "mlops.toml").write_text(f"[ray]\n{line}\n")
    with pytest.raises(UsageError, match="ray"):
        load_options(load_settings(tmp_path), {})


def test_token_is_found_as_ray_finds_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret\n")
    assert cluster_token(RayOptions(), {}) is None
    assert cluster_token(RayOptions(), {"RAY_AUTH_TOKEN": " a "}) == "a"
    assert cluster_token(RayOptions(), {"RAY_AUTH_TOKEN_PATH": str(file)}) == "secret"
    assert cluster_token(RayOptions(token_file=file), {"RAY_AUTH_TOKEN": "a"}) == "secret"
    with pytest.raises(UsageError, match="cannot be read"):
        cluster_token(RayOptions(token_file=tmp_path / "none"), {})


def test_impossible_requests_name_both_numbers() -> None:
    totals = [{"CPU": 4.0, "memory": 2.0**33}, {"CPU": 2.0, "GPU": 2.0, "memory": 2.0**30}]
    for good in (Resources(cpus=4), Resources(cpus=2, gpus=2), Resources(cpus=0), Resources(memory=2**33)):
        refuse_impossible(good, totals, where="h")
    with pytest.raises(UsageError, match=r"asks for 8 GPUs.* has 2 GPUs"):
        refuse_impossible(Resources(gpus=8), totals, where="h")
    with pytest.raises(UsageError, match=r"asks for 16 GiB of memory.* has 8 GiB of memory"):
        refuse_impossible(Resources(memory=2**34), totals, where="h")
    with pytest.raises(UsageError, match="no single node of h has all"):
        refuse_impossible(Resources(cpus=4, gpus=1), totals, where="h")
    refuse_impossible(Resources(gpus=8), [], where="a cluster that has said nothing yet")


@pytest.mark.parametrize("resources", [Resources(cpus=-1), Resources(gpus=1.5), Resources(cpus=float("nan"))])
def test_requests_that_are_none(resources: Resources) -> None:
    with pytest.raises(UsageError, match="cannot ask for"):
        check_request(resources)


def test_what_is_not_asked_for_is_not_sent() -> None:
    assert wanted(Resources(cpus=0, gpus=0.5)) == {"GPU": 0.5}


def test_why_a_job_waits() -> None:
    total = {"CPU": 2.0, "GPU": 1.0}
    busy = [Node(node_id="a", total=total, free={"CPU": 0.0, "GPU": 1.0})]
    idle = [Node(node_id="a", total=total, free=total)]
    running = job(job_id="f" * 32, state=JobState.RUNNING)
    assert waiting_reason(job(), busy, []) == "waits for 1 CPU: 0 of 2 free"
    assert waiting_reason(job(), busy, [running, job()]).endswith("queued behind ffffffff")
    assert waiting_reason(job(), idle, []) == "about to start"
    assert waiting_reason(job(), [], []) == "waits for the cluster to come up"
    assert "a node with 1 CPU and 4 GPUs" in waiting_reason(job(resources=Resources(gpus=4)), idle, [])


def test_refused_before_anything_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlops.toml").touch()
    settings = load_settings(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert local_capacity(RayOptions())["GPU"] == 0 and local_capacity(RayOptions(gpus=2))["GPU"] == 2
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    with pytest.raises(UsageError, match=r"8 GPUs.*this machine has 0 GPUs"):
        check_target(settings, RayOptions(), Resources(gpus=8), None)
    with pytest.raises(UsageError, match="MLOPS_DATA_URL"):
        check_target(settings, RayOptions(), Resources(), "http://cluster.example:8265")
    with pytest.raises(UnreachableError, match="does not answer"):
        check_target(settings, RayOptions(), Resources(), "http://127.0.0.1:1")
    assert not (tmp_path / ".mlops").exists()


def test_without_ray_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlops.toml").touch()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"mlops-jupyter\[ray\]"):
        check_target(load_settings(tmp_path), RayOptions(), Resources(), None)
    with pytest.raises(UsageError, match=r"mlops-jupyter\[ray\]"):
        ensure_head(load_settings(tmp_path))


def test_what_a_notebook_needs_is_found(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").touch()
    folder = tmp_path / "work"
    package = tmp_path / "shared"
    for one in (folder, package, tmp_path / ".mlops"):
        one.mkdir()
    for name, text in {
        "work/n.ipynb": "{}", "work/data.csv": "1", "work/given.csv": "2", "work/helper.py": "import shared.deep",
        "shared/__init__.py": "", "shared/deep.py": "", "shared/table.txt": "", "work/unrelated.py": "",
        "work/before.csv": "3", "work/extra.bin": "4", "work/more.csv": "5", ".mlops/secret": "6",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    store = open_store(tmp_path / "s.db")
    try:
        executions.start_session(store, make.session())
        cell = replace(make.execution(0, source="x"), notebook="work/n.ipynb")
        outside = make.version("work/before.csv", None, kind=EntityKind.FILE)
        own = make.version("work/unrelated.py", cell.execution_id, kind=EntityKind.FILE)
        executions.append_execution(
            store, cell, versions=[outside, own],
            uses=[
                Used(execution_id=cell.execution_id, version_id=v.version_id, grade=Grade.EXACT, reason="")
                for v in (outside, own)
            ],
        )  # fmt: skip
        assert recorded_reads(store, "work/n.ipynb") == ["work/before.csv"]
        cells = [
            "%%time\nimport helper, os\n!ls\n%matplotlib inline\nopen('data.csv')\nopen('/etc/passwd')",
            "x = '../.mlops/secret', '" + "long" * 300 + "', '\\0', 'work'",
            "%%bash\ncat more.csv",
            "this is no python",
        ]
        found = find_inputs(
            store, tmp_path, folder / "n.ipynb", cells, values=["given.csv", 3], include=[folder / "extra.bin"]
        )
    finally:
        store.close()
    assert {file.path: file.reason for file in found} == {
        "work/n.ipynb": "notebook", "work/extra.bin": "included", "work/before.csv": "read before",
        "work/data.csv": "named in the notebook", "work/given.csv": "parameter", "work/helper.py": "module",
        "shared/__init__.py": "module", "shared/deep.py": "module", "shared/table.txt": "module",
    }  # fmt: skip
    assert found[0].path == "work/n.ipynb"
    with pytest.raises(UsageError, match=r"9 bytes.*limit is 3 bytes.*largest"):
        check_size([replace(file, size=1) for file in found], 3)


def test_includes_are_of_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "n.ipynb").write_text("{}")
    (tmp_path / "outside").write_text("")
    store = open_store(tmp_path / "s.db")
    try:
        with pytest.raises(UsageError, match="outside of the workspace"):
            find_inputs(store, tmp_path / "w", tmp_path / "w" / "n.ipynb", [], include=[tmp_path / "outside"])
        with pytest.raises(TargetNotFoundError):
            find_inputs(store, tmp_path / "w", tmp_path / "w" / "n.ipynb", [], include=[tmp_path / "w" / "none"])
    finally:
        store.close()


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "", "a\\b", "a\0b"])
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        safe_place(tmp_path, name)


def test_a_log_is_copied_once_and_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    log = tmp_path / "job" / "log.txt"
    assert copy_log(log, "aä") == 3
    os.truncate(log, 2)  # a copy that was killed in the middle of a character
    assert read_log(log) == ("a", 1)
    assert copy_log(log, "aäb\n") == 3
    assert read_log(log) == ("aäb\n", 5) and read_log(log, 3) == ("b\n", 5)
    assert copy_log(log, "a") == 0 and log.read_text(encoding="utf-8") == "aäb\n"
    assert read_log(tmp_path / "none") == ("", 0)


@given(st.lists(st.text(max_size=20), max_size=6))
def test_reading_a_growing_log_gives_it_whole(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    log = tmp_path_factory.mktemp("log") / "log.txt"
    text, read, position = "", "", 0
    for part in parts:
        text += part.encode("utf-8", "replace").decode("utf-8", "replace")
        copy_log(log, text)
        more, position = read_log(log, position)
        read += more
    assert read == text


def test_messages_survive_and_strangers_do_not() -> None:
    file = SentFile(path="a b/ü.csv", digest=DIGEST, size=3)
    manifest = Manifest(
        job_id=ID, notebook="n.ipynb", files=(file,), parameters="a: 1\n", submitter="s", environment={"A": "b"},
        output_limit=5,
    )  # fmt: skip
    assert decode_manifest(encode(manifest)) == manifest
    result = Result(
        job_id=ID, state=JobState.FAILED, exit_code=1, reason="r", run_id="b" * 32, document={"x": 1}, records=DIGEST,
        notebook=file, files=(file,), objects=(DIGEST,), log=None, warnings=("w",),
    )  # fmt: skip
    assert decode_result(encode(result)) == result
    plain = encode(result)
    for damaged in (
        b"", b"[]", b"{}", plain.replace(b'"version": 1', b'"version": 2'), plain.replace(b'"FAILED"', b'"RUNNING"'),
        plain.replace(b"sha256:aa", b"sha256:/."), plain.replace(ID.encode(), b"../../" + b"a" * 26),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            decode_result(damaged)


@pytest.mark.parametrize("url", [None, "there", "memory://mailbox-test"])
def test_mailbox(tmp_path: Path, url: str | None) -> None:
    exchange = Exchange(tmp_path / "cache", str(tmp_path / url) if url == "there" else url)
    assert collect(exchange, ID, "result.json") is None
    post(exchange, ID, "result.json", b"1")
    post(exchange, ID, "result.json", b"2")
    assert collect(exchange, ID, "result.json") == b"2"
    assert collect(exchange, "f" * 32, "result.json") is None
    for bad_id, name in (("../../x", "cancel"), (ID, "../cancel"), (ID, "")):
        with pytest.raises(UsageError):
            post(exchange, bad_id, name, b"")


def test_our_package_travels_as_it_is() -> None:
    name, content = build_package()
    assert build_package() == (name, content)
    with zipfile.ZipFile(BytesIO(content)) as archive:
        names = archive.namelist()
    assert "mlops_jupyter/verbs/job.py" in names and "mlops_jupyter/schemas/run-result.json" in names
    assert not [n for n in names if "labextension" in n or "__pycache__" in n]
    assert len(content) < 2_000_000


def test_a_server_that_is_no_ray(http_page: str) -> None:
    with RayClient(http_page) as client:
        for ask in (client.session, client.nodes, lambda: client.info(ID), lambda: client.submit(ID, {})):
            with pytest.raises(MlopsError):
                ask()
