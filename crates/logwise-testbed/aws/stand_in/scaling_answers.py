"""The Auto Scaling calls that the stand-in answers itself, because they are about the life of instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import health, hooks, refreshing
from .call import Call, Refusal, Reply
from .ending import begin_end
from .ground import Ground
from .life import Life
from .lives import Lives
from .query_xml import answer
from .refreshes import Refresh


class ScalingAnswers:
    """Each method is one operation; `scaling` has checked the names before."""

    def __init__(self, ground: Ground, lives: Lives) -> None:
        self._ground, self._lives = ground, lives
        self._own: dict[str, Callable[[Call], dict[str, Any]]] = {
            "CancelInstanceRefresh": self._cancel_refresh,
            "CompleteLifecycleAction": self._complete,
            "DeleteAutoScalingGroup": self._delete,
            "DeleteLifecycleHook": self._delete_hook,
            "DescribeInstanceRefreshes": self._refreshes,
            "DescribeLifecycleHooks": self._hooks,
            "DescribeScalingActivities": self._activities,
            "PutLifecycleHook": self._put_hook,
            "RecordLifecycleActionHeartbeat": self._heartbeat,
            "SetInstanceHealth": self._set_health,
            "StartInstanceRefresh": self._start_refresh,
            "TerminateInstanceInAutoScalingGroup": self._terminate,
        }

    def serve(self, call: Call) -> Reply | None:
        """The answer, or None when moto is to give it."""
        own = self._own.get(call.action) if call.service == "autoscaling" else None
        return None if own is None else answer(call, own(call))

    def _life(self, call: Call) -> Life:
        name = str(call.params.get("AutoScalingGroupName", ""))
        life = self._lives.named(name) if name else self._lives.of_instance(str(call.params.get("InstanceId", "")))
        if life is None:
            raise Refusal(
                400, "ValidationError", f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found"
            )
        return life

    def _terminate(self, call: Call) -> dict[str, Any]:
        life, instance_id = self._life(call), str(call.params["InstanceId"])
        group, state = life.group, life.group.member(instance_id)
        assert state is not None, "scaling has found the instance"
        why = f"instance {instance_id} was taken out of service in response to a user request"
        if str(call.params["ShouldDecrementDesiredCapacity"]).lower() == "true":
            group.desired_capacity = group.desired - 1
            why += f", shrinking the capacity from {group.desired + 1} to {group.desired}"
        life.retry_at = 0
        begun = begin_end(life, state, f"{why}.")
        return {"Activity": begun.shown(str(group.name), group.arn)}

    def _delete(self, call: Call) -> dict[str, Any]:
        group = self._life(call).group
        self._lives.end(group)
        group.autoscaling_backend.delete_auto_scaling_group(str(group.name))
        return {}

    def _set_health(self, call: Call) -> dict[str, Any]:
        life, instance_id = self._life(call), str(call.params["InstanceId"])
        status, state = str(call.params.get("HealthStatus", "")).capitalize(), life.group.member(instance_id)
        if status not in ("Healthy", "Unhealthy") or state is None:
            raise Refusal(400, "ValidationError", "Valid instance health states are: [Healthy, Unhealthy].")
        patient = str(call.params.get("ShouldRespectGracePeriod", "true")).lower() == "true"
        grace_ms = 1000 * int(life.group.health_check_grace_period or 0)
        if not patient or life.at >= life.in_service_since.get(instance_id, 0) + grace_ms:
            health.mark(life, state, status)
        return {}

    def _activities(self, call: Call) -> dict[str, Any]:
        lives = [self._life(call)] if "AutoScalingGroupName" in call.params else self._lives.all()
        wanted = call.numbered("ActivityIds.member")
        found = [
            (one, life) for life in lives for one in life.activities.newest_first() if not wanted or one.id in wanted
        ]  # fmt: skip
        found.sort(key=lambda pair: pair[0].begun, reverse=True)
        first = int(str(call.params.get("NextToken", "0")))
        last = first + int(str(call.params.get("MaxRecords", "100")))
        return {
            "Activities": [one.shown(str(life.group.name), life.group.arn) for one, life in found[first:last]],
            "NextToken": str(last) if last < len(found) else None,
        }

    def _put_hook(self, call: Call) -> dict[str, Any]:
        hooks.put(self._life(call).hooks, call)
        return {}

    def _hooks(self, call: Call) -> dict[str, Any]:
        life, wanted = self._life(call), call.numbered("LifecycleHookNames.member")
        shown = [hook.shown(str(life.group.name)) for hook in life.hooks.values() if not wanted or hook.name in wanted]
        return {"LifecycleHooks": shown}

    def _delete_hook(self, call: Call) -> dict[str, Any]:
        life, name = self._life(call), str(call.params.get("LifecycleHookName", ""))
        if life.hooks.pop(name, None) is None:
            raise Refusal(400, "ValidationError", f"No Lifecycle Hook found with name {name}")
        for stage in life.stages.values():
            for action in stage.actions:
                if action.hook.name == name and action.outcome is None:
                    action.complete("CONTINUE" if action.hook.transition == hooks.TERMINATING else "ABANDON")
        return {}

    def _action(self, call: Call) -> hooks.Action:
        life, name = self._life(call), str(call.params.get("LifecycleHookName", ""))
        instance_id, token = call.params.get("InstanceId"), call.params.get("LifecycleActionToken")
        for one, stage in life.stages.items():
            for action in stage.actions:
                named = token == action.token or one == instance_id
                if action.hook.name == name and action.outcome is None and named:
                    return action
        which = f"token {token}" if token else f"instance ID {instance_id}"
        raise Refusal(400, "ValidationError", f"No active Lifecycle Action found with {which}")

    def _complete(self, call: Call) -> dict[str, Any]:
        outcome = str(call.params.get("LifecycleActionResult", "")).upper()
        if outcome not in ("CONTINUE", "ABANDON"):
            raise Refusal(400, "ValidationError", "LifecycleActionResult must be CONTINUE or ABANDON")
        self._action(call).complete(outcome)
        return {}

    def _heartbeat(self, call: Call) -> dict[str, Any]:
        self._action(call).heartbeat(self._life(call).at)
        return {}

    def _start_refresh(self, call: Call) -> dict[str, Any]:
        life = self._life(call)
        if refreshing.running(life) is not None:
            raise Refusal(
                400, "InstanceRefreshInProgress",
                "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.",
            )  # fmt: skip
        old = [str(one.instance_id) for one in life.counted()]
        begun = Refresh(
            life.at, life.at + life.refresh_ms, old, total=len(old),
            min_healthy=int(str(call.params.get("Preferences.MinHealthyPercentage", "90"))),
            protected=str(call.params.get("Preferences.ScaleInProtectedInstances", "Wait")),
        )  # fmt: skip
        life.refreshes.append(begun)
        return {"InstanceRefreshId": begun.id}

    def _refreshes(self, call: Call) -> dict[str, Any]:
        life, wanted = self._life(call), call.numbered("InstanceRefreshIds.member")
        found = [one for one in reversed(life.refreshes) if not wanted or one.id in wanted]
        return {"InstanceRefreshes": [one.shown(str(life.group.name)) for one in found]}

    def _cancel_refresh(self, call: Call) -> dict[str, Any]:
        life = self._life(call)
        running = refreshing.running(life)
        if running is None or running.status == "Cancelling":
            raise Refusal(
                400, "ActiveInstanceRefreshNotFound",
                f"No in progress or pending Instance Refresh found for Auto Scaling group {life.group.name}",
            )  # fmt: skip
        running.status = "Cancelling"
        return {"InstanceRefreshId": running.id}
