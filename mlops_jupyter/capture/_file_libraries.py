# ruff: noqa: PTH110, PTH112, PTH113, PTH118, PTH207
# Inside of the user's open(): strings in, strings out, no Path objects are made.
"""Entry points of libraries that open files behind Python's back, wrapped when the library is imported.

Classes get a ``__new__`` that notes its arguments: it has returned when ``__init__`` runs, so it never
shows in a traceback. Functions get a wrapper with the same signature, which shows as one frame (hidden by
IPython) where the library raises: a frame cannot be taken out of a traceback from inside of it.
"""

from __future__ import annotations

import functools
import glob
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from . import import_hooks
from ._file_hook import emit

Note = Callable[[tuple[Any, ...], dict[str, Any]], None]
"""Looks at the arguments of a call and emits what they say."""

_MAX_FILES = 1_000
_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: a class whose attributes can be set."""

_MISSING = object()


def wrap(module: ModuleType, undo: list[Callable[[], None]]) -> None:
    """Wrap the entry points of ``module``; what puts the originals back is appended to ``undo``."""
    _LIBRARIES[module.__name__](module, undo)


def _function(owner: Any, name: str, note: Note, undo: list[Callable[[], None]]) -> None:
    """Replace ``owner.name`` by a wrapper; what is lacking or cannot be changed is left."""
    original = inspect.getattr_static(owner, name, _MISSING)
    if original is _MISSING or isinstance(original, (staticmethod, classmethod, property)):
        return
    called: Any = getattr(owner, name)

    @functools.wraps(called)
    def call(*args: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        _quietly(note, args, options)
        return called(*args, **options)

    _set(owner, name, call, original, undo)


def _class(owner: Any, name: str, note: Note, undo: list[Callable[[], None]]) -> None:
    """Note the arguments of every construction of the class ``owner.name`` and its subclasses."""
    cls = getattr(owner, name, None)
    if not isinstance(cls, type):
        return
    if not cls.__flags__ & _HEAP_TYPE:
        _set(owner, name, _twin(cls, note), cls, undo)
        return
    original = cls.__dict__.get("__new__", _MISSING)
    make: Any = cls.__new__
    plain = make is object.__new__

    def __new__(cls: Any, *args: Any, **options: Any) -> Any:  # noqa: N807
        _quietly(note, args, options)
        return make(cls) if plain else make(cls, *args, **options)

    try:
        signature = inspect.signature(cls)
    except (TypeError, ValueError):
        signature = None
    _set(cls, "__new__", staticmethod(__new__), original, undo)
    if signature is not None and "__signature__" not in cls.__dict__:
        _set(cls, "__signature__", signature, _MISSING, undo)


class _TwinType(type):
    """Class of stand-ins for classes that cannot be changed: an instance of one is one of both."""

    def __instancecheck__(cls, instance: object) -> bool:
        original = cls.__dict__.get("__twin_of__")
        return isinstance(instance, original) if original is not None else super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        original = cls.__dict__.get("__twin_of__")
        return issubclass(subclass, original) if original is not None else super().__subclasscheck__(subclass)


def _twin(cls: Any, note: Note) -> type:
    """A subclass that notes the arguments; for classes of C, whose attributes cannot be set."""

    def __new__(twin: Any, *args: Any, **options: Any) -> Any:  # noqa: N807
        _quietly(note, args, options)
        return cls.__new__(twin, *args, **options)

    body = {"__new__": __new__, "__twin_of__": cls, "__module__": cls.__module__, "__doc__": cls.__doc__}
    return _TwinType(cls.__name__, (cls,), body)


def _set(owner: Any, name: str, value: Any, original: Any, undo: list[Callable[[], None]]) -> None:
    try:
        setattr(owner, name, value)
    except (TypeError, AttributeError):  # an immutable type
        return

    def put_back() -> None:
        if inspect.getattr_static(owner, name, None) is value:
            if original is not _MISSING:
                setattr(owner, name, original)
            elif name == "__new__":
                # Deleting it would leave a slot that refuses arguments.
                owner.__new__ = staticmethod(lambda cls, *_args, **_options: object.__new__(cls))
            else:
                delattr(owner, name)

    undo.append(put_back)


def _quietly(note: Note, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    try:
        note(args, options)
    except Exception as error:  # noqa: BLE001 - else the user's call would fail
        import_hooks.faults.append(f"{type(error).__name__}: {error}")


def _argument(number: int, *names: str, event: str = "mlops.read", reason: str) -> Note:
    """A note that takes the place from argument ``number`` or from the first of ``names`` that was given."""

    def note(args: tuple[Any, ...], options: dict[str, Any]) -> None:
        value = args[number] if len(args) > number else next((options[n] for n in names if n in options), None)
        for place in _places(value, existing=event != "mlops.write"):
            emit(event, place, reason)

    return note


def _places(value: Any, *, existing: bool = True) -> Iterable[str]:
    """Paths and URIs in an argument: one, a list, a glob, a folder of files. Runs no code of the user's."""
    if isinstance(value, (list, tuple)):
        for item in value[:_MAX_FILES]:
            yield from _places(item, existing=existing)
        return
    if type(value).__module__ in {"pathlib", "pathlib._local"}:
        value = str(value)
    if type(value) is bytes:
        value = os.fsdecode(value)
    if type(value) is not str or "\0" in value or len(value) > 8192:
        return
    if "://" in value or not existing:
        yield value
    elif os.path.isdir(value):
        count = 0
        for folder, _, names in os.walk(value):
            for name in sorted(names):
                if not name.startswith((".", "_")):
                    yield os.path.join(folder, name)
                    count += 1
                    if count >= _MAX_FILES:
                        return
    elif any(mark in value for mark in "*?[") and not os.path.exists(value):
        yield from sorted(glob.iglob(value, recursive=True))[:_MAX_FILES]
    else:
        yield value


