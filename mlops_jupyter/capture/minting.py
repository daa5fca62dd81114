"""Ids of executions, runs and versions.

They come from a generator of our own, seeded by the system: the user's ``random`` is left alone, and a cell does not
wait for the system's entropy at each of its ids, which takes up to half a millisecond on some machines.
"""

from __future__ import annotations

import os
import random

from mlops_jupyter.entities import VersionId

_generator = random.Random()  # noqa: S311 - ids, no secrets


def _seed() -> None:
    """Start from the system's entropy anew; a forked child must not mint the ids of its parent."""
    _generator.seed(int.from_bytes(os.urandom(64), "big"))


_seed()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_seed)


def new_uid() -> str:
    """A random UUID (version 4) as 32 hexadecimal digits."""
    bits = _generator.getrandbits(128) & ~(0xF000 << 64) & ~(0xC000 << 48)
    return f"{bits | (4 << 76) | (8 << 60):032x}"


def new_version_id() -> VersionId:
    """63 random bits."""
    return VersionId(_generator.getrandbits(63))
