"""Ending: an instance's way through Terminating and the hooks, until its machine is gone."""

from __future__ import annotations

from moto.autoscaling.models import InstanceState

from . import hooks, machines
from .activities import Activity
from .life import ON_THE_WAY_IN, Life, Stage


def begin_end(life: Life, state: InstanceState, *reasons: str) -> Activity:
    """The instance goes out of service."""
    instance_id, came_in = str(state.instance_id), state.lifecycle_state not in ON_THE_WAY_IN
    was = life.stages.pop(instance_id, None)
    if was is not None and was.activity.open:
        was.activity.close("Cancelled", life.at)
    life.balancing = {new: old for new, old in life.balancing.items() if instance_id not in (new, old)}
    details = {
        "Subnet ID": life.group.subnet_of(str(state.availability_zone)) or "",
        "Availability Zone": str(state.availability_zone),
    }
    begun = life.activities.begin(f"Terminating EC2 instance: {instance_id}", life.cause(*reasons), life.at, details)
    stage = Stage(begun, life.at + life.terminating_ms)
    wanted = life.hooks_of(hooks.TERMINATING) if came_in else []
    if wanted:
        state.lifecycle_state = "Terminating:Wait"
        stage.actions = [hooks.begin(hook, life.at) for hook in wanted]
        begun.move("MidLifecycleAction", 60)
    else:
        state.lifecycle_state = "Terminating"
        begun.move("InProgress", 50)
        machines.shut_down(state.instance)
    life.stages[instance_id] = stage
    return begun


def is_leaving(state: InstanceState) -> bool:
    """Whether the instance is on its way out."""
    return str(state.lifecycle_state).startswith("Terminating")


def carry_out(life: Life, instance_id: str) -> bool:
    """One step of an instance on its way out; whether there was any."""
    state, stage = life.group.member(instance_id), life.stages[instance_id]
    if state is None:
        return False
    if state.lifecycle_state == "Terminating:Wait":
        for action in stage.actions:
            action.expire(life.at)
        if hooks.verdict(stage.actions) is None:
            return False
        state.lifecycle_state = "Terminating:Proceed"
        stage.due = life.at + life.terminating_ms
        stage.activity.move("InProgress", 80)
        machines.shut_down(state.instance)
        return True
    if not is_leaving(state) or life.at < stage.due:
        return False
    stage.activity.close("Successful", life.at)
    remove(life, state)
    return True


def remove(life: Life, state: InstanceState) -> None:
    """The machine is gone, and the group no longer has it."""
    machines.end(state.instance)
    life.group.instance_states = [one for one in life.group.instance_states if one is not state]
    life.ended[str(state.instance_id)] = life.at
    life.drop(str(state.instance_id))
