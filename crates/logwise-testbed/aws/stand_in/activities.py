"""Scaling activities: what a group did, why, and how it ended."""

from __future__ import annotations

import json
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from .clock import stamp

# Per group; the oldest go first.
KEPT = 2_000
_FINAL = ("Successful", "Failed", "Cancelled")


@dataclass
class Activity:
    """One launch or termination."""

    description: str
    cause: str
    begun: int
    details: dict[str, str]
    status: str = "InProgress"
    progress: int = 0
    message: str = ""
    ended: int | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def open(self) -> bool:
        return self.status not in _FINAL

    def move(self, status: str, progress: int) -> None:
        """A step on the way."""
        self.status, self.progress = status, progress

    def close(self, status: str, at: int, message: str = "") -> None:
        """How it ended; a message becomes part of the description, as on AWS."""
        self.status, self.progress, self.ended, self.message = status, 100, at, message
        if message:
            self.description += f".  Status Reason: {message}"

    def shown(self, name: str, arn: str) -> dict[str, Any]:
        """As DescribeScalingActivities shows it."""
        return {
            "ActivityId": self.id,
            "AutoScalingGroupName": name,
            "AutoScalingGroupARN": arn,
            "Description": self.description,
            "Cause": self.cause,
            "StartTime": stamp(self.begun),
            "EndTime": None if self.ended is None else stamp(self.ended),
            "StatusCode": self.status,
            "StatusMessage": self.message or None,
            "Progress": self.progress,
            "Details": json.dumps(self.details),
        }


class Activities:
    """A group's activities in the order in which they began."""

    def __init__(self) -> None:
        self._all: deque[Activity] = deque(maxlen=KEPT)

    def begin(self, description: str, cause: str, at: int, details: dict[str, str]) -> Activity:
        """Adds one that is in progress."""
        begun = Activity(description, cause, at, details)
        self._all.append(begun)
        return begun

    def newest_first(self) -> list[Activity]:
        return list(reversed(self._all))

    def in_progress(self) -> Activity | None:
        """One that has not ended, if there is any."""
        return next((one for one in self._all if one.open), None)

    def last_done(self) -> Activity | None:
        """The one that ended last with success."""
        done = [one for one in self._all if one.status == "Successful"]
        return max(done, key=lambda one: one.ended or 0, default=None)
