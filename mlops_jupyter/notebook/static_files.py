"""Which files a cell reads and writes, as far as its text tells: patterns of paths."""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from .static_values import Value, Values

ANY = "*"

_READS = frozenset(
    """
    load loadtxt genfromtxt fromfile memmap imread read_text read_bytes safe_load exists getsize getmtime isfile is_file
    stat listdir glob iglob rglob iterdir walk scandir reader DictReader load_model read_sql read_sql_query load_file
    load_workbook scan_csv scan_parquet connect
    """.split()  # noqa: SIM905 - words are easier to read and to extend than a list of quotes
)
_WRITES = frozenset(
    """
    to_csv to_parquet to_json to_pickle to_excel to_feather to_hdf to_sql to_stata to_html to_latex to_file to_netcdf
    to_zarr save savez savez_compressed savetxt savefig dump safe_dump imsave imwrite write_text write_bytes write_csv
    write_parquet write_json write_image write_html mkdir makedirs touch unlink remove rmtree rename replace copy
    copyfile copytree copy2 move extractall urlretrieve save_model save_pretrained connect symlink tofile
    sink_parquet to_disk
    """.split()  # noqa: SIM905 - as above
)
_FILE_MODULES = frozenset({"os", "shutil", "pathlib", "urllib", "zipfile", "tarfile"})
_AMBIGUOUS = frozenset({"copy", "replace", "remove", "move", "rename", "walk", "touch", "unlink", "stat"})
"""Methods that lists, frames and texts have as well: files only through a module or a path."""
_HANDLE = frozenset({"write", "writelines", "writestr", "writerow", "writerows", "close", "flush", "truncate"})
"""Methods of an open file: what was written may be there after them only."""
_IN_MEMORY = frozenset({"StringIO", "BytesIO"})


@dataclass(slots=True)
class Files:
    """Patterns of the files that some code reads and writes."""

    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    adds: set[str] = field(default_factory=set)
    """Of ``writes``: what was there before stays."""

    def add(self, other: Files) -> None:
        """All of the other's, too."""
        self.reads |= other.reads
        self.writes |= other.writes
        self.adds |= other.adds


def files_of(nodes: Iterable[ast.AST], values: Values) -> Files:
    """Files that this code reads and writes, without the bodies of functions in it."""
    found = Files()
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
            continue
        if isinstance(node, ast.Call):
            _call(node, values, found)
        todo += ast.iter_child_nodes(node)
    return found


def functions_in(tree: ast.Module, values: Values) -> Mapping[tuple[int, int], Files]:
    """Files that each function of the cell reads and writes when it runs, by the function's position."""
    found: dict[tuple[int, int], Files] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[(node.lineno, node.col_offset)] = files_of(node.body, values)
        elif isinstance(node, ast.Lambda):
            found[(node.lineno, node.col_offset)] = files_of([node.body], values)
    return found


def _call(node: ast.Call, values: Values, found: Files) -> None:
    callee = node.func
    last = callee.attr if isinstance(callee, ast.Attribute) else callee.id if isinstance(callee, ast.Name) else ""
    receiver = callee.value if isinstance(callee, ast.Attribute) else None
    arguments = [*node.args, *(k.value for k in node.keywords if k.arg not in ("mode", "index", "encoding"))]
    if last in _HANDLE and receiver is not None and _is_path(receiver, values):
        found.writes |= _patterns(receiver, values)
        found.adds |= _patterns(receiver, values)
        return
    printed = next((k.value for k in node.keywords if last == "print" and k.arg == "file"), None)
    if printed is not None and _is_path(printed, values):
        found.writes |= _patterns(printed, values)
        found.adds |= _patterns(printed, values)
        return
    if last in ("open", "ZipFile"):
        place = receiver if receiver is not None and _is_path(receiver, values) else node.args[0] if node.args else None
        mode = _mode(node, 0 if place is receiver and receiver is not None else 1)
        patterns = _patterns(place, values)
        if any(c in mode for c in "wax+"):
            found.writes |= patterns
            if "w" not in mode:
                found.adds |= patterns
        if not any(c in mode for c in "wax"):
            found.reads |= patterns
        return
    known = values.of(receiver.id).packages if isinstance(receiver, ast.Name) else frozenset[str]()
    if last in _AMBIGUOUS and not (known & _FILE_MODULES or (receiver is not None and _is_path(receiver, values))):
        return
    reads = last in _READS or last.startswith("read_")
    writes = last in _WRITES
    if not reads and not writes:
        return
    if any(isinstance(a, ast.Call) and _last(a.func) in _IN_MEMORY for a in arguments):
        return
    if writes and last.startswith("to_") and not arguments:
        return  # the text itself is the result
    places = [a for a in arguments if values.value(a).paths]
    if receiver is not None and _is_path(receiver, values):
        places.append(receiver)
    patterns = set[str]().union(*(_patterns(p, values) for p in places)) if places else {ANY}
    if reads:
        found.reads |= patterns
    if writes:
        found.writes |= patterns
        if last in ("connect", "mkdir", "makedirs", "touch") or _mode(node, 99).startswith("a"):
            found.adds |= patterns
        if last in ("copy", "copyfile", "copy2", "copytree", "move", "rename", "replace"):
            found.reads |= patterns


def _is_path(node: ast.expr, values: Values) -> bool:
    return bool(values.value(node).paths) and not isinstance(node, ast.Constant | ast.JoinedStr)


def _patterns(node: ast.expr | None, values: Values) -> set[str]:
    value = values.value(node) if node is not None else Value()
    return set(value.paths) or {ANY}


def _mode(node: ast.Call, position: int) -> str:
    given = next((k.value for k in node.keywords if k.arg == "mode"), None)
    if given is None and len(node.args) > position:
        given = node.args[position]
    if given is None:
        return "r"
    return given.value if isinstance(given, ast.Constant) and isinstance(given.value, str) else "r+"


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def may_match(one: str, other: str) -> bool:
    """Whether two patterns may stand for one file. Folders count with all that is in them."""
    if ANY in (one, other) or one == other:
        return True
    left, right = posixpath.normpath(one), posixpath.normpath(other)
    if "*" not in left and "*" not in right:
        # One may be written from another folder, or be the folder of the other.
        return left == right or left.endswith(f"/{right}") or right.endswith(f"/{left}") or _folder(left, right)
    a, b = posixpath.basename(left), posixpath.basename(right)
    return fnmatchcase(a, b) or fnmatchcase(b, a) or ("*" in a and "*" in b) or _folder(left, right)


def _folder(one: str, other: str) -> bool:
    return one.startswith(f"{other}/") or other.startswith(f"{one}/")
