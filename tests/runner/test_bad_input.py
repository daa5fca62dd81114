"""Bad input: one clear sentence, exit code 2, nothing started and nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlops_jupyter.errors import MlopsError, TargetNotFoundError, UsageError
from mlops_jupyter.runner import State, run_notebook
from mlops_jupyter.workspace import Workspace

from .conftest import make, outputs, tagged


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if a kernel is started."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a kernel was started")

    monkeypatch.setattr("mlops_jupyter.runner.kernel.Kernel.start", refuse)


DOCUMENTS = {
    "text": ("hello", "not valid JSON"),
    "list": ("[]", "no object"),
    "no version": ("{}", "no nbformat number"),
    "nbformat 3": (json.dumps({"nbformat": 3, "worksheets": []}), "nbformat 3; nbformat 4 is needed"),
    "nbformat 9": (json.dumps({"nbformat": 9}), "newer release"),
    "no cells": (json.dumps({"nbformat": 4, "metadata": {}}), "cells are missing or malformed"),
    "odd cell": (json.dumps({"nbformat": 4, "cells": [{"cell_type": "heading"}]}), "malformed"),
    "odd source": (json.dumps({"nbformat": 4, "cells": [{"cell_type": "code", "source": 3}]}), "malformed"),
    "odd metadata": (json.dumps({"nbformat": 4, "cells": [], "metadata": 3}), "metadata is no object"),
    "odd tags": (
        json.dumps({"nbformat": 4, "cells": [{"cell_type": "code", "source": "", "metadata": {"tags": "x"}}]}),
        "malformed",
    ),
    "deep": ("[" * 100_000, "not valid JSON"),
}


@pytest.mark.usefixtures("no_kernel")
@pytest.mark.parametrize("case", DOCUMENTS)
def test_what_is_no_notebook(workspace: Workspace, folder: Path, case: str) -> None:
    text, words = DOCUMENTS[case]
    source = folder / "nb.ipynb"
    source.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        run_notebook(workspace, source, folder / "out.ipynb")
    assert "nb.ipynb" in str(caught.value)
    assert caught.value.exit_code == 2
    assert not (folder / "out.ipynb").exists()
    assert not workspace.settings.runs.exists()


@pytest.mark.usefixtures("no_kernel")
def test_missing_and_folder(workspace: Workspace, folder: Path) -> None:
    with pytest.raises(TargetNotFoundError, match="no notebook"):
        run_notebook(workspace, folder / "missing.ipynb")
    with pytest.raises(UsageError, match="is a folder"):
        run_notebook(workspace, folder)


@pytest.mark.usefixtures("no_kernel")
def test_outputs_that_cannot_be(workspace: Workspace, folder: Path) -> None:
    source = make(folder / "nb.ipynb", "1")
    before = source.read_bytes()
    link, hard = folder / "link.ipynb", folder / "hard.ipynb"
    link.symlink_to(source)
    hard.hardlink_to(source)
    cases: list[tuple[Path, str]] = [
        (source, "notebook itself"),
        (folder / "sub" / ".." / "nb.ipynb", "notebook itself|does not exist"),
        (link, "notebook itself"),
        (hard, "notebook itself"),
        (folder, "is a folder"),
        (folder / "missing" / "out.ipynb", "does not exist"),
        (Path("s3://bucket/out.ipynb"), "local file"),
    ]
    for out, words in cases:
        with pytest.raises(UsageError, match=words):
            run_notebook(workspace, source, out)
    assert source.read_bytes() == before


@pytest.mark.usefixtures("no_kernel")
def test_an_output_folder_that_cannot_be_written(
    folder: Path, without_privileges: Callable[[list[str]], list[str]]
) -> None:
    import subprocess
    import sys

    from .conftest import ROOT

    source = make(folder / "nb.ipynb", "1")
    closed = folder / "closed"
    closed.mkdir(mode=0o555)
    code = (
        "import sys\nfrom pathlib import Path\nfrom mlops_jupyter.errors import MlopsError\n"
        "from mlops_jupyter.verbs.run import run\n"
        f"try:\n    run(Path({str(source)!r}), Path({str(closed / 'out.ipynb')!r}))\n"
        "except MlopsError as error:\n    print(error)\n    sys.exit(error.exit_code)"
    )
    done = subprocess.run(
        without_privileges([sys.executable, "-c", code]), capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert (done.returncode, "cannot be written" in done.stdout) == (2, True), done.stdout + done.stderr


@pytest.mark.usefixtures("no_kernel")
def test_unknown_kernel_names_the_known_ones(workspace: Workspace, folder: Path) -> None:
    with pytest.raises(UsageError, match=r"'no-such-kernel', which is not installed.*python3"):
        run_notebook(workspace, make(folder / "nb.ipynb", "1", kernel="no-such-kernel"))


PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"parameters": [("epoch", "1")]}, r"'epoch' is not a parameter.*lr \(float\), epochs \(int\)"),
    "no identifier": ({"parameters": [("x = 1; import os", "1")]}, "not an identifier"),
    "keyword": ({"parameters": [("class", "1")]}, "not an identifier"),
    "ill-typed": ({"parameters": [("epochs", "many")]}, "'epochs' must be int, got 'many'"),
    "float for int": ({"parameter_yaml": ["epochs: 1.5"]}, "must be int, got 1.5"),
    "text for float": ({"parameters": [("lr", "")]}, "'lr' must be float"),
    "number for text": ({"parameter_yaml": ["name: 3"]}, "quote it"),
    "no mapping": ({"parameter_yaml": ["[1, 2]"]}, "mapping of parameter names"),
    "no yaml": ({"parameter_yaml": ["{a: "]}, "not valid YAML"),
    "object in yaml": ({"parameter_yaml": ["lr: !!python/object/apply:os.getcwd []"]}, "not valid YAML"),
    "missing file": ({"parameter_files": ["missing.yaml"]}, "cannot be read"),
    "no plain data": ({"parameters": {"data": {"x": object()}}}, "plain data"),
}


@pytest.mark.usefixtures("no_kernel")
@pytest.mark.parametrize("case", PARAMETERS)
def test_parameters_that_do_not_fit(workspace: Workspace, folder: Path, case: str) -> None:
    options, words = PARAMETERS[case]
    cell = tagged("lr = 0.1\nepochs: int = 3\nname = 'a'\ndata: dict = {}", "parameters")
    with pytest.raises(UsageError, match=words):
        run_notebook(workspace, make(folder / "nb.ipynb", cell), **options)
    assert not workspace.settings.runs.exists()


@pytest.mark.usefixtures("no_kernel")
def test_parameters_without_a_parameters_cell(workspace: Workspace, folder: Path) -> None:
    with pytest.raises(UsageError, match=r"has no parameters cell.*tag"):
        run_notebook(workspace, make(folder / "nb.ipynb", "lr = 1"), parameters=[("lr", "1")])
    with pytest.raises(UsageError, match="parameters cell is not valid Python"):
        source = make(folder / "nb.ipynb", tagged("lr = = 1", "parameters"))
        run_notebook(workspace, source, parameters=[("lr", "1")])


@pytest.mark.usefixtures("no_kernel")
@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_limits_must_be_positive(workspace: Workspace, folder: Path, limit: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        run_notebook(workspace, make(folder / "nb.ipynb", "1"), timeout=limit)


def test_a_notebook_without_kernelspec_runs_and_says_so(workspace: Workspace, folder: Path) -> None:
    result = run_notebook(workspace, make(folder / "nb.ipynb", "1 + 1", kernel=None), folder / "out.ipynb")
    assert result.state is State.SUCCEEDED
    assert "names no kernel; python3 was used" in result.warnings[0]
    assert outputs(result.output) == ["2"]


def test_a_notebook_without_code_succeeds(workspace: Workspace, folder: Path) -> None:
    result = run_notebook(workspace, make(folder / "nb.ipynb"), folder / "out.ipynb")
    assert (result.state, result.cells) == (State.SUCCEEDED, ())


def test_a_kernel_that_does_not_start(workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = folder / "jupyter" / "kernels" / "broken" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = ["python3", "-c", "import sys; sys.exit('no luck today')"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Broken", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
    result = run_notebook(workspace, make(folder / "nb.ipynb", "1", kernel="broken"), folder / "out.ipynb")
    assert (result.state, result.exit_code) == (State.KERNEL_DIED, 75)
    assert result.error is not None
    assert "did not start" in result.error
    assert "no luck today" in result.error
    assert result.output.exists()


def test_a_language_that_is_not_python_runs_without_lineage(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = folder / "jupyter" / "kernels" / "echo"
    kernels.mkdir(parents=True)
    (kernels / "kernel.py").write_text(
        "from ipykernel.kernelapp import IPKernelApp\nfrom ipykernel.kernelbase import Kernel\n"
        "class Echo(Kernel):\n"
        "    implementation = language = 'echo'\n    implementation_version = banner = '1'\n"
        "    language_info = {'name': 'echo', 'mimetype': 'text/plain', 'file_extension': '.txt'}\n"
        "    async def do_execute(self, code, silent, store_history=True, user_expressions=None, **_):\n"
        "        content = {'name': 'stdout', 'text': code.upper()}\n"
        "        self.send_response(self.iopub_socket, 'stream', content)\n"
        "        return {'status': 'ok', 'execution_count': 1, 'payload': [], 'user_expressions': {}}\n"
        "IPKernelApp.launch_instance(kernel_class=Echo)\n"
    )
    import sys

    argv = [sys.executable, str(kernels / "kernel.py"), "-f", "{connection_file}"]
    (kernels / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Echo", "language": "echo"}))
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
    source = make(folder / "nb.ipynb", "hello", kernel="echo")
    result = run_notebook(workspace, source, folder / "out.ipynb")
    assert (result.state, result.lineage) == (State.SUCCEEDED, "none")
    assert "is not Python" in result.warnings[0]
    assert outputs(result.output) == ["HELLO"]
    with pytest.raises(UsageError, match="Python notebooks"):
        run_notebook(workspace, source, parameters=[("x", "1")])


def test_every_error_says_what_to_do(workspace: Workspace, folder: Path) -> None:
    source = make(folder / "nb.ipynb", "1")
    for out in (source, folder, folder / "missing" / "out.ipynb"):
        with pytest.raises(MlopsError) as caught:
            run_notebook(workspace, source, out)
        assert caught.value.hint
