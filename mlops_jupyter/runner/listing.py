"""The parameters of a notebook as a document: what ``mlops run NOTEBOOK --help`` shows. Starts no kernel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_jupyter.errors import UsageError

from .constraints import limits_text, schema_properties
from .document import read_notebook
from .parameters import PARAMETERS_TAG, Parameter, described, infer_parameters, tagged_cell


def list_parameters(notebook: Path) -> dict[str, Any]:
    """Name, type, default (Python source; None where code computes it), limits and help of each parameter.

    Raises:
        TargetNotFoundError, UsageError: it cannot be read, or is no notebook.
    """
    document = read_notebook(notebook)
    index = tagged_cell(document, PARAMETERS_TAG)
    properties = schema_properties(document)
    note, found = "", list[Parameter]()
    if index is None:
        note = 'It has no cell with the tag "parameters"; mlops convert makes one.'
    else:
        try:
            found = described(infer_parameters(document.cells[index].source), properties)
        except UsageError as error:
            note = str(error)
    return {
        "notebook": str(notebook),
        "parameters": [_entry(parameter, properties.get(parameter.name, {})) for parameter in found],
        "note": note,
    }


def _entry(parameter: Parameter, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "type": parameter.type_name,
        "default": " ".join(parameter.default_source.split()) if parameter.known_default else None,
        "limits": limits_text(schema),
        "help": parameter.help,
    }
