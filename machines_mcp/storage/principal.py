"""For whom a server acts: the users that its calls may name, and whose rows it may describe.

The composition root makes it once. Each read of stored rows takes it, counts the rows of other users and returns none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

OF_PRINCIPAL = (
    "(:principal IS NULL OR coalesce(user_id, '') = '' OR user_id IN (SELECT value FROM json_each(:principal)))"
)
"""An SQL condition on `user_id`: the row is of one of the principal's users, or of no user. See `Principal.bound`."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The users this server may act for. `users` is None for any; `pinned` is the only one, if there is only one."""

    users: frozenset[str] | None
    pinned: str | None = None

    @classmethod
    def of(cls, pinned: str | None, listed: frozenset[str] | None) -> Principal:
        """Return the principal for MACHINES_USER_ID and the policy's `users`. The first is one of the second."""
        return cls(listed if pinned is None else frozenset({pinned}), pinned)

    def may_act_for(self, user_id: str) -> bool:
        """Return whether calls may name this user. Rows without a user (empty) are everybody's."""
        return self.users is None or not user_id or user_id in self.users

    def names(self, user_id: str) -> bool:
        """Return whether the operator named this user."""
        return self.users is not None and user_id in self.users

    @property
    def only(self) -> str | None:
        """The user, if there is only one."""
        return next(iter(self.users)) if self.users is not None and len(self.users) == 1 else None

    @property
    def recorded_as(self) -> str:
        """The user of a call that names none, in the audit log; empty if the principal is everybody."""
        if self.users is None:
            return ""
        return self.only or json.dumps(sorted(self.users))

    @property
    def bound(self) -> dict[str, object]:
        """Return the value of the parameter in `OF_PRINCIPAL`."""
        return {"principal": None if self.users is None else json.dumps(sorted(self.users))}


ANY_USER = Principal(None)
"""Acts for every user: the policy says `users = "any"`, or there is no policy and no pinned user."""
