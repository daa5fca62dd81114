"""What a cell does to what all cells share: settings of libraries, the working directory, generators, the shell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from mlops_jupyter.analysis import Call, CellAnalysis, Function, Magic, Touch

from .static_libraries import PLOTTING
from .static_values import Values

SETTINGS = frozenset(
    """
    seed manual_seed set_option reset_option set_theme set_style set_context set_palette chdir filterwarnings
    simplefilter
    use basicConfig load_dotenv set_seed set_output_format register_matplotlib_converters putenv setlocale
    setdefaulttimeout setrecursionlimit set_printoptions seterr set_config enable disable reload seed_everything
    set_random_seed manual_seed_all patch_sklearn install_opener resetwarnings setenv getcontext init_notebook_mode
    """.split()  # noqa: SIM905 - words are easier to read and to extend than a list of quotes
)
"""Calls on a module that change what later cells do."""
CHANGERS = frozenset({"append", "insert", "extend", "update", "remove", "clear", "pop", "setdefault", "popitem"})
SEEDS = frozenset(
    {
        "seed",
        "manual_seed",
        "manual_seed_all",
        "set_seed",
        "seed_everything",
        "set_random_seed",
        "setstate",
        "set_state",
    }
)
_DRAWING = frozenset({"random", "numpy", "torch", "tensorflow", "keras", "scipy", "xgboost", "lightgbm", "catboost",
                      "gensim", "transformers", "imblearn", "optuna", "sklearn", "statsmodels"})  # fmt: skip
_DRAWS = frozenset(
    """
    fit fit_transform fit_predict partial_fit sample rvs shuffle choice choices permutation train bootstrap split
    cross_val_score cross_validate train_test_split rand randn randint random random_sample normal uniform randperm
    backward step
    """.split()  # noqa: SIM905 - as above
)
_NO_DRAW = re.compile(
    r"(?:^|\.)(?:load_\w+|array|arange|zeros|ones|linspace|mean|sum|std|concatenate|\w+_score|\w+_error)$"
)
_DATA = frozenset(
    {"pandas", "numpy", "sklearn", "torch", "tensorflow", "keras", "scipy", "polars", "statsmodels", "xgboost",
     "lightgbm", "catboost", "nltk", "spacy", "mlflow", "dask"}
)  # fmt: skip
"""Libraries whose settings matter only to those who use them."""

_HARMLESS_MAGICS = frozenset(
    {"time", "timeit", "prun", "who", "whos", "who_ls", "pwd", "pinfo", "pinfo2", "psource", "pdoc", "history", "hist",
     "lsmagic", "memit", "mprun", "lprun", "debug", "tb", "ls", "cat", "less", "more", "man", "page", "pycat", "pfile",
     "capture", "html", "HTML", "javascript", "js", "latex", "markdown", "svg", "pip", "conda",
     "notebook", "quickref", "magic", "psearch", "xmode", "colors", "track", "lineage", "gather", "mlops"}
)  # fmt: skip
_PLOT_MAGICS = frozenset({"matplotlib", "config", "precision", "pylab"})
_SHELLS = frozenset(
    {"system", "getoutput", "sx", "!", "bash", "sh", "script", "perl", "ruby", "python", "python3", "cmd"}
)
_LOOKING = re.compile(
    r"^\s*(?:sudo\s+)?(?:ls|pwd|cat|head|tail|echo|wc|df|du|free|which|date|nvidia-smi|whoami|hostname|uname|lscpu|tree|file|"
    r"grep|find|python3?\s+(?:--version|-V)|pip3?\s+(?:list|show|freeze|install)|git\s+(?:status|log|diff|branch))\b[^>|;&]*$"
)
NAMES_FROM_ELSEWHERE = frozenset(
    {"run", "load", "loadpy", "pylab", "store", "macro", "rerun", "recall", "paste", "cpaste"}
)
_SHELL_METHODS = frozenset({"run_cell", "run_cell_magic", "run_line_magic", "magic", "user_ns", "ex", "push", "system"})


def is_dynamic(analysis: CellAnalysis) -> bool:
    """Whether the cell may bind names that its text does not show."""
    if analysis.dynamic or any(f.dynamic for f in analysis.functions):
        return True
    return not _SHELL_METHODS.isdisjoint(a for a in analysis.attributes if a != "system")


def commands(analysis: CellAnalysis) -> tuple[bool, bool]:
    """(Whether the cell gives commands to a shell that may change files, whether it gives any.)"""
    texts = [m.body if m.body is not None else m.line for m in analysis.magics if m.name in _SHELLS]
    return any(not all(_LOOKING.match(x) for x in t.splitlines() if x.strip()) for t in texts), bool(texts)


def settings(analysis: CellAnalysis, ran: Iterable[Function], values: Values) -> dict[str, str]:
    """Shared state that the cell changes, and how; ``module:pandas``, ``plots`` or ``ambient``."""
    ran = list(ran)
    found: dict[str, str] = {}
    for touch in _touches(analysis, ran):
        if touch.kind.explicit and (touch.name in values.modules or touch.name in ("environ",)):
            found.setdefault(_key(touch.name, values), "a module's attribute is set")
    for call in _calls(analysis, ran):
        root, _, rest = call.callee.partition(".")
        last = call.callee.rpartition(".")[2]
        inside = "." in rest and last in CHANGERS and root in values.modules
        environ = root == "environ" and last in CHANGERS
        setting = (
            (last in SETTINGS or last.startswith(("set_", "register_")))
            and last not in SEEDS
            and (root in values.modules or (not rest and values.from_library(root)))
        )
        if inside or environ or (setting and (call.discarded or last == "chdir")):
            found.setdefault(_key(root, values), f"{call.callee}()")
    for magic in analysis.magics:
        if magic.name in _PLOT_MAGICS:
            found.setdefault("plots", f"%{magic.name}")
        elif magic.name not in _HARMLESS_MAGICS and magic.name not in _SHELLS and not _ours(magic):
            found.setdefault("ambient", f"%{magic.name}")
    return found


def _ours(magic: Magic) -> bool:
    return magic.name in ("load_ext", "reload_ext") and "mlops_jupyter" in magic.line


def felt(analysis: CellAnalysis, names: Iterable[str], values: Values) -> set[str]:
    """Shared state that the cell may feel."""
    found = {"ambient"} if analysis.active else set[str]()
    for name in names:
        packages = values.of(name).packages
        found |= {f"module:{p}" for p in packages}
        if packages & PLOTTING:
            found.add("plots")
    return found


def _key(root: str, values: Values) -> str:
    packages = values.of(root).packages
    package = next(iter(packages)) if len(packages) == 1 else ""
    if package in PLOTTING:
        return "plots"
    return f"module:{package}" if package in _DATA else "ambient"


def seeds(analysis: CellAnalysis, ran: Iterable[Function], values: Values) -> dict[str, bool]:
    """Generators that the cell seeds (``random``, ``numpy``, ``torch``, …), and whether that is certain."""
    found: dict[str, bool] = {}
    sure = [(c, c.certain and c.at.branch < 0) for c in analysis.calls]
    for call, certain in [*sure, *((c, True) for f in ran for c in f.calls)]:
        root, _, last = call.callee.partition(".")
        last = last.rpartition(".")[2] or root
        packages = values.of(root).packages
        if last in SEEDS and (packages or root not in values.names):
            for key in packages & _DRAWING or (_DRAWING if packages else ()):
                found[key] = found.get(key, False) or certain
    return found


def draws(analysis: CellAnalysis, ran: Iterable[Function], values: Values) -> bool:
    """Whether the cell may draw from a global generator."""
    for call in _calls(analysis, ran):
        root = call.callee.partition(".")[0]
        last = call.callee.rpartition(".")[2]
        if last in SEEDS or _NO_DRAW.search(call.callee):
            continue
        packages = values.of(root).packages
        if last in _DRAWS or (packages & _DRAWING and (root not in values.modules or ".random." in f".{call.callee}.")):
            return True
        if packages & {"random", "torch", "tensorflow", "keras"}:
            return True
    return False


def _touches(analysis: CellAnalysis, ran: Iterable[Function]) -> Iterator[Touch]:
    yield from analysis.touches
    for function in ran:
        yield from function.touches


def _calls(analysis: CellAnalysis, ran: Iterable[Function]) -> Iterator[Call]:
    yield from analysis.calls
    for function in ran:
        yield from function.calls
