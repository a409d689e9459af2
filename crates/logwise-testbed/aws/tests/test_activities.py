"""Scaling activities, launches that fail, and what an activity blocks."""

from __future__ import annotations

import json

from .bed import Case, client, control


class Activities(Case):
    def test_a_launch(self) -> None:
        self.group(0, 4, 1)
        self.desire(2)
        newest = self.activities()[0]
        new = self.seen()["instances"][-1]["id"]
        self.assertEqual(newest["Description"], f"Launching a new EC2 instance: {new}")
        self.assertEqual((newest["StatusCode"], newest["Progress"]), ("Successful", 100))
        self.assertRegex(
            newest["Cause"],
            r"^At \S+Z a user request explicitly set group desired capacity changing the desired capacity from 1 to 2\."
            r"  At \S+Z an instance was started in response to a difference between desired and actual capacity,"
            r" increasing the capacity from 1 to 2\.$",
        )
        self.assertEqual(json.loads(newest["Details"])["Availability Zone"], "ap-south-1a")
        self.assertGreaterEqual(newest["EndTime"], newest["StartTime"])

    def test_a_termination_by_request_and_one_by_size(self) -> None:
        first, second = self.group(0, 4, 2)
        client("autoscaling").terminate_instance_in_auto_scaling_group(
            InstanceId=first, ShouldDecrementDesiredCapacity=True
        )
        newest = self.activities()[0]
        self.assertEqual(newest["Description"], f"Terminating EC2 instance: {first}")
        self.assertIn("in response to a user request, shrinking the capacity from 2 to 1.", newest["Cause"])
        client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=self.name, MaxSize=0)
        newest = self.activities()[0]
        self.assertIn("constraints to min: 0, max: 0, desired: 0", newest["Cause"])
        self.assertIn(f"instance {second} was selected for termination.", newest["Cause"])

    def test_one_in_progress(self) -> None:
        self.group(0, 4, 0)
        self.life(pending_ms=60_000)
        self.desire(1)
        newest = self.activities()[0]
        self.assertEqual(newest["StatusCode"], "PreInService")
        self.assertNotIn("EndTime", newest)

    def test_pages_and_ids(self) -> None:
        self.group(0, 4, 3)
        describe = client("autoscaling").describe_scaling_activities
        first = describe(AutoScalingGroupName=self.name, MaxRecords=2)
        rest = describe(AutoScalingGroupName=self.name, MaxRecords=2, NextToken=first["NextToken"])
        ids = [one["ActivityId"] for one in first["Activities"] + rest["Activities"]]
        self.assertEqual((len(set(ids)), "NextToken" in rest), (3, False))
        (one,) = describe(AutoScalingGroupName=self.name, ActivityIds=ids[1:2])["Activities"]
        self.assertEqual(one["ActivityId"], ids[1])
        self.refused("ValidationError", 400, describe, AutoScalingGroupName=self.name, MaxRecords=101)
        self.refused("ValidationError", 400, describe, AutoScalingGroupName=f"{self.name}-none")
        self.refused("InvalidNextToken", 400, describe, AutoScalingGroupName=self.name, NextToken="x")


class FailedLaunches(Case):
    def trouble(self, **more: object) -> None:
        control("POST", "/_failures", {"group": self.name, **more})

    def test_capacity_does_not_arrive_and_desired_stays(self) -> None:
        self.group(0, 4, 1)
        self.trouble(times=0, message="no room at the inn")
        self.desire(2)
        self.assertEqual((self.seen()["desired"], len(self.states())), (2, 1))
        newest = self.activities()[0]
        self.assertEqual((newest["StatusCode"], newest["StatusMessage"]), ("Failed", "no room at the inn"))
        self.assertEqual(newest["Description"], "Launching a new EC2 instance.  Status Reason: no room at the inn")
        self.assertEqual(len(self.activities()), 2)

    def test_it_is_tried_again_after_a_while(self) -> None:
        self.group(0, 4, 0)
        self.life(retry_ms=60_000)
        self.trouble(times=2)
        self.desire(1)
        self.later(59_000)
        self.assertEqual(len(self.activities()), 1)
        self.later(1_000)
        self.assertEqual([one["StatusCode"] for one in self.activities()], ["Failed", "Failed"])
        self.assertIn("do not have sufficient", self.activities()[0]["StatusMessage"])
        self.later(60_000)
        self.assertEqual(list(self.states().values()), ["InService"])

    def test_new_bounds_do_not_take_what_is_there_for_what_is_desired(self) -> None:
        self.group(0, 4, 1)
        self.trouble(times=0)
        self.desire(3)
        client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=self.name, MinSize=2)
        self.assertEqual((self.seen()["desired"], len(self.states())), (3, 1))

    def test_only_so_many_fail(self) -> None:
        self.group(0, 4, 0)
        self.trouble(times=1)
        self.desire(3)
        self.assertEqual(len(self.states()), 2)
        self.assertIsNone(control("GET", "/_life", group=self.name)["failures"])

    def test_a_call_or_the_end_of_the_trouble_is_tried_at_once(self) -> None:
        self.group(0, 4, 0)
        self.trouble()
        self.desire(1)
        self.assertEqual(self.states(), {})
        self.desire(2)
        self.assertEqual(len(self.states()), 2)
        self.trouble(times=0)
        self.desire(3)
        self.assertEqual(control("GET", "/_life", group=self.name)["failures"]["times"], 0)
        control("DELETE", "/_failures", group=self.name)
        self.assertEqual(len(self.states()), 3)


class Cooldown(Case):
    def test_it_is_honoured_when_asked_for(self) -> None:
        self.group(0, 4, 1)
        call = client("autoscaling").set_desired_capacity
        wanted = {"AutoScalingGroupName": self.name, "DesiredCapacity": 2, "HonorCooldown": True}
        message = self.refused("ScalingActivityInProgress", 400, call, **wanted)
        self.assertIn(self.activities()[0]["ActivityId"], message)
        self.assertEqual(self.seen()["desired"], 1)
        self.later(300_000)
        call(**wanted)
        self.assertEqual(self.seen()["desired"], 2)

    def test_without_it_nothing_is_waited_for(self) -> None:
        self.group(0, 4, 1)
        self.life(pending_ms=60_000)
        self.desire(2)
        self.desire(3)
        self.assertEqual(self.seen()["desired"], 3)

    def test_an_activity_in_progress_blocks_too(self) -> None:
        self.group(0, 4, 0)
        client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=self.name, DefaultCooldown=0)
        self.life(pending_ms=60_000)
        self.desire(1)
        call = client("autoscaling").set_desired_capacity
        wanted = {"AutoScalingGroupName": self.name, "DesiredCapacity": 2, "HonorCooldown": True}
        self.refused("ScalingActivityInProgress", 400, call, **wanted)
        self.later(60_000)
        call(**wanted)
        self.assertEqual(self.seen()["desired"], 2)
