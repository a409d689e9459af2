"""Lifecycle hooks: they hold instances back, until somebody says so or nobody does in time."""

from __future__ import annotations

from typing import Any

from .bed import Case, client, control

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"


class Hooked(Case):
    def hook(self, transition: str, name: str = "drain", **more: Any) -> None:
        client("autoscaling").put_lifecycle_hook(
            AutoScalingGroupName=self.name, LifecycleHookName=name, LifecycleTransition=transition, **more
        )

    def complete(self, instance: str, result: str, name: str = "drain") -> None:
        client("autoscaling").complete_lifecycle_action(
            AutoScalingGroupName=self.name, LifecycleHookName=name, InstanceId=instance, LifecycleActionResult=result
        )

    def end(self, instance: str) -> None:
        client("autoscaling").terminate_instance_in_auto_scaling_group(
            InstanceId=instance, ShouldDecrementDesiredCapacity=True
        )

    def waiting(self) -> list[Any]:
        found: list[Any] = control("GET", "/_life", group=self.name)["waiting"]
        return found


class Launches(Hooked):
    def test_it_waits_and_goes_on(self) -> None:
        self.group(0, 4, 0)
        self.hook(LAUNCHING)
        self.desire(1)
        (one,) = self.states()
        self.assertEqual(self.states(), {one: "Pending:Wait"})
        self.assertEqual(self.activities()[0]["StatusCode"], "MidLifecycleAction")
        self.complete(one, "CONTINUE")
        self.assertEqual(self.states(), {one: "InService"})

    def test_abandoned_it_is_replaced(self) -> None:
        self.group(0, 4, 0)
        self.hook(LAUNCHING)
        self.desire(1)
        (one,) = self.states()
        self.complete(one, "ABANDON")
        (other,) = self.states()
        self.assertNotEqual(other, one)
        cancelled = [activity for activity in self.activities() if activity["StatusCode"] == "Cancelled"]
        self.assertIn("Lifecycle Action Completed with ABANDON Result", cancelled[0]["StatusMessage"])

    def test_in_time_out_the_default_result_counts(self) -> None:
        self.group(0, 4, 0)
        self.hook(LAUNCHING, HeartbeatTimeout=30, DefaultResult="CONTINUE")
        self.desire(1)
        self.later(25_000)
        self.assertEqual(list(self.states().values()), ["Pending:Wait"])
        self.later(5_000)
        self.assertEqual(list(self.states().values()), ["InService"])

    def test_what_never_was_in_service_is_not_drained(self) -> None:
        self.group(0, 4, 0)
        self.hook(LAUNCHING, "start")
        self.hook(TERMINATING)
        self.desire(1)
        self.desire(0)
        self.assertEqual((self.states(), self.waiting()), ({}, []))


