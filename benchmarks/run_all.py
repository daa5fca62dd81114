"""Run every benchmark in this folder, one after the other, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> int:
    failed = []
    for script in sorted(FOLDER.glob("*.py")):
        if script.name.startswith("_") or script.name == Path(__file__).name:
            continue
        if subprocess.run([sys.executable, script, *sys.argv[1:]], check=False).returncode:
            failed.append(script.name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
