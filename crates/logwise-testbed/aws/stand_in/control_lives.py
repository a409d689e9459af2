"""Control of what AWS does with a group by itself: how long it takes, what fails, and what happens now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import machines, zones
from .app import StandIn
from .call import Refusal
from .life import Failures, Life
from .wish import BadWish, Fields, Query

# The settings that are times in milliseconds, and the least of each.
_TIMES = {"pending_ms": 0, "terminating_ms": 0, "health_ms": 0, "refresh_ms": 0, "retry_ms": 100}
_NO_CAPACITY = (
    "We currently do not have sufficient m5.large capacity in the Availability Zone you requested. Our system will be"
    " working on provisioning additional capacity. Launching EC2 instance failed."
)


class Lives:
    """Routes about the lives of groups."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self.routes: dict[tuple[str, str], Callable[[Query, Any], Any]] = {
            ("GET", "/_life"): self.show,
            ("PUT", "/_life"): self.put,
            ("POST", "/_clock"): self.move_clock,
            ("POST", "/_failures"): self.fail,
            ("DELETE", "/_failures"): self.mend,
            ("POST", "/_rebalance"): self.rebalance,
            ("POST", "/_reclaim"): self.reclaim,
            ("POST", "/_impair"): self.impair,
        }

    def show(self, query: Query, wish: Any) -> Any:
        with self._stand_in.serial:
            return _shown(self._life(query.need("group")))

    def put(self, query: Query, wish: Any) -> Any:
        fields = Fields(wish)
        name = fields.need("group", str)
        times = {field: fields.maybe(field, int) for field in _TIMES}
        fields.done()
        for field, value in times.items():
            if value is not None and value < _TIMES[field]:
                raise BadWish(f"{field} must be {_TIMES[field]} or more")
        with self._stand_in.serial:
            life = self._life(name)
            for field, value in times.items():
                if value is not None:
                    setattr(life, field, value)
            return _shown(life)

    def move_clock(self, query: Query, wish: Any) -> Any:
        fields = Fields(wish)
        name, step = fields.need("group", str), fields.need("advance_ms", int)
        fields.done()
        if step < 0:
            raise BadWish("advance_ms must be 0 or more")
        with self._stand_in.serial:
            life = self._life(name)
            life.ahead_ms += step
            self._stand_in.lives.carry_on(life)
            return _shown(life)

    def fail(self, query: Query, wish: Any) -> Any:
        fields = Fields(wish)
        name, times = fields.need("group", str), fields.maybe("times", int)
        message = fields.maybe("message", str) or _NO_CAPACITY
        fields.done()
        with self._stand_in.serial:
            self._life(name).failures = Failures(message, None if times == 0 else times or 1)
        return {}

    def mend(self, query: Query, wish: Any) -> Any:
        with self._stand_in.serial:
            life = self._life(query.need("group"))
            life.failures, life.retry_at = None, 0
            self._stand_in.lives.carry_on(life)
        return {}

    def rebalance(self, query: Query, wish: Any) -> Any:
        fields = Fields(wish)
        name = fields.need("group", str)
        fields.done()
        with self._stand_in.serial:
            life = self._life(name)
            launched = zones.begin_balance(life)
            self._stand_in.lives.carry_on(life)
        return {"launched": launched}

    def reclaim(self, query: Query, wish: Any) -> Any:
        instance_id = _instance(wish)
        with self._stand_in.serial:
            life = self._life_of(instance_id)
            state = life.group.member(instance_id)
            assert state is not None, "the life was found by its instance"
            machines.end(state.instance)
            self._stand_in.lives.carry_on(life)
        return {}

    def impair(self, query: Query, wish: Any) -> Any:
        instance_id = _instance(wish)
        with self._stand_in.serial:
            life = self._life_of(instance_id)
            life.impaired.add(instance_id)
            self._stand_in.lives.carry_on(life)
        return {}

    def _life(self, name: str) -> Life:
        self._stand_in.lives.advance([name])
        found = self._stand_in.lives.named(name)
        if found is None:
            raise Refusal(404, "NotFound", f"there is no group {name}")
        return found

    def _life_of(self, instance_id: str) -> Life:
        self._stand_in.lives.advance()
        found = self._stand_in.lives.of_instance(instance_id)
        if found is None:
            raise Refusal(404, "NotFound", f"no group has an instance {instance_id}")
        return found


def _instance(wish: Any) -> str:
    fields = Fields(wish)
    instance_id = fields.need("instance", str)
    fields.done()
    return instance_id


def _shown(life: Life) -> dict[str, Any]:
    failures = life.failures
    return {
        "group": life.group.name,
        **{field: getattr(life, field) for field in _TIMES},
        "ahead_ms": life.ahead_ms,
        "failures": None if failures is None else {"message": failures.message, "times": failures.left or 0},
        "waiting": [
            {
                "instance": one,
                "hook": action.hook.name,
                "transition": action.hook.transition,
                "token": action.token,
                "left_ms": action.due - life.at,
            }
            for one, stage in life.stages.items()
            for action in stage.actions
            if action.outcome is None
        ],
    }
