"""Typed reading of what the control interface is asked for."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


class BadWish(ValueError):
    """The text says which field is wrong and what it must be."""


class Query(dict[str, str]):
    """The query string."""

    def need(self, name: str) -> str:
        """A parameter that must be there."""
        if not self.get(name):
            raise BadWish(f"say which: ?{name}=...")
        return self[name]

    def number(self, name: str, default: int) -> int:
        """A parameter that is a whole number."""
        text = self.get(name, str(default))
        if not text.isdecimal():
            raise BadWish(f"{name} must be a whole number")
        return int(text)


class Fields:
    """A JSON object whose known fields are taken out one by one; what is left over is an error."""

    def __init__(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise BadWish("the body must be a JSON object")
        self._left = dict(value)

    def need(self, name: str, kind: type[T]) -> T:
        """A field that must be there."""
        found = self.maybe(name, kind)
        if found is None:
            raise BadWish(f"{name} is missing")
        return found

    def maybe(self, name: str, kind: type[T]) -> T | None:
        """A field that may be absent or null."""
        value = self._left.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise BadWish(f"{name} must be of type {kind.__name__}")
        return value

    def done(self) -> None:
        """Nothing unknown may be left."""
        if self._left:
            raise BadWish(f"unknown field(s): {', '.join(sorted(self._left))}")
