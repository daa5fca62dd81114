"""What is to be registered, worked out from a run or a path before anything is written anywhere."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_jupyter.capture.environment import read_environment
from mlops_jupyter.capture.models import is_sklearn
from mlops_jupyter.config import Settings
from mlops_jupyter.data.exchange import open_exchange
from mlops_jupyter.entities import Digest, Run, RunStatus, RunUid
from mlops_jupyter.errors import MlopsError, UsageError
from mlops_jupyter.store import Connection
from mlops_jupyter.store import runs as store_runs
from mlops_jupyter.tracking import packages

from . import facts as facts_of
from . import from_files
from .choose import Candidate, choose
from .facts import Facts
from .local_modules import LocalCode, find_local
from .serialise import METHODS, Serialised, compare, example_data, infer_outputs, recorded, with_code

if TYPE_CHECKING:
    from mlops_jupyter.tracking.packages import Model

NAME_LIMIT = 256
_SIZE_OF_FILES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A model and all that goes with it, and how to write it as a package."""

    registration_id: str
    name: str
    title: str
    """The variable or file that it came from."""
    class_name: str
    flavor: str
    format: str
    size: int
    digest: Digest
    facts: Facts
    notes: tuple[str, ...]
    requirements: tuple[str, ...]
    has_signature: bool
    has_example: bool
    write: Callable[[Path, Model], None]
    model_uid: str | None = None
    file: str | None = None

    def tags(self) -> dict[str, str]:
        """Tags of the version."""
        found = {
            "mlops.class": self.class_name,
            "mlops.flavor": self.flavor,
            "mlops.format": self.format,
            "mlops.digest": self.digest,
            "mlops.model_uid": self.model_uid,
            "mlops.variable": self.title if self.model_uid else None,
            "mlops.file": self.file,
        }
        return {k: facts_of.cut(v, facts_of.TAG_LIMIT) for k, v in found.items() if v} | self.facts.tags()

    def write_all(self, folder: Path, described: Model) -> None:
        """Write the package and, beside the model, where it came from."""
        self.write(folder, described)
        registration = {
            "registration_id": self.registration_id, "name": self.name, "class": self.class_name,
            "flavor": self.flavor, "format": self.format, "digest": self.digest, "model_uid": self.model_uid,
            "variable": self.title if self.model_uid else None, "file": self.file, "notes": list(self.notes),
            "requirements": list(self.requirements),
        }  # fmt: skip
        for path, content in self.facts.files(registration).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def check_name(name: str) -> str:
    """``name`` where a registered model may have it.

    Raises:
        UsageError: it is empty, too long, or has characters that MLflow's addresses cannot hold.
    """
    bad = sorted({c for c in name if c in "/:@" or not c.isprintable()})
    if not name.strip() or name != name.strip() or name in (".", "..") or bad or len(name) > NAME_LIMIT:
        shown = name if len(name) <= 60 else name[:59] + "…"
        why = f"it has {', '.join(map(repr, bad))}" if bad else "it is empty, too long, or begins or ends with a blank"
        raise UsageError(
            f"{shown!r} cannot be the name of a registered model: {why}.",
            hint="Give letters, digits, '-', '_' and '.', for example --name flight-delay",
        )
    return name


def registration_id(name: str, what: str) -> str:
    """Our id of the registration of ``what`` under ``name``: the same every time, so that repeating is once."""
    return hashlib.sha256(json.dumps([name, what]).encode()).hexdigest()[:32]


