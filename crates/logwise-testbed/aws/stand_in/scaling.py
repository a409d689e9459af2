"""What Auto Scaling refuses and moto does not; and what AWS does besides."""

from __future__ import annotations

from collections.abc import Callable

from moto.autoscaling.models import FakeAutoScalingGroup

from .call import Call, Refusal
from .ground import Ground

# How many instance ids one call may name.
_MOST_IDS = {"SetInstanceProtection": 50, "DetachInstances": 20, "EnterStandby": 20, "ExitStandby": 20}
# Calls that name a group and answer with an empty list when there is none.
_EMPTY_IF_UNKNOWN = ("DescribeScheduledActions", "DescribePolicies")


def check(call: Call, ground: Ground) -> None:
    """Raises AWS's refusal; may complete the call where moto would leave out what AWS does."""
    if call.service != "autoscaling":
        return
    own = _CHECKS.get(call.action)
    if own is not None:
        own(call, ground)
    elif "AutoScalingGroupName" in call.params and call.action not in _EMPTY_IF_UNKNOWN:
        _group(call, ground)
    if call.action in _MOST_IDS:
        _check_members(call, ground)
    if call.mutating:
        ground.recycle_addresses()


def _refusal(message: str, code: str = "ValidationError") -> Refusal:
    return Refusal(400, code, message)


def _group(call: Call, ground: Ground) -> FakeAutoScalingGroup:
    name = _text(call, "AutoScalingGroupName")
    found = ground.groups().get(name)
    if found is None:
        raise _refusal(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
    return found


def _text(call: Call, name: str) -> str:
    value = call.params.get(name)
    if not value:
        field = name[0].lower() + name[1:]
        raise _refusal(
            f"1 validation error detected: Value null at '{field}' failed to satisfy constraint:"
            " Member must not be null"
        )
    return str(value)


def _count(call: Call, name: str) -> int:
    text = _text(call, name)
    if not text.isdecimal():
        raise _refusal(f"{name} must be a whole number of 0 or more, not {text}")
    return int(text)


def _flag(call: Call, name: str) -> bool:
    return str(call.params.get(name, "")).lower() == "true"


def _check_bounds(low: int, high: int, desired: int) -> None:
    if low > high:
        raise _refusal(f"Max bound, {high}, must be greater than or equal to min bound, {low}")
    if not low <= desired <= high:
        raise _refusal(f"Desired capacity:{desired} must be between the specified min size:{low} and max size:{high}")


def _create(call: Call, ground: Ground) -> None:
    name = _text(call, "AutoScalingGroupName")
    if name in ground.groups():
        raise _refusal(
            f"AutoScalingGroup by this name already exists - A group with the name {name} already exists",
            "AlreadyExists",
        )
    low, high = _count(call, "MinSize"), _count(call, "MaxSize")
    _check_bounds(low, high, _count(call, "DesiredCapacity") if "DesiredCapacity" in call.params else low)


def _update(call: Call, ground: Ground) -> None:
    group = _group(call, ground)
    low = _count(call, "MinSize") if "MinSize" in call.params else int(group.min_size or 0)
    high = _count(call, "MaxSize") if "MaxSize" in call.params else int(group.max_size or 0)
    if "DesiredCapacity" in call.params:
        _check_bounds(low, high, _count(call, "DesiredCapacity"))
        return
    now = int(group.desired_capacity or 0)
    follows = max(low, min(high, now))
    _check_bounds(low, high, follows)
    if follows != now:
        call.body += f"&DesiredCapacity={follows}".encode()


def _set_desired(call: Call, ground: Ground) -> None:
    group = _group(call, ground)
    wanted = _count(call, "DesiredCapacity")
    low, high = int(group.min_size or 0), int(group.max_size or 0)
    if wanted > high:
        raise _refusal(f"New SetDesiredCapacity value {wanted} is above max value {high} for the AutoScalingGroup.")
    if wanted < low:
        raise _refusal(f"New SetDesiredCapacity value {wanted} is below min value {low} for the AutoScalingGroup.")


def _terminate(call: Call, ground: Ground) -> None:
    decrement = _text(call, "ShouldDecrementDesiredCapacity").lower() == "true"
    group = _of_instance(call, ground)
    if decrement and int(group.desired_capacity or 0) <= int(group.min_size or 0):
        raise _refusal(
            f"Currently, desiredSize equals minSize ({group.min_size}). Terminating instance without replacement will"
            " violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower"
            " group's min size."
        )


def _of_instance(call: Call, ground: Ground) -> FakeAutoScalingGroup:
    instance_id = _text(call, "InstanceId")
    group = ground.group_of(instance_id)
    if group is None:
        raise _refusal(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")
    return group


def _delete(call: Call, ground: Ground) -> None:
    group = _group(call, ground)
    if not _flag(call, "ForceDelete") and group.instance_states:
        raise _refusal(
            "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still"
            " in the group.",
            "ResourceInUse",
        )
    for state in group.instance_states:  # moto would leave protected ones running in no group
        state.protected_from_scale_in = False


def _check_members(call: Call, ground: Ground) -> None:
    group, ids = _group(call, ground), call.numbered("InstanceIds.member")
    if len(ids) > _MOST_IDS[call.action]:
        raise _refusal(f"The number of instances must not exceed {_MOST_IDS[call.action]}, but {len(ids)} were named.")
    members = {state.instance_id for state in group.instance_states}
    for one in ids:
        if one not in members:
            raise _refusal(f"The instance {one} is not part of Auto Scaling group {group.name}.")
    shrinks = call.action in ("DetachInstances", "EnterStandby") and _flag(call, "ShouldDecrementDesiredCapacity")
    if shrinks and int(group.desired_capacity or 0) - len(ids) < int(group.min_size or 0):
        raise _refusal(f"AutoScalingGroup {group.name} has min-size={group.min_size}: the call would go below it.")


def _protect(call: Call, ground: Ground) -> None:
    _text(call, "ProtectedFromScaleIn")


def _describe(call: Call, ground: Ground) -> None:
    if "MaxRecords" in call.params and not 1 <= _count(call, "MaxRecords") <= 100:
        raise _refusal("MaxRecords must be from 1 to 100")
    token = call.params.get("NextToken")
    if token and token not in ground.groups():
        raise _refusal("The token is not valid.", "InvalidNextToken")


def _tag(call: Call, ground: Ground) -> None:
    for name in call.numbered("Tags.member", ".ResourceId"):
        if name not in ground.groups():
            raise _refusal(f"AutoScalingGroup not found - AutoScaling Group {name} not found")


_CHECKS: dict[str, Callable[[Call, Ground], object]] = {
    "CreateAutoScalingGroup": _create,
    "UpdateAutoScalingGroup": _update,
    "SetDesiredCapacity": _set_desired,
    "TerminateInstanceInAutoScalingGroup": _terminate,
    "SetInstanceHealth": _of_instance,
    "SetInstanceProtection": _protect,
    "DeleteAutoScalingGroup": _delete,
    "DescribeAutoScalingGroups": _describe,
    "CreateOrUpdateTags": _tag,
    "DeleteTags": _tag,
}
