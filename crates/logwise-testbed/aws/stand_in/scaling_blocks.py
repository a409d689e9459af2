"""Calls that a scaling activity blocks."""

from __future__ import annotations

from collections.abc import Callable

from .activities import Activity
from .call import Call
from .life import Life
from .lives import Lives
from .scaling_fields import flag, refusal


def check_activities(call: Call, lives: Lives) -> None:
    """Refuses what an activity in progress, or the cooldown after one, does not permit."""
    if call.action not in _BLOCKED:
        return
    life = lives.named(str(call.params.get("AutoScalingGroupName", ""))) or lives.of_instance(
        str(call.params.get("InstanceId", ""))
    )
    if life is None:
        return
    blocking = _BLOCKED[call.action](call, life)
    if blocking is not None:
        raise refusal(
            f"Scaling activity {blocking.id} is in progress and blocks this action", "ScalingActivityInProgress"
        )


def _cooling(call: Call, life: Life) -> Activity | None:
    """With HonorCooldown: an activity that is in progress, or ended less than the cooldown ago."""
    if not flag(call, "HonorCooldown"):
        return None
    last = life.activities.last_done()
    cools = last is not None and life.at < (last.ended or 0) + 1000 * int(life.group.default_cooldown or 0)
    return life.activities.in_progress() or (last if cools else None)


def _moving(call: Call, life: Life) -> Activity | None:
    stage = life.stages.get(str(call.params["InstanceId"]))
    return stage.activity if stage else None


def _unforced(call: Call, life: Life) -> Activity | None:
    return None if flag(call, "ForceDelete") else life.activities.in_progress()


_BLOCKED: dict[str, Callable[[Call, Life], Activity | None]] = {
    "SetDesiredCapacity": _cooling,
    "TerminateInstanceInAutoScalingGroup": _moving,
    "DeleteAutoScalingGroup": _unforced,
}
