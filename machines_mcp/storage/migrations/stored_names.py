"""Names that are stored in state folders and differ from today's terms. Renaming them would orphan stored state."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

ARGUMENTS_KEY: Final = "intents"
"""The key file for digests of arguments. With another key, no stored approval would match its repeated call."""

AUDIT_MAC_NAMES: Final = {"action_class": "effect", "approval_id": "intent_id"}
"""The names under which an audit row's MAC covers columns that were renamed. Other names would fail every old row."""

AUDIT_KINDS: Final = {"approval_request": "asked"}
"""Kinds of audit rows that are stored under another name. A row's MAC covers the stored name."""

NeedsPersonState: TypeAlias = Literal["manual"]
NEEDS_PERSON: Final[NeedsPersonState] = "manual"
"""The state of a journal entry that a person must resolve. The table's CHECK constraint allows only this name."""

PLACE_COLUMN: Final = "way"
"""The column of `passphrase_tries` that says where the passphrases were typed."""
