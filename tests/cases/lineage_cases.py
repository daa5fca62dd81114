"""What lineage means, as a table: programs of a few cells with what each cell reads, writes and depends on.

Each cell is (source, names read, names written, cells depended on). A cell depends on another when it uses a version
that the other generated, or changes one in place. States are written ``state:random``. A case with ``unsound`` is a
known gap: the table says what would be right, and the test expects it to fail.
"""

# ruff: noqa: E501 - one case a line reads as a table

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell and what is expected of its execution."""

    source: str
    reads: frozenset[str]
    writes: frozenset[str]
    depends: frozenset[int]


@dataclass(frozen=True)
class LineageCase:
    """A program of cells in the order of their execution."""

    name: str
    cells: tuple[Cell, ...]
    unsound: str = ""
    """Why it is known to be wrong."""


def case(name: str, *cells: tuple[str, str, str, str], unsound: str = "") -> LineageCase:
    """Build a case from tuples of texts."""
    return LineageCase(
        name,
        tuple(
            Cell(
                source,
                frozenset(reads.split()),
                frozenset(writes.split()),
                frozenset(map(int, depends.split())),
            )
            for source, reads, writes, depends in cells
        ),
        unsound,
    )


CASES: tuple[LineageCase, ...] = (
    # ------------------------------------------------------------------ names
    case("chain", ("x = 1", "", "x", ""), ("y = x + 1", "x", "y", "0"), ("z = y", "y", "z", "1")),
    case("unrelated cell", ("x = 1", "", "x", ""), ("y = 2", "", "y", ""), ("z = x", "x", "z", "0")),
    case("overwritten later", ("x = 1", "", "x", ""), ("y = x", "x", "y", "0"), ("x = 2", "", "x", ""), ("z = x", "x", "z", "2")),
    case("same value assigned again", ("x = 1", "", "x", ""), ("x = 1", "", "x", ""), ("y = x", "x", "y", "1")),
    case("read after own certain store", ("x = 1", "", "x", ""), ("x = 2\ny = x", "", "x y", "")),
    case("read before own store", ("x = 1", "", "x", ""), ("y = x\nx = 2", "x", "x y", "0")),
    case("swap", ("a, b = 1, 2", "", "a b", ""), ("a, b = b, a", "a b", "a b", "0")),
    case("unpacking", ("a, *b = [1, 2, 3]", "", "a b", ""), ("c = b", "b", "c", "0")),
    case("annotated", ("lr: float = 0.1", "", "lr", ""), ("y = lr", "lr", "y", "0")),
    case("annotation without value", ("x: int", "", "", "")),
    case("augmented number", ("x = 1", "", "x", ""), ("x += 1", "x", "x", "0"), ("y = x", "x", "y", "1")),
    case("augmented list is in place", ("a = [1]", "", "a", ""), ("b = a", "a", "b", "0"), ("b += [2]", "b", "a b", "0 1"), ("n = len(a)", "a", "n", "2")),
    case("del", ("x = 1", "", "x", ""), ("del x", "", "x", "0"), ("x = 3", "", "x", ""), ("y = x", "x", "y", "2")),
    case("name read that was never bound", ("y = len('abc')", "", "y", "")),
    case("shadowed builtin", ("len = lambda x: 7", "", "len", ""), ("y = len('abc')", "len", "y", "0")),
    case("walrus", ("if (n := 10) > 5:\n    m = n", "", "n m", ""), ("k = n", "n", "k", "0")),
    case("walrus in comprehension", ("out = [last := i for i in range(3)]", "", "out last", ""), ("y = last", "last", "y", "0")),
    case("comprehension variable is local", ("i = 5", "", "i", ""), ("a = [i for i in range(3)]", "", "a", ""), ("b = i", "i", "b", "0")),
    case("nested comprehension", ("rows = [[1], [2]]", "", "rows", ""), ("flat = [v for row in rows for v in row]", "rows", "flat", "0")),
    case("comprehension condition", ("limit = 2", "", "limit", ""), ("a = [v for v in range(5) if v < limit]", "limit", "a", "0")),
    case("dict comprehension", ("k = 2", "", "k", ""), ("d = {i: i * k for i in range(3)}", "k", "d", "0")),
    case("f-string", ("name = 'n'", "", "name", ""), ("s = f'{name!r:>{10}}'", "name", "s", "0")),
    case("conditional expression", ("c, p, q = True, 1, 2", "", "c p q", ""), ("y = p if c else q", "c p q", "y", "0")),
    case("star import", ("from string import *", "", "Formatter Template ascii_letters ascii_lowercase ascii_uppercase capwords digits hexdigits octdigits printable punctuation whitespace", ""), ("y = digits", "digits", "y", "0")),
    case("imports", ("import math as m\nfrom os import path", "", "m path", ""), ("y = m.sqrt(4)", "m", "y", "0"), ("p = path.sep", "path", "p", "0")),
    # ------------------------------------------------------------------ branches, loops, errors
    case("branch not taken is not read", ("f, a, b = True, 1, 2", "", "f a b", ""), ("a = 5", "", "a", ""), ("b = 6", "", "b", ""), ("if f:\n    y = a\nelse:\n    y = b", "f a", "y", "0 1")),
    case("store not reached is no write", ("f, x = False, 1", "", "f x", ""), ("if f:\n    x = 1", "f", "", "0"), ("y = x", "x", "y", "0")),
    case("same value stored in a branch", ("f, x = True, 1", "", "f x", ""), ("if f:\n    x = 1", "f", "x", "0"), ("y = x", "x", "y", "1")),
    case("both branches bind", ("f = 1", "", "f", ""), ("if f:\n    y = 1\nelse:\n    y = 2\nz = y", "f", "y z", "0")),
    case("elif", ("n = 2", "", "n", ""), ("if n == 1:\n    y = 'a'\nelif n == 2:\n    y = 'b'\nelse:\n    y = 'c'", "n", "y", "0")),
    case("loop", ("rows = [1, 2]\ntotal = 0", "", "rows total", ""), ("for r in rows:\n    total = total + r", "rows total", "r total", "0"), ("y = total", "total", "y", "1")),
    case("loop that never runs", ("rows = []\nx = 1", "", "rows x", ""), ("for r in rows:\n    x = 2", "rows", "", "0"), ("y = x", "x", "y", "0")),
    case("loop that rebinds one address", ("x = [0]", "", "x", ""), ("for i in range(4):\n    x = [i]", "", "i x", ""), ("y = x", "x", "y", "1")),
    case("while", ("n = 3", "", "n", ""), ("while n > 0:\n    n -= 1", "n", "n", "0"), ("y = n", "n", "y", "1")),
    case("loop else", ("xs = [1]", "", "xs", ""), ("for v in xs:\n    pass\nelse:\n    done = True", "xs", "v done", "0")),
    case("try that succeeds", ("a, b = 1, 2", "", "a b", ""), ("try:\n    y = a\nexcept ValueError:\n    y = b", "a", "y", "0")),
    case("try that fails over", ("a = 'x'\nb = 2", "", "a b", ""), ("try:\n    y = int(a)\nexcept ValueError:\n    y = b", "a b", "y", "0")),
    case("finally", ("a = 1", "", "a", ""), ("try:\n    pass\nfinally:\n    y = a", "a", "y", "0")),
    case("error in mid-cell", ("x = 1", "", "x", ""), ("y = x\n1 / 0\nz = x\nx = 5", "x", "y", "0"), ("w = x", "x", "w", "0")),
    case("error before anything", ("x = 1", "", "x", ""), ("1 / 0\ny = x", "", "", "")),
    case("error with the same value stored after it", ("x = 1", "", "x", ""), ("int('a')\nx = 1", "", "", ""), ("y = x", "x", "y", "0")),
    case("syntax error", ("x = 1", "", "x", ""), ("y = = x", "", "", ""), ("z = x", "x", "z", "0")),
    case("match", ("p = {'k': 3}", "", "p", ""), ("match p:\n    case {'k': v}:\n        y = v\n    case _:\n        y = 0", "p", "v y", "0")),
    case("with", ("import io", "", "io", ""), ("with io.StringIO('a') as fh:\n    t = fh.read()", "io", "fh t", "0"), ("u = t", "t", "u", "1")),
    case("async cell", ("import asyncio\nx = 1", "", "asyncio x", ""), ("await asyncio.sleep(0)\ny = x", "asyncio x", "y", "0")),
    # ------------------------------------------------------------------ functions and classes
    case("global read by a function", ("k = 2", "", "k", ""), ("def f(x):\n    return x * k", "", "f", ""), ("y = f(3)", "f k", "y", "0 1")),
    case("defining does not read", ("k = 2", "", "k", ""), ("def f():\n    return k", "", "f", ""), ("k = 3", "", "k", ""), ("y = f()", "f k", "y", "1 2")),
    case("function that was not called", ("k = 2", "", "k", ""), ("def f():\n    return k", "", "f", ""), ("g = f", "f", "g", "1"), ("y = g()", "g k", "y", "0 2")),
    case("transitive globals", ("k = 2", "", "k", ""), ("def f():\n    return k\ndef g():\n    return f()", "", "f g", ""), ("y = g()", "f g k", "y", "0 1")),
    case("callback through a library", ("k = 2", "", "k", ""), ("def f(x):\n    return x * k", "", "f", ""), ("y = list(map(f, [1, 2]))", "f k", "y", "0 1")),
    case("default is read at definition", ("k = 2", "", "k", ""), ("def f(x=k):\n    return x", "k", "f", "0"), ("k = 5", "", "k", ""), ("y = f()", "f", "y", "1")),
    case("decorator", ("def twice(f):\n    return lambda x: f(f(x))", "", "twice", ""), ("@twice\ndef inc(x):\n    return x + 1", "twice", "inc", "0"), ("y = inc(1)", "inc", "y", "1")),
    case("closure", ("def make(n):\n    def add(x):\n        return x + n\n    return add", "", "make", ""), ("add = make(2)", "make", "add", "0"), ("y = add(1)", "add", "y", "1")),
    case("closure with state", ("def counter():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n        return n\n    return up\nup = counter()", "", "counter up", ""), ("a = up()", "up", "a up", "0"), ("b = up()", "up", "b up", "1")),
    case("local shadows global", ("x = 1", "", "x", ""), ("def f():\n    x = 2\n    return x\ny = f()", "", "f y", "")),
    case("global statement", ("x = 1", "", "x", ""), ("def f():\n    global x\n    x = 5", "", "f", ""), ("f()", "f", "x", "1"), ("y = x", "x", "y", "2")),
    case("global counter", ("n = 0", "", "n", ""), ("def up():\n    global n\n    n += 1", "", "up", ""), ("up(); up()", "n up", "n", "0 1"), ("y = n", "n", "y", "2")),
    case("global float at one address", ("x = 1.5", "", "x", ""), ("def f():\n    global x\n    x = x * 2.0", "", "f", ""), ("for i in range(2): f()", "f x", "i x", "0 1"), ("y = x", "x", "y", "2")),
    case("function mutates a global", ("log = []", "", "log", ""), ("def note(v):\n    log.append(v)", "", "note", ""), ("note(1)", "log note", "log", "0 1"), ("y = len(log)", "log", "y", "2")),
    case("function mutates its argument", ("def fill(d):\n    d['k'] = 1", "", "fill", ""), ("d = {}", "", "d", ""), ("fill(d)", "d fill", "d", "0 1"), ("y = d['k']", "d", "y", "2")),
    case("lambda in a name", ("k = 2", "", "k", ""), ("f = lambda x: x * k", "", "f", ""), ("k = 3", "", "k", ""), ("y = f(1)", "f k", "y", "1 2")),
    case("lambda given away", ("k = 2", "", "k", ""), ("y = sorted([3, 1], key=lambda v: v * k)", "k", "y", "0")),
    case("lambda in a dict", ("k = 2", "", "k", ""), ("ops = {'m': lambda x: x * k}", "k", "ops", "0"), ("k = 3", "", "k", ""), ("y = ops['m'](1)", "k ops", "y", "1 2")),
    case("function kept in a library object", ("k = 2", "", "k", ""), ("import functools\ndef f(a, b):\n    return a + b + k\np = functools.partial(f, 1)", "", "functools f p", ""), ("k = 3", "", "k", ""), ("y = p(2)", "k p", "y", "1 2")),
    case("recursion", ("def fact(n):\n    return 1 if n < 2 else n * fact(n - 1)", "", "fact", ""), ("y = fact(4)", "fact", "y", "0")),
    case("class", ("rate = 2", "", "rate", ""), ("class Model:\n    scale = rate\n    def run(self, x):\n        return x * offset", "rate", "Model", "0"), ("offset = 1", "", "offset", ""), ("m = Model()", "Model", "m", "1"), ("y = m.run(2)", "m offset", "y", "2 3")),
    case("inheritance", ("class A:\n    def go(self):\n        return base", "", "A", ""), ("base = 1", "", "base", ""), ("class B(A):\n    pass", "A", "B", "0"), ("y = B().go()", "B base", "y", "1 2")),
    case("property", ("class A:\n    @property\n    def v(self):\n        return unit\na = A()", "", "A a", ""), ("unit = 3", "", "unit", ""), ("y = a.v", "a unit", "y", "0 1")),
    case("instance attribute", ("class Box: pass\nb = Box()", "", "Box b", ""), ("b.v = 1", "b", "b", "0"), ("y = b.v", "b", "y", "1")),
    case("method changes its instance", ("class Box:\n    def __init__(self):\n        self.v = 0\n    def put(self, v):\n        self.v = v\nb = Box()", "", "Box b", ""), ("b.put(3)", "b", "b", "0"), ("y = b.v", "b", "y", "1")),
    case("class attribute", ("class C:\n    n = 0", "", "C", ""), ("C.n = 2", "C", "C", "0"), ("y = C.n", "C", "y", "1")),
    case("dunder method reads a global", ("k = 2", "", "k", ""), ("class V:\n    def __add__(self, o):\n        return k\nv = V()", "", "V v", ""), ("y = v + 1", "k v", "y", "0 1")),
    case("generator function", ("k = 2", "", "k", ""), ("def gen():\n    for i in range(3):\n        yield i * k\ng = gen()", "", "gen g", ""), ("a = next(g)", "g k", "a g", "0 1"), ("b = next(g)", "g k", "b g", "0 2")),
    case("generator expression consumed later", ("xs = [1, 2]\nk = 3", "", "xs k", ""), ("g = (v * k for v in xs)", "k xs", "g", "0"), ("y = list(g)", "g k", "g y", "0 1"), ("z = list(g)", "g k", "g z", "0 2")),
    case("iterator", ("it = iter([1, 2, 3])", "", "it", ""), ("a = next(it)", "it", "a it", "0"), ("for v in it:\n    break", "it", "it v", "1"), ("b = list(it)", "it", "b it", "2")),
    # ------------------------------------------------------------------ mutation and aliases
    case("append", ("a = []", "", "a", ""), ("a.append(1)", "a", "a", "0"), ("y = len(a)", "a", "y", "1")),
    case("item", ("d = {}", "", "d", ""), ("d['k'] = 1", "d", "d", "0"), ("y = d['k']", "d", "y", "1")),
    case("item deleted", ("d = {'k': 1}", "", "d", ""), ("del d['k']", "d", "d", "0"), ("y = len(d)", "d", "y", "1")),
    case("method that changes nothing", ("a = [1]", "", "a", ""), ("n = a.count(1)", "a", "n", "0"), ("y = a[0]", "a", "y", "0")),
    case("alias", ("a = []", "", "a", ""), ("b = a", "a", "b", "0"), ("b.append(1)", "b", "a b", "0 1"), ("y = len(a)", "a", "y", "2")),
    case("alias made and changed in one cell", ("a = []", "", "a", ""), ("b = a\nb.append(1)", "a", "a b", "0"), ("y = len(a)", "a", "y", "1")),
    case("copy is no alias", ("a = [1]", "", "a", ""), ("b = a.copy()", "a", "b", "0"), ("b.append(1)", "b", "b", "1"), ("y = len(a)", "a", "y", "0")),
    case("object inside a container", ("inner = []\nouter = {'k': inner}", "", "inner outer", ""), ("inner.append(1)", "inner", "inner outer", "0"), ("y = len(outer['k'])", "outer", "y", "1")),
    case("changed through the container", ("inner = []\nouter = [inner]", "", "inner outer", ""), ("outer[0].append(1)", "outer", "inner outer", "0"), ("y = len(inner)", "inner", "y", "1")),
    case("changed through a loop variable", ("rows = [{}, {}]", "", "rows", ""), ("for row in rows:\n    row['k'] = 1", "rows", "row rows", "0"), ("y = rows[0]['k']", "rows", "y", "1")),
    case("changed through an element's name", ("rows = [{}]", "", "rows", ""), ("first = rows[0]\nfirst['k'] = 1", "rows", "first rows", "0"), ("y = rows[0]['k']", "rows", "y", "1")),
    case("set update", ("s = set()", "", "s", ""), ("s.update({1})", "s", "s", "0"), ("y = 1 in s", "s", "y", "1")),
    case("sort in place", ("a = [2, 1]", "", "a", ""), ("a.sort()", "a", "a", "0"), ("y = a[0]", "a", "y", "1")),
    case("globals()", ("x = 1", "", "x", ""), ("globals()['x'] = 2", "", "x", ""), ("y = x", "x", "y", "1")),
    case("exec", ("x = 1", "", "x", ""), ("exec('z = 3')", "", "z", ""), ("y = z", "z", "y", "1")),
    case("numpy view", ("import numpy as np\na = np.zeros(4)", "", "np a", ""), ("v = a[:2]", "a", "v", "0"), ("v[0] = 1", "v", "a v", "0 1"), ("y = float(a.sum())", "a", "y", "2")),
    case("numpy out=", ("import numpy as np\na = np.ones(3)\nb = np.zeros(3)", "", "np a b", ""), ("_t = np.add(a, 1, out=b)", "a b np", "_t b", "0"), ("y = float(b[0])", "b", "y", "1")),
    case("numpy augmented", ("import numpy as np\na = np.ones(3)\nb = a", "", "np a b", ""), ("a += 1", "a", "a b", "0"), ("y = float(b[0])", "b", "y", "1")),
    case("frame column", ("import pandas as pd\ndf = pd.DataFrame({'a': [1, 2]})", "", "pd df", ""), ("df['b'] = df['a'] * 2", "df", "df", "0"), ("y = int(df['b'].sum())", "df", "y", "1")),
    case("frame alias", ("import pandas as pd\ndf = pd.DataFrame({'a': [1, 2]})\nother = df", "", "pd df other", ""), ("other.loc[0, 'a'] = 9", "other", "df other", "0"), ("y = int(df['a'].sum())", "df", "y", "1")),
    case("frame inplace", ("import pandas as pd\ndf = pd.DataFrame({'a': [2, 1]})", "", "pd df", ""), ("df.sort_values('a', inplace=True)", "df", "df", "0"), ("y = int(df['a'].iloc[0])", "df", "y", "1")),
    case("frame methods that change nothing", ("import pandas as pd\ndf = pd.DataFrame({'a': [2, 1], 's': ['p', 'q']})", "", "pd df", ""), ("d = df.describe()\ng = df.groupby('s')['a'].mean()", "df", "d g", "0"), ("y = int(df['a'].sum())", "df", "y", "0")),
    case("estimator", ("import numpy as np\nfrom sklearn.linear_model import LinearRegression\nX = np.arange(6.0).reshape(3, 2)\ny = X[:, 0]", "", "np LinearRegression X y", ""), ("m = LinearRegression()", "LinearRegression", "m", "0"), ("m.fit(X, y)", "X m y", "m", "0 1"), ("p = m.predict(X)", "X m", "p", "0 2"), ("c = m.coef_", "m", "c", "2")),
    case("forest predicts without a change", ("from sklearn.ensemble import RandomForestClassifier\nX = [[0], [1]] * 5\ny = [0, 1] * 5", "", "RandomForestClassifier X y", ""), ("m = RandomForestClassifier(3, random_state=0).fit(X, y)", "RandomForestClassifier X y", "m", "0"), ("p = m.predict(X)", "X m", "p", "0 1"), ("q = m.score(X, y)", "X m y", "q", "0 1")),
    # ------------------------------------------------------------------ hidden state
    case("seed and draw", ("import random", "", "random", ""), ("random.seed(3)", "random", "state:random", "0"), ("a = random.random()", "random", "a state:random", "0 1"), ("b = random.random()", "random", "b state:random", "0 2")),
    case("unseeded draws are independent", ("import random", "", "random", ""), ("a = random.random()", "random", "a", "0"), ("b = random.random()", "random", "b", "0")),
    case("numpy seed", ("import numpy as np\nnp.random.seed(0)", "", "np state:numpy.random", ""), ("a = np.random.rand()", "np", "a state:numpy.random", "0")),
    case("seed in a function", ("import random\ndef set_all(n):\n    random.seed(n)", "", "random set_all", ""), ("set_all(3)", "random set_all", "state:random", "0"), ("a = random.random()", "random", "a state:random", "0 1")),
    case("library draws from the seeded state", ("import numpy as np\nfrom sklearn.utils import shuffle\nnp.random.seed(1)", "", "np shuffle state:numpy.random", ""), ("s = shuffle([1, 2, 3])", "shuffle", "s state:numpy.random", "0")),
    case("generator object", ("import numpy as np\nrng = np.random.default_rng(0)", "", "np rng", ""), ("a = float(rng.random())", "rng", "a rng", "0"), ("b = float(rng.random())", "rng", "b rng", "1")),
    case("environment", ("import os", "", "os", ""), ("os.environ['MLOPS_CASE'] = '1'", "os", "state:environ", "0"), ("v = os.environ['MLOPS_CASE']", "os", "v", "0 1"), ("del os.environ['MLOPS_CASE']", "os", "state:environ", "0 1")),
    case("library option", ("import pandas as pd", "", "pd", ""), ("pd.set_option('display.max_rows', 60)", "pd", "state:module:pandas", "0"), ("s = pd.Series([1])", "pd", "s", "0 1")),
    # ------------------------------------------------------------------ IPython
    case("cell executed again", ("x = 1", "", "x", ""), ("y = x", "x", "y", "0"), ("x = 1", "", "x", ""), ("y = x", "x", "y", "2")),
    case("out of order", ("def f():\n    return data", "", "f", ""), ("data = 3", "", "data", ""), ("y = f()", "data f", "y", "0 1")),
    case("%time", ("x = 1", "", "x", ""), ("%time y = x", "x", "y", "0"), ("z = y", "y", "z", "1")),
    case("%%time", ("x = 1", "", "x", ""), ("%%time\ny = x\nz = y", "x", "y z", "0"), ("w = z", "z", "w", "1")),
    case("%timeit binds nothing", ("x = 1", "", "x", ""), ("%timeit -n1 -r1 -q y = x", "x", "", "0")),
    case("%%timeit", ("x = 1", "", "x", ""), ("%%timeit -n1 -r1 -q\nq = x + 1", "x", "", "0")),
    case("shell reads names", ("x = 'hi'\nn = 3", "", "x n", ""), ("!echo {x} $n > /dev/null", "n x", "", "0")),
    case("shell output", ("x = 'hi'", "", "x", ""), ("lines = !echo {x}", "x", "lines", "0"), ("y = lines[0]", "lines", "y", "1")),
    case("last output", ("x = 1", "", "x", ""), ("x + 1", "x", "", "0"), ("y = _", "_2", "y", "1")),
    case("numbered output", ("x = 1", "", "x", ""), ("x + 1", "x", "", "0"), ("z = 3", "", "z", ""), ("y = Out[2]", "_2", "y", "1")),
    case("underscore as a throw-away", ("for _ in range(2): pass\nx = 1", "", "x", ""), ("y = x", "x", "y", "0")),
    # ------------------------------------------------------------------ hostile values
    case("hostile object", ("class Evil:\n    def __eq__(self, o): raise SystemError\n    __hash__ = None\n    def __repr__(self): raise SystemError\n    def __getattribute__(self, n): raise SystemError\ne = Evil()", "", "Evil e", ""), ("x = [e]\nn = len(x)", "e", "n x", "0")),
    # ------------------------------------------------------------------ known gaps
    case("thread that changes after its cell", ("import threading, time\nbox = []", "", "threading time box", ""), ("t = threading.Thread(target=lambda: (time.sleep(0.05), box.append(1)))\nt.start()", "box threading time", "t", "0"), ("t.join()", "t", "box t", "0 1"), ("y = len(box)", "box", "y", "2"), unsound="a thread's work is not seen in the cell that runs meanwhile"),
)  # fmt: skip
