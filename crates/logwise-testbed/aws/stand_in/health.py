"""Health: machines that ended or fail their checks, and the replacement of unhealthy instances."""

from __future__ import annotations

from moto.autoscaling.models import InstanceState

from . import machines
from .ending import begin_end, is_leaving
from .life import Life

_ENDED = (
    "an instance was taken out of service in response to an EC2 health check indicating it has been terminated or"
    " stopped."
)
_IMPAIRED = "an instance was taken out of service in response to an EC2 instance status checks failure."
_REPORTED = "an instance was taken out of service in response to a user health-check."
_STARTED = "an instance was launched in response to an unhealthy instance needing to be replaced."


def look(life: Life) -> bool:
    """Notes what EC2 says about the machines, unless HealthCheck is suspended; whether anything was new."""
    if life.group.suspended("HealthCheck"):
        return False
    sick = [
        one for one in life.group.instance_states
        if one.lifecycle_state == "InService" and one.health_status == "Healthy"
        and (one.instance_id in life.impaired or not machines.is_running(one.instance))
    ]  # fmt: skip
    for state in sick:
        mark(life, state, "Unhealthy")
    return bool(sick)


def mark(life: Life, state: InstanceState, status: str) -> None:
    """Sets the health status and remembers since when."""
    state.health_status = status
    if status == "Unhealthy":
        life.unhealthy_since.setdefault(str(state.instance_id), life.at)
    else:
        life.unhealthy_since.pop(str(state.instance_id), None)


def replace(life: Life) -> bool:
    """Takes unhealthy instances out, protected or not; whether there was any."""
    if life.group.suspended("ReplaceUnhealthy", "Terminate"):
        return False
    for instance_id, since in list(life.unhealthy_since.items()):
        state = life.group.member(instance_id)
        if state is not None and not is_leaving(state) and life.at >= since + life.health_ms:
            life.owed.append(_STARTED)
            begin_end(life, state, _reason(life, state))
            del life.unhealthy_since[instance_id]
            return True
    return False


def _reason(life: Life, state: InstanceState) -> str:
    if not machines.is_running(state.instance):
        return _ENDED
    return _IMPAIRED if state.instance_id in life.impaired else _REPORTED