def _pyarrow_parquet(module: ModuleType, undo: list[Callable[[], None]]) -> None:
    core = sys.modules.get("pyarrow.parquet.core", module)
    for name in ("ParquetFile", "ParquetDataset"):
        _class(core, name, _argument(0, "source", "path_or_paths", reason="read by pyarrow"), undo)
    write = _argument(0, "where", event="mlops.write", reason="written by pyarrow")
    _class(core, "ParquetWriter", write, undo)


def _command(_args: tuple[Any, ...], _options: dict[str, Any]) -> None:
    emit("mlops.command", "")


def _pyarrow_dataset(module: ModuleType, undo: list[Callable[[], None]]) -> None:
    def note(args: tuple[Any, ...], _options: dict[str, Any]) -> None:
        kind = str(getattr(args[0], "type_name", ""))
        selected = getattr(args[1], "base_dir", args[1])
        for place in [selected] if isinstance(selected, str) else list(selected)[:_MAX_FILES]:
            for found in _places(place) if kind in {"local", "subtree"} else [f"{kind}://{place}"]:
                emit("mlops.read", found, "read by pyarrow")

    # Not ``dataset`` itself: it has looked for the files by then, and most errors are that there are none.
    _class(module, "FileSystemDatasetFactory", note, undo)
    # The names of the files are the library's: what changed in the working tree tells.
    _function(module, "write_dataset", _command, undo)


def _pyarrow_readers(module: ModuleType, undo: list[Callable[[], None]]) -> None:
    read = _argument(0, "input_file", "source", reason="read by pyarrow")
    for name in ("read_csv", "open_csv", "read_json", "open_json", "read_table", "read_feather"):
        _function(module, name, read, undo)
    _class(module, "ORCFile", read, undo)
    written = {"write_csv": "output_file", "write_feather": "dest"}
    for name, argument in written.items():
        _function(module, name, _argument(1, argument, event="mlops.write", reason="written by pyarrow"), undo)
    _class(module, "CSVWriter", _argument(0, "sink", event="mlops.write", reason="written by pyarrow"), undo)
    _class(module, "ORCWriter", _argument(0, "where", event="mlops.write", reason="written by pyarrow"), undo)


def _pyarrow(module: ModuleType, undo: list[Callable[[], None]]) -> None:
    _function(module, "memory_map", _argument(0, "path", reason="mapped by pyarrow"), undo)

    def note(args: tuple[Any, ...], options: dict[str, Any]) -> None:
        mode = str(args[1] if len(args) > 1 else options.get("mode", "r"))
        writes = "w" in mode or "a" in mode
        place = _argument(
            0,
            "path",
            event="mlops.write" if writes else "mlops.read",
            reason=f"opened by pyarrow with mode {mode}",
        )
        place(args, options)

    _class(module, "OSFile", note, undo)


def _polars(module: ModuleType, undo: list[Callable[[], None]]) -> None:
    read = _argument(0, "source", reason="read by polars")
    for name in dir(module):
        if name.startswith(("read_", "scan_")) and "database" not in name and "clipboard" not in name:
            _function(module, name, read, undo)
    write = _argument(1, "file", "path", "workbook", "target", "root", event="mlops.write", reason="written by polars")
    for owner, prefix in (("DataFrame", "write_"), ("LazyFrame", "sink_")):
        cls = getattr(module, owner, None)
        for name in dir(cls):
            if name.startswith(prefix) and "database" not in name and "clipboard" not in name:
                _function(cls, name, write, undo)


_QUOTED = r"'((?:[^']|'')+)'|\"((?:[^\"]|\"\")+)\""
_COPY_TO = r"(?i)\bto\s*$"


