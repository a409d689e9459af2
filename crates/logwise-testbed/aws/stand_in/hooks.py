"""Lifecycle hooks of a group, and the actions by which they hold instances back."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from .call import Call, Refusal

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
MOST_HOOKS = 50
_LONGEST_MS = 172_800_000


@dataclass
class Hook:
    """What PutLifecycleHook sets."""

    name: str
    transition: str
    timeout_s: int = 3600
    result: str = "ABANDON"
    more: dict[str, str] = field(default_factory=dict)

    @property
    def longest_ms(self) -> int:
        return min(_LONGEST_MS, self.timeout_s * 100_000)

    def shown(self, group: str) -> dict[str, Any]:
        """As DescribeLifecycleHooks shows it."""
        return {
            "LifecycleHookName": self.name,
            "AutoScalingGroupName": group,
            "LifecycleTransition": self.transition,
            "HeartbeatTimeout": self.timeout_s,
            "GlobalTimeout": self.longest_ms // 1000,
            "DefaultResult": self.result,
            **self.more,
        }


@dataclass
class Action:
    """One hook holding one instance back."""

    hook: Hook
    begun: int
    due: int
    token: str = field(default_factory=lambda: str(uuid.uuid4()))
    outcome: str | None = None
    why: str = ""

    def heartbeat(self, at: int) -> None:
        """The time-out begins anew, up to the longest time a hook may hold."""
        self.due = min(at + self.hook.timeout_s * 1000, self.begun + self.hook.longest_ms)

    def complete(self, outcome: str) -> None:
        """The owner of the hook says how it went."""
        self.outcome = outcome
        self.why = f"Lifecycle Action Completed with {outcome} Result"

    def expire(self, at: int) -> None:
        """Nobody said anything in time."""
        if self.outcome is None and at >= self.due:
            self.outcome, self.why = self.hook.result, "Heartbeat Timeout"


def begin(hook: Hook, at: int) -> Action:
    """The hook takes hold of an instance."""
    return Action(hook, at, at + hook.timeout_s * 1000)


def verdict(actions: list[Action]) -> str | None:
    """None while anybody is waited for; one ABANDON decides at once."""
    outcomes = [action.outcome for action in actions]
    if "ABANDON" in outcomes:
        return "ABANDON"
    return None if None in outcomes else "CONTINUE"


def put(hooks: dict[str, Hook], call: Call) -> None:
    """PutLifecycleHook: makes one, or changes what the call names."""
    name = str(call.params.get("LifecycleHookName", ""))
    old = hooks.get(name)
    transition = str(call.params.get("LifecycleTransition", old.transition if old else ""))
    timeout = str(call.params.get("HeartbeatTimeout", old.timeout_s if old else 3600))
    result = str(call.params.get("DefaultResult", old.result if old else "ABANDON")).upper()
    if not name or transition not in (LAUNCHING, TERMINATING):
        raise Refusal(400, "ValidationError", f"Valid lifecycle transitions are [{LAUNCHING}, {TERMINATING}].")
    if not timeout.isdecimal() or not 30 <= int(timeout) <= 7200:
        raise Refusal(400, "ValidationError", "HeartbeatTimeout must be at least 30 and at most 7200 seconds")
    if result not in ("ABANDON", "CONTINUE"):
        raise Refusal(400, "ValidationError", "DefaultResult must be ABANDON or CONTINUE")
    if old is None and len(hooks) >= MOST_HOOKS:
        raise Refusal(400, "LimitExceeded", f"You may have at most {MOST_HOOKS} lifecycle hooks per group")
    more = dict(old.more) if old else {}
    for field_name in ("RoleARN", "NotificationTargetARN", "NotificationMetadata"):
        if field_name in call.params:
            more[field_name] = str(call.params[field_name])
    hooks[name] = Hook(name, transition, int(timeout), result, more)
