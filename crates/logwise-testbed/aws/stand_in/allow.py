"""Lists of what may be done: IAM action names with resources, both with * and ?."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .wish import BadWish, Fields


@dataclass(frozen=True)
class Statement:
    """Any of these actions on any of these resources."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]

    def permits(self, action: str, resource: str) -> bool:
        """Actions in any case, resources exactly."""
        return any(_matches(one.lower(), action.lower()) for one in self.actions) and any(
            _matches(one, resource) for one in self.resources
        )


Allow = tuple[Statement, ...] | None  # None permits everything


def permits(allow: Allow, action: str, resource: str) -> bool:
    """Whether the list has a statement for this."""
    return allow is None or any(one.permits(action, resource) for one in allow)


def read(value: list[Any] | None) -> Allow:
    """`["s3:GetObject", {"action": "s3:*", "resource": "arn:aws:s3:::b/*"}]`; a text alone is for every resource."""
    if value is None:
        return None
    return tuple(_statement(one) for one in value)


def _statement(value: Any) -> Statement:
    if isinstance(value, str):
        return Statement(_texts(value, "action"), ("*",))
    fields = Fields(value)
    actions = _texts(fields.need("action", object), "action")
    resources = _texts(fields.maybe("resource", object) or "*", "resource")
    fields.done()
    if any(":" not in one and one != "*" for one in actions):
        raise BadWish(f"an action is SERVICE:NAME or *, not {', '.join(actions)}")
    return Statement(actions, resources)


def _texts(value: object, name: str) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(one, str) and one for one in texts):
        raise BadWish(f"{name} must be a text or a list of texts")
    return tuple(texts)


def _matches(pattern: str, text: str) -> bool:
    parts = {"*": ".*", "?": "."}
    return re.fullmatch("".join(parts.get(one, re.escape(one)) for one in pattern), text, re.DOTALL) is not None
