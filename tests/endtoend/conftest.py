"""Fixtures of the end-to-end tests: a workspace, kernels in it, and the command line as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.capture.support import Kernel

REPOSITORY = str(Path(__file__).parents[2])


def child_environment(**environ: str) -> dict[str, str]:
    """What processes of these tests run with: this checkout, no delivery unless a test asks for it."""
    path = os.pathsep.join(filter(None, [REPOSITORY, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **environ}


@pytest.fixture
def start_kernel(home: Path) -> Iterator[Callable[..., Kernel]]:
    """Starts kernels in the workspace with the extension loaded; they end with the test."""
    kernels: list[Kernel] = []

    def start(**environ: str) -> Kernel:
        kernel = Kernel(home, child_environment(**environ))
        kernels.append(kernel)
        assert kernel.execute("%load_ext mlops_jupyter").status == "ok"
        return kernel

    yield start
    for kernel in kernels:
        kernel.close()


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def mlops(home: Path) -> Command:
    """The command line in the workspace, with the environment given by keyword."""

    def run(*arguments: str, prefix: tuple[str, ...] = (), **environ: str) -> subprocess.CompletedProcess[str]:
        command = [*prefix, sys.executable, "-m", "mlops_jupyter", *arguments]
        return subprocess.run(
            command, cwd=home, env=child_environment(**environ), capture_output=True, text=True, timeout=120
        )

    return run
