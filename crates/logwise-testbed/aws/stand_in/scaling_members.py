"""Calls that name several instances of a group: protection, detach, standby."""

from __future__ import annotations

from .call import Call
from .group import Group
from .scaling_fields import flag, refusal

# How many instance ids one call may name.
MOST_IDS = {"SetInstanceProtection": 50, "DetachInstances": 20, "EnterStandby": 20, "ExitStandby": 20}
# The state in which an instance must be for the call.
_STATES = {
    "SetInstanceProtection": ("InService", "EnteringStandby", "Standby"),
    "DetachInstances": ("InService", "Standby"),
    "EnterStandby": ("InService",),
    "ExitStandby": ("Standby",),
}


def check_members(call: Call, group: Group) -> None:
    """Refuses too many ids, instances of others or in the wrong state, and a size below min."""
    ids, states = call.numbered("InstanceIds.member"), _STATES[call.action]
    if len(ids) > MOST_IDS[call.action]:
        raise refusal(f"The number of instances must not exceed {MOST_IDS[call.action]}, but {len(ids)} were named.")
    for one in ids:
        member = group.member(one)
        if member is None:
            raise refusal(f"The instance {one} is not part of Auto Scaling group {group.name}.")
        if member.lifecycle_state not in states:
            raise refusal(f"The instance {one} is not in {' or '.join(states)}.")
    shrinks = call.action in ("DetachInstances", "EnterStandby") and flag(call, "ShouldDecrementDesiredCapacity")
    if shrinks and group.desired - len(ids) < int(group.min_size or 0):
        raise refusal(f"AutoScalingGroup {group.name} has min-size={group.min_size}: the call would go below it.")
