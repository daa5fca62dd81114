"""Markdown goes with its code, once, and text of others cannot write Markdown of its own."""

from __future__ import annotations

from markdown_it import MarkdownIt

from mlops_jupyter.notebook.document import NotebookDocument, parse_notebook
from mlops_jupyter.notebook.markdown import code_span, escaped, first_heading, place
from tests.notebook.documents import notebook_bytes


def document(*cells: str) -> NotebookDocument:
    """``md:`` begins a Markdown cell."""
    return parse_notebook(notebook_bytes(*cells), name="n.ipynb")


def texts(doc: NotebookDocument, *indices: int | None) -> list[list[str]]:
    return [[prose.source for prose in before] for before in place(doc, indices)]


def test_the_run_directly_above_and_the_headings_around() -> None:
    doc = document("md:# T\n\nall", "a", "md:## S\n\nabout s", "b", "md:one", "md:two", "c", "md:## R", "d")

    assert texts(doc, 6) == [["# T", "## S", "one", "two"]]
    assert texts(doc, 1, 3) == [["# T\n\nall"], ["## S\n\nabout s"]]


def test_nothing_is_there_twice() -> None:
    doc = document("md:# T", "a", "b", "md:note", "c")

    assert texts(doc, 1, 2, 1, 4, 4) == [["# T"], [], [], ["note"], []]
    assert texts(doc, 2, 1) == [[], ["# T"]]


def test_a_heading_of_the_same_level_ends_the_section() -> None:
    doc = document("md:# T", "x", "md:## A", "a", "md:### A1", "a1", "md:## B", "y", "b")

    assert texts(doc, 8) == [["# T", "## B"]]
    assert texts(doc, 5) == [["# T", "## A", "### A1"]]


def test_a_cell_that_is_not_in_the_notebook_has_no_markdown() -> None:
    assert texts(document("md:# T", "a"), None) == [[]]


def test_a_hash_in_code_is_no_heading() -> None:
    doc = document("md:# T\n```\n# not this\n```", "a", "md:    # nor this", "x", "b")

    assert texts(doc, 4) == [["# T"]]


def test_the_title_of_the_notebook() -> None:
    assert first_heading(document("md:\n# A title #\n\ntext", "a")) == (0, "A title", "text")
    assert first_heading(document("md:## Lower", "a")) is None
    assert first_heading(document("a", "md:# Late")) is None


def test_text_is_shown_as_it_is() -> None:
    hostile = "a`b``c <script>alert(1)</script> [x](javascript:1) *b*\n# h"
    html = MarkdownIt().render(f"{code_span(hostile)} {escaped(hostile)}")

    assert html.count("<") == html.count("<p>") + html.count("</p>") + html.count("<code>") + html.count("</code>")
    assert code_span("`") == "`` ` ``"