def _sql(number: int, *names: str) -> Note:
    """Quoted names in SQL that are files or URIs: read, or written after ``TO``."""

    def note(args: tuple[Any, ...], options: dict[str, Any]) -> None:
        text = args[number] if len(args) > number else next((options[n] for n in names if n in options), None)
        if type(text) is not str or len(text) > 1_000_000:
            return
        for match in re.finditer(_QUOTED, text):
            place = match.group(1) or match.group(2)
            if re.search(_COPY_TO, text[: match.start()]):
                emit("mlops.write", place, "written by a COPY statement")
                continue
            for found in _places(place):
                if "://" in found:
                    emit("mlops.read", found, "named in SQL")
                elif os.path.isfile(found):
                    emit("mlops.watch", found, "named in SQL")

    return note


def _duckdb(module: ModuleType, undo: list[Callable[[], None]]) -> None:
    opened = _argument(0, "database", event="mlops.watch", reason="opened by duckdb")
    _function(module, "connect", opened, undo)
    connection = getattr(module, "DuckDBPyConnection", None)
    for owner, shift in ((module, 0), (connection, 1)):
        for name in ("sql", "query", "execute", "from_query"):
            _function(owner, name, _sql(shift, "query"), undo)
        for name in ("read_csv", "read_json", "read_parquet", "from_csv_auto", "from_parquet"):
            _function(owner, name, _argument(shift, "path_or_buffer", "file_glob", reason="read by duckdb"), undo)
    relation = getattr(module, "DuckDBPyRelation", None)
    for name in ("write_csv", "to_csv", "write_parquet", "to_parquet"):
        _function(relation, name, _argument(1, "file_name", event="mlops.write", reason="written by duckdb"), undo)


def _h5py(module: ModuleType, undo: list[Callable[[], None]]) -> None:
    def note(args: tuple[Any, ...], options: dict[str, Any]) -> None:
        mode = args[1] if len(args) > 1 else options.get("mode", "r")
        name = args[0] if args else options.get("name")
        events = {"r": "mlops.read", "w": "mlops.write", "w-": "mlops.write", "x": "mlops.write"}
        for place in _places(name, existing=False):
            emit(events.get(mode, "mlops.watch"), place, f"opened by h5py with mode {mode}")

    _class(module, "File", note, undo)


def _fsspec(module: ModuleType, undo: list[Callable[[], None]]) -> None:
    def note(args: tuple[Any, ...], options: dict[str, Any]) -> None:
        filesystem = args[0] if args else options.get("fs")
        path = args[1] if len(args) > 1 else options.get("path")
        mode = args[2] if len(args) > 2 else options.get("mode", "rb")
        protocol = getattr(filesystem, "protocol", None)
        names = (protocol,) if isinstance(protocol, str) else protocol or ()
        if type(path) is not str or not names or "file" in names or "memory" in names:
            return  # local files are seen when they are opened
        place = path if "://" in path else f"{names[0]}://{path}"
        emit("mlops.write" if set(str(mode)) & set("wax+") else "mlops.read", place, "opened by fsspec")

    for name in ("OpenFile", "AbstractBufferedFile"):
        _class(module, name, note, undo)


def _requests(module: ModuleType, undo: list[Callable[[], None]]) -> None:
    def note(args: tuple[Any, ...], options: dict[str, Any]) -> None:
        # (self, method, url): PreparedRequest.prepare has returned when the network fails.
        method = args[1] if len(args) > 1 else options.get("method")
        url = args[2] if len(args) > 2 else options.get("url")
        if method in {"GET", "get"} and isinstance(url, str):
            emit("mlops.read", str.__str__(url), "requested")

    _function(getattr(module, "PreparedRequest", None), "prepare", note, undo)


def _httpx(module: ModuleType, undo: list[Callable[[], None]]) -> None:
    def note(args: tuple[Any, ...], options: dict[str, Any]) -> None:
        method = args[0] if args else options.get("method")
        url = args[1] if len(args) > 1 else options.get("url")
        if method in {"GET", "get"} and (isinstance(url, str) or type(url).__module__.startswith("httpx")):
            emit("mlops.read", str(url), "requested")

    _class(module, "Request", note, undo)


_LIBRARIES: dict[str, Callable[[ModuleType, list[Callable[[], None]]], None]] = {
    "pyarrow": _pyarrow,
    "pyarrow.parquet": _pyarrow_parquet,
    "pyarrow.dataset": _pyarrow_dataset,
    "pyarrow.csv": _pyarrow_readers,
    "pyarrow.json": _pyarrow_readers,
    "pyarrow.feather": _pyarrow_readers,
    "pyarrow.orc": _pyarrow_readers,
    "polars": _polars,
    "duckdb": _duckdb,
    "h5py": _h5py,
    "fsspec.core": _fsspec,
    "fsspec.spec": _fsspec,
    "requests.models": _requests,
    "httpx": _httpx,
}
