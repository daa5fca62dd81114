"""Parameters of a notebook: read from its ``parameters`` cell, checked before a kernel starts, injected as literals.

Neither a value nor a name that comes from outside is ever executed: a name must be one that the cell assigns, and a
value is written as the Python literal of plain data. Papermill pastes both into code.
"""

from __future__ import annotations

import ast
import io
import keyword
import tokenize
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from nbformat import NotebookNode

from mlops_jupyter.errors import UsageError

from .coercion import ANY, Kind, coerce, from_annotation, from_value, literal
from .document import new_code_cell
from .references import Reference, as_reference

PARAMETERS_TAG = "parameters"
INJECTED_TAG = "injected-parameters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a notebook."""

    name: str
    kind: Kind
    """What values it takes."""
    default: Any = None
    """The value that the cell gives it, where that is a literal."""
    known_default: bool = True
    """False: the default is computed by code."""
    default_source: str = ""
    """Text of the default in the cell."""
    help: str = ""
    """The comment beside it."""

    @property
    def type_name(self) -> str:
        """The type as people write it: ``int``, ``list[str]``, ``float | None``."""
        return str(self.kind)


def infer_parameters(source: str) -> list[Parameter]:
    """Parameters that the text of a ``parameters`` cell assigns at its top level, in order; of several for one
    name the last.

    Raises:
        UsageError: the cell is not Python.
    """
    text = _without_magics(source)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UsageError(f"The notebook's parameters cell is not valid Python: {error}.") from None
    comments = _comments(text)
    found: dict[str, Parameter] = {}
    for statement in tree.body:
        for name, annotation, value in _assigned(statement):
            help_text, type_comment = _help(comments.get(statement.end_lineno or 0, ""))
            parameter = _parameter(name, annotation or type_comment, value, text, help_text)
            found.pop(name, None)
            found[name] = parameter
    return list(found.values())


