"""The stand-in: understands a call, lets faults happen, refuses as AWS does, and keeps the ledger."""

from __future__ import annotations

import sys
import threading
import time

from . import body, machines, scaling, throttle
from .authorize import authorize, hide
from .bucket_answers import as_s3_words_it
from .call import Call, Environ, Refusal, Reply
from .callers import Callers
from .deliveries import Deliveries, copy_of
from .faults import Faults, Rule
from .ground import Ground
from .identify import identify
from .identities import Identities
from .inner import Inner
from .ledger import Ledger
from .lifecycle import Lifecycles
from .lives import Lives
from .owner import Owners
from .reply import refuse
from .resources import resources
from .scaling_answers import ScalingAnswers


class StandIn:
    """All state of one stand-in. `serial` is held by whoever touches moto."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.inner = Inner()
        self.ledger = Ledger()
        self.faults = Faults()
        self.lifecycles = Lifecycles()
        self.owners = Owners()
        self.lives = Lives(ground)
        self.callers = Callers()
        self.deliveries = Deliveries(self._deliver)
        self._scaling = ScalingAnswers(ground, self.lives)
        self._identities = Identities(self.callers)
        self.serial = threading.RLock()

    def answer(self, environ: Environ, content: bytes) -> Reply | None:
        """The answer to an AWS call; None closes the connection without one."""
        call = identify(environ, content)
        with self.serial:
            call.resources = resources(call, self.ground)
            call.caller = self.callers.of(call).name
        rule = self.faults.take(call)
        if rule is None:
            return self._carry_out(call, None)
        if rule.mode == "late":
            self.deliveries.add(call, rule.resource, "late", rule.delay_ms)
            time.sleep(rule.hang_ms / 1000)
            return None
        if rule.mode == "twice":
            again = copy_of(call)
            reply = self._carry_out(call, rule.mode)
            self.deliveries.add(again, rule.resource, "again", rule.delay_ms)
            return reply
        time.sleep(rule.delay_ms / 1000)
        if rule.mode in ("drop", "error", "throttle"):
            return self._withhold(call, rule)
        reply = self._carry_out(call, rule.mode)
        return None if rule.mode == "lost" else reply

    def _carry_out(self, call: Call, fault: str | None) -> Reply:
        """Lets the caller in or not, does the call, and files it."""
        with self.serial:
            try:
                authorize(call, self.callers, self.ground)
                reply = self.perform(call)
                hide(call, self.callers, reply)
            except Refusal as refusal:
                reply = refuse(call, refusal)
            self.ledger.record(call, reply.status, reply.code, fault)
        return reply

    def _deliver(self, call: Call, kind: str) -> None:
        """A request that was under way arrives; nobody waits for its answer."""
        try:
            self._carry_out(call, kind)
        except Exception as problem:
            sys.stderr.write(f"failed: a late {call.action}: {type(problem).__name__}: {problem}\n")

    def _withhold(self, call: Call, rule: Rule) -> Reply | None:
        """Does nothing: an injected error, or silence."""
        if rule.mode == "drop":
            self.ledger.record(call, 0, None, rule.mode)
            return None
        said = Refusal(rule.status, rule.code, rule.message) if rule.code else throttle.refusal(call)
        reply = refuse(call, said)
        self.ledger.record(call, reply.status, reply.code, rule.mode)
        return reply

    def perform(self, call: Call) -> Reply:
        """Checks and does the call; the caller holds `serial`. Not in the ledger by itself."""
        if call.service == "s3":
            body.unchunk(call)
            self.owners.check(call)
            body.verify(call)
        elif call.service in ("autoscaling", "ec2"):
            return self._perform_with_life(call)
        reply = self.lifecycles.serve(call) or self._identities.serve(call) or self._forward(call)
        if call.action == "DeleteBucket" and reply.status < 300:
            self.forget_bucket(str(call.params["Bucket"]))
        return reply

    def _forward(self, call: Call) -> Reply:
        return as_s3_words_it(call, self.inner.forward(call))

    def _perform_with_life(self, call: Call) -> Reply:
        """A call about groups or instances: before it everything that is due happens, and after it what follows."""
        self.lives.advance(call.resources)
        scaling.check(call, self.ground, self.lives)
        sizes = self.lives.sizes()
        reply = self._scaling.serve(call) or self.inner.forward(call)
        if call.mutating and reply.status < 300:
            scaling.complete(call, self.ground)
            for one in call.numbered("InstanceId") if call.service == "ec2" else []:
                if (instance := self.ground.instance(one)) is not None:
                    machines.strip(instance)
            self.lives.settle(call, sizes)
        return reply

    def forget_bucket(self, name: str) -> None:
        """Drops what this layer knows about a bucket that is gone."""
        self.owners.forget(name)
        self.lifecycles.forget(name)
