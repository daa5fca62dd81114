"""One kernel process and the channels to it, without an event loop.

A single poller waits for the kernel's messages, its death and a request to stop; so a kernel's death is seen at
once instead of at the next look. The kernel's own standard output and error go to a file: the caller's standard
output belongs to the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager

from mlops_jupyter.analysis.scrubbing import Scrubber
from mlops_jupyter.errors import TransientError, UsageError

from .cancellation import Cancellation
from .memory import oom_kills, peak_memory, ran_out_of_memory
from .references import MessageScrubber, ScrubbedLog
from .result import KernelDeath

SHUTDOWN_GRACE = 5.0
"""Seconds that a kernel gets to end by itself (its ``atexit`` hooks) before it is killed."""

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Received:
    """What came in one wait."""

    iopub: list[Message] = field(default_factory=list)
    shell: list[Message] = field(default_factory=list)
    dead: bool = False


def kernel_language(name: str, specs: KernelSpecManager) -> str:
    """Language of the kernel spec ``name``, in lower case.

    Raises:
        UsageError: there is no such kernel here.
    """
    try:
        return str(specs.get_kernel_spec(name).language).lower()
    except NoSuchKernel:
        known = ", ".join(sorted(specs.find_kernel_specs())) or "none"
        raise UsageError(
            f"The notebook asks for the kernel {name!r}, which is not installed.",
            hint=f"Known kernels: {known}.",
        ) from None


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


class PrivateLoop:
    """An event loop of our own for jupyter_client's coroutines, which also works inside of a running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(self, work: Awaitable[Any]) -> Any:
        """The result of ``work``."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._loop.run_until_complete(_awaited(work))
        with ThreadPoolExecutor(1) as helper:  # called from a notebook: this thread's loop is the caller's
            return helper.submit(self._loop.run_until_complete, _awaited(work)).result()

    def close(self) -> None:
        """Close the loop. Idempotent."""
        self._loop.close()


class Kernel:
    """A started kernel. Use ``start``; always call ``stop``."""

    def __init__(
        self,
        name: str,
        *,
        log: Path,
        cancellation: Cancellation,
        specs: KernelSpecManager,
        scrub: Scrubber | None = None,
    ) -> None:
        """``scrub`` takes secrets out of everything that the kernel says, before anybody sees it."""
        self.name = name
        self.log = log
        self._cancellation = cancellation
        self._scrub = scrub
        self._messages = None if scrub is None else MessageScrubber(scrub)
        self._scrubbed_log: ScrubbedLog | None = None
        # No limit on what waits at our side: a limit makes ZeroMQ drop outputs while a notebook is written.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.setsockopt(zmq.RCVHWM, 0)
        # The kernel listens some moments after we connect; ZeroMQ would look again only every 100 ms.
        self._context.setsockopt(zmq.RECONNECT_IVL, 10)
        self._loop = PrivateLoop()
        self._manager = AsyncKernelManager(kernel_name=name, kernel_spec_manager=specs)
        self._client: BlockingKernelClient | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd: int | None = None
        self._poller = zmq.Poller()
        self._peak: int | None = None
        self._requested: str | None = None
        self._answered: str | None = None
        self._asked_at: float | None = None
        self._oom_before = oom_kills()
        self._children_before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        self.info: Message = {}
        """The kernel's ``kernel_info_reply`` content."""

    @property
    def client(self) -> BlockingKernelClient:
        """Client with the kernel's channels."""
        assert self._client is not None, "start() was not called"
        return self._client

    @property
    def pid(self) -> int | None:
        """Process id, where the kernel is a local process."""
        return None if self._process is None else self._process.pid

    def start(self, *, cwd: Path, env: Mapping[str, str], timeout: float) -> None:
        """Start the process and wait until it answers, at most ``timeout`` seconds.

        Raises:
            TransientError: it died or did not answer in time.
        """
        try:
            with self._log_stream() as stream:
                self._loop.run(
                    self._manager.start_kernel(
                        cwd=str(cwd),
                        env=dict(env),
                        stdout=stream,
                        stderr=stream,
                        extra_arguments=self._extra_arguments(),
                    )
                )
        except (OSError, ValueError) as error:
            raise TransientError(f"The kernel {self.name!r} could not be started: {error}.") from error
        self._process = getattr(self._manager.provisioner, "process", None)
        if self._process is not None and hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # not on old Linux kernels: death is then found by looking
                self._pidfd = os.pidfd_open(self._process.pid)
        connection: dict[str, Any] = dict(self._manager.get_connection_info(session=True))
        client = BlockingKernelClient(parent=self._manager, context=self._context, **connection)
        self._client = client
        client.start_channels(stdin=False, hb=False)
        client.allow_stdin = False
        for socket in (client.iopub_channel.socket, client.shell_channel.socket):
            self._poller.register(socket, zmq.POLLIN)
        self._poller.register(self._cancellation.descriptor, zmq.POLLIN)
        if self._pidfd is not None:
            self._poller.register(self._pidfd, zmq.POLLIN)
        self._wait_until_ready(time.monotonic() + timeout)

    @contextlib.contextmanager
    def _log_stream(self) -> Iterator[Any]:
        """What the kernel process gets as its standard output and error."""
        if self._scrub is None:
            with self.log.open("ab") as stream:
                yield stream
            return
        self.log.touch()
        self._scrubbed_log = log = ScrubbedLog(self.log, self._scrub)
        try:
            yield log.writer
        finally:
            log.start()

    def _extra_arguments(self) -> list[str]:
        # A history database shared by parallel kernels locks; nobody scrolls back in a headless run.
        return ["--HistoryManager.hist_file=:memory:"] if self._manager.ipykernel else []

    def _wait_until_ready(self, deadline: float) -> None:
        """Ready: one request was answered *and* its end was seen on iopub, so no output can be missed."""
        idle: set[str] = set()
        replies: dict[str, Message] = {}
        asked: list[str] = []
        next_ask = 0.0
        while True:
            now = time.monotonic()
            if now >= next_ask:
                # Asked again after an answer: its status may have been published before we were subscribed.
                asked.append(self.client.kernel_info())
                next_ask = now + (0.02 if replies else 2.0)
            received = self.wait(max(0.0, min(next_ask, deadline) - now))
            if received.shell and not replies:
                next_ask = time.monotonic() + 0.02
            idle.update(_parent(m) for m in received.iopub if _is_idle(m))
            replies.update({_parent(m): m for m in received.shell if m["msg_type"] == "kernel_info_reply"})
            ready = next((msg_id for msg_id in asked if msg_id in replies and msg_id in idle), None)
            if ready is not None:
                self.info = replies[ready]["content"]
                return
            if self._cancellation.received is not None:
                return
            if received.dead:
                death = self.death()
                raise TransientError(f"The kernel {self.name!r} did not start. {death}", hint=_last_line(death.log))
            if now >= deadline:
                raise TransientError(
                    f"The kernel {self.name!r} did not answer in time.", hint=_last_line(self._log_tail())
                )

    def request(
        self,
        code: str,
        *,
        cell_id: str | None = None,
        track: str | None = None,
        silent: bool = False,
        stop_on_error: bool = True,
    ) -> str:
        """Send code to execute; the id of the message.

        ``cell_id`` is what the kernel's hooks see as the cell's; ``track`` tells capture there to track the cell as
        if it began with this line of ``%%track``.
        """
        content = {
            "code": code, "silent": silent, "store_history": not silent, "user_expressions": {},
            "allow_stdin": False, "stop_on_error": stop_on_error,
        }  # fmt: skip
        session = self.client.session
        metadata: dict[str, Any] = {} if cell_id is None else {"cellId": cell_id}
        if track is not None:
            metadata["mlops"] = {"track": track}
        message = session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        self._requested = str(message["header"]["msg_id"])
        return self._requested

    def wait(self, timeout: float) -> Received:
        """Wait at most ``timeout`` seconds for messages, death or a request to stop; what came."""
        limit = timeout if self._pidfd is not None else min(timeout, 0.25)
        ready = dict(self._poller.poll(int(limit * 1000)))
        if self._cancellation.received is not None and self._cancellation.descriptor in ready:
            # Seen once; else every later wait would return at once.
            self._poller.unregister(self._cancellation.descriptor)
        dead = self._is_dead(ready)
        if dead:
            self._settle()
        iopub = list(self._drain(self.client.iopub_channel.socket))
        shell = list(self._drain(self.client.shell_channel.socket))
        if self._messages is not None:
            iopub = self._messages.iopub(iopub) + (self._messages.flush() if dead else [])
            shell = [self._messages.one(message) for message in shell]
        for message in shell:
            self._answered = _parent(message)
        return Received(iopub, shell, dead)

    def _is_dead(self, ready: Mapping[Any, int]) -> bool:
        if self._pidfd is not None:
            return self._pidfd in ready
        if self._process is not None:
            return self._process.poll() is not None
        return not bool(self._loop.run(self._manager.is_alive()))

    def _settle(self) -> None:
        """Give ZeroMQ's thread a moment to hand over what the dead kernel had already sent."""
        poller = zmq.Poller()
        poller.register(self.client.iopub_channel.socket, zmq.POLLIN)
        poller.poll(50)

    def _drain(self, socket: Any) -> Iterator[Message]:
        while True:
            try:
                _identities, message = self.client.session.recv(socket, mode=zmq.NOBLOCK)
            except ValueError:
                continue  # not signed with this kernel's key: not from it
            if message is None:
                return
            yield message

    @property
    def is_idle(self) -> bool:
        """Whether the last request was answered, so that the kernel can hear a request to shut down."""
        return self._requested is None or self._requested == self._answered

    def sample_memory(self) -> None:
        """Note the kernel's peak memory while it can still be read."""
        if self.pid is not None:
            self._peak = peak_memory(self.pid) or self._peak

    def interrupt(self) -> None:
        """Interrupt what runs in the kernel, as Jupyter's stop button does."""
        with contextlib.suppress(Exception):  # a kernel that just died cannot be interrupted, and need not be
            self._loop.run(self._manager.interrupt_kernel())

    def death(self) -> KernelDeath:
        """How the kernel process ended; call it once ``wait`` said dead."""
        code: int | None = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(timeout=1.0)
        signum = -code if code is not None and code < 0 else None
        reaped = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        if reaped > self._children_before:  # then the kernel is the largest child so far: its exact peak
            self._peak = reaped * (1 if sys.platform == "darwin" else 1024)
        return KernelDeath(
            exit_code=None if signum is not None else code,
            signal=signum,
            peak_memory=self._peak,
            out_of_memory=ran_out_of_memory(self._oom_before, peak=self._peak, signum=signum),
            log=self._log_tail(),
        )

    def _log_tail(self, limit: int = 4096) -> str:
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(0, self.log.stat().st_size - limit))
                return stream.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def stop(self, *, now: bool = False) -> None:
        """End the kernel, kindly unless ``now``, and give all it held back. Idempotent, does not raise."""
        if self._client is not None:
            if not now:
                self._stop_kindly()
            self._client.stop_channels()
            self._client = None
        with contextlib.suppress(Exception):  # already gone, never started, or stopped before
            self._loop.run(self._manager.shutdown_kernel(now=True))
        with contextlib.suppress(Exception):
            self._loop.run(self._manager.cleanup_resources())
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=SHUTDOWN_GRACE)
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        if self._scrubbed_log is not None:
            self._scrubbed_log.close()
        self._loop.close()
        self._context.destroy(linger=0)

    def ask_to_stop(self) -> None:
        """Ask the kernel to end by itself, without waiting for it: ``stop`` does."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            with contextlib.suppress(Exception):  # a dead kernel has no channel to ask on
                self.client.shutdown()

    def _stop_kindly(self) -> None:
        self.ask_to_stop()
        deadline = (self._asked_at or 0.0) + SHUTDOWN_GRACE
        while time.monotonic() < deadline and not self._cancellation.repeated:
            if self._is_dead(dict(self._poller.poll(100))):
                return
            for socket in (self.client.iopub_channel.socket, self.client.shell_channel.socket):
                list(self._drain(socket))  # else the poller returns at once for what nobody reads

    def kill(self) -> None:
        """Kill the kernel's process group at once."""
        if self._process is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _parent(message: Message) -> str:
    return str(message["parent_header"].get("msg_id", ""))


def _is_idle(message: Message) -> bool:
    return bool(message["msg_type"] == "status" and message["content"].get("execution_state") == "idle")


def _last_line(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return f"It last said: {lines[-1][:300]}" if lines else ""
