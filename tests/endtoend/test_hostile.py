"""What users log by accident or on purpose: names, values and objects that nobody expects."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.capture.support import Kernel

from .conftest import Command

_HOSTILE = r"""%%track hostile
import mlops_jupyter as mlops
mlops.log_param('<script>', 'a\0b')
mlops.log_param('long', 'v' * 1_000_000)
mlops.log_metric('\ud800', float('nan'))
mlops.set_tag('sur\ud800rogate', '\udfff')
mlops.set_tag('nul\0', '\0')
mlops.log_params({f'p{i}': i for i in range(300)})
"""


def test_hostile_names_and_values_arrive_without_a_dead_letter(
    home: Path, start_kernel: Callable[..., Kernel], mlops: Command
) -> None:
    kernel = start_kernel()
    reply = kernel.execute(_HOSTILE)
    assert reply.status == "ok", reply.traceback
    (line,) = [shown["text/plain"] for shown in reply.displays]
    assert "302 parameters" in line and "nan" in line, "the line below the cell counts what log_* wrote"

    synced = mlops("sync", "--json")
    assert synced.returncode == 0, synced.stderr
    assert synced.stderr == ""
    assert json.loads(synced.stdout)["dead_letters"] == []
    with closing(sqlite3.connect(home / ".mlops" / "mlflow.db")) as mlflow:
        ((params, metrics),) = mlflow.execute("SELECT (SELECT COUNT(*) FROM params), (SELECT COUNT(*) FROM metrics)")
        tags = dict(mlflow.execute("SELECT key, value FROM tags"))
    assert (params, metrics) == (302, 1)
    assert "\N{REPLACEMENT CHARACTER}" in tags.values()


def test_objects_that_raise_whatever_is_asked_of_them(start_kernel: Callable[..., Kernel], mlops: Command) -> None:
    kernel = start_kernel()
    names = ("repr", "eq", "getattr", "hash", "bool", "len", "reduce", "iter", "float", "str", "array", "dir")
    body = "".join(f"    def __{name}__(*_): raise RuntimeError('{name}')\n" for name in names)
    source = f"class Hostile:\n{body}value = Hostile(); kept = [value, {{'k': value}}]"
    assert kernel.execute(f"%%track hostile\n{source}").stderr == ""
    reply = kernel.execute("other = kept[0]; print('fine')")
    assert (reply.status, reply.stdout, reply.stderr) == ("ok", "fine\n", "")
    assert "no fault" in mlops("doctor").stdout


def test_forked_workers_and_threads_log_into_the_run_of_the_cell(
    start_kernel: Callable[..., Kernel], mlops: Command
) -> None:
    kernel = start_kernel()
    source = """%%track workers
import multiprocessing, threading, mlops_jupyter as mlops
def work(i):
    mlops.log_metric('forked', i, step=i)
def log(name):
    for i in range(200):
        mlops.log_metric(name, i, step=i)
with multiprocessing.get_context('fork').Pool(2) as pool:
    pool.map(work, range(20))
threads = [threading.Thread(target=log, args=(f't{n}',)) for n in range(3)]
[t.start() for t in threads]; [t.join() for t in threads]
"""
    assert kernel.execute(source).status == "ok"
    (run,) = json.loads(mlops("runs", "list", "--json").stdout)["runs"]
    history = json.loads(mlops("runs", "show", run["run_id"], "--json").stdout)["metric_history"]
    assert {key: len(values) for key, values in history.items()} == {"forked": 20, "t0": 200, "t1": 200, "t2": 200}
    assert run["metrics"]["t0"] == 199
