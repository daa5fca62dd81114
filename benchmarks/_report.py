"""How every benchmark here reports: a table for people, then one JSON line for machines."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence


def report(name: str, rows: Sequence[tuple[str, float, str, str]]) -> None:
    """Print ``rows`` of (what, figure, unit, aim) under ``name``."""
    print(f"\n{name}  (Python {platform.python_version()}, {os.cpu_count()} cores)")
    for what, figure, unit, aim in rows:
        print(f"  {what:<58} {figure:>10.3f} {unit:<6} {aim}")
    print(json.dumps({"benchmark": name, "rows": [list(row) for row in rows]}))
    sys.stdout.flush()


def median(values: Sequence[float]) -> float:
    """Median of ``values``."""
    return statistics.median(values)
