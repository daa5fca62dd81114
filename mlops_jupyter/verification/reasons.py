"""Why a cell may give something else each time, as far as its text tells. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_CLOCK = frozenset(
    """
    time.time time.time_ns time.monotonic time.perf_counter time.process_time time.localtime time.gmtime time.ctime
    time.strftime time.asctime datetime.now datetime.today datetime.utcnow date.today Timestamp.now Timestamp.today
    Timestamp.utcnow
    """.split()  # noqa: SIM905 - words are easier to read and to extend than a list of quotes
)
_IDENTITY = frozenset(
    """
    uuid.uuid1 uuid.uuid4 uuid1 uuid4 os.urandom urandom secrets.token_hex secrets.token_bytes secrets.token_urlsafe
    secrets.choice secrets.randbelow random.SystemRandom SystemRandom
    """.split()  # noqa: SIM905 - as above
)
_MACHINE = frozenset(
    """
    os.getpid getpid socket.gethostname gethostname platform.node tempfile.mkdtemp tempfile.mkstemp mkdtemp mkstemp
    tempfile.NamedTemporaryFile tempfile.TemporaryDirectory psutil.virtual_memory
    """.split()  # noqa: SIM905 - as above
)
_NETWORK = frozenset(
    """
    requests.get requests.post requests.request httpx.get httpx.post urlopen urllib.request.urlopen
    urllib.request.urlretrieve urlretrieve
    """.split()  # noqa: SIM905 - as above
)
_MADE_OF_SEED = frozenset({"default_rng", "RandomState", "Random", "SeedSequence", "Generator"})
_MOST_FOUND = 20


def unstable_calls(source: str) -> tuple[str, ...]:
    """Short words for each call in a cell that reads a clock, mints an id, asks the machine or the network, or makes a
    generator of random numbers without a seed. Empty for a text that is no Python.
    """
    try:
        tree = ast.parse(python_lines(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return tuple(dict.fromkeys(_found(tree)))[:_MOST_FOUND]


def unstable_names(source: str) -> frozenset[str]:
    """Names that a cell assigns from a call that reads a clock, mints an id or asks the machine or the network."""
    try:
        tree = ast.parse(python_lines(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    names: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr) or node.value is None:
            continue
        if any(_found(node.value)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    return frozenset(names)


def is_random(reason: str) -> bool:
    """Whether a reason is about random numbers: what is made of them may agree by chance."""
    return "seed" in reason or "random" in reason


def _found(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _dotted(node.func)
        last_two = ".".join(name.split(".")[-2:])
        if name in _CLOCK or last_two in _CLOCK or name in ("perf_counter", "time_ns"):
            yield f"reads the clock ({last_two})"
        elif name in _IDENTITY or last_two in _IDENTITY:
            yield f"makes a new id or secret ({last_two})"
        elif name in _MACHINE or last_two in _MACHINE:
            yield f"asks the machine ({last_two})"
        elif name in _NETWORK or last_two in _NETWORK:
            yield f"reads from the network ({last_two})"
        elif name.rpartition(".")[2] in _MADE_OF_SEED and _has_no_seed(node):
            yield f"makes a generator without a seed ({last_two}())"
        elif any(k.arg == "random_state" and _is_none(k.value) for k in node.keywords):
            yield f"random_state=None ({last_two})"


def _has_no_seed(call: ast.Call) -> bool:
    given = [*call.args, *(k.value for k in call.keywords if k.arg in ("seed", "entropy"))]
    return not given or _is_none(given[0])


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _dotted(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
    return ".".join(reversed(parts))


def python_lines(source: str) -> str:
    """The text without lines that are IPython's own."""
    lines = source.splitlines()
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in lines)
