"""kill -9 during a headless run, at random moments, as often as one likes.

    python tests/runner/kill_rounds.py [--rounds 100] [--seed 0]

Each round kills the runner, its kernel, or both together with everything that could put things right, and then checks
as ``test_kill`` does: nothing unreadable, the output of every finished cell in the output notebook, the run ended.
"""

from __future__ import annotations

import argparse
import collections
import os
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.runner.test_kill import kill_round


def main() -> int:
    """Print what was killed when; 1 where a round failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["MLOPS_DELIVER"] = "false"  # what delivers to MLflow goes on after a run, as it should
    seen: collections.Counter[str] = collections.Counter()
    failed = 0
    for number in range(options.seed, options.seed + options.rounds):
        with tempfile.TemporaryDirectory(prefix="kill-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            (folder / "mlops.toml").touch()
            try:
                what = kill_round(folder, number)
            except Exception:
                failed += 1
                print(f"round {number} FAILED\n{traceback.format_exc()}", flush=True)
                continue
        print(f"round {number}: {what}", flush=True)
        victim, _, rest = what.partition(" ")
        cells = rest.removeprefix("after ").split(" ")[0]
        stage = "before the first cell ended" if not cells.isdigit() or cells == "0" else "between cells"
        seen[f"{victim}, {stage if 'FINISHED' not in what else 'when all cells had ended'}"] += 1
    for what, count in sorted(seen.items()):
        print(f"{count:5}  {what}")
    print(f"{options.rounds} rounds, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
