"""Scratch copies: a folder in which a notebook runs with what it needs and without the user's files.

The file system is mirrored: a workspace at ``/home/ann/work`` lies at ``SCRATCH/files/home/ann/work``, so that
relative paths, also those with ``..``, lead to the copies. What a replay writes by a relative path lands in the
scratch; that it writes nowhere else is seen to by ``confine``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlops_jupyter.errors import TransientError, UsageError
from mlops_jupyter.store import FileLock, is_held

SIZE_LIMIT = 4 * 1024**3
"""Bytes that the copies of one scratch may take."""
LINK_ABOVE = 64 * 1024**2
"""Bytes: a larger input that nothing writes is linked to, not copied."""
_MOST_FOLDERS, _MOST_MODULES, _MODULE_BYTES = 2_000, 2_000, 64 * 1024**2
_MOST_VISITED = 20_000
_NOT_OURS = frozenset({"node_modules", "__pycache__", "site-packages", "venv", "env", "build", "dist"})
_FICLONE = 0x40049409
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|package:")
"""Names of inputs that are no files of the user's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One input in the scratch."""

    name: str
    """As it is recorded: relative to the workspace, or absolute."""
    original: Path
    linked: bool
    """Whether the scratch holds a link to the original."""
    key: tuple[int, int, int]
    """(inode, size, time of the last change) of the original when it was placed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """A scratch copy. Remove it with ``remove_scratch``, or use ``scratch_copy``."""

    folder: Path
    """All of it; nothing outside of it is written."""
    original: Path
    """The user's workspace."""
    root: Path
    """The workspace's mirror in the scratch."""
    placed: tuple[Placed, ...]
    missing: tuple[str, ...]
    """Inputs that are not there any more."""
    lock: FileLock

    def mirror(self, path: Path) -> Path:
        """Where an absolute path of the user's lies in the scratch."""
        return _mirror(self.folder, path)

    @property
    def temporary(self) -> Path:
        """``TMPDIR`` of what runs in the scratch."""
        return self.folder / "tmp"


def make_scratch(
    root: Path,
    *,
    base: Path,
    needed: Iterable[str] = (),
    written: Iterable[str] = (),
    code: Iterable[Path] | None = None,
    near: Path | None = None,
    limit: int = SIZE_LIMIT,
) -> Scratch:
    """Make a scratch copy of the workspace at ``root`` below the folder ``base``.

    ``needed``: files that are read, relative to the root or absolute (URLs and data of packages are passed by);
    ``written``: files that are written, which are never links; ``code``: modules to copy, by default those below
    ``root`` and the folder ``near``. Empty folders of the workspace are there too, so that files can be
    written into them.

    Raises:
        UsageError: more than ``limit`` bytes would have to be copied.
        TransientError: the disk is full or cannot be written.
    """
    root = Path(os.path.realpath(root))
    base.mkdir(parents=True, exist_ok=True)
    sweep(base)
    name = secrets.token_hex(6)
    lock = FileLock(base / f"{name}.lock")
    lock.acquire()  # before the folder is there: nobody takes it for a left one
    folder = base / name
    try:
        mirror = _mirror(folder, root)
        mirror.mkdir(parents=True)
        (folder / "tmp").mkdir()
        copier = _Copier(folder, limit, {_absolute(root, w) for w in written})
        _copy_folders(root, folder)
        for path in local_modules(root, near) if code is None else code:
            copier.copy(path)
        files = [item for item in dict.fromkeys(needed) if not _ELSEWHERE.match(item)]
        missing = [item for item in files if not copier.place(item, _absolute(root, item))]
        return Scratch(
            folder=folder, original=root, root=mirror, placed=tuple(copier.placed), missing=tuple(missing), lock=lock
        )
    except OSError as error:
        _remove(folder, lock)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TransientError(
                f"The disk is full: the scratch copy in {base} was not made.",
                hint="Free some space, or set MLOPS_HOME to a folder on a larger disk.",
            ) from error
        raise TransientError(f"The scratch copy in {base} cannot be made: {error}.") from error
    except BaseException:
        _remove(folder, lock)
        raise


def remove_scratch(scratch: Scratch) -> None:
    """Delete it with all that was written in it. Idempotent."""
    _remove(scratch.folder, scratch.lock)


@contextlib.contextmanager
def scratch_copy(
    root: Path,
    *,
    base: Path,
    needed: Iterable[str] = (),
    written: Iterable[str] = (),
    code: Iterable[Path] | None = None,
    near: Path | None = None,
    limit: int = SIZE_LIMIT,
    keep: bool = False,
) -> Iterator[Scratch]:
    """``make_scratch``, removed at the end unless ``keep``."""
    scratch = make_scratch(root, base=base, needed=needed, written=written, code=code, near=near, limit=limit)
    try:
        yield scratch
    finally:
        if keep:
            (scratch.folder / "kept").touch()
            scratch.lock.release()
        else:
            remove_scratch(scratch)


def changed_inputs(scratch: Scratch) -> tuple[str, ...]:
    """Linked inputs whose originals are not as they were when they were placed."""
    return tuple(item.name for item in scratch.placed if item.linked and _key(item.original) != item.key)