def of_run(
    store: Connection, settings: Settings, run_uid: RunUid, *, name: str, variable: str | None, trust: Collection[str]
) -> Prepared:
    """The model of a run, or of the runs nested in it.

    Raises:
        TargetNotFoundError: there is none, or the exchange has lost it.
        UsageError: several fit, it was recorded without bytes, or what it is made of cannot travel.
        CorruptObjectError: the bytes are not those that were recorded.
    """
    run = store_runs.get_run(store, run_uid)
    if run.deleted_at is not None:
        raise UsageError(f"Run {run.run_uid[:8]} ({run.name}) was deleted.", hint="Register the model of another run.")
    candidate = choose(run, _candidates(store, run), variable=variable)
    model = candidate.model
    if model.digest is None:  # choose() has said so
        raise AssertionError("a model without bytes")
    exchange = open_exchange(settings)
    content = exchange.get(model.digest)
    example = None
    if model.input_example is not None:
        try:
            example = json.loads(exchange.get(model.input_example))
        except MlopsError:
            example = None
    facts = facts_of.of_model(store, exchange, settings.root, candidate.run, model.name)
    folders = _folders(settings.root, candidate.run.notebook)
    found = recorded(
        content,
        flavor=model.flavor,
        requirements=model.requirements,
        example=example,
        trust=trust,
        find_local=lambda modules: find_local(modules, folders),
    )
    found = _tried(found, example, fallback=model.flavor)
    if candidate.run.status in (RunStatus.FAILED, RunStatus.KILLED):
        told = f"Its run is {candidate.run.status}: the model was fitted before that."
        found = replace(found, notes=(*found.notes, told))
    contents = packages.Contents(
        data=found.data,
        serialization=found.serialization,
        sklearn=found.flavor == "sklearn",
        signature=json.loads(model.signature) if model.signature else _signature(found.model, example),
        example=example,
        requirements=_requirements(model.requirements, found.local),
        python=packages.python_version(store, candidate.run.run_uid),
        trusted=found.trusted,
        code=found.local.files if found.local else None,
    )
    return Prepared(
        registration_id=registration_id(name, model.model_uid),
        name=name,
        title=model.name,
        class_name=model.class_name,
        digest=model.digest,
        facts=facts,
        model_uid=model.model_uid,
        **_written(found, contents),
    )


def of_path(
    store: Connection, settings: Settings, path: Path, *, name: str, trust: Collection[str], names: Sequence[str]
) -> Prepared:
    """The model in a file or an MLflow model folder. ``names``: those under which lineage may know it.

    Raises:
        TargetNotFoundError: there is nothing.
        UsageError: it is no model, or loading it is not allowed.
    """
    kind = from_files.kind_of(path)
    digest = from_files.digest_of(path)
    environment = read_environment()
    file = names[0] if names else path.as_posix()
    exchange = open_exchange(settings)
    if kind == "folder":
        files = from_files.folder_files(path)
        inner = _recorded_inner(path, files, names)
        facts = next(
            (f for n, d in inner if (f := facts_of.of_file(store, exchange, settings.root, n, d)) != Facts()), Facts()
        )
        described = _described(path)
        return Prepared(
            registration_id=registration_id(name, digest),
            name=name,
            title=path.resolve().name,
            class_name=str(described.get("class") or "MLflow model"),
            flavor=str(described["flavor"]),
            format="mlflow",
            size=sum(f.stat().st_size for f in files),
            digest=digest,
            facts=facts,
            notes=("The folder was copied as it is; nothing in it was loaded.",),
            requirements=tuple(described["requirements"]),
            has_signature=bool(described["signature"]),
            has_example=bool(described["example"]),
            write=lambda folder, model: _copy(folder, model, path, files),
            file=file,
        )
    facts = facts_of.of_file(store, exchange, settings.root, names, digest)
    folders = _folders(settings.root, facts.run.notebook if facts.run else None)
    if kind == "skops":
        found = from_files.load_skops(path, trust)
    else:
        found = from_files.load_pickle(path, trust, lambda modules: find_local(modules, folders), folders)
    found = _tried(found, None, fallback="sklearn" if is_sklearn(found.model) else "pyfunc")
    distributions = facts.environment.get("distributions") or environment.distributions
    needed = from_files.requirements(found.model, distributions)
    contents = packages.Contents(
        data=found.data,
        serialization=found.serialization,
        sklearn=found.flavor == "sklearn",
        requirements=_requirements(needed, found.local),
        python=str(facts.environment.get("python") or platform.python_version()),
        trusted=found.trusted,
        code=found.local.files if found.local else None,
        has_predict=hasattr(found.model, "predict"),
    )
    if not facts.environment:
        facts = replace(facts, environment=json.loads(environment.document))
    return Prepared(
        registration_id=registration_id(name, digest),
        name=name,
        title=path.stem,
        class_name=from_files.class_name(found.model),
        digest=digest,
        facts=facts,
        file=file,
        **_written(found, contents),
    )


