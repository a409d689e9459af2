"""Time, in milliseconds since 1970; a group's own clock may be ahead of the world's."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def world_ms() -> int:
    """Now."""
    return time.time_ns() // 1_000_000


def stamp(ms: int) -> str:
    """As AWS writes a time in an answer."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03}Z"


def brief(ms: int) -> str:
    """As AWS writes a time into the cause of an activity."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
