"""Scratch copies: what is in them, what they may cost, and that they go away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_jupyter.errors import UsageError
from mlops_jupyter.verification import scratch as module
from mlops_jupyter.verification.scratch import changed_inputs, make_scratch, remove_scratch, scratch_copy


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    for folder in ("data", "out/deep", "pkg", ".hidden", "env/lib"):
        (root / folder).mkdir(parents=True)
    (root / "env/pyvenv.cfg").touch()
    (root / "env/lib/big.py").write_text("")
    (root / "data/a.csv").write_text("1")
    (root / "data/b.csv").write_text("2")
    (root / "pkg/__init__.py").write_text("x = 1")
    (root / "helper.py").write_text("y = 2")
    (tmp_path / "beside.txt").write_text("beside")
    return root


def test_what_a_replay_needs_is_there_and_nothing_else(root: Path, tmp_path: Path) -> None:
    needed = [
        "data/a.csv",
        str(tmp_path / "beside.txt"),
        "gone.csv",
        "s3://bucket/key",
        "package:scikit-learn/iris.csv",
    ]
    with scratch_copy(root, base=root / ".mlops/scratch", needed=needed) as scratch:
        files = {p.relative_to(scratch.root).as_posix() for p in scratch.root.rglob("*") if p.is_file()}
        assert files == {"data/a.csv", "pkg/__init__.py", "helper.py"}
        assert scratch.missing == ("gone.csv",)
        assert (scratch.root / "../beside.txt").read_text() == "beside"  # ``..`` stays in the scratch
        assert (scratch.root / "out/deep").is_dir()
        (scratch.root / "data/a.csv").write_text("changed")
        folder = scratch.folder
    assert not folder.exists()
    assert (root / "data/a.csv").read_text() == "1"


def test_large_inputs_are_linked_unless_they_are_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINK_ABOVE", 0)
    monkeypatch.setattr(module, "_reflink", lambda *_: False)  # a file system that cannot
    base, needed = root / ".mlops/scratch", ["data/a.csv", "data/b.csv"]
    with scratch_copy(root, base=base, needed=needed, written=["data/b.csv"]) as scratch:
        assert (scratch.root / "data/a.csv").is_symlink()
        assert not (scratch.root / "data/b.csv").is_symlink()
        assert changed_inputs(scratch) == ()
        (root / "data/a.csv").write_text("other")
        assert changed_inputs(scratch) == ("data/a.csv",)


def test_more_than_the_limit_is_refused_with_a_way_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_reflink", lambda *_: False)
    (root / "data/a.csv").write_text("1" * 5_000)

    with pytest.raises(UsageError, match="--verify none"):
        make_scratch(root, base=root / ".mlops/scratch", needed=["data/a.csv"], limit=1_000)

    assert not [p for p in (root / ".mlops/scratch").iterdir() if p.is_dir()]


def test_a_scratch_whose_maker_was_killed_is_removed_by_the_next(root: Path) -> None:
    base = root / ".mlops/scratch"
    code = f"""
import sys
from pathlib import Path
from mlops_jupyter.verification.scratch import make_scratch
print(make_scratch(Path({str(root)!r}), base=Path({str(base)!r}), needed=["data/a.csv"]).folder, flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        living = make_scratch(root, base=base)
        assert left.exists()  # its maker lives
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    other = make_scratch(root, base=base)

    assert not left.exists()
    assert living.folder.exists()
    for scratch in (living, other):
        remove_scratch(scratch)
    assert not list(base.iterdir())
    assert (root / "data/a.csv").read_text() == "1"
