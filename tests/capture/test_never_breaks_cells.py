"""The same cells with and without capture: same result, output, exception and traceback."""

from __future__ import annotations

import pytest

from tests.capture.support import Kernel, Reply

CELLS = {
    "value": "1 + 1",
    "print": "print('a'); import sys; print('b', file=sys.stderr)",
    "semicolon": "3;",
    "error": "x = 1\ny = [1, 2]\ny[x + 5]",
    "nested error": "def f(a):\n    return g(a) + 1\n\ndef g(a):\n    return a / 0\n\nf(\n    3,\n)",
    "error inside of a probed call": (
        "class M:\n    def fit(self, X, y=None):\n        return self.inner(X)\n"
        "    def inner(self, X):\n        raise RuntimeError('no ' + str(X))\n"
        "    def get_params(self, deep=True):\n        return {}\n"
        "def train(m):\n    return m.fit(\n        [1, 2], y=[3]\n    ).score([1], [2])\ntrain(M())"
    ),
    "error in an argument of a probed call": "M().fit([1][3], [2])",
    "error in the receiver of a probed call": "nowhere().fit([1], [2])",
    "probed call gives its value": "class S:\n    def score(self, X, y): return (X, y)\nS().score([1], y=[2])",
    "syntax error": "x = (\n  1,\n  2",
    "indentation error": "  x = 1\n y = 2",
    "await": "import asyncio\nawait asyncio.sleep(0)\nprint('after')\nz = 4\nz",
    "async error": "async def h():\n    raise KeyError('k')\nawait h()",
    "async comprehension": "async def gen():\n    yield 1\n    yield 2\n[i async for i in gen()]",
    "magic": "%precision 3\n3.14159",
    "timed": "%%capture out\nprint('hidden')",
    "captured text": "out.stdout",
    "unknown magic": "%nosuchmagic",
    "unknown cell magic": "%%nosuchmagic\nx",
    "shell": "!echo hello",
    "nested run": "get_ipython().run_cell('print(5)\\n1/0')\n7",
    "exit code": "import sys\nsys.exit(3)",
    "frames": (
        "import sys\nclass F:\n    def fit(self, X):\n        return sys._getframe(1).f_code.co_name\n"
        "def caller():\n    return F().fit([1])\ncaller()"
    ),
    "locals": "def names():\n    model = F()\n    model.fit([2])\n    return sorted(locals())\nnames()",
    "generator": "def g():\n    yield F().fit([1])\nlist(g())",
    "class body": "class C:\n    made = F().fit([1])\nC.made",
    "comprehension": "[F().fit([i]) for i in range(2)]",
    "source": "import inspect\nprint(inspect.getsource(caller))",
    "warning": "import warnings\ndef w():\n    warnings.warn('careful', stacklevel=2)\nw()",
    "hostile repr": (
        "class R:\n    def __repr__(self): raise ValueError('repr')\n    def __eq__(self, o): raise ValueError('eq')\n"
        "    def __hash__(self): raise ValueError('hash')\n    def __bool__(self): raise ValueError('bool')\n"
        "    def __len__(self): raise ValueError('len')\n"
        "    def __getattribute__(self, name): raise ValueError('attribute')\nr = R()\nq = [r]\nd = {1: r}"
    ),
    "hostile estimator": (
        "class E:\n    def fit(self, *a): return self\n    def get_params(self, deep=True): raise OSError('params')\n"
        "    def __reduce__(self): raise OSError('reduce')\n    coef_ = 1\ne = E().fit(r)\ntype(e).__name__"
    ),
    "hostile error": (
        "class X(Exception):\n    def __str__(self): raise ValueError('str')\n"
        "try:\n    raise X\nexcept X as x:\n    caught = type(x)\ncaught"
    ),
    "delete": "del q\nq",
    "unicode": "größe = 'ä\u2028\u0000'\nlen(größe)",
    "surrogate": "s = '\\ud800'\nlen(s)",
    "dunder": "__name__, _",
    "namespace": "sorted(n for n in globals() if 'mlops' in n.lower())",
    "last result": "Out[1]",
}


def _everything(kernel: Kernel, prefix: str) -> dict[str, Reply]:
    return {
        name: kernel.execute(code if prefix == "#\n" and code.startswith("%%") else f"{prefix}{code}")
        for name, code in CELLS.items()
    }


def _without_status(reply: Reply) -> Reply:
    reply.displays = [data for data in reply.displays if "application/vnd.mlops.status.v1+json" not in data]
    return reply


@pytest.fixture(scope="module")
def replies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Reply]]:
    """All cells in four kernels: bare, captured, tracked, and bare with a comment where ``%%track`` stands."""
    import os
    from pathlib import Path

    found: dict[str, dict[str, Reply]] = {}
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "MLFLOW_"))}
    for kind, load, prefix in (
        ("bare", "pass", ""),
        ("captured", "%load_ext mlops_jupyter", ""),
        ("bare, shifted", "pass", "#\n"),
        ("tracked", "%load_ext mlops_jupyter", "%%track\n"),
    ):
        folder = tmp_path_factory.mktemp("w")
        (folder / "mlops.toml").write_text("deliver = false\n")
        kernel = Kernel(folder, {**environ, "PYTHONPATH": path})
        try:
            kernel.execute(load)
            found[kind] = _everything(kernel, prefix)
        finally:
            kernel.close()
    return found


@pytest.mark.parametrize("name", CELLS)
def test_captured_cell_shows_what_a_bare_one_shows(name: str, replies: dict[str, dict[str, Reply]]) -> None:
    assert replies["captured"][name] == replies["bare"][name]


@pytest.mark.parametrize("name", [n for n in CELLS if not CELLS[n].startswith(("%%", "  "))])
def test_tracked_cell_shows_what_a_bare_one_shows(name: str, replies: dict[str, dict[str, Reply]]) -> None:
    assert _without_status(replies["tracked"][name]) == replies["bare, shifted"][name]
