"""Digests of written variables that mean the same in another process, so that a replay can be compared.

In an ordinary session only what costs next to nothing is looked at: small values, within a budget a cell. In a
replay (``MLOPS_FINGERPRINT=all``) every written variable is.

The digest's algorithm says what it stands for: ``value1:`` the whole value, ``part1:`` all of it but parts that
cannot be looked into, ``sample1:`` a sample of its bytes (only comparable between two replays). What follows after
``~`` is the digest with floats to 7 digits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from mlops_jupyter.entities import Digest, Grade

from ._inspect import identity
from .fingerprint import Fingerprint, Hasher

VARIABLE = "MLOPS_FINGERPRINT"
"""Environment variable: ``all`` for every written variable."""

_CELL_BYTES, _CELL_NODES, _CELL_ROUNDED = 256 * 1024, 120, 16 * 1024
_CELL_SECONDS = 0.000_1
_REPLAY_BYTES, _REPLAY_NODES, _REPLAY_ROUNDED, _REPLAY_SECONDS = 256 * 1024 * 1024, 100_000, 64 * 1024 * 1024, 5.0
_SCALARS = frozenset(map(identity, (type(None), bool, float, complex)))

WHOLE, PART, SAMPLE = "value1", "part1", "sample1"


class ValueDigests:
    """Digests of what the cells of one session write, within the budget of each cell."""

    __slots__ = ("_bytes", "_deadline", "_nodes", "_spent", "everything")

    def __init__(self, *, everything: bool) -> None:
        self.everything = everything
        self._bytes = self._nodes = 0
        self._deadline = self._spent = 0.0

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> ValueDigests:
        """As the environment of the kernel asks."""
        return cls(everything=environ.get(VARIABLE) == "all")

    def begin_cell(self) -> None:
        """A cell has ended and its variables are looked at next."""
        self._bytes, self._nodes, self._spent = _CELL_BYTES, _CELL_NODES, 0.0
        if self.everything:
            self._deadline = time.monotonic() + _REPLAY_SECONDS

    def digest(self, value: object) -> Digest | None:
        """The value's digest, or None where its summary says it exactly or the budget does not allow it."""
        if identity(type(value)) in _SCALARS or (type(value) is int and -(2**200) < value < 2**200):
            return None
        if self.everything:
            if time.monotonic() > self._deadline:
                return None
            found, _, _ = portable_fingerprint(
                value, budget_bytes=_REPLAY_BYTES, budget_nodes=_REPLAY_NODES, rounding_limit=_REPLAY_ROUNDED
            )
            return None if found is None else _named(found.digest, found.grade)
        if self._nodes <= 0 or self._spent > _CELL_SECONDS:
            return None
        began = time.perf_counter()
        found, used_bytes, used_nodes = portable_fingerprint(
            value, budget_bytes=self._bytes, budget_nodes=self._nodes, rounding_limit=_CELL_ROUNDED, strict=True
        )
        self._spent += time.perf_counter() - began
        self._bytes -= used_bytes
        self._nodes -= max(used_nodes, 1)
        # Beyond the budget the digest would depend on what the cell wrote besides.
        if found is None or found.grade is Grade.SAMPLED or self._nodes < 0:
            return None
        return _named(found.digest, found.grade)


def _named(digest: str, grade: Grade) -> Digest:
    kind = {Grade.EXACT: WHOLE, Grade.SAMPLED: SAMPLE}.get(grade, PART)
    return Digest(f"{kind}:{digest}")


def portable_fingerprint(
    value: object, *, budget_bytes: int, budget_nodes: int, rounding_limit: int, strict: bool = False
) -> tuple[Fingerprint | None, int, int]:
    """As ``measure``, but equal values have equal digests in every process with the same libraries.

    What cannot be looked into stands for its type alone (ASSUMED). The digest does not depend on the budgets unless
    the value is larger than they allow (SAMPLED, or ASSUMED). Where the value holds floats and no more than
    ``rounding_limit`` bytes, a second digest follows after ``~``, in which floats count to 7 digits (those of an array
    relative to its largest). ``strict``: None for a value beyond the budgets.
    """
    hasher = Hasher(budget_bytes, budget_nodes, portable=True)
    hasher.strict = strict
    try:
        hasher.feed(value)
    except OverflowError:
        return None, 0, budget_nodes if hasher.nodes_used(budget_nodes) > budget_nodes else 8
    except Exception:  # noqa: BLE001
        return None, 0, 1
    used = max(0, budget_bytes - hasher.bytes_left), hasher.nodes_used(budget_nodes)
    if hasher.unknown:
        return None, *used
    grade = Grade.SAMPLED if hasher.sampled else Grade.ASSUMED if hasher.partial else Grade.EXACT
    digest = hasher.digest()
    if hasher.floats and not hasher.sampled and used[0] <= rounding_limit:
        rounded = Hasher(budget_bytes, budget_nodes, portable=True, rounded=True)
        try:
            rounded.feed(value)
            digest += f"~{rounded.digest()}"
        except Exception:  # noqa: BLE001, S110 - without it only exact equality can be told
            pass
    return Fingerprint(Digest(digest), grade), *used
