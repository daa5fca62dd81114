"""A real PostgreSQL server for the tests, from the system's binaries, without network and without a trace."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

_PR_SET_PDEATHSIG = 1


def find_binaries() -> Path | None:
    """Folder of ``initdb`` and ``postgres``, or None."""
    named = os.environ.get("MLOPS_TEST_POSTGRES_BIN")
    if named:
        return Path(named) if Path(named, "initdb").exists() else None
    found = shutil.which("postgres")
    if found and shutil.which("initdb"):
        return Path(found).resolve().parent  # the programs may be linked one by one
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return versions[-1].parent if versions else None


def unprivileged_user() -> str | None:
    """Whom the server runs as where the tests run as root, which PostgreSQL refuses."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise RuntimeError("no unprivileged user for PostgreSQL")


@contextmanager
def running_server(binaries: Path) -> Iterator[str]:
    """Start a server on a unix socket; yields the URL of its database and stops it at the end."""
    user = unprivileged_user()
    folder = Path(tempfile.mkdtemp(prefix="mlops-pg-"))  # not under tmp_path: socket paths are short
    server: subprocess.Popen[bytes] | None = None
    try:
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        data = folder / "data"
        subprocess.run(
            [
                binaries / "initdb", "-D", data, "-U", "tester", "--auth=trust", "--no-sync", "--no-instructions",
                "--encoding=UTF8", "--locale=C.UTF-8",
            ],
            check=True, capture_output=True, user=user, cwd=folder,
        )  # fmt: skip
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [
                    binaries / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off",
                    "-c", "full_page_writes=off", "-c", "max_connections=40", "-c", "shared_buffers=16MB",
                ],
                user=user, stdout=log, stderr=log, cwd=folder, preexec_fn=_end_with_parent,
            )  # fmt: skip
            _wait(binaries, folder, server)
        yield f"postgresql://tester@/postgres?host={quote(str(folder))}"
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)  # at once: the data are thrown away
            server.wait(timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


def _end_with_parent() -> None:
    # Should the tests be killed, the server must not stay behind.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _wait(binaries: Path, folder: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"PostgreSQL did not start: {(folder / 'log').read_text()}")
        ready = subprocess.run(
            [binaries / "pg_isready", "-h", folder, "-U", "tester", "-d", "postgres", "-q"], check=False
        )
        if ready.returncode == 0:
            return
        time.sleep(0.05)
    raise RuntimeError("PostgreSQL did not answer within 60 seconds")
