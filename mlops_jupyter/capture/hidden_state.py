"""State that cells share without a name: random generators, working directory, environment, module
settings.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from ._inspect import loaded, module_name

RANDOM = ("random", "numpy.random", "torch.random")

SEEDS = frozenset({"seed", "manual_seed", "manual_seed_all", "set_state", "setstate", "set_rng_state"})
GENERAL_SEEDS = frozenset({"set_seed", "seed_everything", "set_random_seed", "seed_all", "fix_seed"})
STATE_READERS = frozenset({"get_state", "getstate", "get_rng_state"})
CWD_READERS = frozenset(
    {"getcwd", "cwd", "glob", "iglob", "rglob", "listdir", "scandir", "walk", "abspath", "resolve", "exists",
     "is_file", "is_dir", "open", "isfile", "isdir", "mkdir", "makedirs"}
)  # fmt: skip
ENVIRON_READERS = frozenset({"environ", "getenv", "environb", "expandvars"})
_SETTERS = (
    "set_",
    "use",
    "enable",
    "disable",
    "register",
    "basicConfig",
    "filterwarnings",
    "simplefilter",
    "set",
)
CHANGERS = frozenset({"append", "insert", "extend", "update", "remove", "clear", "pop", "setdefault"})

_python_state = random._inst.getstate
"""Taken at import, so that a user who replaces ``random.getstate`` is not called."""


def measure() -> dict[str, int]:
    """A number for each piece of hidden state; equal numbers mean unchanged state."""
    found = {"random": hash(_python_state())}
    numpy_state = loaded("numpy.random.mtrand").get("_rand")
    if numpy_state is not None:
        name, key, position, has_gauss, gauss = numpy_state.get_state(legacy=True)[:5]
        found["numpy.random"] = hash((name, key.tobytes(), position, has_gauss, gauss))
    torch_random = loaded("torch.random")
    if torch_random.get("get_rng_state") is not None:
        found["torch.random"] = hash(torch_random["get_rng_state"]().numpy().tobytes())
    try:
        found["cwd"] = hash(os.getcwd())  # noqa: PTH109
    except OSError:
        found["cwd"] = 0
    return found


def environment() -> dict[Any, int]:
    """A number for the value of each environment variable."""
    return {key: hash(value) for key, value in os.environ._data.items()}  # type: ignore[attr-defined]


def environment_changed(before: Mapping[Any, int]) -> bool:
    """Whether a variable changed that libraries do not set for themselves when they are imported."""
    after = environment()
    if after == before:
        return False
    changed = {key for key, _ in before.items() ^ after.items()}
    names = [key.decode("utf-8", "replace") if type(key) is bytes else str(key) for key in changed]
    return any(not name.startswith(_LIBRARIES_OWN) for name in names)


_LIBRARIES_OWN = (
    "KMP_", "OMP_", "MKL_", "OPENBLAS_", "LOKY_", "JOBLIB_", "TF_", "TF2_", "PYGAME_", "QT_", "MPL",
    "COLUMNS", "LINES",
    "PYDEVD_", "PYTEST_", "NUMEXPR_", "VECLIB_", "TOKENIZERS_", "XLA_", "GRPC_",
)  # fmt: skip


def seeded_keys(callee: str, root: object) -> tuple[str, ...]:
    """States that a call with this dotted name seeds; ``root`` is the value of its first name."""
    last = callee.rpartition(".")[2]
    if last in GENERAL_SEEDS:
        return RANDOM
    if last not in SEEDS:
        return ()
    if type(root) is ModuleType:
        module = root.__dict__.get("__name__")
        if module == "random":
            return ("random",)
        if module == "numpy.random" or (module == "numpy" and ".random." in callee):
            return ("numpy.random",)
        if type(module) is str and module.partition(".")[0] == "torch":
            return ("torch.random",)
        return ()
    if type(root) in (BuiltinFunctionType, MethodType):
        owner = root.__self__  # type: ignore[attr-defined]
        if owner is random._inst:
            return ("random",)
        if owner is loaded("numpy.random.mtrand").get("_rand"):
            return ("numpy.random",)
    return ()


def package_of(value: Any) -> str | None:
    """Top-level package of a module, of a function or class that came from one, or of an object's class."""
    if type(value) is ModuleType:
        name: object = value.__dict__.get("__name__")
    elif isinstance_of_type(value):
        name = module_name(value)
    elif type(value).__name__ in ("function", "builtin_function_or_method"):
        name = value.__module__
    else:
        name = module_name(type(value))
    if type(name) is not str or name == "__main__":
        return None
    return name.partition(".")[0]


def is_definition(value: object) -> bool:
    """Whether a value is a function or a class."""
    return type(value) in (FunctionType, BuiltinFunctionType) or isinstance_of_type(value)


def isinstance_of_type(value: object) -> bool:
    """``isinstance(value, type)`` past ``__class__``."""
    return any(base is type for base in type.__dict__["__mro__"].__get__(type(value)))


def changes_inside(callee: str, root: ModuleType) -> bool:
    """Whether a call such as ``sys.path.append`` changes an object that a module holds."""
    _, *inner, last = callee.split(".")
    if last not in CHANGERS:
        return False
    place: Any = root
    for name in inner:
        if type(place) is not ModuleType:
            return True
        place = place.__dict__.get(name)
    return type(place) is not ModuleType  # ``np.append`` is a function, and so is ``np.ma.append``


def configures(callee: str) -> bool:
    """Whether a call whose result is thrown away looks like a library's setting."""
    last = callee.rpartition(".")[2]
    return "." in callee and last.startswith(_SETTERS) and last not in SEEDS and last not in GENERAL_SEEDS
