"""Griffe extension of the API pages: keep the layout of docstrings that Markdown would join into one paragraph."""

import re
from textwrap import indent

import griffe

LAID_OUT = re.compile(r"^>>> |^[\w`\"][^\n]*? {2,}\S", re.M)  # a doctest, or lines of `name  meaning`


class MarkdownDocstrings(griffe.Extension):
    """Indent the paragraphs of a docstring whose line breaks carry meaning, so that they become code blocks."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring:
            paragraphs = obj.docstring.value.split("\n\n")
            obj.docstring.value = "\n\n".join(
                indent(paragraph, "    ") if LAID_OUT.search(paragraph) else paragraph for paragraph in paragraphs
            )
