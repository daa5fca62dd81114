"""A shell or a real kernel in an empty workspace, with and without capture."""

from __future__ import annotations

import atexit
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from jupyter_client.manager import KernelManager
from traitlets.config import Config

from mlops_jupyter import capture

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def shell(*, captured: bool = True) -> Iterator[InteractiveShell]:
    """An InteractiveShell of its own, with the extension loaded."""
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance(colors="nocolor", config=Config({"HistoryManager": {"enabled": False}}))
    try:
        if captured:
            capture.load(made)
        yield made
    finally:
        capture.unload(made)
        atexit.unregister(made.atexit_operations)
        made.atexit_operations()
        InteractiveShell.clear_instance()


@dataclass
class Ran:
    """What a cell showed."""

    stdout: str
    stderr: str
    result: Any
    error: str | None


def run(made: InteractiveShell, code: str, *, cell_id: str | None = None) -> Ran:
    """Execute a cell."""
    with capture_output() as output:
        result = made.run_cell(code, store_history=True, cell_id=cell_id)
    error = result.error_before_exec or result.error_in_exec
    return Ran(
        output.stdout,
        output.stderr,
        result.result,
        None if error is None else f"{type(error).__name__}: {error}",
    )


@dataclass
class Reply:
    """What a kernel sent for one cell."""

    status: str = ""
    stdout: str = ""
    stderr: str = ""
    result: str | None = None
    traceback: str = ""
    displays: list[dict[str, Any]] = field(default_factory=list)


class Kernel:
    """A kernel process and its client."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(folder), env=environ)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def execute(self, code: str, *, silent: bool = False, timeout: float = 60.0, cell_id: str | None = None) -> Reply:
        """Run a cell and wait for its end."""
        reply = Reply()
        content = {
            "code": code, "silent": silent, "store_history": not silent, "user_expressions": {},
            "allow_stdin": False, "stop_on_error": False,
        }  # fmt: skip
        message = self.client.session.msg("execute_request", content, metadata={"cellId": cell_id} if cell_id else {})
        self.client.shell_channel.send(message)
        message_id = message["header"]["msg_id"]
        while True:
            message = self.client.get_iopub_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") != message_id:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                if content["name"] == "stdout":
                    reply.stdout += content["text"]
                else:
                    reply.stderr += content["text"]
            elif kind == "execute_result":
                reply.result = content["data"]["text/plain"]
            elif kind == "display_data":
                reply.displays.append(content["data"])
            elif kind == "error":
                reply.traceback = plain("\n".join(content["traceback"]))
            elif kind == "status" and content["execution_state"] == "idle":
                break
        reply.stdout, reply.stderr = plain(reply.stdout), plain(reply.stderr)
        reply.status = self.reply_to(message_id, timeout=timeout)
        return reply

    def reply_to(self, message_id: str, *, timeout: float = 60.0) -> str:
        """Status of the reply to one request; late replies to others (``kernel_info``) are passed over."""
        while True:
            message = self.client.get_shell_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") == message_id:
                return str(message["content"]["status"])

    def close(self) -> None:
        """End the kernel as Jupyter does."""
        self.client.stop_channels()
        self.manager.shutdown_kernel()
        self.manager.cleanup_resources()


def plain(text: str) -> str:
    """Text without colours and without names of temporary files."""
    text = _ANSI.sub("", text)
    text = re.sub(r"0x[0-9a-f]+", "0xADDRESS", text)
    text = re.sub(r"^( *1) #$", r"\1 ", text, flags=re.MULTILINE)
    return re.sub(r"/tmp/ipykernel_\d+/\d+\.py", "CELL", text)
