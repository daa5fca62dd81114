"""Where the workspace is and what sets what."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_jupyter.config import Settings, ensure_home, find_root, load_settings
from mlops_jupyter.config import _settings as implementation
from mlops_jupyter.config._filesystem import NETWORK_FILESYSTEMS, filesystem_type, is_network_filesystem
from mlops_jupyter.errors import UsageError


def _load(folder: Path, **environ: str) -> Settings:
    return load_settings(folder, environ)


@pytest.mark.parametrize("marker", [".mlops", "mlops.toml", ".git", "pyproject.toml"])
def test_the_nearest_folder_with_a_marker_is_the_workspace(tmp_path: Path, marker: str) -> None:
    outer, inner = tmp_path / "outer", tmp_path / "outer" / "a" / "b"
    inner.mkdir(parents=True)
    (outer / ".git").mkdir(exist_ok=True)
    (outer / "a" / marker).mkdir()
    assert find_root(inner) == outer / "a"
    assert _load(inner).home == outer / "a" / ".mlops"


def test_without_a_marker_it_is_the_folder_itself(tmp_path: Path) -> None:
    inner = tmp_path / "x"
    inner.mkdir()
    # Folders above the test's may hold a marker of their own.
    if find_root(tmp_path) == tmp_path:
        assert find_root(inner) == inner


def test_loading_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").touch()
    _load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mlops.toml"]


def test_mlops_home_names_the_folder(tmp_path: Path) -> None:
    settings = _load(tmp_path, MLOPS_HOME=str(tmp_path / "elsewhere" / ".mlops"))
    assert (settings.home, settings.root) == (tmp_path / "elsewhere" / ".mlops", tmp_path / "elsewhere")
    (tmp_path / "mlops.toml").touch()
    settings = _load(tmp_path, MLOPS_HOME=str(tmp_path / "state"))
    assert (settings.home, settings.root, settings.database) == (
        tmp_path / "state", tmp_path, tmp_path / "state" / "lineage.db",
    )  # fmt: skip


def test_a_relative_mlops_home_is_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _load(tmp_path, MLOPS_HOME="here/.mlops").home == tmp_path / "here" / ".mlops"


def test_environment_before_mlops_toml_before_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.mlops]\nexperiment = "p"\nstore_url = "p"\ndata_url = "p"\n')
    (tmp_path / "mlops.toml").write_text('experiment = "m"\nstore_url = "m"\n')
    settings = _load(tmp_path, MLOPS_EXPERIMENT="e")
    assert (settings.experiment, settings.store_url, settings.data_url) == ("e", "m", "p")
    assert _load(tmp_path, MLFLOW_EXPERIMENT_NAME="f", MLOPS_EXPERIMENT="e").experiment == "f"
    assert _load(tmp_path, MLOPS_EXPERIMENT="").experiment == "m", "an empty variable is none"


def test_defaults(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").touch()
    settings = _load(tmp_path)
    home = tmp_path / ".mlops"
    assert settings.tracking_uri == f"sqlite:///{home / 'mlflow.db'}"
    assert settings.embedded_mlflow
    assert (settings.artifacts, settings.cache, settings.runs, settings.locks) == (
        home / "artifacts", home / "cache", home / "runs", home / "locks",
    )  # fmt: skip
    assert (settings.capture_models, settings.deliver, settings.registry_uri) == (True, True, None)


def test_a_relative_database_of_mlflow_becomes_absolute(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_text('tracking_uri = "sqlite:///mine.db"\nregistry_uri = "./registry"\n')
    inner = tmp_path / "notebooks"
    inner.mkdir()
    settings = _load(inner)
    assert settings.tracking_uri == f"sqlite:///{tmp_path / 'mine.db'}"
    assert settings.registry_uri == str(tmp_path / "registry")
    assert not settings.embedded_mlflow
    assert _load(inner, MLFLOW_TRACKING_URI="sqlite:///e.db").tracking_uri == f"sqlite:///{inner / 'e.db'}"
    for uri in ("http://127.0.0.1:5000", "sqlite:////abs/x.db", "databricks", "sqlite:///:memory:", "file:///a"):
        assert _load(inner, MLFLOW_TRACKING_URI=uri).tracking_uri == uri
    assert _load(inner, MLOPS_TRACKING_URI="http://a").tracking_uri == "http://a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experimnet = 'x'", "unknown setting 'experimnet'"),
        ("experiment = 5", "experiment must be a str, got 5"),
        ("deliver = 'yes'", "deliver must be a bool"),
        ("model_size_limit = true", "model_size_limit must be a int"),
        ("model_size_limit = 1.5", "model_size_limit must be a int"),
        ("experiment = ", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mlops.toml").write_text(text)
    with pytest.raises(UsageError, match=r"mlops\.toml") as caught:
        _load(tmp_path)
    assert message in str(caught.value)


def test_tables_belong_to_other_features(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_text("[gates.credit]\ndata = 'x'\n")
    assert _load(tmp_path).experiment is None


@pytest.mark.parametrize("text", ["tool = 5", "[tool]\nmlops = 5", "broken ="])
def test_a_strange_pyproject_does_not_raise_unless_ours_is_wrong(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    if "mlops" in text:
        with pytest.raises(UsageError, match="must be a table"):
            _load(tmp_path)
    else:
        assert _load(tmp_path).root == tmp_path


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_bytes(b"experiment = '\xff'")
    with pytest.raises(UsageError, match="not valid TOML"):
        _load(tmp_path)


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("deliver", "0", False),
        ("deliver", "On", True),
        ("capture_models", "FALSE", False),
        ("model_size_limit", "1024", 1024),
    ],
)
def test_variables_are_converted(tmp_path: Path, variable: str, text: str, value: object) -> None:
    (tmp_path / "mlops.toml").touch()
    assert getattr(_load(tmp_path, **{f"MLOPS_{variable.upper()}": text}), variable) == value


@pytest.mark.parametrize(("variable", "text"), [("MLOPS_DELIVER", "perhaps"), ("MLOPS_MODEL_SIZE_LIMIT", "1 GB")])
def test_a_wrong_variable_is_told(tmp_path: Path, variable: str, text: str) -> None:
    with pytest.raises(UsageError, match=variable):
        _load(tmp_path, **{variable: text})


def test_the_home_is_made_with_its_gitignore_and_kept(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").touch()
    settings = _load(tmp_path)
    ensure_home(settings)
    ignore = settings.home / ".gitignore"
    assert "*" in ignore.read_text().splitlines()
    ignore.write_text("mine")
    ensure_home(settings)
    assert ignore.read_text() == "mine"


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").touch()
    (tmp_path / ".mlops").write_text("a file is in the way")
    with pytest.raises(UsageError, match="a file stands where") as caught:
        ensure_home(_load(tmp_path))
    assert caught.value.exit_code == 2


def test_a_folder_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="does not exist any more"):
        load_settings(None, {})


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw shared:2 - nfs4 server:/home rw,vers=4.2
31 30 8:2 / /home/ada/local rw shared:3 - xfs /dev/sdb1 rw
32 22 0:41 / /mnt/with\\040blank rw - fuse.sshfs host:/ rw
33 22 0:42 / /mnt/auto rw - autofs systemd-1 rw
34 22 0:43 / /mnt/auto rw - cifs //server/share rw
35 22 0:44 / /mnt/größe rw - 9p share rw
this line is nonsense
36 22 0:45 / /mnt/optional rw shared:1 master:2 propagate_from:3 - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc", "ext4"),
        ("/home/ada/project", "nfs4"),
        ("/home/ada/local/project", "xfs"),
        ("/homework", "ext4"),
        ("/mnt/with blank/x", "fuse.sshfs"),
        ("/mnt/auto/x", "cifs"),
        ("/mnt/größe", "9p"),
        ("/mnt/optional", "tmpfs"),
    ],
)
def test_the_mount_that_holds_a_path(path: str, kind: str) -> None:
    assert filesystem_type(Path(path), MOUNTS) == kind
    assert (kind in NETWORK_FILESYSTEMS) == (kind in {"nfs4", "fuse.sshfs", "cifs", "9p"})


def test_without_a_fitting_line_nothing_is_known() -> None:
    assert filesystem_type(Path("/x"), "") is None


def test_this_machines_temporary_folder_is_local(tmp_path: Path) -> None:
    assert not is_network_filesystem(tmp_path)


def test_on_a_network_file_system_the_databases_are_kept_locally(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision alone is replaced: nothing here can mount a network file system."""
    project, other = tmp_path / "share" / "a", tmp_path / "share" / "b"
    for folder in (project, other):
        folder.mkdir(parents=True)
        (folder / "mlops.toml").touch()
    monkeypatch.setattr(implementation, "is_network_filesystem", lambda path: "share" in path.parts)
    local = tmp_path / "local"
    settings = _load(project, XDG_STATE_HOME=str(local))
    assert settings.home == project / ".mlops"
    assert settings.state.parent == local / "mlops-jupyter"
    assert settings.database.parent == settings.locks.parent == settings.state
    assert settings.tracking_uri == f"sqlite:///{settings.state / 'mlflow.db'}"
    assert settings.state != _load(other, XDG_STATE_HOME=str(local)).state
    ensure_home(settings)
    assert (settings.home / "state").read_text() == f"{settings.state}\n"
    told = _load(project, MLOPS_STATE_DIR="../state")
    assert told.state == project.parent / "state"


def test_settings_of_snapshots_are_in_a_table_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_text("[data]\nsnapshot_limit = 5\nsnapshot_total = 7\n[gates.x]\nanything = 1\n")
    settings = _load(tmp_path)
    assert (settings.snapshot_limit, settings.snapshot_total) == (5, 7)
    assert _load(tmp_path, MLOPS_DATA_SNAPSHOT_LIMIT="0").snapshot_limit == 0


@pytest.mark.parametrize("line", ["snapshot_limit = -1", "snapshot_limit = 'x'", "snapshot_limit = true", "other = 1"])
def test_wrong_settings_of_snapshots(tmp_path: Path, line: str) -> None:
    (tmp_path / "mlops.toml").write_text(f"[data]\n{line}\n")
    with pytest.raises(UsageError, match=r"\[data\]"):
        _load(tmp_path)
