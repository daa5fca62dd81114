"""A process that holds the heavy libraries and forks a fresh shell for each notebook: 0.1 s instead of 3.

What a shell of it does is what a kernel does in ``run_cell``; the cases that need a kernel process say so. Run as
``python -m tests.corpus.shells``: one JSON request a line on stdin, one JSON answer a line on stdout.
"""

from __future__ import annotations

import builtins
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

PRELOADED = (
    "IPython.core.interactiveshell", "IPython.core.magics", "IPython.utils.capture", "mlops_jupyter.capture.session",
    "mlops_jupyter.capture.observer", "mlops_jupyter.capture.files", "mlops_jupyter.capture.hooks",
    "mlops_jupyter.magics", "mlops_jupyter.store.runs", "numpy", "pandas", "sklearn.ensemble", "sklearn.linear_model",
    "sklearn.model_selection", "sklearn.pipeline", "sklearn.preprocessing", "sklearn.datasets", "sklearn.metrics",
    "sklearn.tree", "joblib", "matplotlib.pyplot", "sqlite3", "json",
)  # fmt: skip
REPOSITORY = Path(__file__).parents[2]
TIMEOUT = 60


class Shells:
    """The client of such a process."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.corpus.shells"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ, cwd=REPOSITORY,
        )  # fmt: skip

    def run(self, **request: Any) -> dict[str, Any]:
        """Run cells in a fresh shell.

        Args:
            request: ``folder``, ``environ`` (added), ``capture`` (load the extension first), ``cells``: (id,
                source, seconds until an interrupt or None, file to write before it or None) each, ``evaluate``:
                expressions, ``answers``, ``may_fail``: for each cell whether the next one runs even after an error.

        Returns:
            ``cells``: error (or None), outputs and count of each, ``values``: repr or error of each expression.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        if "fault" in answer:
            raise RuntimeError(answer["fault"])
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=TIMEOUT)


def main() -> None:
    """Serve until stdin ends."""
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # what is here is every child's, and no child has to look through it
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(_served(json.loads(line)) + "\n")
        answers.flush()


def _served(request: dict[str, Any]) -> str:
    with tempfile.TemporaryDirectory() as place:
        answer = Path(place, "answer.json")
        child = os.fork()
        if child == 0:
            try:
                answer.write_text(json.dumps(_run(request)))
            except BaseException:  # told to the client
                answer.write_text(json.dumps({"fault": traceback.format_exc()}))
            finally:
                sys.stdout.flush()
                os._exit(0)
        deadline = time.monotonic() + TIMEOUT
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return json.dumps({"fault": f"no end within {TIMEOUT} s"})
            time.sleep(0.005)
        return answer.read_text() if answer.exists() else json.dumps({"fault": "the shell died"})


def _run(request: dict[str, Any]) -> dict[str, Any]:
    os.chdir(request["folder"])
    os.environ.update(request.get("environ", {}))
    sys.path[:] = ["", *(p for p in sys.path if p not in ("", str(REPOSITORY))), str(REPOSITORY)]
    import random

    import numpy
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    random.seed()
    numpy.random.seed()
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    # As in a kernel: the user's namespace is that of __main__.
    main = sys.modules["__main__"] = type(sys)("__main__")
    main.__dict__["__builtins__"] = builtins
    shell = InteractiveShell.instance(
        colors="nocolor", config=Config({"HistoryManager": {"enabled": False}}), user_module=main
    )
    typed = iter(request.get("answers", ()))
    builtins.input = lambda prompt="": next(typed)
    if request.get("capture"):
        shell.run_cell("%load_ext mlops_jupyter", store_history=True, cell_id="load")
    done: list[dict[str, Any]] = []
    may_fail = request.get("may_fail") or [True] * len(request["cells"])
    for cell, allowed in zip(request["cells"], may_fail, strict=True):
        done.append({**_cell(shell, *cell), "may_fail": allowed})
        if done[-1]["error"] is not None and not allowed:
            break
    values = {text: _value(shell, text) for text in request.get("evaluate", ())}
    if request.get("capture"):
        from mlops_jupyter import capture

        capture.unload(shell)
    return {"cells": done, "values": values}


def _cell(shell: Any, cell_id: str | None, source: str, stopped: float | None, files: dict[str, str]) -> dict[str, Any]:
    from IPython.utils.capture import capture_output

    for path, text in files.items():
        Path(path).write_text(text)
        os.utime(path, (time.time() + 2, time.time() + 2))  # an edit within the same second is an edit
    with capture_output() as shown:
        if stopped is not None:
            signal.setitimer(signal.ITIMER_REAL, stopped)
        result = shell.run_cell(source, store_history=True, cell_id=cell_id)
        signal.setitimer(signal.ITIMER_REAL, 0)
    error = result.error_before_exec or result.error_in_exec
    outputs: list[dict[str, Any]] = []
    if shown.stdout:
        outputs.append({"output_type": "stream", "name": "stdout", "text": shown.stdout})
    if error is not None:
        outputs.append({"output_type": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []})
    return {
        "count": result.execution_count,
        "error": None if error is None else f"{type(error).__name__}: {error}",
        "outputs": outputs,
    }


def _value(shell: Any, text: str) -> str:
    try:
        return repr(eval(text, shell.user_ns))
    except Exception as error:  # a value that is not there is an answer, too
        return f"!{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
