"""The corpus as a table: each case worked through in a real kernel, converted, verified, and written down.

python -m tests.corpus.table            all cases; writes tests/corpus/results.json and docs/conversion-corpus.md
python -m tests.corpus.table NAME ...   these alone; the others stay as they were
python -m tests.corpus.table --page     the page from the results that are there
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .cases import BY_NAME, CASES, GROUPS
from .check import found_of, from_text
from .kernels import Kernels
from .model import Case
from .play import child_environment, record
from .shells import REPOSITORY, Shells

RESULTS = Path(__file__).parent / "results.json"
PAGE = REPOSITORY / "docs" / "conversion-corpus.md"


def run(case: Case, folder: Path, kernels: Kernels, shells: Shells) -> dict[str, Any]:
    """Work through a case, convert it with verification, and say what came of it."""
    from mlops_jupyter.errors import MlopsError
    from mlops_jupyter.verbs.convert import convert

    played = record(case, folder / "work", shells if case.kernel == "shell" and not case.code else kernels)
    began = time.monotonic()
    found: dict[str, Any] = {"executions": played.executions}
    try:
        told = convert(played.notebook, played.notebook.with_name("converted.ipynb"), target=case.target)
    except MlopsError as error:
        found |= {
            "result": "refused",
            "sentence": error.message.replace(f"{played.folder}/", ""),
            "kept": 0,
            "parameters": [],
        }
    else:
        verification = told["verification"]
        found |= {
            "result": verification["grade"],
            "sentence": "" if verification["grade"] == "A" else verification["reason"],
            "kept": told["cells"]["kept"],
            "parameters": [p["name"] for p in told["parameters"]],
            "offered": [p["name"] for p in told["offered"]],
        }
    found["seconds"] = round(time.monotonic() - began, 1)
    text = from_text(case, played, folder, kernels if case.kernel == "real" else shells)
    found["text"] = {
        "result": text.result,
        "sentence": text.detail.replace(f"{folder}/text/", "") if text.result == "refused" else "",
    }
    return found


def page(results: dict[str, dict[str, Any]]) -> str:
    """The page of these results."""
    cases = [case for case in CASES if case.name in results]
    grades = [results[case.name]["result"] for case in cases]
    texts = [results[case.name]["text"]["result"] for case in cases]
    wanted = sum(len(case.parameters) for case in cases if results[case.name]["result"] != "refused")
    found = sum(len(found_of(case, results[case.name]["parameters"])) for case in cases)
    offered = sum(len(_offered(case, results[case.name])) for case in cases)
    lines = [
        "# Conversion, tried on messy notebooks",
        "",
        f"{len(cases)} notebooks written for the tests, each with one kind of mess, worked through in a kernel as a "
        f"person would, then converted and verified. {grades.count('A')} give the same values exactly (grade A), "
        f"{grades.count('B')} the same but for what differs each time it is made or is only shown (B), "
        f"{grades.count('C')} do not, and it is said where and why (C), {grades.count('refused')} are refused with the "
        f"reason. Of {wanted} parameters that a person would want {found} are lifted without being asked for, and "
        f"{offered} are lifted or offered.",
        "",
        "The last column is the same file converted by its text alone, where nothing was recorded of it: "
        f"{texts.count('same')} give the value that running the notebook from top to bottom gives, "
        f"{texts.count('random')} are random, {texts.count('refused')} are refused, {texts.count('broken')} do not run "
        f"from top to bottom themselves, {texts.count('other') + texts.count('failed')} are wrong.",
        "",
        "Made by `python -m tests.corpus.table`; the notebooks are programs in `tests/corpus`. Kept: executions that "
        "the converted notebook holds, of those that ran. Parameters: found of those that a person would want. "
        "Seconds are those of the conversion with its verification in fresh kernels, on one machine.",
    ]
    for title, group in GROUPS.items():
        lines += ["", f"## {title}", "", "| Mess | Result | Kept | Parameters | Seconds | By text alone |"]
        lines.append("|---|---|---|---|---|---|")
        for case in group:
            if case.name in results:
                lines.append(_row(case, results[case.name]))
    return "\n".join(lines) + "\n"


def _offered(case: Case, found: dict[str, Any]) -> tuple[str, ...]:
    return found_of(case, [*found["parameters"], *found.get("offered", ())])


def _row(case: Case, found: dict[str, Any]) -> str:
    refused = found["result"] == "refused"
    result = f"refused: {_text(found['sentence'])}" if refused else f"**{found['result']}**"
    if found["sentence"] and not refused:
        result += f" {_text(found['sentence'])}"
    parameters = (
        f"{len(found_of(case, found['parameters']))} of {len(case.parameters)}"
        if case.parameters and not refused
        else "–"
    )
    kept = "–" if refused else f"{found['kept']} of {found['executions']}"
    text = {"same": "right", "broken": "does not run from top to bottom"}.get(
        found["text"]["result"], found["text"]["result"]
    )
    return f"| {_text(case.mess)} | {result} | {kept} | {parameters} | {found['seconds']} | {text} |"


def _text(text: str) -> str:
    """Text for a cell of a Markdown table."""
    for mark in "\\`*_<>|[]$":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def main(arguments: list[str]) -> None:
    """Run the cases named, or all, and write the page."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if "--page" not in arguments:
        with tempfile.TemporaryDirectory() as place:
            environ = child_environment(Path(place) / "home")
            os.environ |= {k: v for k, v in environ.items() if os.environ.get(k) != v}
            shells, kernels = Shells(environ), Kernels(environ)
            for case in [BY_NAME[name] for name in arguments] or CASES:
                results[case.name] = run(case, Path(place) / case.name, kernels, shells)
                shown = results[case.name]
                print(f"{case.name}: {shown['result']} {shown['sentence'][:150]} {shown['seconds']} s", flush=True)
                _write(results)
            shells.close()
    _write(results)


def _write(results: dict[str, dict[str, Any]]) -> None:
    ordered = {case.name: results[case.name] for case in CASES if case.name in results}
    RESULTS.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(ordered))


if __name__ == "__main__":
    main(sys.argv[1:])
