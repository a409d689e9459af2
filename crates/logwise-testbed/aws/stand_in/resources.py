"""The names under which a call is filed and under which faults find it."""

from __future__ import annotations

from .call import Call
from .ground import Ground

# For services that later parts talk to: the parameter that names the thing.
_NAMES = {
    "athena": ("WorkGroup", "Name"),
    "glue": ("DatabaseName", "Name"),
    "elasticloadbalancing": ("TargetGroupArn", "LoadBalancerArn"),
    "rds": ("DBInstanceIdentifier",),
    "sts": ("RoleArn",),
    "iam": ("PolicySourceArn", "RoleName"),
}


def resources(call: Call, ground: Ground) -> tuple[str, ...]:
    """Names of buckets, groups or roles, or the groups of the instances that the call names; may be empty."""
    if call.service == "s3":
        found = [str(call.params.get("Bucket", ""))]
    elif call.service == "autoscaling":
        found = _groups(call) or _of_instances(
            [str(call.params.get("InstanceId", "")), *call.numbered("InstanceIds.member")], ground
        )
    elif call.service == "ec2":
        found = _of_instances(call.numbered("InstanceId"), ground)
    else:
        named = (str(call.params.get(name, "")) for name in _NAMES.get(call.service, ()))
        found = [next((name for name in named if name), "")]
        if call.service in ("iam", "sts"):
            found = [found[0].rpartition("/")[2]]  # a role is filed under its name
    return tuple(dict.fromkeys(name for name in found if name))


def _groups(call: Call) -> list[str]:
    named = [str(call.params.get("AutoScalingGroupName", "")), *call.numbered("AutoScalingGroupNames.member")]
    named += call.numbered("Tags.member", ".ResourceId")
    number = 1
    while (kind := call.params.get(f"Filters.member.{number}.Name")) is not None:
        if kind == "auto-scaling-group":
            named += call.numbered(f"Filters.member.{number}.Values.member")
        number += 1
    return [name for name in named if name]


def _of_instances(ids: list[str], ground: Ground) -> list[str]:
    return [name for one in ids if one and (name := ground.last_group_of(one))]
