"""A verification for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._output import echo, lasted, plain, table


def show_verification(document: Mapping[str, Any]) -> None:
    """The grade with its reason, the checks, what diverges first, dead parameters, and what differs each time."""
    grade = document["grade"] or "none"
    echo(f"  grade     {grade}: {plain(document['reason'])}")
    table(
        ["CHECK", "OF", "STATE", "DETAIL", "TOOK"],
        [[c["name"], c["title"], c["state"], c["detail"], lasted(c["seconds"])] for c in document["checks"]],
        right=(4,),
    )
    diverging = document["diverging"]
    if diverging is not None:
        what = diverging["variable"] or "the cell"
        echo(f"  diverges  {plain(diverging['cell'])}: {plain(what)}")
        echo(f"            expected {plain(diverging['expected'])}")
        echo(f"            got      {plain(diverging['got'])}")
    for parameter in document["parameters"]:
        if parameter["state"] != "alive":
            echo(f"  parameter {plain(parameter['name'])} is {parameter['state']}: {plain(parameter['detail'])}")
    for each in document["unseeded"]:
        echo(f"  unstable  {plain(each['name'])} in {plain(each['cell'])}: {plain(each['reason'])}")
    for note in document["notes"]:
        echo(f"  note      {plain(note)}")
