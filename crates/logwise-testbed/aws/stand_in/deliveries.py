"""Requests that arrive later than they were sent: those that came twice, and those that came late."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .call import Call
from .clock import world_ms


@dataclass
class Delivery:
    """A request under way."""

    id: int
    resource: str
    kind: str  # "again" or "late": the fault of its ledger entry
    call: Call
    due: int


class Deliveries:
    """All requests under way; each is carried out once, when its time has come or when it is told to."""

    def __init__(self, carry_out: Callable[[Call, str], None]) -> None:
        self._carry_out = carry_out
        self._lock = threading.Lock()
        self._open: dict[int, Delivery] = {}
        self._ids = itertools.count(1)

    def add(self, call: Call, resource: str, kind: str, delay_ms: int) -> None:
        """Puts a request on its way."""
        one = Delivery(next(self._ids), resource, kind, call, world_ms() + delay_ms)
        with self._lock:
            self._open[one.id] = one
        timer = threading.Timer(delay_ms / 1000, self._arrive, (one.id,))
        timer.daemon = True
        timer.start()

    def now(self, resource: str | None) -> int:
        """Those of a resource arrive at once, in the order in which they were due; their number."""
        with self._lock:
            waiting = [one for one in self._open.values() if resource in (None, one.resource)]
        return sum(self._arrive(one.id) for one in sorted(waiting, key=lambda one: (one.due, one.id)))

    def list(self, resource: str | None) -> list[dict[str, Any]]:
        """Those under way."""
        with self._lock:
            waiting = [one for one in self._open.values() if resource in (None, one.resource)]
        now = world_ms()
        return [
            {
                "resource": one.resource,
                "action": one.call.action,
                "fault": one.kind,
                "params": one.call.params,
                "left_ms": max(0, one.due - now),
            }
            for one in waiting
        ]

    def _arrive(self, delivery_id: int) -> bool:
        with self._lock:
            one = self._open.pop(delivery_id, None)
        if one is not None:
            self._carry_out(one.call, one.kind)
        return one is not None


def copy_of(call: Call) -> Call:
    """The request as it came: carrying it out changes what it was read from."""
    return replace(call, environ=dict(call.environ), params=dict(call.params))
