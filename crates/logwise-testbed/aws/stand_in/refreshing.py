"""Carrying on an instance refresh, a step at a time."""

from __future__ import annotations

from .ending import begin_end
from .life import Life
from .refreshes import Refresh

_TAKEN = "an instance was taken out of service in response to an instance refresh."
_STARTED = "an instance was launched in response to an instance refresh."


def running(life: Life) -> Refresh | None:
    """The refresh that has not ended, if there is one."""
    return next((one for one in life.refreshes if one.open), None)


def _steady(life: Life) -> bool:
    members = life.group.instance_states
    return life.missing() == 0 and all(one.lifecycle_state == "InService" for one in members)


def carry_on(life: Life) -> bool:
    """One step, when its time has come and the last one is through; whether there was any."""
    refresh = running(life)
    if refresh is None or life.group.suspended("InstanceRefresh", "Launch", "Terminate") or not _steady(life):
        return False
    if refresh.status == "Cancelling":
        refresh.close("Cancelled", life.at, "Cancelled due to user request.")
        return True
    if life.at < refresh.next_at:
        return False
    refresh.old = [one for one in refresh.old if life.group.member(one) is not None]
    if refresh.status == "Pending":
        refresh.status = "InProgress"
    return _replace(life, refresh)


def _replace(life: Life, refresh: Refresh) -> bool:
    states = [state for one in refresh.old if (state := life.group.member(one)) is not None]
    ready = [one for one in states if refresh.protected == "Refresh" or not one.protected_from_scale_in]
    if not states or (not ready and refresh.protected == "Ignore"):
        refresh.close("Successful", life.at)
        return True
    if not ready:
        waiting = f"Waiting for {len(states)} instance(s) that are protected from scale-in."
        changed, refresh.reason = refresh.reason != waiting, waiting
        return changed
    refresh.reason = ""
    batch = max(1, life.group.desired * (100 - refresh.min_healthy) // 100)
    for state in ready[:batch]:
        refresh.old.remove(str(state.instance_id))
        life.owed.append(_STARTED)
        begin_end(life, state, _TAKEN)
    refresh.next_at = life.at + life.refresh_ms
    return True