class Ends(Hooked):
    def test_it_waits_with_a_running_machine_and_goes(self) -> None:
        first, second = self.group(0, 4, 2)
        self.hook(TERMINATING)
        self.end(first)
        self.assertEqual(self.states(), {first: "Terminating:Wait", second: "InService"})
        running = [one["id"] for one in control("GET", "/_instances", running="true") if one["group"] == self.name]
        self.assertCountEqual(running, [first, second])
        self.complete(first, "CONTINUE")
        self.assertEqual(self.states(), {second: "InService"})

    def test_after_the_wait_the_machine_still_takes_its_time(self) -> None:
        first, _ = self.group(0, 4, 2)
        self.hook(TERMINATING)
        self.life(terminating_ms=60_000)
        self.end(first)
        self.complete(first, "ABANDON")
        self.assertEqual(self.states()[first], "Terminating:Proceed")
        self.later(60_000)
        self.assertNotIn(first, self.states())

    def test_heartbeats_put_the_time_out_off(self) -> None:
        first, _ = self.group(0, 4, 2)
        self.hook(TERMINATING, HeartbeatTimeout=30)
        self.end(first)
        self.later(25_000)
        client("autoscaling").record_lifecycle_action_heartbeat(
            AutoScalingGroupName=self.name, LifecycleHookName="drain", InstanceId=first
        )
        self.later(25_000)
        self.assertEqual(self.states()[first], "Terminating:Wait")
        self.later(10_000)
        self.assertNotIn(first, self.states())

    def test_heartbeats_end_with_the_longest_time(self) -> None:
        first, _ = self.group(0, 4, 2)
        self.hook(TERMINATING, HeartbeatTimeout=7200)
        self.end(first)
        for _ in range(24):
            self.later(7_190_000)
            client("autoscaling").record_lifecycle_action_heartbeat(
                AutoScalingGroupName=self.name, LifecycleHookName="drain", InstanceId=first
            )
        self.later(300_000)
        self.assertNotIn(first, self.states())

    def test_all_hooks_must_agree_and_a_token_names_one(self) -> None:
        first, _ = self.group(0, 4, 2)
        self.hook(TERMINATING, "a")
        self.hook(TERMINATING, "b")
        self.end(first)
        tokens = {one["hook"]: one["token"] for one in self.waiting()}
        self.complete(first, "CONTINUE", "a")
        self.assertEqual([one["hook"] for one in self.waiting()], ["b"])
        client("autoscaling").complete_lifecycle_action(
            AutoScalingGroupName=self.name, LifecycleHookName="b", LifecycleActionToken=tokens["b"],
            LifecycleActionResult="CONTINUE",
        )  # fmt: skip
        self.assertNotIn(first, self.states())

    def test_nothing_to_complete(self) -> None:
        first, _ = self.group(0, 4, 2)
        self.hook(TERMINATING)
        names = {"AutoScalingGroupName": self.name, "LifecycleHookName": "drain", "InstanceId": first}
        scaling = client("autoscaling")
        text = f"No active Lifecycle Action found with instance ID {first}"
        heartbeat = scaling.record_lifecycle_action_heartbeat
        self.assertEqual(self.refused("ValidationError", 400, heartbeat, **names), text)
        complete = scaling.complete_lifecycle_action
        self.assertEqual(
            self.refused("ValidationError", 400, complete, LifecycleActionResult="CONTINUE", **names), text
        )


class Hooks(Hooked):
    def test_they_are_described_changed_and_deleted(self) -> None:
        self.group(0, 4, 0)
        self.hook(TERMINATING, HeartbeatTimeout=60, NotificationMetadata="m")
        self.hook(TERMINATING, DefaultResult="CONTINUE")
        describe = client("autoscaling").describe_lifecycle_hooks
        (hook,) = describe(AutoScalingGroupName=self.name)["LifecycleHooks"]
        self.assertEqual(hook, {
            "LifecycleHookName": "drain", "AutoScalingGroupName": self.name, "LifecycleTransition": TERMINATING,
            "HeartbeatTimeout": 60, "GlobalTimeout": 6000, "DefaultResult": "CONTINUE", "NotificationMetadata": "m",
        })  # fmt: skip
        client("autoscaling").delete_lifecycle_hook(AutoScalingGroupName=self.name, LifecycleHookName="drain")
        self.assertEqual(describe(AutoScalingGroupName=self.name)["LifecycleHooks"], [])

    def test_deleting_a_hook_lets_its_instances_go(self) -> None:
        first, _ = self.group(0, 4, 2)
        self.hook(TERMINATING)
        self.end(first)
        client("autoscaling").delete_lifecycle_hook(AutoScalingGroupName=self.name, LifecycleHookName="drain")
        self.assertNotIn(first, self.states())

    def test_limits(self) -> None:
        self.group(0, 4, 0)
        call = client("autoscaling").put_lifecycle_hook
        wrong = {"AutoScalingGroupName": self.name, "LifecycleHookName": "x", "LifecycleTransition": TERMINATING}
        self.refused("ValidationError", 400, call, **{**wrong, "HeartbeatTimeout": 29})
        self.refused("ValidationError", 400, call, **{**wrong, "LifecycleTransition": "other"})
        for number in range(50):
            self.hook(TERMINATING, f"hook-{number}")
        self.refused("LimitExceeded", 400, call, **wrong)
