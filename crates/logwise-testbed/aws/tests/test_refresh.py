"""Instance refreshes, a step at a time."""

from __future__ import annotations

from typing import Any

from .bed import Case, client

STEP = 60_000


class Refreshes(Case):
    def start(self, **preferences: Any) -> str:
        return str(client("autoscaling").start_instance_refresh(
            AutoScalingGroupName=self.name, Preferences={"MinHealthyPercentage": 50, **preferences}
        )["InstanceRefreshId"])  # fmt: skip

    def shown(self) -> Any:
        return client("autoscaling").describe_instance_refreshes(AutoScalingGroupName=self.name)["InstanceRefreshes"][0]

    def kept(self, old: list[str]) -> int:
        return len(set(old) & set(self.states()))

    def test_without_delays_it_is_done_at_once(self) -> None:
        old = self.group(0, 4, 3)
        refresh = self.start()
        self.assertEqual((self.shown()["InstanceRefreshId"], self.shown()["Status"]), (refresh, "Successful"))
        self.assertEqual((self.kept(old), len(self.states())), (0, 3))
        self.assertIn("in response to an instance refresh.", self.activities()[0]["Cause"])

    def test_step_by_step(self) -> None:
        old = self.group(0, 4, 4)
        self.life(refresh_ms=STEP, pending_ms=STEP)
        self.start()
        self.assertEqual((self.shown()["Status"], self.shown()["PercentageComplete"]), ("Pending", 0))
        self.assertEqual(self.kept(old), 4)
        self.later(STEP)
        self.assertEqual((self.shown()["Status"], self.shown()["PercentageComplete"]), ("InProgress", 50))
        self.assertEqual(sorted(self.states().values()), ["InService"] * 2 + ["Pending"] * 2)
        self.later(STEP)
        self.assertEqual(self.shown()["PercentageComplete"], 100)
        self.assertEqual((self.shown()["Status"], self.shown()["InstancesToUpdate"]), ("InProgress", 0))
        self.later(STEP)
        self.assertEqual((self.shown()["Status"], self.kept(old)), ("Successful", 0))
        self.assertIn("EndTime", self.shown())

    def test_one_at_a_time(self) -> None:
        self.group(0, 4, 1)
        self.life(refresh_ms=STEP)
        self.start()
        call = client("autoscaling").start_instance_refresh
        self.refused("InstanceRefreshInProgress", 400, call, AutoScalingGroupName=self.name)

    def test_cancelled_between_steps(self) -> None:
        old = self.group(0, 4, 4)
        self.life(refresh_ms=STEP, pending_ms=STEP)
        self.start()
        self.later(STEP)
        cancel = client("autoscaling").cancel_instance_refresh
        cancel(AutoScalingGroupName=self.name)
        self.assertEqual(self.shown()["Status"], "Cancelling")
        self.refused("ActiveInstanceRefreshNotFound", 400, cancel, AutoScalingGroupName=self.name)
        self.later(STEP)
        self.assertEqual((self.shown()["Status"], self.kept(old)), ("Cancelled", 2))

    def test_protected_instances_are_waited_for_or_passed_over_or_replaced(self) -> None:
        for choice, status, kept in (
            ("Wait", "InProgress", 2), ("Ignore", "Successful", 2), ("Refresh", "Successful", 0),
        ):  # fmt: skip
            with self.subTest(choice):
                self.drop_group()
                old = self.group(0, 4, 2, protected=True)
                self.start(ScaleInProtectedInstances=choice)
                self.assertEqual((self.shown()["Status"], self.kept(old)), (status, kept))

    def test_suspended_it_stands_still(self) -> None:
        old = self.group(0, 4, 2)
        scaling = client("autoscaling")
        scaling.suspend_processes(AutoScalingGroupName=self.name, ScalingProcesses=["InstanceRefresh"])
        self.start()
        self.assertEqual((self.shown()["Status"], self.kept(old)), ("Pending", 2))
        scaling.resume_processes(AutoScalingGroupName=self.name)
        self.assertEqual((self.shown()["Status"], self.kept(old)), ("Successful", 0))
