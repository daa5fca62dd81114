"""A kernel that is killed in the middle of a tracked loop, beside one that goes on."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.capture.support import Kernel

from .conftest import Command

_LOOP = """%%track killed
import mlops_jupyter as mlops, os
mlops.log_param('rate', 0.1)
seen = os.open('seen', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
for i in range(10**9):
    mlops.log_metric('loss', i, step=i)
    os.write(seen, b'.')
"""


def test_kill_9_loses_at_most_the_last_value_and_ends_only_the_dead(
    home: Path, start_kernel: Callable[..., Kernel], mlops: Command
) -> None:
    doomed, other = start_kernel(), start_kernel()
    doomed.client.execute(_LOOP)
    other.client.execute("%%track alive\nimport time\nwhile True: time.sleep(0.1)")
    while not (home / "seen").exists() or (home / "seen").stat().st_size < 200:
        time.sleep(0.05)
    os.kill(doomed.manager.provisioner.pid, signal.SIGKILL)
    doomed.manager.provisioner.process.wait()
    returned = (home / "seen").stat().st_size
    while True:
        listed = {run["name"]: run for run in json.loads(mlops("runs", "list", "--json").stdout)["runs"]}
        if "alive" in listed:
            break
    synced = json.loads(mlops("sync", "--json").stdout)
    assert synced["error"] is None
    assert synced["killed"] == [listed["killed"]["run_id"]]
    shown = json.loads(mlops("runs", "show", listed["killed"]["run_id"], "--json").stdout)
    assert (shown["status"], shown["params"]["rate"]) == ("KILLED", "0.1")
    steps = [value["step"] for value in shown["metric_history"]["loss"]]
    # Of more than 10,000 values the document shows the last; none before the last that had returned is missing.
    assert steps[-1] >= returned - 1
    assert steps == list(range(steps[0], steps[-1] + 1))
    assert listed["alive"]["status"] == "RUNNING"
