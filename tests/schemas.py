"""Checking documents against the schemas that ship with the package."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource


@cache
def _schemas() -> dict[str, Any]:
    folder = resources.files("mlops_jupyter") / "schemas"
    return {
        file.name: json.loads(file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if file.name.endswith(".json")
    }


def names() -> list[str]:
    """Names of all schemas, without ``.json``."""
    return sorted(name.removesuffix(".json") for name in _schemas())


@cache
def validator(name: str) -> Draft202012Validator:
    """The validator of one schema; references between the files work."""
    registry: Registry[Any] = Registry().with_resources(
        [(file, Resource.from_contents(schema)) for file, schema in _schemas().items()]
    )
    schema = _schemas()[f"{name}.json"]
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, registry=registry)


def check(document: object, name: str) -> None:
    """Raise where ``document``, sent through JSON, does not fit the schema ``name``."""
    validator(name).validate(json.loads(json.dumps(document, allow_nan=False)))
