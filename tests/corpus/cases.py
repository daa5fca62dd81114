"""All cases, by name."""

from __future__ import annotations

from collections.abc import Mapping

from . import cases_files, cases_jupyter, cases_language, cases_libraries, cases_order, cases_work
from .model import Case

GROUPS: Mapping[str, tuple[Case, ...]] = {
    "Order of work": cases_order.CASES,
    "Python": cases_language.CASES,
    "Files, folders, modules": cases_files.CASES,
    "Data libraries": cases_libraries.CASES,
    "Jupyter": cases_jupyter.CASES,
    "Several at once": cases_work.CASES,
}
CASES = tuple(case for group in GROUPS.values() for case in group)
BY_NAME: Mapping[str, Case] = {case.name: case for case in CASES}
