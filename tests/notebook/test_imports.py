"""Imports first, and only where that changes nothing."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_jupyter.notebook.imports import hoist_imports


def test_imports_of_all_cells_become_one_and_none_is_there_twice() -> None:
    found = hoist_imports(
        [
            "import os\nimport json  # to read\nx = 1",
            "import json\nfrom a.b import (\n    c,\n    d as e,\n)\ny = e",
            "import os",
        ]
    )

    assert found.source == "import os\nimport json  # to read\nfrom a.b import (\n    c,\n    d as e,\n)"
    assert found.cells == ("x = 1", "y = e", "")
    assert found.moved == ((0, 2), (0, 1), (1,))


def test_a_future_statement_comes_first() -> None:
    found = hoist_imports(["import os", "from __future__ import annotations\nimport json"])

    assert found.source == "from __future__ import annotations\nimport os\nimport json"


def test_a_cell_of_imports_and_comments_is_gone() -> None:
    assert hoist_imports(["# what we need\nimport os\n\n# and\nimport sys"]).cells == ("",)


@pytest.mark.parametrize(
    "cells",
    [
        ["try:\n    import fast as f\nexcept ImportError:\n    f = None"],
        ["if x:\n    import a"],
        ["def f():\n    import a"],
        ["import a; a.go()"],
        ["x = 1; import a"],
        ["from a import *"],
        ["from a import *\nfrom b import c"],
        ["import sys\nsys.path.append('lib')", "import own"],
        ["import sys\nsys.path[0] = 'lib'\nimport own"],
        ["import os\nos.environ['THREADS'] = '1'\nimport own"],
        ["import os\nos.environ.setdefault('A', '1')\nimport own"],
        ["import matplotlib\nmatplotlib.use('agg')\nimport own"],
        ["%cd lib", "import own"],
        ["%env A=1", "import own"],
        ["!make module", "import own"],
        ["%%writefile own.py\nx = 1", "import own"],
        ["%%bash\nmake own", "import own"],
        ["open('own.py', 'w').write('x = 1')", "import own"],
        ["exec(text)", "import own"],
        ["import own", "own = 5"],
        ["own = 5", "import own"],
        ["import own", "del own"],
        ["import own", "def f():\n    global own\n    own = 1"],
        ["for own in [1]:\n    pass", "import own"],
        ["import own as x", "import other as x"],
        ["y = sum([1])", "from own import sum"],
        ["%%time\nimport own"],
        ["y = 1 if", "import own"],
    ],
)
def test_an_import_stays_where_moving_it_could_matter(cells: list[str]) -> None:
    found = hoist_imports(cells)

    assert "own" not in found.source
    assert not any(name in found.source for name in ("import a", "from a", "from b", "fast", "other"))
    for cell, before in zip(found.cells, cells, strict=True):
        assert [line for line in before.split("\n") if "import " in line and line not in found.source.split("\n")] == [
            line for line in cell.split("\n") if "import " in line
        ]


def test_imports_before_the_change_that_others_depend_on_are_moved() -> None:
    found = hoist_imports(["import os\nimport sys", "sys.path.insert(0, 'lib')\nimport own", "import late"])

    assert found.source == "import os\nimport sys"
    assert found.cells == ("", "sys.path.insert(0, 'lib')\nimport own", "import late")


def test_the_text_of_a_cell_that_failed_is_left_alone() -> None:
    found = hoist_imports(["import os\n1 / 0\nimport sys", "import os"], fixed=[0])

    assert found.cells[0] == "import os\n1 / 0\nimport sys"


def test_reloading_changed_modules_does_not_keep_imports_back() -> None:
    found = hoist_imports(["%load_ext autoreload\n%autoreload 2\nimport os", "%load_ext other", "import sys"])

    assert found.source == "import os"


def test_lines_with_magics_keep_their_place() -> None:
    found = hoist_imports(["%matplotlib inline\nimport os\nfiles = !ls\nos.sep"])

    assert found.source == "import os"
    assert found.cells == ("%matplotlib inline\nfiles = !ls\nos.sep",)


_NAMES = ["math", "json", "string", "a", "b"]
_STATEMENTS = st.sampled_from(
    [
        "import math", "import json", "import json as a", "import math as a", "from string import digits as b",
        "from math import pi as b", "import os.path", "import os", "a = 1", "b = 'x'", "math = 3", "del a",
        "from math import *", "out.append(str(a))", "out.append(str(b))", "out.append(str(math))",
        "out.append(str(pi))", "try:\n    import json\nexcept ImportError:\n    json = None",
        "if out:\n    import math", "out.append(os.sep)", "from math import floor as sum", "out.append(str(sum))",
    ]
)  # fmt: skip


def _run(cells: list[str]) -> list[str] | None:
    space: dict[str, object] = {"out": []}
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            for cell in cells:
                exec(cell, space)
        except (NameError, AttributeError, TypeError):
            return None
    assert isinstance(space["out"], list)
    return [*space["out"], *(f"{n}={space.get(n)}" for n in ("a", "b", "math", "json", "sum"))]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(_STATEMENTS, min_size=1, max_size=4).map("\n".join), min_size=1, max_size=5))
def test_what_ran_gives_the_same_after_the_move(cells: list[str]) -> None:
    before = _run(cells)
    if before is None:
        return
    found = hoist_imports(cells)

    assert _run([found.source, *found.cells]) == before
