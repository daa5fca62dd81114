"""Random notebooks, run for real and recorded: the converted one gives the same value by itself, whatever else ran."""

from __future__ import annotations

import atexit
import hashlib
from collections.abc import Iterator

import nbformat
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

from mlops_jupyter.entities import CellExecution, Digest, EntityKind, ExecutionId, ExecutionStatus, SessionId
from mlops_jupyter.notebook import GatheredSlice
from mlops_jupyter.notebook.conversion import Known, convert_slice
from mlops_jupyter.notebook.leaves import display_leaves
from mlops_jupyter.provenance import MemorySource, Records, backward_slice
from tests.capture.notebook import Notebook, execute, fresh, new_shell
from tests.capture.notebook import notebook as recording

NAMES = ("a", "b", "c")
_name = st.sampled_from(NAMES)
_number = st.integers(0, 5)

_statement = st.one_of(
    st.builds("{0} = {1}".format, _name, _number),
    st.builds("{0} = [{1}, {2}]".format, _name, _number, _number),
    st.builds("{0} = grow({1}, by={2})".format, _name, _name, _number),
    st.builds("{0} = {1}".format, _name, _name),
    st.builds("{0}.append({1})".format, _name, _number),
    st.builds("{0} += [{1}]".format, _name, _number),
    st.builds("{0} = dict(max_depth={1}, seed={2})".format, _name, _number, _number),
    st.builds("{0} = len(str({1})) + {2}  # how much".format, _name, _name, _number),
    st.builds("import math\n{0} = math.floor({1}.5)".format, _name, _number),
    st.builds("from math import pi as {0}".format, _name),
    st.builds("{0} = json.dumps({1}, default=str)".format, _name, _name),
    st.builds("if len(str({0})) > {1}:\n    {2} = {1}".format, _name, _number, _name),
    st.builds("for i in range({1}):\n    {0} = str({0})[:9] + str(i)".format, _name, _number),
    st.builds("rate = {0}".format, _number),
)
_cell = st.one_of(
    st.lists(_statement, min_size=1, max_size=3).map("\n".join),
    st.builds("print({0})".format, _name),
    st.builds("{0}".format, _name),
    st.just("import json"),
    st.builds("%time {0} = {1}".format, _name, _number),
    st.builds("del {0}".format, _name),
)
_SETUP = (
    "import json\na = 1\nb = [2]\nc = {'k': 3}\nrate = 2",
    "def grow(value, by=1):\n    return [value, by * rate]",
)


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    made = new_shell()
    yield made
    atexit.unregister(made.atexit_operations)
    made.atexit_operations()
    InteractiveShell.clear_instance()


def records(notebook: Notebook) -> Records:
    """What a store would hold of the notebook."""
    executions = tuple(
        CellExecution(
            execution_id=ExecutionId(f"{number:032x}"),
            session_id=SessionId("s" * 32),
            position=number,
            execution_count=number + 1,
            cell_id=f"cell-{number}",
            notebook="work.ipynb",
            source=source,
            source_digest=Digest("sha256:" + hashlib.sha256(source.encode()).hexdigest()),
            started_at=float(number),
            duration=0.0,
            status=ExecutionStatus.OK if error is None else ExecutionStatus.ERROR,
        )
        for number, (source, error) in enumerate(zip(notebook.sources, notebook.errors, strict=True))
    )
    uses = tuple(use for seen in notebook.observed for use in seen.uses)
    return Records(executions, tuple(notebook.versions.values()), uses)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(cells=["del b", "a = 0\na = json.dumps(b, default=str)"], limit=0)  # it failed because of what was deleted
@example(cells=["del a", "b = 0\na = grow(a, by=0)"], limit=0)  # as above, and what is deleted must be there
@given(cells=st.lists(_cell, min_size=1, max_size=8), limit=st.integers(0, 8))
def test_the_converted_notebook_gives_the_same_value(shell: InteractiveShell, cells: list[str], limit: int) -> None:
    with recording(shell) as played:
        for text in (*_SETUP, *cells):
            played.run(text)
        expected = {name: repr(shell.user_ns[name]) for name in NAMES if name in shell.user_ns}
        known = records(played)
    for name, value in expected.items():
        last = [v for v in known.versions if v.name == name and v.kind is EntityKind.VARIABLE and v.execution_id]
        version = max(last, key=lambda v: v.at)
        found = GatheredSlice.of(
            backward_slice(MemorySource.of(known), target=name, version=version), origin="recorded", notebook=None
        )
        shown = display_leaves(known, [e.execution_id for e in found.kept])
        conversion = convert_slice(found, None, shown=shown, known=Known(history=known.executions), limit=limit)
        nbformat.validate(nbformat.from_dict(conversion.document))
        fresh(shell)
        for cell in conversion.document["cells"]:
            if cell["cell_type"] == "code":
                error = execute(shell, "".join(cell["source"]))
                assert error is None or "raises-exception" in cell["metadata"].get("tags", ()), cell["source"]
        assert repr(shell.user_ns.get(name)) == value, "\n---\n".join(
            "".join(c["source"]) for c in conversion.document["cells"]
        )