def sweep(base: Path) -> None:
    """Remove scratch copies whose maker was killed."""
    with contextlib.suppress(OSError):
        for entry in list(base.iterdir()):
            lock = base / f"{entry.name}.lock"
            if entry.is_dir() and not (entry / "kept").exists() and not is_held(lock):
                _rmtree(entry)
                lock.unlink(missing_ok=True)


def local_modules(root: Path, near: Path | None = None) -> list[Path]:
    """Python files of the project: below the root and the notebook's folder, not those of environments."""
    found: dict[Path, None] = {}
    size = 0
    for start in dict.fromkeys([near or root, root]):
        for folder, names in _walk(start):
            for name in sorted(names):
                path = folder / name
                if path.suffix not in (".py", ".so", ".pyd") or path in found:
                    continue
                with contextlib.suppress(OSError):
                    size += path.stat().st_size
                    found[path] = None
                if len(found) > _MOST_MODULES or size > _MODULE_BYTES:
                    raise UsageError(
                        f"{root} has more Python files than a scratch copy takes ({_MOST_MODULES} files, "
                        f"{_MODULE_BYTES // 2**20} MiB).",
                        hint="Put the notebook into a folder of its own with a mlops.toml, or skip the verification.",
                    )
    return list(found)


def _walk(start: Path) -> Iterator[tuple[Path, list[str]]]:
    for number, (folder, folders, names) in enumerate(os.walk(start)):
        if number > _MOST_VISITED:
            return
        here = Path(folder)
        folders[:] = sorted(
            name for name in folders
            if not name.startswith(".") and name not in _NOT_OURS and not (here / name / "pyvenv.cfg").exists()
            and not (here / name).is_symlink()
        )  # fmt: skip
        yield here, names


def _copy_folders(root: Path, scratch: Path) -> None:
    for number, (folder, _) in enumerate(_walk(root)):
        if number >= _MOST_FOLDERS:
            break
        _mirror(scratch, folder).mkdir(parents=True, exist_ok=True)


class _Copier:
    def __init__(self, folder: Path, limit: int, written: set[Path]) -> None:
        self._folder = folder
        self._limit = self._left = limit
        self._written = written
        self.placed: list[Placed] = []

    def place(self, name: str, original: Path) -> bool:
        """Put an input where it is looked for; False where it is not there."""
        try:
            status = original.stat()
        except (OSError, ValueError):
            return False
        if stat.S_ISDIR(status.st_mode):
            files = [folder / n for folder, names in _walk(original) for n in names]
            _mirror(self._folder, original).mkdir(parents=True, exist_ok=True)
            return all(self.place(str(file), file) for file in files[:10_000])
        if not stat.S_ISREG(status.st_mode):
            return True  # a device or a pipe is used where it is
        linked = self.copy(original, link=original not in self._written)
        self.placed.append(Placed(name=name, original=original, linked=linked, key=_key(original)))
        return True

    def copy(self, original: Path, *, link: bool = False) -> bool:
        """Copy one file; whether a link was made instead."""
        target = _mirror(self._folder, original)
        if target.exists():
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        size = original.stat().st_size
        if _reflink(original, target):
            return False
        if size > LINK_ABOVE and link:
            target.symlink_to(original)
            return True
        self._left -= size
        if self._left < 0:
            raise UsageError(
                f"The scratch copy would take more than {self._limit / 1e9:.1f} GB: {original} alone has "
                f"{size / 1e9:.2f} GB.",
                hint="Skip the verification (--verify none), or let the notebook read a smaller file.",
            )
        shutil.copyfile(original, target)
        with contextlib.suppress(OSError):
            shutil.copystat(original, target)
            target.chmod(target.stat().st_mode | stat.S_IWUSR)
        return False


def _reflink(source: Path, target: Path) -> bool:
    """A copy that shares its blocks, where the file system can."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        with source.open("rb") as read, target.open("xb") as write:
            fcntl.ioctl(write.fileno(), _FICLONE, read.fileno())
    except OSError as error:
        target.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.ENOENT):
            raise
        return False
    with contextlib.suppress(OSError):
        shutil.copystat(source, target)
        target.chmod(target.stat().st_mode | stat.S_IWUSR)
    return True


def _mirror(folder: Path, path: Path) -> Path:
    return folder / "files" / Path(os.path.normpath(path)).relative_to(path.anchor)


def _absolute(root: Path, name: str) -> Path:
    return Path(os.path.normpath(root / name))


def _key(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, -1, 0)
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def _remove(folder: Path, lock: FileLock) -> None:
    _rmtree(folder)
    with contextlib.suppress(OSError):
        lock.path.unlink()
    lock.release()


def _rmtree(folder: Path) -> None:
    """Remove a tree, also where a replay took its own rights away."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        for path, _, _ in os.walk(folder):
            with contextlib.suppress(OSError):
                os.chmod(path, 0o700)  # noqa: PTH101
        shutil.rmtree(folder, ignore_errors=True)
