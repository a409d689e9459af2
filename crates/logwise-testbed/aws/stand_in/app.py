"""The stand-in: understands a call, lets faults happen, refuses as AWS does, and keeps the ledger."""

from __future__ import annotations

import threading
import time

from . import body, scaling
from .call import Call, Environ, Refusal, Reply
from .faults import Faults, Rule
from .ground import Ground
from .identify import identify
from .inner import Inner
from .ledger import Ledger
from .lifecycle import Lifecycles
from .owner import Owners
from .reply import refuse
from .resources import resources


class StandIn:
    """All state of one stand-in. `serial` is held by whoever touches moto."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.inner = Inner()
        self.ledger = Ledger()
        self.faults = Faults()
        self.lifecycles = Lifecycles()
        self.owners = Owners()
        self.serial = threading.RLock()

    def answer(self, environ: Environ, content: bytes) -> Reply | None:
        """The answer to an AWS call; None closes the connection without one."""
        call = identify(environ, content)
        with self.serial:
            call.resources = resources(call, self.ground)
        rule = self.faults.take(call)
        if rule is not None:
            time.sleep(rule.delay_ms / 1000)
            if rule.mode in ("drop", "error"):
                return self._withhold(call, rule)
        with self.serial:
            try:
                reply = self.perform(call)
            except Refusal as refusal:
                reply = refuse(call, refusal)
            self.ledger.record(call, reply.status, reply.code, rule.mode if rule else None)
        return None if rule is not None and rule.mode == "lost" else reply

    def _withhold(self, call: Call, rule: Rule) -> Reply | None:
        """Does nothing: an injected error, or silence."""
        if rule.mode == "drop":
            self.ledger.record(call, 0, None, rule.mode)
            return None
        reply = refuse(call, Refusal(rule.status, rule.code, rule.message))
        self.ledger.record(call, reply.status, reply.code, rule.mode)
        return reply

    def perform(self, call: Call) -> Reply:
        """Checks and does the call; the caller holds `serial`. Not in the ledger by itself."""
        if call.service == "s3":
            body.unchunk(call)
            self.owners.check(call)
            body.verify(call)
        scaling.check(call, self.ground)
        reply = self.lifecycles.serve(call) or self.inner.forward(call)
        if call.action == "DeleteBucket" and reply.status < 300:
            self.forget_bucket(str(call.params["Bucket"]))
        return reply

    def forget_bucket(self, name: str) -> None:
        """Drops what this layer knows about a bucket that is gone."""
        self.owners.forget(name)
        self.lifecycles.forget(name)
