"""A group's time: everything that is due happens, in the order in which it falls due."""

from __future__ import annotations

from . import health, refreshing, zones
from .ending import begin_end, carry_out
from .launching import carry_in, launch
from .life import ON_THE_WAY_IN, Life

# A group that changes this often at one moment would never come to rest.
_ENDLESS = 100_000


def advance(life: Life, until: int) -> None:
    """Carries the group on to `until`."""
    for _ in range(_ENDLESS):
        while _step(life):
            pass
        due = _next_due(life)
        if due is None or due > until:
            life.at = max(life.at, until)
            return
        life.at = max(life.at, due)
    raise RuntimeError(f"group {life.group.name} does not come to rest")


def _step(life: Life) -> bool:
    """Whether anything happened at the present time."""
    moved = [
        carry_in(life, one) or (one in life.stages and carry_out(life, one)) for one in list(life.stages)
    ]  # fmt: skip
    for follow in (health.look, health.replace, zones.end_balance, _resize, refreshing.carry_on):
        moved.append(follow(life))
    return any(moved)


def _resize(life: Life) -> bool:
    missing = life.missing()
    if missing == 0:
        life.asked = ""
        return False
    if missing > 0:
        return _grow(life, missing)
    return _shrink(life, -missing)


def _grow(life: Life, missing: int) -> bool:
    if life.group.suspended("Launch") or life.at < life.retry_at:
        return False
    for _ in range(missing):
        reason = life.owed.pop(0) if life.owed else ""
        launch(life, reason)
    return True


def _shrink(life: Life, surplus: int) -> bool:
    """Ends unprotected instances, the oldest first; with too few of them the numbers disagree, as on AWS."""
    leaving = set(life.balancing) | set(life.balancing.values())
    victims = [
        one for one in life.counted()
        if not one.protected_from_scale_in and one.instance_id not in leaving
        and (one.lifecycle_state in ON_THE_WAY_IN or not life.group.suspended("Terminate"))
    ]  # fmt: skip
    life.owed.clear()
    for victim in victims[:surplus]:
        size = len(life.counted()) - len(life.balancing)
        begin_end(
            life, victim,
            "an instance was taken out of service in response to a difference between desired and actual capacity,"
            f" shrinking the capacity from {size} to {size - 1}.",
            f"instance {victim.instance_id} was selected for termination.",
        )  # fmt: skip
    return bool(victims[:surplus])


def _next_due(life: Life) -> int | None:
    """When something will happen by itself."""
    times = [life.retry_at] if life.missing() > 0 and not life.group.suspended("Launch") else []
    for stage in life.stages.values():
        times += [action.due for action in stage.actions if action.outcome is None] or [stage.due]
    if not life.group.suspended("ReplaceUnhealthy", "Terminate"):
        times += [since + life.health_ms for since in life.unhealthy_since.values()]
    refresh = refreshing.running(life)
    if refresh is not None:
        times.append(refresh.next_at)
    return min((time for time in times if time > life.at), default=None)
