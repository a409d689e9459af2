"""Balancing a group's zones: first a newcomer where there are few, then an end where there are many."""

from __future__ import annotations

from collections import Counter

from moto.autoscaling.models import InstanceState

from .ending import begin_end
from .launching import launch
from .life import Life

_LAUNCHED = (
    "an instance was launched to balance instances in zone {} with other zones, resulting in more than the desired"
    " number of instances in the group."
)
_TAKEN = "an instance in zone {} was taken out of service as the group's zones are to be balanced."


def begin_balance(life: Life) -> list[str]:
    """Launches the newcomers; their ids. None when a suspended process forbids it, or all is even."""
    launched: list[str] = []
    if life.group.suspended("AZRebalance", "Launch"):
        return launched
    most = int(life.group.max_size or 0)
    room = most + max(1, most // 10) - len(life.counted())
    while room > len(launched) and (pair := _uneven(life)) is not None:
        victim, zone = pair
        newcomer = launch(life, _LAUNCHED.format(zone), zone)
        if newcomer is None:
            break
        life.balancing[newcomer] = str(victim.instance_id)
        launched.append(newcomer)
    return launched


def _uneven(life: Life) -> tuple[InstanceState, str] | None:
    """Whom to end, and in which zone to launch before."""
    leaving = set(life.balancing.values())
    staying = [one for one in life.counted() if one.instance_id not in leaving]
    crowd = Counter({str(zone): 0 for zone in life.group.availability_zones})
    crowd.update(str(one.availability_zone) for one in staying)
    fullest, emptiest = max(crowd, key=lambda zone: crowd[zone]), min(crowd, key=lambda zone: crowd[zone])
    if crowd[fullest] - crowd[emptiest] < 2:
        return None
    victims = [
        one for one in staying
        if one.availability_zone == fullest and one.lifecycle_state == "InService" and not one.protected_from_scale_in
    ]  # fmt: skip
    return (victims[0], emptiest) if victims else None


def end_balance(life: Life) -> bool:
    """Ends those whose newcomer is in service; whether there was any."""
    if life.group.suspended("Terminate"):
        return False
    for newcomer, victim in list(life.balancing.items()):
        new, old = life.group.member(newcomer), life.group.member(victim)
        if new is None or old is None or old.protected_from_scale_in:
            del life.balancing[newcomer]
            return True
        if new.lifecycle_state == "InService":
            del life.balancing[newcomer]
            begin_end(life, old, _TAKEN.format(old.availability_zone))
            return True
    return False