def _assigned(statement: ast.stmt) -> list[tuple[str, str, ast.expr]]:
    if isinstance(statement, ast.Assign):
        return [(t.id, "", statement.value) for t in statement.targets if isinstance(t, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
        annotation = statement.annotation
        text = annotation.value if isinstance(annotation, ast.Constant) else ast.unparse(annotation)
        return [(statement.target.id, str(text), statement.value)]
    return []


def _parameter(name: str, annotation: str, value: ast.expr, text: str, help_text: str) -> Parameter:
    known, default = _literal_value(value)
    kind = from_annotation(annotation) if annotation else from_value(default) if known else ANY
    source = ast.get_source_segment(text, value) or ""
    return Parameter(name=name, kind=kind, default=default, known_default=known, default_source=source, help=help_text)


def _literal_value(node: ast.expr) -> tuple[bool, Any]:
    """Whether an expression is plain data, and the data. ``float("nan")`` and its like count."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "float"
        and len(node.args) == 1
        and not node.keywords
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str | int | float)
    ):
        try:
            return True, float(node.args[0].value)
        except ValueError:
            return False, None
    try:
        return True, ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False, None


def _without_magics(source: str) -> str:
    """The text with lines of IPython's own syntax blanked, so that line numbers stay."""
    return "\n".join("" if line.lstrip().startswith(("%", "!", "?")) else line for line in source.split("\n"))


def _comments(text: str) -> dict[int, str]:
    """Comment text by line."""
    found: dict[int, str] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                found[token.start[0]] = token.string.lstrip("#").strip()
    except (tokenize.TokenError, IndentationError):
        pass
    return found


def _help(comment: str) -> tuple[str, str]:
    """A comment as (help text, type), after mypy's old ``# type: int`` that papermill reads too."""
    if comment.startswith("type:"):
        kind, _, rest = comment[5:].strip().partition(" ")
        return rest.strip(), kind
    return comment, ""


def tagged_cell(notebook: NotebookNode, tag: str) -> int | None:
    """Index of the first code cell with this tag."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and tag in cell.metadata.get("tags", []):
            return index
    return None


def read_values(
    *, files: Iterable[Path] = (), texts: Iterable[str] = (), pairs: Iterable[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Values as given, later ones first in rank: ``-f`` files, then ``-y`` YAML, then ``-p`` pairs (as text).

    Raises:
        UsageError: a file or text that is no YAML mapping.
    """
    values: dict[str, Any] = {}
    for path in files:
        try:
            content = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"The parameter file {path} cannot be read: {reason}.") from None
        values.update(_mapping(content, f"The parameter file {path}"))
    for text in texts:
        values.update(_mapping(text, "The text given with -y"))
    for name, value in pairs:
        values[name] = Text(value)
    return values


class Text(str):
    """A value from the command line: text that stands for a value of the parameter's type."""

    __slots__ = ()


class _Loader(yaml.SafeLoader):
    """YAML as papermill reads it: a date stays text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _mapping(text: str, what: str) -> dict[str, Any]:
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader without dates
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = " ".join(str(error).split())
        raise UsageError(f"{what} is not valid YAML: {line[:300]}.") from None
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise UsageError(f"{what} must be a mapping of parameter names to values.", hint="For example: {lr: 0.1}")
    return document


def check_values(parameters: Sequence[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given values in the types of their parameters.

    Raises:
        UsageError: an unknown name, or a value that does not fit; it names the known parameters.
    """
    known = {parameter.name: parameter for parameter in parameters}
    checked: dict[str, Any] = {}
    for raw_name, value in given.items():
        name = unicodedata.normalize("NFKC", raw_name)  # as Python reads identifiers
        parameter = known.get(name)
        if parameter is None:
            word = "an identifier" if not name.isidentifier() or keyword.iskeyword(name) else "a parameter"
            raise UsageError(f"{_short(raw_name)} is not {word} of this notebook.", hint=_listing(parameters))
        try:
            checked[name] = as_reference(coerce(value, parameter.kind, is_text=isinstance(value, Text)), parameter.kind)
        except ValueError as error:
            raise UsageError(
                f"Parameter {name!r} must be {parameter.type_name}, got {_short(value)}{_because(error)}.",
                hint=_listing(parameters),
            ) from None
    return checked


def _because(error: ValueError) -> str:
    return f" ({error})" if str(error) else ""


def _short(value: Any) -> str:
    text = repr(str(value) if isinstance(value, Text) else value)
    return text if len(text) <= 80 else text[:79] + "…"


def _listing(parameters: Sequence[Parameter]) -> str:
    if not parameters:
        return "Its parameters cell assigns none."
    return "Known: " + ", ".join(f"{p.name} ({p.type_name})" for p in parameters) + "."


def inject(notebook: NotebookNode, values: Mapping[str, Any]) -> None:
    """Put a cell that assigns ``values`` after the parameters cell, in place of one that an earlier run put there."""
    source = "\n".join(["# Parameters", *(f"{name} = {_code(value)}" for name, value in values.items())])
    cell = new_code_cell(source)
    cell["id"] = INJECTED_TAG
    cell.metadata["tags"] = [INJECTED_TAG]
    existing = tagged_cell(notebook, INJECTED_TAG)
    if existing is not None:
        notebook.cells[existing] = cell
    else:
        after = tagged_cell(notebook, PARAMETERS_TAG)
        notebook.cells.insert(0 if after is None else after + 1, cell)


def _code(value: Any) -> str:
    return value.code if isinstance(value, Reference) else literal(value)


def default_references(parameters: Sequence[Parameter]) -> dict[str, Reference]:
    """The defaults that refer to the environment (``token: str = "env:NAME"``), by parameter."""
    found = {p.name: as_reference(p.default, p.kind) for p in parameters if p.known_default}
    return {name: value for name, value in found.items() if isinstance(value, Reference)}


def described(parameters: Sequence[Parameter], properties: Mapping[str, Mapping[str, Any]]) -> list[Parameter]:
    """The parameters, with help from the schema in the notebook's metadata where they have none beside them."""
    result = []
    for parameter in parameters:
        text = properties.get(parameter.name, {}).get("description")
        has = parameter.help or not isinstance(text, str)
        result.append(parameter if has else replace(parameter, help=" ".join(str(text).split())[:400]))
    return result


def effective_values(parameters: Sequence[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values that the run works with, where they are known before it: defaults, and what was given."""
    values = {p.name: p.default for p in parameters if p.known_default or p.name in given}
    return {name: given.get(name, value) for name, value in values.items()}


def display(value: Any) -> str:
    """A value as MLflow shows a parameter: text as it is, other data as its Python literal."""
    return value if isinstance(value, str) else literal(value)
