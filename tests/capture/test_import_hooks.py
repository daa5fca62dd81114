"""Calling back on import, on real modules, without a trace."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
import threading
import traceback
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from mlops_jupyter.capture import import_hooks
from mlops_jupyter.capture.import_hooks import remove_all, when_imported


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    remove_all()
    import_hooks.faults.clear()
    for name in set(sys.modules) - before:
        if name.startswith("hooked_"):
            del sys.modules[name]


def test_called_once_when_the_module_has_run(folder: Path) -> None:
    (folder / "hooked_a.py").write_text("value = 1\n")
    seen: list[int] = []
    when_imported("hooked_a", lambda module: seen.append(module.value))
    assert "hooked_a" not in sys.modules
    importlib.import_module("hooked_a")
    importlib.import_module("hooked_a")
    assert seen == [1]


def test_called_at_once_when_it_is_there_already() -> None:
    seen: list[ModuleType] = []
    when_imported("json", seen.append)
    assert seen == [sys.modules["json"]]


def test_no_trace_is_left_on_module_spec_and_loader(folder: Path) -> None:
    (folder / "hooked_b.py").write_text("class Thing: pass\n")
    when_imported("hooked_b", lambda _module: None)
    module = importlib.import_module("hooked_b")
    assert type(module.__spec__) is ModuleSpec
    assert type(module.__loader__).__name__ == "SourceFileLoader"
    assert "exec_module" not in vars(module.__loader__)
    assert import_hooks._finder not in sys.meta_path
    assert isinstance(pickle.loads(pickle.dumps(module.Thing())), module.Thing)


def test_finding_reloading_and_pickling_a_spec_work(folder: Path) -> None:
    (folder / "hooked_c.py").write_text("value = 1\n")
    seen: list[int] = []
    when_imported("hooked_c", lambda module: seen.append(module.value))
    spec = importlib.util.find_spec("hooked_c")
    assert spec is not None
    assert isinstance(spec, ModuleSpec)
    assert pickle.loads(pickle.dumps(spec.name)) == "hooked_c"
    assert seen == []
    module = importlib.import_module("hooked_c")
    (folder / "hooked_c.py").write_text("value = 22\n")
    importlib.invalidate_caches()
    assert importlib.reload(module).value == 22
    assert seen == [1]


def test_a_submodule_fires_after_its_package(folder: Path) -> None:
    (folder / "hooked_pack").mkdir()
    (folder / "hooked_pack" / "__init__.py").write_text("")
    (folder / "hooked_pack" / "inner.py").write_text("ready = True\n")
    seen: list[str] = []
    when_imported("hooked_pack.inner", lambda module: seen.append(f"inner {module.ready}"))
    when_imported("hooked_pack", lambda module: seen.append(module.__name__))
    importlib.import_module("hooked_pack.inner")
    assert seen == ["hooked_pack", "inner True"]


@pytest.mark.parametrize("text", ["1 / 0\n", "def broken(:\n", "import hooked_absent\n"])
def test_a_failing_import_has_the_traceback_it_always_had(folder: Path, text: str) -> None:
    (folder / "hooked_d.py").write_text(text)

    def failure() -> list[str]:
        try:
            importlib.import_module("hooked_d")
        except (ZeroDivisionError, SyntaxError, ImportError) as error:
            return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        raise AssertionError("imported")

    bare = failure()
    seen: list[ModuleType] = []
    when_imported("hooked_d", seen.append)
    assert failure() == bare
    assert seen == []
    (folder / "hooked_d.py").write_text("mended = True\n")
    importlib.invalidate_caches()
    importlib.import_module("hooked_d")
    assert [module.mended for module in seen] == [True]


def test_an_absent_module_is_still_absent() -> None:
    when_imported("hooked_absent", lambda _module: None)
    with pytest.raises(ModuleNotFoundError, match="hooked_absent"):
        importlib.import_module("hooked_absent")
    assert importlib.util.find_spec("hooked_absent") is None


def test_removed_requests_are_not_called(folder: Path) -> None:
    (folder / "hooked_e.py").write_text("")
    seen: list[str] = []
    remove = when_imported("hooked_e", lambda _module: seen.append("one"))
    when_imported("hooked_e", lambda _module: seen.append("two"))
    remove()
    remove()
    importlib.import_module("hooked_e")
    assert seen == ["two"]


def test_remove_all_leaves_the_import_system_as_it_was() -> None:
    before = list(sys.meta_path)
    when_imported("hooked_f", lambda _module: None)
    when_imported("hooked_g", lambda _module: None)
    remove_all()
    assert sys.meta_path == before


def test_a_callback_that_raises_does_not_fail_the_import(folder: Path) -> None:
    (folder / "hooked_h.py").write_text("")
    seen: list[str] = []

    def broken(_module: ModuleType) -> None:
        raise RuntimeError("ours")

    when_imported("hooked_h", broken)
    when_imported("hooked_h", lambda module: seen.append(module.__name__))
    importlib.import_module("hooked_h")
    assert seen == ["hooked_h"]
    assert list(import_hooks.faults) == ["hooked_h: RuntimeError: ours"]


def test_threads_that_import_at_once_get_one_call(folder: Path) -> None:
    (folder / "hooked_i.py").write_text("import time\ntime.sleep(0.02)\nready = True\n")
    seen: list[bool] = []
    when_imported("hooked_i", lambda module: seen.append(module.ready))
    threads = [threading.Thread(target=importlib.import_module, args=("hooked_i",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True]


def test_specs_of_another_class_are_called_for_by_the_next_poll(folder: Path) -> None:
    (folder / "hooked_j.py").write_text("value = 3\n")

    class OtherSpec(ModuleSpec):
        pass

    class OtherFinder:
        def find_spec(self, name: str, _path: object, _target: object = None) -> ModuleSpec | None:
            if name != "hooked_j":
                return None
            found = importlib.util.spec_from_file_location(name, folder / "hooked_j.py")
            assert found is not None
            return OtherSpec(name, found.loader, origin=found.origin)

    finder = OtherFinder()
    sys.meta_path.insert(0, finder)  # type: ignore[arg-type]
    try:
        seen: list[int] = []
        when_imported("hooked_j", lambda module: seen.append(module.value))
        importlib.import_module("hooked_j")
        import_hooks.poll()
        assert seen == [3]
    finally:
        sys.meta_path.remove(finder)  # type: ignore[arg-type]
