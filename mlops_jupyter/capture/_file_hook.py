"""The process's one audit hook, and the switch that turns it on and off.

An audit hook cannot be removed, so there is one for each process, whatever is unloaded, reloaded or
imported anew: the switch hangs on ``sys``. While the switch is off, or for an event that nobody wants, the
hook returns from its first statement. It never raises but for Ctrl-C, since an exception in an audit hook
aborts what is audited.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

own_threads: set[int] = set()
"""Threads of our own: what they open or start is not the cell's that runs meanwhile."""

Sink = Callable[[str, tuple[Any, ...]], None]

_ATTRIBUTE = "_mlops_jupyter_file_switch"


@contextmanager
def unobserved() -> Iterator[None]:
    """What this thread opens or starts meanwhile is ours, and no cell's."""
    thread = threading.get_ident()
    own_threads.add(thread)
    try:
        yield
    finally:
        own_threads.discard(thread)


class Switch:
    """Which events are wanted, and who gets them. One in a process."""

    __slots__ = ("faults", "sink", "wanted")

    def __init__(self) -> None:
        self.wanted: set[str] = set()
        self.sink: Sink | None = None
        self.faults: list[str] = []

    def on(self, events: frozenset[str], sink: Sink) -> None:
        """Send ``events`` to ``sink``."""
        self.sink = sink
        self.wanted.update(events)

    def off(self) -> None:
        """Send nothing any more."""
        self.wanted.clear()
        self.sink = None


def _make_hook(switch: Switch) -> Callable[[str, tuple[Any, ...]], None]:
    # ``wanted`` is bound as a default because a local is the cheapest to look up, at every event.
    def hook(event: str, args: tuple[Any, ...], wanted: set[str] = switch.wanted) -> None:
        if event not in wanted:
            return
        sink = switch.sink
        if sink is None:
            return
        try:
            sink(event, args)
        except Exception as error:  # noqa: BLE001 - else the user's open() would fail
            if len(switch.faults) < 20:
                switch.faults.append(f"{event}: {type(error).__name__}: {error}")

    return hook


def get_switch(*, install: bool = False) -> Switch:
    """The process's switch; ``install`` adds the audit hook where it is not there yet."""
    found: Switch | None = getattr(sys, _ATTRIBUTE, None)
    if found is None:
        found = Switch()
        if install:
            setattr(sys, _ATTRIBUTE, found)
            # In a forked child the cell of the parent goes on without us.
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=found.off)
            sys.addaudithook(_make_hook(found))
    return found


def emit(event: str, *args: Any) -> None:
    """Tell the hook's sink of something that raises no audit event. Never raises; costs 0.1 µs while off."""
    switch = get_switch()
    if event not in switch.wanted or switch.sink is None:
        return
    try:
        switch.sink(event, args)
    except Exception as error:  # noqa: BLE001 - else the user's call would fail
        if len(switch.faults) < 20:
            switch.faults.append(f"{event}: {type(error).__name__}: {error}")
