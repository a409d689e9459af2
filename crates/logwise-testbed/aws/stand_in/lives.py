"""The lives of all groups, and how they are carried on."""

from __future__ import annotations

from collections.abc import Iterable

from . import machines, steps
from .call import Call
from .clock import world_ms
from .ground import Ground
from .group import Group
from .life import Life

# Operations that ask for a size.
_ASKING = ("CreateAutoScalingGroup", "ExecutePolicy", "SetDesiredCapacity", "UpdateAutoScalingGroup")


class Lives:
    """One `Life` per group; callers hold the stand-in's lock."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._lives: dict[str, Life] = {}
        self._left: dict[str, int] = {}  # ended instances of groups that are gone, and when EC2 forgets them

    def of(self, group: Group) -> Life:
        """The life of a group."""
        known = self._lives.get(str(group.name))
        if known is None or known.group is not group:
            known = self._lives[str(group.name)] = Life(group, world_ms())
        return known

    def named(self, name: str) -> Life | None:
        """The life of the group of that name."""
        group = self._ground.groups().get(name)
        return None if group is None else self.of(group)

    def of_instance(self, instance_id: str) -> Life | None:
        """The life of the group that the instance is in."""
        group = self._ground.group_of(instance_id)
        return None if group is None else self.of(group)

    def all(self) -> list[Life]:
        return [self.of(group) for group in self._ground.groups().values()]

    def advance(self, names: Iterable[str] = ()) -> None:
        """Carries the named groups on to now, or every one when none is named."""
        named = [life for name in names if (life := self.named(name)) is not None]
        for life in named or self.all():
            self.carry_on(life)
        old = {one for one, until in self._left.items() if world_ms() >= until}
        if old:
            machines.forget(self._ground.ec2(), old)
            self._left = {one: until for one, until in self._left.items() if one not in old}

    def carry_on(self, life: Life) -> None:
        """Carries one group on to its own now."""
        before = [one.lifecycle_state for one in life.group.instance_states]
        steps.advance(life, world_ms() + life.ahead_ms)
        old = {one for one, at in life.ended.items() if life.at >= at + machines.REMEMBERED_MS}
        if old:
            machines.forget(self._ground.ec2(), old)
            life.ended = {one: at for one, at in life.ended.items() if one not in old}
        if before != [one.lifecycle_state for one in life.group.instance_states]:
            life.group.autoscaling_backend.update_attached_elbs(life.group.name)
            life.group.autoscaling_backend.update_attached_target_groups(life.group.name)

    def settle(self, call: Call, before: dict[str, int]) -> None:
        """After a call that changed something: what it asked for, and what follows from that at once."""
        for life in self.all():
            old, new = before.get(str(life.group.name), 0), life.group.desired
            if old != new and call.action in _ASKING:
                life.ask(f"{_asked(call, life)} changing the desired capacity from {old} to {new}.")
        self.advance(call.resources)

    def sizes(self) -> dict[str, int]:
        """What is desired of each group."""
        return {name: group.desired for name, group in self._ground.groups().items()}

    def end(self, group: Group) -> None:
        """Ends a group that is being deleted, with all its machines and without waiting for anything."""
        life = self.of(group)
        for state in group.instance_states:
            machines.end(state.instance)
            life.ended[str(state.instance_id)] = life.at
        group.instance_states = []
        forgotten = machines.REMEMBERED_MS - life.ahead_ms
        self._left.update({one: at + forgotten for one, at in life.ended.items()})
        self._lives.pop(str(group.name), None)


def _asked(call: Call, life: Life) -> str:
    group = life.group
    if call.action == "CreateAutoScalingGroup":
        return "a user request created an AutoScalingGroup"
    if call.action == "UpdateAutoScalingGroup":
        return (
            f"a user request update of AutoScalingGroup constraints to min: {group.min_size}, max: {group.max_size},"
            f" desired: {group.desired}"
        )
    return "a user request explicitly set group desired capacity"
