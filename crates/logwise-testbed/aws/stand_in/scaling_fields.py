"""Reading the parameters of Auto Scaling calls as AWS does."""

from __future__ import annotations

from .call import Call, Refusal


def refusal(message: str, code: str = "ValidationError") -> Refusal:
    """Auto Scaling's refusal."""
    return Refusal(400, code, message)


def text(call: Call, name: str) -> str:
    """A parameter that must be there."""
    value = call.params.get(name)
    if not value:
        field = name[0].lower() + name[1:]
        raise refusal(
            f"1 validation error detected: Value null at '{field}' failed to satisfy constraint:"
            " Member must not be null"
        )
    return str(value)


def count(call: Call, name: str) -> int:
    """A parameter that must be a whole number."""
    value = text(call, name)
    if not value.isdecimal():
        raise refusal(f"{name} must be a whole number of 0 or more, not {value}")
    return int(value)


def flag(call: Call, name: str) -> bool:
    """A parameter that is true or absent."""
    return str(call.params.get(name, "")).lower() == "true"
