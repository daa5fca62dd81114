"""Fixtures of the capture tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from tests.capture.support import Kernel, shell


@pytest.fixture
def workspace(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace that starts no delivery process."""
    monkeypatch.setenv("MLOPS_DELIVER", "false")
    return home


@pytest.fixture
def ipython(workspace: Path) -> Iterator[InteractiveShell]:
    """A shell with the extension loaded."""
    with shell() as made:
        yield made


@pytest.fixture
def start_kernel(workspace: Path) -> Iterator[Callable[[], Kernel]]:
    """Starts kernels in the workspace, which end with the test."""
    kernels: list[Kernel] = []

    def start(**environ: str) -> Kernel:
        folder = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
        kernel = Kernel(workspace, {**os.environ, "PYTHONPATH": path, **environ})
        kernels.append(kernel)
        return kernel

    yield start
    for kernel in kernels:
        kernel.close()
