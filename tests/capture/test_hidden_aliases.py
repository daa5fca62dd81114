"""Objects that are shared where no name shows it: inside iterators, views, cursors, references, accessors, modules."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from tests.capture.notebook import new_shell, notebook


@pytest.fixture(scope="module")
def shell() -> InteractiveShell:
    return new_shell()


CASES = {
    "generators over generators": (
        "numbers = iter(range(9))", "squares = (n * n for n in numbers)", "even = filter(None, squares)",
        "next(squares), next(squares)", "out = next(even)",
    ),
    "zip over an iterator": ("it = iter(range(9))", "pairs = zip(it, it)", "next(it)", "out = next(pairs)"),
    "view of a dict": ("table = {'a': 1}", "keys = table.keys()", "table['b'] = 2", "out = sorted(keys)"),
    "bound append": ("rows = []", "add = rows.append", "add(1)", "out = rows"),
    "simple namespace": (
        "from types import SimpleNamespace\ns = SimpleNamespace(tags=[1])", "tags = s.tags", "tags.append(2)",
        "out = s.tags",
    ),
    "cursor": (
        "import sqlite3\ncon = sqlite3.connect(':memory:')\nc = con.execute('create table t (v)')",
        "cur = con.cursor()",
        "cur.execute('insert into t values (1)')", "out = con.execute('select v from t').fetchall()",
    ),
    "weak reference": (
        "import weakref\nclass Box:\n    value = 1\nbox = Box()", "ref = weakref.ref(box)", "ref().value = 7",
        "out = box.value",
    ),
    "buffer of an array": (
        "import numpy as np\nraw = bytearray(4)", "arr = np.frombuffer(raw, dtype=np.uint8)",
        "view = memoryview(raw)", "view[0] = 9", "out = arr.tolist()",
    ),
    "number shared by two functions": (
        "def make():\n    n = 0\n    def add():\n        nonlocal n\n        n += 1\n    def get():\n        return n\n"
        "    return add, get\nadd, get = make()",
        "add()",
        "out = get()",
    ),
    "bits of a generator": (
        "import numpy as np\nrng = np.random.default_rng(1)", "bits = rng.bit_generator", "bits.advance(10)",
        "out = rng.random()",
    ),
    "decorator that registers": (
        "from functools import singledispatch\n@singledispatch\ndef show(v):\n    return 'any'",
        "@show.register\ndef _(v: int):\n    return 'int'",
        "out = show(1)",
    ),
    "setter of a property": (
        "log = []",
        "class Tank:\n    @property\n    def level(self):\n        return 0\n    @level.setter\n"
        "    def level(self, v):\n        log.append(v)\ntank = Tank()",
        "tank.level = 3",
        "tank = None",
        "out = log",
    ),
    "cached property": (
        "from functools import cached_property\nclass Data:\n    def __init__(self):\n        self.v = [1]\n"
        "    @cached_property\n    def total(self):\n        return sum(self.v)\ndata = Data()",
        "data.total",
        "data.v.append(9)",
        "out = data.total",
    ),
}  # fmt: skip
NOT_NEEDED = {"setter of a property": {3}}


@pytest.mark.parametrize("name", CASES)
def test_what_changes_through_it_is_in_the_slice(name: str, shell: InteractiveShell) -> None:
    with notebook(shell) as book:
        for cell in CASES[name]:
            book.run(cell)
        assert set(book.slice("out")) == set(range(len(CASES[name]))) - NOT_NEEDED.get(name, set())


def test_what_a_module_of_ones_own_keeps_is_in_the_slice(
    shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_of_mine.py").write_text("seen = []\ndef price(n):\n    seen.append(n)\n    return n\n")
    (tmp_path / "other_of_mine.py").write_text("def double(n):\n    return 2 * n\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with notebook(shell) as book:
        for cell in (
            "from shop_of_mine import price, seen", "from other_of_mine import double", "price(1)", "double(4)",
            "out = (price(2), list(seen))", "apart = double(3)",
        ):  # fmt: skip
            book.run(cell)
        assert shell.user_ns["out"] == (2, [1, 2])
        assert set(book.slice("out")) == {0, 2, 4}
        assert set(book.slice("apart")) == {1, 5}
    for name in ("shop_of_mine", "other_of_mine"):
        sys.modules.pop(name, None)
