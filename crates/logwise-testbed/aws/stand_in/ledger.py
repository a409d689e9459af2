"""What was asked of the stand-in, in order, and how each call ended."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from .call import Call

# Per resource, so that a busy bucket does not push out the history of a group.
KEPT_PER_RESOURCE = 20_000

Entry = dict[str, Any]


class Ledger:
    """Entries filed under each resource that the call names; `""` for calls that name none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seq = 0
        self._files: dict[str, deque[Entry]] = {}

    def record(self, call: Call, status: int, code: str | None, fault: str | None) -> None:
        """Files one call; status 0 means that no answer was made at all."""
        with self._lock:
            self._seq += 1
            entry: Entry = {
                "seq": self._seq,
                "time": time.time_ns() // 1_000_000,
                "service": call.service,
                "action": call.action,
                "resource": ",".join(call.resources),
                "params": call.params,
                "mutating": call.mutating,
                "caller": call.caller,
                "expected_owner": call.header("x-amz-expected-bucket-owner") if call.service == "s3" else None,
                "outcome": {"status": status, "code": code, "fault": fault or call.fault},
            }
            for name in call.resources or ("",):
                self._files.setdefault(name, deque(maxlen=KEPT_PER_RESOURCE)).append(entry)

    def select(self, resource: str | None, mutating: bool | None, after: int) -> list[Entry]:
        """Entries in order; `resource` exact, `mutating` either way, `after` a sequence number."""
        with self._lock:
            files = self._files.values() if resource is None else [self._files.get(resource, deque())]
            found = {entry["seq"]: entry for file in files for entry in file if entry["seq"] > after}
        return [found[seq] for seq in sorted(found) if mutating is None or found[seq]["mutating"] == mutating]
