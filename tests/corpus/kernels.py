"""Cells in real kernel processes, sent as JupyterLab sends them: with the cell's id, an answer to ``input()``."""

from __future__ import annotations

import ast
import os
import queue
import time
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.capture.support import plain

_SECONDS = 60.0


class Kernels:
    """As ``Shells``: ``run`` starts a kernel, and ends it."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._environ = environ

    def run(self, **request: Any) -> dict[str, Any]:
        """See ``Shells.run``."""
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(cwd=request["folder"], env={**self._environ, **request.get("environ", {})})
        client = manager.blocking_client()
        try:
            client.start_channels()
            client.wait_for_ready(timeout=_SECONDS)
            return self._run(manager, client, request)
        finally:
            client.stop_channels()
            manager.shutdown_kernel()
            manager.cleanup_resources()

    def _run(self, manager: KernelManager, client: BlockingKernelClient, request: dict[str, Any]) -> dict[str, Any]:
        answers = list(request.get("answers", ()))
        if request.get("capture"):
            _execute(manager, client, "load", "%load_ext mlops_jupyter", answers)
        done: list[dict[str, Any]] = []
        may_fail = request.get("may_fail") or [True] * len(request["cells"])
        for (cell_id, source, stopped, files), allowed in zip(request["cells"], may_fail, strict=True):
            for path, text in files.items():
                Path(path).write_text(text)
                os.utime(path, (time.time() + 2, time.time() + 2))
            done.append({**_execute(manager, client, cell_id, source, answers, stopped=stopped), "may_fail": allowed})
            if done[-1]["error"] is not None and not allowed:
                break
        wanted = {text: f"repr({text})" for text in request.get("evaluate", ())}
        message = client.execute("", silent=True, user_expressions=wanted)
        reply = _reply(client, message)["user_expressions"]
        values = {
            text: ast.literal_eval(found["data"]["text/plain"])
            if (found := reply[text])["status"] == "ok"
            else f"!{found['ename']}: {found['evalue']}"
            for text in wanted
        }
        return {"cells": done, "values": values}


def _execute(
    manager: KernelManager,
    client: BlockingKernelClient,
    cell_id: str | None,
    source: str,
    answers: list[str],
    *,
    stopped: float | None = None,
) -> dict[str, Any]:
    content = {
        "code": source, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": True,
        "stop_on_error": False,
    }  # fmt: skip
    metadata = {} if cell_id is None else {"cellId": cell_id}
    message = client.session.msg("execute_request", content, metadata=metadata)
    client.shell_channel.send(message)
    sent, error = message["header"]["msg_id"], None
    outputs: list[dict[str, Any]] = []
    deadline = None if stopped is None else time.monotonic() + stopped
    while True:
        if deadline is not None and time.monotonic() > deadline:
            manager.interrupt_kernel()
            deadline = None
        if answers and client.stdin_channel.msg_ready():
            client.get_stdin_msg(timeout=1)
            client.input(answers.pop(0))
        try:
            found = client.get_iopub_msg(timeout=0.1)
        except queue.Empty:
            continue
        if found["parent_header"].get("msg_id") != sent:
            continue
        content = found["content"]
        if found["msg_type"] == "stream":
            outputs.append({"output_type": "stream", "name": content["name"], "text": content["text"]})
        elif found["msg_type"] in ("execute_result", "display_data"):
            outputs.append({"output_type": found["msg_type"], **{k: content[k] for k in ("data", "metadata")}})
            if found["msg_type"] == "execute_result":
                outputs[-1]["execution_count"] = content["execution_count"]
        elif found["msg_type"] == "error":
            error = plain(f"{content['ename']}: {content['evalue']}")
            outputs.append({"output_type": "error", **{k: content[k] for k in ("ename", "evalue", "traceback")}})
        elif found["msg_type"] == "status" and found["content"]["execution_state"] == "idle":
            break
    return {"count": _reply(client, sent).get("execution_count"), "error": error, "outputs": _merged(outputs)}


def _reply(client: BlockingKernelClient, sent: str) -> dict[str, Any]:
    while True:
        message = client.get_shell_msg(timeout=_SECONDS)
        if message["parent_header"].get("msg_id") == sent:
            return dict(message["content"])


def _merged(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pieces of one stream as one output, as the file has them."""
    found: list[dict[str, Any]] = []
    for output in outputs:
        if output["output_type"] == "stream" and found and found[-1].get("name") == output["name"]:
            found[-1]["text"] += output["text"]
        else:
            found.append(output)
    return found