def _candidates(store: Connection, run: Run) -> list[Candidate]:
    """Models of the run itself, else of the runs nested in it."""
    own = [Candidate(run, model) for model in store_runs.run_models(store, run.run_uid)]
    if own:
        return own
    found: list[Candidate] = []
    for uid in store_runs.child_runs(store, run.run_uid):
        (child,) = store_runs.load_runs(store, [uid])
        found += _candidates(store, child)
    return found


def _tried(found: Serialised, example: Any, *, fallback: str) -> Serialised:
    """``found``; a model of a library that MLflow's format for it does not hold as it is stays a cloudpickle."""
    if found.flavor in ("sklearn", "pyfunc"):
        return found
    try:
        again = packages.native_trial(found.flavor, found.model)
    except UsageError as error:
        difference: str | None = error.message
    else:
        inputs = example is not None or isinstance(getattr(found.model, "n_features_in_", None), int)
        if not inputs or not any(hasattr(found.model, method) for method in METHODS):
            # Nothing to compare by, and a format of its library's own is the better one to keep.
            note = "What it predicts after loading was not compared: there is no input example to do so."
            return replace(found, notes=(*found.notes, note))
        difference = compare(found.model, again, example, what=found.flavor)
    if difference is None:
        return found
    return replace(found, flavor=fallback, notes=(*found.notes, f"It stays a cloudpickle: {difference}."))


def _written(found: Serialised, contents: packages.Contents) -> dict[str, Any]:
    native = found.flavor not in ("sklearn", "pyfunc")

    def write(folder: Path, described: Model) -> None:
        if native:
            packages.write_native(folder, described, found.flavor, found.model, contents)
        else:
            packages.write_package(folder, described, contents)

    needed = contents.requirements
    requirements = packages.native_requirements(found.flavor, needed) if native else None
    notes = found.notes
    if not contents.signature:
        notes = (
            *notes,
            "It has no signature: the data that it was fitted on was not seen, or is of types that MLflow has none for.",
        )
    return {
        "flavor": found.flavor,
        "format": found.flavor if native else found.serialization,
        "size": len(found.data) + _SIZE_OF_FILES,
        "notes": notes,
        "requirements": tuple(requirements or packages.with_loaders(needed, found.serialization)),
        "has_signature": bool(contents.signature),
        "has_example": contents.example is not None,
        "write": write,
    }


def _signature(model: Any, example: Any) -> dict[str, Any] | None:
    outputs = infer_outputs(model, example)
    return None if outputs is None else packages.inferred_signature(example_data(example), outputs)


def _requirements(wanted: Sequence[str], local: LocalCode | None) -> tuple[str, ...]:
    return tuple(with_code(local.files, wanted) if local else wanted)


def _folders(root: Path, notebook: str | None) -> list[Path]:
    """Where a notebook finds its local modules: beside itself, then in the workspace."""
    beside = [(root / notebook).parent] if notebook else []
    return list(dict.fromkeys([*beside, root, root / "src"]))


def _recorded_inner(path: Path, files: Sequence[Path], names: Sequence[str]) -> list[tuple[list[str], Digest]]:
    """The model's own files under the names that lineage may know them by, the larger ones first."""
    inner = sorted(files, key=lambda f: -f.stat().st_size)[:20]
    return [
        ([f"{name}/{file.relative_to(path).as_posix()}" for name in names], from_files.digest_of(file))
        for file in inner
    ]


def _described(path: Path) -> dict[str, Any]:
    found = packages.describe(path)
    return {
        "flavor": next((f for f in found.flavors if f != "python_function"), "pyfunc"),
        "class": (found.flavors.get("python_function") or {}).get("loader_module"),
        "signature": found.signature is not None,
        "example": found.saved_input_example_info is not None,
        "requirements": packages.read_requirements(path),
    }


def _copy(folder: Path, described: Model, source: Path, files: Sequence[Path]) -> None:
    packages.copy_package(folder, described, source, files)
