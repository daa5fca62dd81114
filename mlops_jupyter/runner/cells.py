"""The loop: execute the code cells of a notebook in a kernel and say truthfully how each one ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete
from nbformat import NotebookNode

from mlops_jupyter.errors import UsageError

from .cancellation import Cancellation
from .document import to_nodes
from .kernel import Kernel, Message
from .result import KernelDeath, State
from .tracked import track_words

INTERRUPT_GRACE = 5.0
"""Seconds that an interrupted cell gets to end."""
INTERRUPT_EVERY = 1.0
"""Seconds between interrupts of a cell that does not react."""
IDLE_GRACE = 10.0
"""Seconds of silence after which a cell's reply is enough: the message that says "idle" was lost."""
LOOK_EVERY = 1.0
"""Seconds between looks at memory and unsaved output while nothing arrives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why the loop ended."""

    state: State
    index: int | None = None
    """The cell at which it stopped; None: after the last one, or before the first."""
    error: str = ""
    """One line: ``ValueError: …``"""
    ename: str = ""
    evalue: str = ""
    traceback: tuple[str, ...] = ()
    death: KernelDeath | None = None


class Listener(Protocol):
    """Told of what happens, in the order in which it happens. What it raises ends the loop."""

    def cell_started(self, index: int) -> None:
        """A code cell was sent to the kernel."""
        ...

    def cell_ended(self, index: int, state: State, others: frozenset[int]) -> None:
        """A code cell ended (or was skipped); ``others`` are earlier cells whose displays it changed."""
        ...

    def output(self, output: NotebookNode) -> None:
        """The running cell produced an output."""
        ...

    def tick(self) -> None:
        """Called at least every second while a cell runs."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits: seconds a cell, and a point of ``time.monotonic()`` for the whole run."""

    cell: float | None = None
    deadline: float | None = None

    def for_cell(self) -> float | None:
        """When the cell that starts now must have ended."""
        ends = [end for end in (self.deadline, None if self.cell is None else time.monotonic() + self.cell) if end]
        return min(ends) if ends else None


@dataclass
class _Wait:
    """What is known while one cell runs."""

    message_id: str
    reply: Message | None = None
    idle: bool = False
    others: set[int] = field(default_factory=set)
    stopped: State | None = None
    """Set once it was interrupted: by a limit or a request to stop."""
    give_up: float | None = None
    """When to wait no longer."""
    interrupt_at: float | None = None
    """When to interrupt next."""


class _Outputs(NotebookClient):
    """nbclient's reading of messages (displays, widgets, clear_output) without its loop."""

    def output(
        self, outs: list[NotebookNode], msg: Message, display_id: str | None, cell_index: int
    ) -> NotebookNode | None:
        """Add an output. As nbclient's, but what a kernel sends is not validated against the schema each time."""
        hooks = self.output_hook_stack.get(msg["parent_header"].get("msg_id"))
        if hooks:
            hooks[-1].output(outs, msg, display_id, cell_index)
            return None
        output = _new_output(msg)
        if output is None:
            return None
        if self.clear_before_next_output:
            outs[:] = []
            self.clear_display_id_mapping(cell_index)
            self.clear_before_next_output = False
        if display_id:
            self._display_id_map.setdefault(display_id, {}).setdefault(cell_index, []).append(len(outs))
        outs.append(output)
        return output

    def displayed_in(self, display_id: str) -> set[int]:
        """Cells that show this display."""
        return {cell for cell, places in self._display_id_map.get(display_id, {}).items() if places}

    def has_displays(self, index: int) -> bool:
        """Whether outputs of this cell can still be replaced, by their position."""
        return any(cells.get(index) for cells in self._display_id_map.values())


