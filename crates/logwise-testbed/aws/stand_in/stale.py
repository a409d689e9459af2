"""Stale reads of lifecycle configurations: for a while a GET answers what was there before the last writes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .clock import world_ms

T = TypeVar("T")

# Writes of a bucket before which it is known what was there.
MOST_WRITES = 8


@dataclass
class Window:
    """How long, or for how many reads; None is without end. A waiting window opens with the next write.

    What is shown was there before the last of so many writes.
    """

    for_ms: int | None
    reads: int | None
    alternate: bool
    waiting: bool
    writes: int = 1
    until: int | None = None
    old_next: bool = True

    def open(self) -> None:
        """From now on."""
        self.waiting = False
        self.until = None if self.for_ms is None else world_ms() + self.for_ms

    @property
    def over(self) -> bool:
        if self.waiting:
            return False
        return self.reads == 0 or (self.until is not None and world_ms() >= self.until)

    def is_stale(self) -> bool:
        """Whether this read gets the old answer; counts it."""
        if self.waiting or self.over:
            return False
        stale, self.old_next = self.old_next, not self.old_next if self.alternate else True
        if stale and self.reads is not None:
            self.reads -= 1
        return stale


class StaleReads(Generic[T]):
    """What was there before the last writes of each bucket, and who shall still see it."""

    def __init__(self) -> None:
        self._before: dict[str, deque[T | None]] = {}
        self._windows: dict[str, Window] = {}

    def written(self, name: str, old: T | None) -> None:
        """Something else is there now."""
        self._before.setdefault(name, deque(maxlen=MOST_WRITES)).append(old)
        window = self._windows.get(name)
        if window is not None and window.waiting:
            window.open()

    def read(self, name: str, now: T | None) -> tuple[T | None, bool]:
        """What a GET answers, and whether it is stale."""
        window, before = self._windows.get(name), self._before.get(name)
        if window is None or before is None or len(before) < window.writes or not window.is_stale():
            return now, False
        return before[-window.writes], True

    def set(self, name: str, window: Window) -> None:
        """Replaces the bucket's window."""
        self._windows[name] = window
        if not window.waiting:
            window.open()

    def end(self, name: str) -> None:
        """Every read is fresh again."""
        self._windows.pop(name, None)

    def forget(self, name: str) -> None:
        """The bucket is gone."""
        self._before.pop(name, None)
        self.end(name)

    def shown(self, name: str) -> dict[str, Any]:
        """The state of the bucket's window."""
        window = self._windows.get(name)
        if window is None or window.over:
            return {"open": False, "waiting": False, "reads": None, "left_ms": None}
        left = None if window.until is None else max(0, window.until - world_ms())
        return {"open": not window.waiting, "waiting": window.waiting, "reads": window.reads, "left_ms": left}
