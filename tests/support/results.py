"""The form of a tool's result: the object as text, a summary, links."""

from __future__ import annotations

import re

import mcp_types as types

# A summary names no ids: those have dashes and underscores, or more letters and digits than a word.
_SENTENCE = re.compile(r"(?!.*[\w-]{20})[A-Z0-9$-][A-Za-z0-9 $.,;:'()-]{3,120}\.")


def object_text(answer: types.CallToolResult) -> str:
    """Return the text that holds the result's object. An error has no other content."""
    first, *rest = answer.content
    assert isinstance(first, types.TextContent)
    if answer.is_error:
        assert not rest
        return first.text
    said, *links = rest
    assert isinstance(said, types.TextContent)
    assert _SENTENCE.fullmatch(said.text), said.text
    assert all(isinstance(link, types.ResourceLink) for link in links)
    return first.text