class CellLoop:
    """Executes the cells of one notebook in one kernel."""

    def __init__(
        self, kernel: Kernel, notebook: NotebookNode, listener: Listener, *, limits: Limits,
        cancellation: Cancellation, captured: bool = False,
    ) -> None:  # fmt: skip
        """``captured``: capture runs in the kernel, so that cells whose metadata ask for it are tracked."""
        self._kernel = kernel
        self._notebook = notebook
        self._listener = listener
        self._limits = limits
        self._cancellation = cancellation
        self._captured = captured
        self._outputs = _Outputs(notebook)
        self._outputs.kc = kernel.client
        self._next_look = 0.0

    def run(self) -> Ending:
        """Execute all code cells in order, until one stops the run."""
        for index, cell in enumerate(self._notebook.cells):
            if cell.cell_type != "code":
                continue
            if self._cancellation.received is not None:
                return Ending(state=State.CANCELLED, index=None, error="The run was cancelled.")
            if is_skipped(cell):
                self._listener.cell_ended(index, State.SKIPPED, frozenset())
                continue
            ending = self._run_cell(index, cell)
            if ending is not None:
                return ending
        return Ending(state=State.SUCCEEDED)

    def _run_cell(self, index: int, cell: NotebookNode) -> Ending | None:
        allowed = "raises-exception" in cell.metadata.get("tags", [])
        cell.metadata["execution"] = {}
        cell.outputs = []
        self._outputs.clear_before_next_output = False
        self._listener.cell_started(index)
        track = self._track(cell)
        wait = _Wait(self._kernel.request(cell.source, cell_id=cell.id, track=track, stop_on_error=not allowed))
        dead = self._wait(wait, index, cell)
        _merge_streams(cell, keep=self._outputs.has_displays(index))
        ending = self._judge(wait, index, dead=dead, allowed=allowed)
        state = State.SUCCEEDED if ending is None else ending.state
        self._listener.cell_ended(index, state, frozenset(wait.others - {index}))
        return ending if ending is None or ending.state is not State.SUCCEEDED else None

    def _track(self, cell: NotebookNode) -> str | None:
        if not self._captured:
            return None
        try:
            return track_words(cell)
        except UsageError:  # told before the kernel was started
            return None

    def _wait(self, wait: _Wait, index: int, cell: NotebookNode) -> bool:
        """Until the cell ended; whether the kernel died."""
        limit = self._limits.for_cell()
        while True:
            now = time.monotonic()
            self._stop_if_asked(wait, limit, now)
            if wait.stopped is not None and self._cancellation.repeated:
                return False
            if wait.give_up is not None and now >= wait.give_up:
                return False
            if now >= self._next_look:
                self._kernel.sample_memory()
                self._listener.tick()
                self._next_look = now + LOOK_EVERY
            until = min(
                x for x in (self._next_look, wait.give_up, wait.interrupt_at, None if wait.stopped else limit) if x
            )
            received = self._kernel.wait(max(0.0, until - time.monotonic()))
            for message in received.iopub:
                self._take(message, wait, index, cell)
            for message in received.shell:
                if message["parent_header"].get("msg_id") == wait.message_id:
                    wait.reply, wait.interrupt_at = message, None
                    cell.metadata["execution"]["shell.execute_reply"] = message["header"]["date"].isoformat()
            if wait.reply is not None and wait.idle:
                return False
            if received.dead:
                return True
            if wait.reply is not None and (wait.give_up is None or received.iopub):
                wait.give_up = time.monotonic() + IDLE_GRACE

    def _stop_if_asked(self, wait: _Wait, limit: float | None, now: float) -> None:
        """Interrupt the cell at its limit or when the run is cancelled, and again while it does not react."""
        if wait.stopped is None:
            if self._cancellation.received is not None:
                wait.stopped = State.CANCELLED
            elif limit is not None and now >= limit:
                wait.stopped = State.TIMED_OUT
            else:
                return
            wait.give_up = now + INTERRUPT_GRACE
            wait.interrupt_at = now
        if wait.reply is None and wait.interrupt_at is not None and now >= wait.interrupt_at:
            # An interrupt that arrives before the kernel began with the cell is lost; so it is repeated.
            self._kernel.interrupt()
            wait.interrupt_at = now + INTERRUPT_EVERY

    def _take(self, message: Message, wait: _Wait, index: int, cell: NotebookNode) -> None:
        if message["parent_header"].get("msg_id") != wait.message_id:
            return
        display_id = (message["content"].get("transient") or {}).get("display_id")
        if display_id:
            wait.others |= self._outputs.displayed_in(display_id)
        try:
            output = self._outputs.process_message(message, cell, index)
        except CellExecutionComplete:
            wait.idle = True
        else:
            if output is not None:
                self._listener.output(output)

    def _judge(self, wait: _Wait, index: int, *, dead: bool, allowed: bool) -> Ending | None:
        """The ending that this cell means, or None to go on with the next cell."""
        content: dict[str, Any] = {} if wait.reply is None else wait.reply["content"]
        if wait.stopped is not None and content.get("status") != "ok":
            return self._stopped(wait.stopped, index, content)
        if dead and wait.reply is None:
            death = self._kernel.death()
            return Ending(state=State.KERNEL_DIED, index=index, error=str(death), death=death)
        if content.get("status") == "error":
            return self._raised(index, content, allowed=allowed)
        if any(part.get("source") == "ask_exit" for part in content.get("payload", [])):
            return self._exited(index, "The cell ended the notebook (exit()).", content)
        if wait.stopped is not None and self._more_after(index):
            # It ended by itself just before it was interrupted; what follows did not run all the same.
            return self._stopped(wait.stopped, None if wait.stopped is State.CANCELLED else index, content)
        if dead and self._more_after(index):
            death = self._kernel.death()
            return Ending(state=State.KERNEL_DIED, index=index, error=str(death), death=death)
        return None

    def _stopped(self, state: State, index: int | None, content: dict[str, Any]) -> Ending:
        if state is State.CANCELLED:
            error = "The run was cancelled."
        else:
            error = (
                f"The cell did not end within {self._limits.cell:g} seconds."
                if self._limits.cell is not None
                and (self._limits.deadline is None or time.monotonic() < self._limits.deadline)
                else "The run did not end within its time limit."
            )
        return Ending(state=state, index=index, error=error, traceback=tuple(content.get("traceback", ())))

    def _raised(self, index: int, content: dict[str, Any], *, allowed: bool) -> Ending | None:
        if content.get("ename") == "SystemExit" and content.get("evalue", "") in {"", "0", "None"}:
            return self._exited(index, "The cell ended the notebook (sys.exit).", content)
        return None if allowed else _error(index, content)

    def _exited(self, index: int, words: str, content: dict[str, Any]) -> Ending:
        """``exit()`` and ``sys.exit(0)``: a good end of the last code cell, else cells never ran."""
        if not self._more_after(index):
            return Ending(state=State.SUCCEEDED, index=index)
        remaining = sum(1 for cell in self._notebook.cells[index + 1 :] if is_executed(cell))
        return Ending(
            state=State.FAILED, index=index, ename="SystemExit", evalue=str(content.get("evalue", "0")),
            error=f"{words} {remaining} code cell{'s' if remaining > 1 else ''} after it never ran.",
            traceback=tuple(content.get("traceback", ())),
        )  # fmt: skip

    def _more_after(self, index: int) -> bool:
        return any(is_executed(cell) for cell in self._notebook.cells[index + 1 :])


