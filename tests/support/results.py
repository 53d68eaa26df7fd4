"""The form of a tool's result: the object as text, a summary, links."""

from __future__ import annotations

import re

import mcp_types as types

# A summary names no ids: those have dashes and underscores, or more letters and digits than a word. What money follows
# may stand in it as the result has it.
_PAYEES = ("deposit_address", "memo", "address", "extra_id", "wallet_address")
_SENTENCE = re.compile(r"(?!.*[\w-]{20})[A-Z0-9$-][A-Za-z0-9 $.,;:'()-]{3,240}\.")


def object_text(answer: types.CallToolResult) -> str:
    """Return the text that holds the result's object. An error has no other content."""
    first, *rest = answer.content
    assert isinstance(first, types.TextContent)
    if answer.is_error:
        assert not rest
        return first.text
    said, *links = rest
    assert isinstance(said, types.TextContent)
    exact = [str(value) for name, value in (answer.structured_content or {}).items() if name in _PAYEES]
    sentence = re.sub("|".join(map(re.escape, exact)) or "(?!)", "it", said.text)
    assert _SENTENCE.fullmatch(sentence), said.text
    assert all(isinstance(link, types.ResourceLink) for link in links)
    return first.text


def text_parts(answer: types.CallToolResult) -> list[str]:
    """Return the texts of a result: the object's, and of a success the summary's."""
    return [part.text for part in answer.content if isinstance(part, types.TextContent)]
