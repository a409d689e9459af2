"""What Auto Scaling refuses and moto does not; and what AWS does besides."""

from __future__ import annotations

from collections.abc import Callable

from .call import Call
from .ground import Ground
from .group import PROCESSES, Group
from .lives import Lives
from .scaling_blocks import check_activities
from .scaling_fields import count, flag, refusal, text
from .scaling_members import MOST_IDS, check_members

# Calls that name a group and answer with an empty list when there is none.
_EMPTY_IF_UNKNOWN = ("DescribeScheduledActions", "DescribePolicies")


def check(call: Call, ground: Ground, lives: Lives) -> None:
    """Raises AWS's refusal; may complete the call where moto would leave out what AWS does."""
    if call.service != "autoscaling":
        return
    own = _CHECKS.get(call.action)
    if own is not None:
        own(call, ground)
    elif "AutoScalingGroupName" in call.params and call.action not in _EMPTY_IF_UNKNOWN:
        _group(call, ground)
    if call.action in MOST_IDS:
        check_members(call, _group(call, ground))
    check_activities(call, lives)
    if call.mutating:
        ground.recycle_addresses()


def complete(call: Call, ground: Ground) -> None:
    """Sets what moto leaves out of a group that was made or changed."""
    group = ground.groups().get(str(call.params.get("AutoScalingGroupName", "")))
    if group is None or call.action not in ("CreateAutoScalingGroup", "UpdateAutoScalingGroup"):
        return
    if "DefaultCooldown" in call.params:
        group.default_cooldown = count(call, "DefaultCooldown")
    if "HealthCheckGracePeriod" in call.params:
        group.health_check_grace_period = count(call, "HealthCheckGracePeriod")
    elif call.action == "CreateAutoScalingGroup":
        group.health_check_grace_period = 0


def _group(call: Call, ground: Ground) -> Group:
    name = text(call, "AutoScalingGroupName")
    found = ground.groups().get(name)
    if found is None:
        raise refusal(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
    return found


def _check_bounds(low: int, high: int, desired: int) -> None:
    if low > high:
        raise refusal(f"Max bound, {high}, must be greater than or equal to min bound, {low}")
    if not low <= desired <= high:
        raise refusal(f"Desired capacity:{desired} must be between the specified min size:{low} and max size:{high}")


def _create(call: Call, ground: Ground) -> None:
    name = text(call, "AutoScalingGroupName")
    if name in ground.groups():
        raise refusal(
            f"AutoScalingGroup by this name already exists - A group with the name {name} already exists",
            "AlreadyExists",
        )
    low, high = count(call, "MinSize"), count(call, "MaxSize")
    _check_bounds(low, high, count(call, "DesiredCapacity") if "DesiredCapacity" in call.params else low)


def _update(call: Call, ground: Ground) -> None:
    group = _group(call, ground)
    low = count(call, "MinSize") if "MinSize" in call.params else int(group.min_size or 0)
    high = count(call, "MaxSize") if "MaxSize" in call.params else int(group.max_size or 0)
    if "DesiredCapacity" in call.params:
        _check_bounds(low, high, count(call, "DesiredCapacity"))
        return
    follows = max(low, min(high, group.desired))
    _check_bounds(low, high, follows)
    call.body += f"&DesiredCapacity={follows}".encode()  # moto would go by the instances that are there


def _set_desired(call: Call, ground: Ground) -> None:
    group = _group(call, ground)
    wanted = count(call, "DesiredCapacity")
    low, high = int(group.min_size or 0), int(group.max_size or 0)
    if wanted > high:
        raise refusal(f"New SetDesiredCapacity value {wanted} is above max value {high} for the AutoScalingGroup.")
    if wanted < low:
        raise refusal(f"New SetDesiredCapacity value {wanted} is below min value {low} for the AutoScalingGroup.")


def _terminate(call: Call, ground: Ground) -> None:
    decrement = text(call, "ShouldDecrementDesiredCapacity").lower() == "true"
    group = _of_instance(call, ground)
    if decrement and group.desired <= int(group.min_size or 0):
        raise refusal(
            f"Currently, desiredSize equals minSize ({group.min_size}). Terminating instance without replacement will"
            " violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower"
            " group's min size."
        )


def _of_instance(call: Call, ground: Ground) -> Group:
    instance_id = text(call, "InstanceId")
    group = ground.group_of(instance_id)
    if group is None:
        raise refusal(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")
    return group


def _delete(call: Call, ground: Ground) -> None:
    group = _group(call, ground)
    if not flag(call, "ForceDelete") and any(
        one.lifecycle_state in ("InService", "Standby") for one in group.instance_states
    ):
        raise refusal(
            "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still"
            " in the group.",
            "ResourceInUse",
        )


def _protect(call: Call, ground: Ground) -> None:
    text(call, "ProtectedFromScaleIn")


def _processes(call: Call, ground: Ground) -> None:
    _group(call, ground)
    for name in call.numbered("ScalingProcesses.member"):
        if name not in PROCESSES:
            raise refusal(f"{name} is not a valid process type")


def _page(call: Call, ground: Ground) -> None:
    """Activities and the like: the tokens are numbers of ours."""
    if "AutoScalingGroupName" in call.params:
        _group(call, ground)
    if "MaxRecords" in call.params and not 1 <= count(call, "MaxRecords") <= 100:
        raise refusal("MaxRecords must be from 1 to 100")
    if not str(call.params.get("NextToken", "0")).isdecimal():
        raise refusal("The token is not valid.", "InvalidNextToken")


def _describe(call: Call, ground: Ground) -> None:
    if "MaxRecords" in call.params and not 1 <= count(call, "MaxRecords") <= 100:
        raise refusal("MaxRecords must be from 1 to 100")
    token = call.params.get("NextToken")
    if token and token not in ground.groups():
        raise refusal("The token is not valid.", "InvalidNextToken")


def _tag(call: Call, ground: Ground) -> None:
    for name in call.numbered("Tags.member", ".ResourceId"):
        if name not in ground.groups():
            raise refusal(f"AutoScalingGroup not found - AutoScaling Group {name} not found")


_CHECKS: dict[str, Callable[[Call, Ground], object]] = {
    "CreateAutoScalingGroup": _create,
    "UpdateAutoScalingGroup": _update,
    "SetDesiredCapacity": _set_desired,
    "TerminateInstanceInAutoScalingGroup": _terminate,
    "SetInstanceHealth": _of_instance,
    "SetInstanceProtection": _protect,
    "DeleteAutoScalingGroup": _delete,
    "DescribeAutoScalingGroups": _describe,
    "DescribeScalingActivities": _page,
    "ResumeProcesses": _processes,
    "SuspendProcesses": _processes,
    "CreateOrUpdateTags": _tag,
    "DeleteTags": _tag,
}
