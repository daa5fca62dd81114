"""What no record pins is named where it stands, and nothing else is."""

from __future__ import annotations

import pytest

from mlops_jupyter.verification.recorded_run import replayable, was_redacted
from mlops_jupyter.verification.unpinned import find_unpinned, imported_modules


def _found(*texts: str) -> set[tuple[str, str]]:
    return {(u.kind, u.what) for u in find_unpinned([(str(i), text) for i, text in enumerate(texts)])}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import time\nt = time.time()", ("time", "time.time()")),
        ("from datetime import datetime as dt\nnow = dt.now()", ("time", "datetime.datetime.now()")),
        ("import pandas as pd\nt = pd.Timestamp.now()", ("time", "pandas.Timestamp.now()")),
        ("import numpy as np\nx = np.random.rand(3)", ("randomness", "numpy.random.rand() without a seed")),
        (
            "import numpy as np\ng = np.random.default_rng()",
            ("randomness", "numpy.random.default_rng() without a seed"),
        ),
        ("import random\nx = random.random()", ("randomness", "random.random() without a seed")),
        ("import torch\nx = torch.randn(3)", ("randomness", "torch.randn() without a seed")),
        ("import uuid\nx = uuid.uuid4()", ("randomness", "uuid.uuid4()")),
        ("a, b = train_test_split(x)", ("randomness", "train_test_split() without random_state")),
        ("small = df.sample(3)", ("randomness", "sample() without random_state")),
        ("import requests\nr = requests.get(place)", ("network", "requests.get()")),
        ("df = pd.read_csv('https://me:pw@example.org/x.csv?k=1')", ("network", "https://example.org/x.csv")),
        (
            "from sklearn.datasets import fetch_openml\nfetch_openml('x')",
            ("network", "sklearn.datasets.fetch_openml()"),
        ),
        ("import os\nx = os.environ['LEVEL']", ("environment", "LEVEL")),
        ("import os\nx = os.getenv('LEVEL', '1')", ("environment", "LEVEL")),
        ("df = read('/home/ann/data.csv')", ("absolute_path", "/home/ann/data.csv")),
        ("df = read('~/data.csv')", ("absolute_path", "~/data.csv")),
        ("!wget -q x.csv", ("command", "!wget -q x.csv")),
        ("name = input('who?')", ("input", "input()")),
        ("if True:\n    !ls\n    import time; time.time()", ("time", "time.time()")),
    ],
)
def test_named(text: str, expected: tuple[str, str]) -> None:
    assert expected in _found(text)


@pytest.mark.parametrize(
    "texts",
    [
        ("import numpy as np\nnp.random.seed(0)", "import numpy as np\nx = np.random.rand(3)\ny = df.sample(3)"),
        ("import numpy as np\ng = np.random.default_rng(7)\nx = g.normal()",),
        ("%%track --seed 3\nimport random\nx = random.random()",),
        ("import random\nr = random.Random(3)",),
        ("train_test_split(x, random_state=1)\nRandomForestClassifier(**options)",),
        ("import os\nos.environ['A'] = '1'",),
        ("text = 'a / b'\nratio = '1/2'\nfraction = '/'",),
        ("shuffle = 3\nsample = 4\nprint(shuffle, sample)",),
        ("this is no Python",),
        ("",),
    ],
)
def test_not_named(texts: tuple[str, ...]) -> None:
    assert _found(*texts) == set()


def test_imports() -> None:
    texts = [
        "%matplotlib inline\nimport numpy as np, os.path",
        "from sklearn.linear_model import Ridge\nfrom . import x",
    ]
    assert imported_modules(texts) == {"numpy", "os", "sklearn"}


@pytest.mark.parametrize(
    "source",
    ["password = '***'", "os.environ['API_KEY'] = '***'", "h = {'Authorization': 'Bearer ***'}", "%env TOKEN=***",
     "u = 'postgresql://me:***@host/db'", 'key = "***"'],
)  # fmt: skip
def test_blanked_secrets_are_found(source: str) -> None:
    assert was_redacted(source)


@pytest.mark.parametrize("source", ["print('*** done ***')", "x = 2 ** 3", "print('***')", "# ****\nx = 1"])
def test_stars_are_no_secrets(source: str) -> None:
    assert not was_redacted(source)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("%load_ext mlops_jupyter\nx = 1", "\nx = 1"),
        ("%%track a --seed 3\n%lineage x\ny = 1", "%%track a --seed 3\n\ny = 1"),
        ("%track on a", "%track on a"),
        ("%track status", ""),
        ("%%bash\n%lineage x", "%%bash\n%lineage x"),
        ('t = """\n%lineage x\n"""', 't = """\n%lineage x\n"""'),
    ],
)
def test_lines_that_only_show_something_are_left_out(source: str, expected: str) -> None:
    assert replayable(source) == expected
