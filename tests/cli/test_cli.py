"""The command line as a user meets it: help, exit codes, one sentence on stderr, one document on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from mlops_jupyter.cli import cli, invoke
from mlops_jupyter.cli._main import COMMANDS
from mlops_jupyter.cli._output import lasted, number, pairs, plain
from tests.schemas import check


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mlops.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke([verb, "--help"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 4


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from mlops_jupyter.cli import invoke; invoke(['--help']);"
        "print([m for m in ('mlflow', 'pandas', 'numpy', 'papermill', 'nbclient', 'ray') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_unknown_verb_names_the_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["lineag"]) == 2
    err = capsys.readouterr().err
    assert "'lineag'" in err and "Did you mean 'lineage'?" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["runs", "show", "0123456789abcdef"], 2, "There is no run '0123456789abcdef'"),
        (["runs", "show", "0123"], 2, "too short"),
        (["runs", "list", "--filter", "metrics.acc >"], 2, "mlops: "),
        (["runs", "list", "--limit", "0"], 2, "--limit"),
        (["runs", "list", "--team"], 2, "MLOPS_STORE_URL"),
        (["lineage", "nothing_of_that_name"], 2, "nothing_of_that_name"),
        (["run", "missing.ipynb"], 2, "missing.ipynb"),
        (["gather", "missing.ipynb", "--target", "x"], 2, "missing.ipynb"),
        (["runs", "note", "ffffffff", "x"], 2, "ffffffff"),
        (["gc", "--older-than", "-3"], 2, "--older-than"),
    ],
)
def test_bad_input_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    assert invoke(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_init_replaces_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mlops.toml").write_text('experiment = "mine"\n')
    assert invoke(["init", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == ["mlops.toml"]
    assert (folder / "mlops.toml").read_text() == 'experiment = "mine"\n'
    assert invoke(["init"]) == 0


def test_init_writes_settings_that_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["init"]) == 0
    text = (tmp_path / "mlops.toml").read_text()
    uncommented = "\n".join(
        line.removeprefix("# ")
        for line in text.splitlines()
        if line.startswith("# ") and ("=" in line or line.startswith("# ["))
    )
    (tmp_path / "mlops.toml").write_text(uncommented)
    from mlops_jupyter.config import load_settings

    settings = load_settings(tmp_path, {})
    assert settings.experiment == "my-experiment"
    assert settings.snapshot_limit == 64 * 1024 * 1024


def test_doctor_is_healthy_in_an_empty_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["healthy"]
    assert {check["name"] for check in document["checks"]} >= {"python", "store", "mlflow", "delivery", "capture"}


def test_doctor_names_a_broken_settings_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mlops.toml").write_text("no such = = toml")
    assert invoke(["doctor"]) == 75
    assert "is not valid TOML" in capsys.readouterr().out


def test_doctor_names_an_unreachable_tracking_server(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    assert invoke(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "does not answer" in out
    assert "secret" not in out


def test_runs_json_is_one_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["runs", "--help"]) == 0
    capsys.readouterr()
    assert invoke(["runs", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"runs": [], "total": 0}


def test_read_only_folder(folder: Path, without_privileges: Callable[[list[str]], list[str]]) -> None:
    folder.chmod(0o500)
    try:
        command = without_privileges([sys.executable, "-m", "mlops_jupyter", "runs"])
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        folder.chmod(0o700)
    assert done.returncode == 75
    assert "cannot be written" in done.stderr and "Traceback" not in done.stderr
    assert list(folder.iterdir()) == [folder / "mlops.toml"]


def test_reader_of_a_pipe_that_goes_away_is_no_error(folder: Path) -> None:
    command = f"{sys.executable} -m mlops_jupyter doctor | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=folder, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert done.stdout.count("\n") == 1


def test_terminal_control_characters_of_names_are_not_passed_on() -> None:
    assert "\x1b" not in plain("\x1b[2Jgone\x07")
    assert plain("été × 3") == "été × 3"


def test_numbers_and_durations_for_people() -> None:
    assert number(0.123456789) == "0.123457"
    assert number("NaN") == "NaN"
    assert number(True) == "True"
    assert [lasted(s) for s in (None, 0.0123, 3.21, 75, 7322)] == ["", "12 ms", "3.2 s", "1 min 15 s", "2 h 02 min"]
    assert pairs({"a": 1, "b": 2.5, "c": "x"}, limit=2) == "a=1 b=2.5 … +1"


@pytest.mark.parametrize("verb", ["runs", "jobs", "models"])
def test_a_group_without_a_verb_lists(folder: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert invoke([verb, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    check(document, f"{verb}-list")
    assert document[verb] == []
    assert invoke([verb, "-h"]) == 0
    assert f"Usage: mlops {verb} [OPTIONS] [COMMAND] [ARGS]..." in capsys.readouterr().out


def _commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield name, found
            yield from _commands(found, click.Context(found, info_name=name, parent=context))


def test_every_command_and_option_says_what_it_does_in_whole_words() -> None:
    context = click.Context(cli, info_name="mlops")
    found = list(_commands(cli, context))
    assert len(found) > 20
    for name, command in found:
        assert not command.get_short_help_str(70).endswith("..."), f"{name}: the group's list would cut its text off"
        assert "``" not in (command.help or ""), name
        for option in command.params:
            if isinstance(option, click.Option) and not isinstance(option.type, click.Choice):
                assert option.help, f"{name} {option.opts}"
                assert option.is_flag or "RANGE" not in option.make_metavar(context), f"{name} {option.opts}"


def test_command_line_page_is_current() -> None:
    root = Path(__file__).parents[2]
    script = root / "scripts" / "write-command-line-page"
    page = (root / "docs" / "command-line.md").read_text()
    code = f"import runpy; print(runpy.run_path({str(script)!r})['page'](), end='')"
    made = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "100"}
    ).stdout
    assert made == page, "docs/command-line.md is stale; run scripts/write-command-line-page"


def test_commands_of_the_table_are_the_commands_of_the_group() -> None:
    import click

    context = click.Context(cli)
    assert all(cli.get_command(context, name) is not None for name in cli.list_commands(context))


def test_comparison_marks_a_parameter_that_only_one_run_has(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mlops_jupyter.store import runs
    from mlops_jupyter.workspace import open_workspace
    from tests.store import make

    with open_workspace(folder) as workspace:
        made = [make.run(params={"a": "1", "weight": "None"}), make.run(params={"a": "1"})]
        for run in made:
            runs.start_run(workspace.store, run)
    assert invoke(["runs", "compare", *(run.run_uid for run in made)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "params." in line] == ["params.a", "≠"]


def test_gc_says_what_waits_for_a_delivery(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mlops_jupyter.store import outbox, runs
    from mlops_jupyter.workspace import open_workspace
    from tests.store import make

    with open_workspace(folder) as workspace:
        run = make.run()
        runs.start_run(workspace.store, run)
        runs.delete_run(workspace.store, run.run_uid)
        outbox.advance(workspace.store, "sqlite:///mlflow.db", "run_events", 0)
    assert invoke(["gc", "--older-than", "0"]) == 0
    assert "kept 1 deleted runs that MLflow was not told of yet; first run: mlops sync" in capsys.readouterr().out
