"""Faults by rule: the n-th call that matches goes wrong in a chosen way."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, fields
from typing import Any

from . import throttle
from .call import Call
from .fault_fields import BadRule, read

# Rules for any resource; a bed of one's own is needed for them.
ANY = "*"


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
    hang_ms: int = 0
    rate: float | None = None
    burst: float | None = None
    share: float | None = None
    seen: int = 0
    fired: int = 0

    def __post_init__(self) -> None:
        self._throttle = throttle.of(self.rate, self.burst, self.share)

    def fires(self) -> bool:
        """Counts a call that matches; whether it is hit."""
        self.seen += 1
        if self.seen <= self.after_calls:
            return False
        if self.mode == "throttle" and not self._throttle.hits(time.monotonic()):
            return False
        self.fired += 1
        return True

    def matches(self, call: Call) -> bool:
        """Whether the call is one that this rule speaks of."""
        named = self.resource in (ANY, *call.resources) if self.resource else not call.resources
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
            rule = Rule(**read(wanted, f"fault-{self._count}"))
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
                if rule.fires():
                    return rule
        return None

    def list(self, resource: str | None) -> list[dict[str, Any]]:
        """All rules, also spent ones, with how often they matched and fired."""
        with self._lock:
            return [_shown(rule) for rule in self._rules if resource in (None, rule.resource)]

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


def _shown(rule: Rule) -> dict[str, Any]:
    return {field.name: getattr(rule, field.name) for field in fields(rule)}
