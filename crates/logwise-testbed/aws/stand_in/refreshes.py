"""Instance refreshes as they are kept and shown; `refreshing` carries them on."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from .clock import stamp

OPEN = ("Pending", "InProgress", "Cancelling")


@dataclass
class Refresh:
    """One run. `old` are the instances that are still to be replaced."""

    begun: int
    next_at: int
    old: list[str]
    min_healthy: int = 90
    protected: str = "Wait"  # what to do with protected instances: Wait, Ignore or Refresh
    status: str = "Pending"
    reason: str = ""
    ended: int | None = None
    total: int = 0
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def open(self) -> bool:
        return self.status in OPEN

    def close(self, status: str, at: int, reason: str = "") -> None:
        """How it ended."""
        self.status, self.ended, self.reason = status, at, reason

    def shown(self, group: str) -> dict[str, Any]:
        """As DescribeInstanceRefreshes shows it."""
        done = self.total - len(self.old)
        return {
            "InstanceRefreshId": self.id,
            "AutoScalingGroupName": group,
            "Status": self.status,
            "StatusReason": self.reason or None,
            "StartTime": stamp(self.begun),
            "EndTime": None if self.ended is None else stamp(self.ended),
            "PercentageComplete": 100 if self.total == 0 else 100 * done // self.total,
            "InstancesToUpdate": len(self.old),
            "Preferences": {
                "MinHealthyPercentage": self.min_healthy,
                "ScaleInProtectedInstances": self.protected,
            },
        }
