"""Digests of written variables that mean the same in another process, so that a replay can be compared.

In an ordinary session only what costs next to nothing is looked at: small values, within a budget a cell. In a
replay (``MLOPS_FINGERPRINT=all``) every written variable is.

The digest's algorithm says what it stands for: ``value1:`` the whole value, ``part1:`` all of it but parts that
cannot be looked into, ``sample1:`` a sample of its bytes (only comparable between two replays).
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from mlops_jupyter.entities import Digest, Grade

from ._inspect import identity
from .fingerprint import portable_fingerprint

VARIABLE = "MLOPS_FINGERPRINT"
"""Environment variable: ``all`` for every written variable."""

_CELL_BYTES, _CELL_NODES = 256 * 1024, 160
_REPLAY_BYTES, _REPLAY_NODES, _REPLAY_SECONDS = 256 * 1024 * 1024, 100_000, 5.0
_SCALARS = frozenset(map(identity, (type(None), bool, float, complex)))

WHOLE, PART, SAMPLE = "value1", "part1", "sample1"


class ValueDigests:
    """Digests of what the cells of one session write, within the budget of each cell."""

    __slots__ = ("_bytes", "_deadline", "_nodes", "everything")

    def __init__(self, *, everything: bool) -> None:
        self.everything = everything
        self._bytes = self._nodes = 0
        self._deadline = 0.0

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> ValueDigests:
        """As the environment of the kernel asks."""
        return cls(everything=environ.get(VARIABLE) == "all")

    def begin_cell(self) -> None:
        """A cell has ended and its variables are looked at next."""
        self._bytes, self._nodes = _CELL_BYTES, _CELL_NODES
        if self.everything:
            self._deadline = time.monotonic() + _REPLAY_SECONDS

    def digest(self, value: object) -> Digest | None:
        """The value's digest, or None where its summary says it exactly or the budget does not allow it."""
        if identity(type(value)) in _SCALARS or (type(value) is int and -(2**200) < value < 2**200):
            return None
        if self.everything:
            if time.monotonic() > self._deadline:
                return None
            found, _, _ = portable_fingerprint(value, budget_bytes=_REPLAY_BYTES, budget_nodes=_REPLAY_NODES)
            return None if found is None else _named(found.digest, found.grade)
        if self._nodes <= 0:
            return None
        found, used_bytes, used_nodes = portable_fingerprint(value, budget_bytes=self._bytes, budget_nodes=self._nodes)
        self._bytes -= used_bytes
        self._nodes -= max(used_nodes, 1)
        # Beyond the budget the digest would depend on what the cell wrote besides.
        if found is None or found.grade is Grade.SAMPLED or self._nodes < 0:
            return None
        return _named(found.digest, found.grade)


def _named(digest: str, grade: Grade) -> Digest:
    kind = {Grade.EXACT: WHOLE, Grade.SAMPLED: SAMPLE}.get(grade, PART)
    return Digest(f"{kind}:{digest}")
