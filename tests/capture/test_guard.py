"""Where the system cannot confine a replay, Python's own writes elsewhere are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_CODE = """
import sys
from mlops_jupyter.capture.guard import install_guard
assert install_guard()
from pathlib import Path
import os, shutil, tempfile
mine, scratch = Path(sys.argv[1]), Path(sys.argv[2])
(scratch / "new.txt").write_text("new")
os.chdir(scratch)
Path("sub").mkdir()
Path(tempfile.mkstemp()[1]).write_text("t")
mine.mkdir(exist_ok=True)
assert (mine / "file").read_text() == "mine"
{statement}
"""


@pytest.mark.parametrize(
    "statement",
    [
        "(mine / 'file').write_text('x')",
        "(mine / 'other').touch()",
        "(mine / 'file').unlink()",
        "(mine / 'file').rename(scratch / 'taken')",
        "shutil.rmtree(mine)",
        "(scratch / 'link').symlink_to(mine / 'file'); (scratch / 'link').write_text('x')",
        "open(os.path.relpath(mine / 'file', scratch), 'a')",
        "os.makedirs(mine / 'deep' / 'er')",
    ],
)
def test_a_write_elsewhere_is_refused(tmp_path: Path, statement: str) -> None:
    mine, scratch = tmp_path / "mine", tmp_path / "scratch"
    for folder in (mine, scratch, scratch / "tmp"):
        folder.mkdir()
    (mine / "file").write_text("mine")
    environment = os.environ | {"MLOPS_REPLAY_FOLDER": str(scratch), "TMPDIR": str(scratch / "tmp")}

    done = subprocess.run(
        [sys.executable, "-c", _CODE.format(statement=statement), str(mine), str(scratch)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert "PermissionError: [Errno 13] Permission denied: '" in done.stderr
    assert [(p.name, p.read_text()) for p in mine.iterdir()] == [("file", "mine")]
