"""Reading a fault rule, and saying what is wrong with it."""

from __future__ import annotations

import re
from typing import Any

MODES = ("error", "lost", "drop", "delay", "throttle", "twice", "late")
_KINDS: dict[str, type | tuple[type, ...]] = {
    "id": str, "resource": str, "service": str, "action": str, "mode": str, "code": str, "message": str,
    "times": int, "after_calls": int, "status": int, "delay_ms": int, "hang_ms": int,
    "rate": (int, float), "burst": (int, float), "share": (int, float),
}  # fmt: skip


class BadRule(ValueError):
    """The text says what the rule must look like."""


def read(wanted: Any, default_id: str) -> dict[str, Any]:
    """The fields of a rule; what is not given is left out."""
    if not isinstance(wanted, dict) or "resource" not in wanted:
        raise BadRule('a rule is one JSON object with at least "resource" (the exact name)')
    fields = {name: value for name, value in wanted.items() if value is not None}
    for name, value in fields.items():
        kind = _KINDS.get(name)
        if kind is None:
            raise BadRule(f"unknown field {name!r}: known are {', '.join(sorted(_KINDS))}")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BadRule(f"{name} must be {'text' if kind is str else 'a number'}")
        if isinstance(value, int | float) and value < 0:
            raise BadRule(f"{name} must be 0 or more")
    mode = fields.get("mode", "error")
    if mode not in MODES:
        raise BadRule(f"mode must be one of {', '.join(MODES)}")
    status = fields.get("status", 400)
    # S3 sends clients to another region by a redirection, which is an error to them.
    if mode == "error" and (not fields.get("code") or not (status in (301, 307) or 400 <= status <= 599)):
        raise BadRule('mode "error" needs a code and a status of 301, 307 or 400 to 599')
    _check_throttle(mode, fields)
    try:
        re.compile(fields.get("action", ""))
    except re.error as problem:
        raise BadRule(f"action must be a regular expression: {problem}") from problem
    return {"id": default_id, **({"times": 0} if mode == "throttle" else {}), **fields}


def _check_throttle(mode: str, fields: dict[str, Any]) -> None:
    if mode != "throttle":
        if fields.keys() & {"rate", "burst", "share"}:
            raise BadRule('rate, burst and share belong to mode "throttle"')
        return
    if ("rate" in fields) == ("share" in fields):
        raise BadRule('mode "throttle" needs either a rate (calls per second) or a share (0 to 1)')
    if fields.get("share", 0) > 1:
        raise BadRule("share must be from 0 to 1")
    if "burst" in fields and ("rate" not in fields or fields["burst"] < 1):
        raise BadRule("burst must be 1 or more, beside a rate")
