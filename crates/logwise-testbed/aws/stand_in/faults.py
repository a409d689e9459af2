"""Faults by rule: the n-th call that matches goes wrong in a chosen way."""

from __future__ import annotations

import re
import threading
from dataclasses import asdict, dataclass
from typing import Any

from .call import Call

MODES = ("error", "lost", "drop", "delay")


class BadRule(ValueError):
    """The text says what the rule must look like."""


@dataclass
class Rule:
    """See the README for the meaning of each field."""

    id: str
    resource: str
    service: str | None = None
    action: str | None = None
    times: int = 1
    after_calls: int = 0
    mode: str = "error"
    status: int = 400
    code: str = ""
    message: str = "injected by the test"
    delay_ms: int = 0
    seen: int = 0
    fired: int = 0

    def matches(self, call: Call) -> bool:
        """Whether the call is one that this rule speaks of."""
        named = self.resource in call.resources if self.resource else not call.resources
        return (
            named
            and self.service in (None, call.service)
            and (self.action is None or re.search(self.action, call.action) is not None)
        )

    @property
    def spent(self) -> bool:
        return self.times > 0 and self.fired >= self.times


class Faults:
    """The rules in force, in the order in which they came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._count = 0

    def add(self, wanted: Any) -> Rule:
        """Adds one rule and changes no other."""
        with self._lock:
            self._count += 1
            rule = _parse(wanted, f"fault-{self._count}")
            if any(rule.id == other.id for other in self._rules):
                raise BadRule(f"id {rule.id!r} is taken: leave id out or delete that rule first")
            self._rules.append(rule)
            return rule

    def take(self, call: Call) -> Rule | None:
        """The rule that this call falls to. A rule that fires hides the call from the rules after it."""
        with self._lock:
            for rule in self._rules:
                if rule.spent or not rule.matches(call):
                    continue
                rule.seen += 1
                if rule.seen > rule.after_calls:
                    rule.fired += 1
                    return rule
        return None

    def list(self, resource: str | None) -> list[dict[str, Any]]:
        """All rules, also spent ones, with how often they matched and fired."""
        with self._lock:
            return [asdict(rule) for rule in self._rules if resource in (None, rule.resource)]

    def remove(self, resource: str | None, rule_id: str | None) -> int:
        """Removes by resource, by id, or by both; the number of rules that went."""
        with self._lock:
            kept = [
                rule for rule in self._rules
                if resource not in (None, rule.resource) or rule_id not in (None, rule.id)
            ]  # fmt: skip
            gone = len(self._rules) - len(kept)
            self._rules = kept
            return gone


_KINDS: dict[str, type] = {
    "id": str, "resource": str, "service": str, "action": str, "mode": str, "code": str, "message": str,
    "times": int, "after_calls": int, "status": int, "delay_ms": int,
}  # fmt: skip


def _parse(wanted: Any, default_id: str) -> Rule:
    if not isinstance(wanted, dict) or "resource" not in wanted:
        raise BadRule('a rule is one JSON object with at least "resource" (the exact name)')
    fields = {name: value for name, value in wanted.items() if value is not None}
    for name, value in fields.items():
        kind = _KINDS.get(name)
        if kind is None:
            raise BadRule(f"unknown field {name!r}: known are {', '.join(sorted(_KINDS))}")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BadRule(f"{name} must be {'text' if kind is str else 'a number'}")
        if isinstance(value, int) and value < 0:
            raise BadRule(f"{name} must be 0 or more")
    rule = Rule(**{"id": default_id, **fields})
    if rule.mode not in MODES:
        raise BadRule(f"mode must be one of {', '.join(MODES)}")
    if rule.mode == "error" and (not rule.code or not 400 <= rule.status <= 599):
        raise BadRule('mode "error" needs a code and a status of 400 to 599')
    try:
        re.compile(rule.action or "")
    except re.error as problem:
        raise BadRule(f"action must be a regular expression: {problem}") from problem
    return rule
