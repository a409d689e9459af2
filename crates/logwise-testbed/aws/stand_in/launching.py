"""Launching: a machine, its way through Pending and the hooks, and launches that fail."""

from __future__ import annotations

from collections import Counter

from . import hooks
from .ending import begin_end
from .life import Life, Stage

_NO_ADDRESS = (
    "There are not enough free addresses in subnet '{}' to satisfy the requested number of instances. Launching EC2"
    " instance failed."
)


def launch(life: Life, reason: str, zone: str | None = None) -> str | None:
    """Launches one instance; its id, or None when the launch failed."""
    group, size = life.group, len(life.counted())
    where = zone or emptiest_zone(life)
    cause = life.cause(reason or
        f"an instance was started in response to a difference between desired and actual capacity, increasing the"
        f" capacity from {size} to {size + 1}."
    )  # fmt: skip
    details = {"Subnet ID": group.subnet_of(where) or "", "Availability Zone": where}
    begun = life.activities.begin("Launching a new EC2 instance", cause, life.at, details)
    problem = _failure(life) or _full(life, where)
    if problem is not None:
        begun.close("Failed", life.at, problem)
        life.retry_at = life.at + life.retry_ms
        return None
    state = group.run_instance(where)
    instance_id = str(state.instance_id)
    begun.description += f": {instance_id}"
    begun.move("PreInService", 30)
    life.stages[instance_id] = Stage(begun, life.at + life.pending_ms)
    return instance_id


def emptiest_zone(life: Life) -> str:
    """The zone with the fewest instances; the first one named among equals."""
    zones = list(dict.fromkeys(life.group.availability_zones))
    crowd = Counter(one.availability_zone for one in life.counted())
    return str(min(zones, key=lambda zone: crowd[zone]))


def _failure(life: Life) -> str | None:
    if life.failures is None:
        return None
    message = life.failures.message
    if life.failures.left is not None:
        life.failures.left -= 1
        if life.failures.left <= 0:
            life.failures = None
    return message


def _full(life: Life, zone: str) -> str | None:
    subnet_id = life.group.subnet_of(zone)
    if subnet_id is None:
        return None
    subnet = life.group.ec2_backend.get_subnet(subnet_id)
    taken = len(subnet._subnet_ips) >= subnet.cidr.num_addresses - 5  # AWS keeps five for itself
    return _NO_ADDRESS.format(subnet_id) if taken else None


def carry_in(life: Life, instance_id: str) -> bool:
    """One step of an instance on its way into service; whether there was any."""
    state, stage = life.group.member(instance_id), life.stages[instance_id]
    if state is None:
        return False
    if state.lifecycle_state == "Pending" and life.at >= stage.due:
        wanted = life.hooks_of(hooks.LAUNCHING)
        if not wanted:
            return _serve(life, instance_id)
        state.lifecycle_state = "Pending:Wait"
        stage.actions = [hooks.begin(hook, life.at) for hook in wanted]
        stage.activity.move("MidLifecycleAction", 60)
        return True
    if state.lifecycle_state == "Pending:Wait":
        for action in stage.actions:
            action.expire(life.at)
        said = hooks.verdict(stage.actions)
        if said == "CONTINUE":
            return _serve(life, instance_id)
        if said == "ABANDON":
            guilty = next(action for action in stage.actions if action.outcome == "ABANDON")
            stage.activity.close(
                "Cancelled", life.at,
                f"Instance failed to complete user's Lifecycle Action: Lifecycle Action with token {guilty.token} was"
                f" abandoned: {guilty.why}",
            )  # fmt: skip
            begin_end(life, state, "an instance was taken out of service as its launch was abandoned.")
            return True
    return False


def _serve(life: Life, instance_id: str) -> bool:
    state, stage = life.group.member(instance_id), life.stages.pop(instance_id)
    if state is not None:
        state.lifecycle_state = "InService"
        state.protected_from_scale_in = bool(life.group.new_instances_protected_from_scale_in)
        life.in_service_since[instance_id] = life.at
    stage.activity.close("Successful", life.at)
    return True
