"""Models in files that somebody wrote: scikit-learn's skops, pickles, and MLflow's model folders.

A pickle runs code when it is loaded, whoever wrote it, so it is loaded only where the user said so. A skops file is
read without running anything; the types that skops does not know as harmless must be named by the user.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops_jupyter.capture.models import is_sklearn, requirements_of
from mlops_jupyter.data import file_digest
from mlops_jupyter.entities import Digest
from mlops_jupyter.errors import TargetNotFoundError, UsageError

from .local_modules import LocalCode
from .pickled import named
from .serialise import Serialised, as_skops, native_library

PICKLES = (".pkl", ".pickle", ".joblib")
SKOPS = (".skops",)
DESCRIPTION = "MLmodel"
"""The file that makes a folder an MLflow model."""
TRUST_PICKLE = "pickle"
"""What the user says to allow unpickling."""
_GIVE = f"Give a file that ends in {', '.join((*SKOPS, *PICKLES))}, an MLflow model folder, or a run's id."


def kind_of(path: Path) -> str:
    """``folder``, ``skops`` or ``pickle``.

    Raises:
        TargetNotFoundError: there is nothing at ``path``.
        UsageError: it is of no kind that can be registered.
    """
    if path.is_dir():
        if (path / DESCRIPTION).is_file():
            return "folder"
        raise UsageError(f"The folder {path} is no MLflow model: it has no {DESCRIPTION} file.", hint=_GIVE)
    if not path.is_file():
        raise TargetNotFoundError(f"There is no file {path}.", hint="Check the path.")
    if path.suffix.lower() in SKOPS:
        return "skops"
    if path.suffix.lower() in PICKLES:
        return "pickle"
    raise UsageError(
        f"{path} is of no kind that can be registered.",
        hint=_GIVE,
    )


def digest_of(path: Path) -> Digest:
    """Digest of a file's bytes, or of the names and bytes of a folder's files.

    Raises:
        UsageError: it cannot be read, or a link in the folder leads out of it.
    """
    try:
        if path.is_file():
            return file_digest(path)
        whole = hashlib.sha256()
        for file in folder_files(path):
            whole.update(f"{file.relative_to(path).as_posix()}\0{file_digest(file)}\n".encode())
        return Digest(f"sha256:{whole.hexdigest()}")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error


def folder_files(folder: Path) -> list[Path]:
    """All files of a model folder, in order.

    Raises:
        UsageError: a link leads out of the folder.
    """
    root = folder.resolve()
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    for file in files:
        if not file.resolve().is_relative_to(root):
            raise UsageError(
                f"{file} is a link that leads out of the model's folder.", hint="Put the file itself there."
            )
    return files


def load_skops(path: Path, trust: Collection[str]) -> Serialised:
    """The model in a skops file, loaded: nothing but the types that skops or the user trusts is made.

    Raises:
        UsageError: it names other types, or is no skops file.
    """
    try:
        import skops.io
    except ImportError as error:
        raise UsageError(f"{path} needs skops.", hint="Install it with: pip install skops") from error
    data = path.read_bytes()
    try:
        wanted = sorted(str(name) for name in skops.io.get_untrusted_types(data=data))
    except Exception as error:
        raise UsageError(f"{path} is no skops file: {_line(error)}.") from error
    unknown = [name for name in wanted if name not in trust]
    if unknown:
        raise UsageError(
            f"{path} is made of types that skops does not know as harmless: {', '.join(unknown)}.",
            hint="If you trust who made it, repeat with " + " ".join(f"--trust {name}" for name in unknown),
        )
    with _quiet(path):
        try:
            model = skops.io.loads(data, trusted=wanted)
        except Exception as error:
            raise UsageError(f"{path} cannot be loaded: {_line(error)}.") from error
    flavor = _flavor(path, model)
    return Serialised(data=data, serialization="skops", flavor=flavor, trusted=tuple(wanted), model=model)


def load_pickle(
    path: Path, trust: Collection[str], find_local: Callable[[Collection[str]], LocalCode], folders: Sequence[Path]
) -> Serialised:
    """The model in a pickle or joblib file, loaded, because the user allowed it.

    Raises:
        UsageError: it is not allowed, cannot be loaded, or holds no model.
    """
    if TRUST_PICKLE not in trust:
        raise UsageError(
            f"{path} is a pickle, and loading a pickle runs whatever code its author put into it.",
            hint=f"If you trust who made it, repeat with --trust {TRUST_PICKLE}",
        )
    import cloudpickle

    with _quiet(path), _importable(folders):
        try:
            model = _joblib_or_pickle(path)
        except AttributeError as error:
            if "__main__" in str(error):
                raise UsageError(
                    f"{path} holds only the name of a class that a notebook defined: {_line(error)}.",
                    hint="Register the run that fitted the model, or write it with cloudpickle.",
                ) from error
            raise UsageError(f"{path} cannot be loaded: {_line(error)}.") from error
        except Exception as error:
            raise UsageError(f"{path} cannot be loaded: {_line(error)}.") from error
        flavor = _flavor(path, model)
        try:
            content = cloudpickle.dumps(model, protocol=5)
        except Exception as error:
            raise UsageError(f"The model in {path} cannot be pickled again: {_line(error)}.") from error
    names = named(content)
    local = find_local(names.modules)
    kept = Serialised(
        data=content, flavor=flavor, model=model, local=local,
        notes=(f"{path.name} was unpickled, which --trust {TRUST_PICKLE} allowed.",),
    )  # fmt: skip
    if names.by_value or local.files:
        return replace(
            kept, notes=(*kept.notes, "It stays a cloudpickle: its classes are not of an installed library.")
        )
    return as_skops(kept, example=None, trust=trust)


def requirements(model: Any, distributions: Mapping[str, str]) -> tuple[str, ...]:
    """Pinned distributions that a loaded model needs."""
    return tuple(requirements_of(model, distributions))


def class_name(model: Any) -> str:
    """Module and name of the model's class."""
    return f"{type(model).__module__}.{type(model).__qualname__}"


def _flavor(path: Path, model: Any) -> str:
    library = None if isinstance(model, type) else native_library(model)
    if isinstance(model, type) or not (library or hasattr(model, "predict") or hasattr(model, "transform")):
        raise UsageError(
            f"{path} holds a {type(model).__name__}, which is no model: it has neither predict nor transform.",
            hint="Write the fitted model itself to the file.",
        )
    return library or ("sklearn" if is_sklearn(model) else "pyfunc")


def _joblib_or_pickle(path: Path) -> Any:
    try:
        import joblib
    except ImportError:
        import pickle

        with path.open("rb") as file:
            return pickle.load(file)
    return joblib.load(path)


@contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """Warnings of a library about its own older files are not the user's; what matters is whether it loads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error


@contextmanager
def _importable(folders: Sequence[Path]) -> Iterator[None]:
    added = [str(folder) for folder in folders if str(folder) not in sys.path]
    sys.path[:0] = added
    try:
        yield
    finally:
        for folder in added:
            if folder in sys.path:
                sys.path.remove(folder)


def _line(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 300 else text[:299] + "…"
