"""Throttling: so many calls a second with a burst, or a share of the calls; and AWS's words for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .call import Call, Refusal

_WORDS = {
    "s3": (503, "SlowDown", "Please reduce your request rate."),
    "ec2": (503, "RequestLimitExceeded", "Request limit exceeded."),
}
_QUERY = (400, "Throttling", "Rate exceeded")
_JSON = (400, "ThrottlingException", "Rate exceeded")


@dataclass
class Throttle:
    """A bucket of tokens, or an even share: every other call for 0.5, whatever their order in time."""

    rate: float | None = None
    burst: float = 1.0
    share: float = 0.0
    _tokens: float = -1.0
    _filled: float = 0.0
    _debt: float = 0.0

    def hits(self, now: float) -> bool:
        """Whether a call that comes at `now` (in seconds) is refused."""
        if self.rate is None:
            self._debt += self.share
            hit = self._debt >= 1 - 1e-9
            self._debt -= 1 if hit else 0
            return hit
        fresh = self._tokens < 0
        self._tokens = self.burst if fresh else min(self.burst, self._tokens + (now - self._filled) * self.rate)
        self._filled = now
        if self._tokens < 1:
            return True
        self._tokens -= 1
        return False


def of(rate: float | None, burst: float | None, share: float | None) -> Throttle:
    """From the fields of a rule."""
    if rate is None:
        return Throttle(share=share or 0.0)
    return Throttle(rate, burst if burst is not None else max(1.0, math.ceil(rate)))


def refusal(call: Call) -> Refusal:
    """What the service says to a caller that is too fast."""
    words = _JSON if call.wire in ("json", "rest-json") else _QUERY
    status, code, message = _WORDS.get(call.service, words)
    return Refusal(status, code, message)