def is_skipped(cell: NotebookNode) -> bool:
    """Whether a code cell is not sent to the kernel: empty, or tagged ``skip-execution``."""
    return not cell.source.strip() or "skip-execution" in cell.metadata.get("tags", [])


def is_executed(cell: NotebookNode) -> bool:
    """Whether a cell is code that would run."""
    return cell.cell_type == "code" and not is_skipped(cell)


def _error(index: int, content: dict[str, Any]) -> Ending:
    ename, evalue = str(content.get("ename", "")), str(content.get("evalue", ""))
    first = next(iter(evalue.splitlines()), "")
    return Ending(
        state=State.FAILED, index=index, ename=ename, evalue=evalue,
        error=(f"{ename}: {first}" if first else ename)[:500],
        traceback=tuple(content.get("traceback", ())),
    )  # fmt: skip


_FIELDS = {
    "stream": ("name", "text"),
    "display_data": ("data", "metadata"),
    "execute_result": ("data", "metadata", "execution_count"),
    "error": ("ename", "evalue", "traceback"),
}


def _new_output(message: Message) -> NotebookNode | None:
    """The output that a message carries, or None where it carries none."""
    fields = _FIELDS.get(message["msg_type"])
    if fields is None:
        return None
    content = message["content"]
    node: NotebookNode = to_nodes({"output_type": message["msg_type"], **{key: content.get(key) for key in fields}})
    return node


def _merge_streams(cell: NotebookNode, *, keep: bool) -> None:
    """Join neighbouring pieces of one stream, which the kernel sends as its buffer is flushed.

    ``keep``: the cell has displays that are found by their position, so positions must not move.
    """
    outputs = cell.outputs
    if keep or len(outputs) < 2:
        return
    merged: list[NotebookNode] = []
    pieces: list[str] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if output.output_type == "stream" and last is not None and last.get("name") == output.name:
            pieces.append(output.text)
            continue
        if last is not None and pieces:
            last["text"] = "".join(pieces)
        pieces = [output.text] if output.output_type == "stream" else []
        merged.append(output)
    if merged and pieces:
        merged[-1]["text"] = "".join(pieces)
    cell.outputs = merged
