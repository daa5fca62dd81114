"""Call back when a module has been imported, without importing it, wrapping its loader or showing in a
traceback.

The finder asks the other finders and hands their spec on with nothing changed but its class: the import
system sets ``spec._initializing`` to False right after a module's code ran, and the class of the spec
notices. So no frame of ours is on the stack while the module's code runs. The class is put back before the
callbacks are called. Where a finder makes specs of a class of its own, the callback comes with the next
``poll()`` instead.

``importlib.reload`` does not call back: what was done to the module's attributes is gone until the next
process.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Callback = Callable[[ModuleType], object]

faults: deque[str] = deque(maxlen=20)
"""What went wrong in callbacks, newest last: an import must not fail because of us."""

_waiting: dict[str, list[Callback]] = {}
_lock = threading.RLock()
_asking = threading.local()


class _WatchedSpec(ModuleSpec):
    """A spec that says when its module has been initialised."""

    @property
    def _initializing(self) -> bool:
        return bool(self.__dict__.get("_initializing", False))

    @_initializing.setter
    def _initializing(self, value: bool) -> None:
        self.__dict__["_initializing"] = value
        if not value:
            self.__class__ = ModuleSpec  # type: ignore[assignment]  # no trace is left on the module
            _fire(self.name)

    def __reduce__(self) -> tuple[object, ...]:
        state = dict(self.__dict__)
        return (ModuleSpec, (self.name, self.loader), state)


class _Finder(MetaPathFinder):
    """Defers to all other finders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _waiting or fullname in sys.modules:  # the latter: a reload
            return None
        names: set[str] = _asking.__dict__.setdefault("names", set())
        if fullname in names:  # another finder of this kind asks back
            return None
        names.add(fullname)
        try:
            for finder in list(sys.meta_path):
                find = getattr(finder, "find_spec", None)
                if finder is self or find is None:
                    continue
                spec: ModuleSpec | None = find(fullname, path, target)
                if spec is not None:
                    if type(spec) is ModuleSpec and spec.loader is not None:
                        spec.__class__ = _WatchedSpec
                    return spec
            return None
        finally:
            names.discard(fullname)


_finder = _Finder()


def when_imported(module: str, callback: Callback) -> Callable[[], None]:
    """Call ``callback(module)`` once ``module`` is imported, at once where it already is.

    Returns a function that takes the request back; it may be called more than once. A callback's exception
    is kept in ``faults`` and goes no further.
    """
    with _lock:
        _waiting.setdefault(module, []).append(callback)
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
    if _is_ready(module):
        _fire(module)

    def remove() -> None:
        with _lock:
            callbacks = _waiting.get(module, [])
            if callback in callbacks:
                callbacks.remove(callback)
            if not callbacks:
                _waiting.pop(module, None)
            _leave_if_idle()

    return remove


def poll() -> None:
    """Call back for modules that were imported in a way that the finder could not see. Costs microseconds."""
    for module in tuple(_waiting):
        if module in sys.modules and _is_ready(module):
            _fire(module)


def remove_all() -> None:
    """Take all requests back and leave ``sys.meta_path``."""
    with _lock:
        _waiting.clear()
        _leave_if_idle()


def _is_ready(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False)


def _fire(name: str) -> None:
    module = sys.modules.get(name)
    if module is None:  # the import failed: the next attempt is watched again
        return
    with _lock:
        callbacks = _waiting.pop(name, [])
        _leave_if_idle()
    for callback in callbacks:
        try:
            callback(module)
        except Exception as error:  # noqa: BLE001 - else the user's import would fail
            faults.append(f"{name}: {type(error).__name__}: {error}")


def _leave_if_idle() -> None:
    if not _waiting and _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
