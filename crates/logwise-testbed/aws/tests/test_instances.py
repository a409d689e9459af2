"""The life of instances: Pending, InService, Terminating, gone; and what is seen of them meanwhile."""

from __future__ import annotations

import time
from typing import Any

from botocore.exceptions import ClientError

from .bed import DEADLINE, Case, client, control

MINUTE = 60_000


class Starting(Case):
    def test_an_instance_is_pending_until_its_time_is_over(self) -> None:
        self.group(0, 4, 0)
        self.life(pending_ms=MINUTE)
        self.desire(2)
        self.assertEqual(list(self.states().values()), ["Pending", "Pending"])
        (group,) = client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])[
            "AutoScalingGroups"
        ]
        self.assertEqual([one["LifecycleState"] for one in group["Instances"]], ["Pending", "Pending"])
        self.later(MINUTE - 5000)
        self.assertEqual(list(self.states().values()), ["Pending", "Pending"])
        self.later(5000)
        self.assertEqual(list(self.states().values()), ["InService", "InService"])

    def test_pending_instances_are_not_listed_as_in_service(self) -> None:
        self.group(0, 4, 1)
        self.life(pending_ms=MINUTE)
        self.desire(2)
        every = control("GET", "/_instances", running="true")
        states = sorted(one["lifecycle_state"] for one in every if one["group"] == self.name)
        self.assertEqual(states, ["InService", "Pending"])
        self.assertEqual(len([one for one in control("GET", "/_instances") if one["group"] == self.name]), 1)

    def test_protection_begins_in_service(self) -> None:
        self.group(0, 4, 0, protected=True)
        self.life(pending_ms=MINUTE)
        self.desire(1)
        self.assertEqual([one["protected"] for one in self.seen()["instances"]], [False])
        self.later(MINUTE)
        self.assertEqual([one["protected"] for one in self.seen()["instances"]], [True])

    def test_a_lower_desired_ends_pending_instances_that_protection_would_have_spared(self) -> None:
        old = self.group(0, 4, 1, protected=True)
        self.life(pending_ms=MINUTE)
        self.desire(3)
        self.desire(1)
        self.assertEqual(self.states(), {old[0]: "InService"})

    def test_protection_of_an_instance_that_is_not_in_service_is_refused(self) -> None:
        self.group(0, 4, 0)
        self.life(pending_ms=MINUTE)
        self.desire(1)
        (one,) = self.states()
        call = client("autoscaling").set_instance_protection
        message = self.refused(
            "ValidationError", 400, call,
            AutoScalingGroupName=self.name, InstanceIds=[one], ProtectedFromScaleIn=True,
        )  # fmt: skip
        self.assertIn(f"{one} is not in InService", message)


class Leaving(Case):
    def end(self, instance: str, decrement: bool = True) -> Any:
        return client("autoscaling").terminate_instance_in_auto_scaling_group(
            InstanceId=instance, ShouldDecrementDesiredCapacity=decrement
        )["Activity"]

    def test_an_instance_is_terminating_until_its_time_is_over(self) -> None:
        first, second = self.group(0, 4, 2)
        self.life(terminating_ms=MINUTE)
        activity = self.end(first)
        self.assertEqual((activity["StatusCode"], activity["Progress"]), ("InProgress", 50))
        self.assertEqual(self.states(), {first: "Terminating", second: "InService"})
        self.assertEqual(self.seen()["desired"], 1)
        self.later(MINUTE)
        self.assertEqual(self.states(), {second: "InService"})

    def test_it_is_not_ended_twice(self) -> None:
        first, _ = self.group(0, 4, 2)
        self.life(terminating_ms=MINUTE)
        activity = self.end(first)
        message = self.refused(
            "ScalingActivityInProgress", 400, client("autoscaling").terminate_instance_in_auto_scaling_group,
            InstanceId=first, ShouldDecrementDesiredCapacity=True,
        )  # fmt: skip
        self.assertIn(activity["ActivityId"], message)
        self.assertEqual(self.seen()["desired"], 1)

    def test_a_replacement_starts_while_the_old_one_leaves(self) -> None:
        (first,) = self.group(1, 4, 1)
        self.life(terminating_ms=MINUTE)
        self.end(first, decrement=False)
        self.assertEqual(sorted(self.states().values()), ["InService", "Terminating"])

    def test_no_program_runs_on_a_machine_that_is_shutting_down(self) -> None:
        (first,) = self.group(0, 4, 1)
        self.life(terminating_ms=MINUTE)
        self.end(first)
        self.assertEqual([one for one in control("GET", "/_instances", running="true") if one["id"] == first], [])
        (found,) = client("ec2").describe_instances(InstanceIds=[first])["Reservations"][0]["Instances"]
        self.assertEqual(found["State"]["Name"], "shutting-down")

    def test_a_lower_desired_ends_only_unprotected_instances(self) -> None:
        first, second, third = self.group(0, 4, 3)
        client("autoscaling").set_instance_protection(
            AutoScalingGroupName=self.name, InstanceIds=[first, third], ProtectedFromScaleIn=True
        )
        self.desire(0)
        self.assertEqual(set(self.states()), {first, third})
        self.assertEqual(self.seen()["desired"], 0)
        client("autoscaling").set_instance_protection(
            AutoScalingGroupName=self.name, InstanceIds=[first], ProtectedFromScaleIn=False
        )
        self.assertEqual(set(self.states()), {third})

    def test_delete_waits_for_nothing_with_force_and_is_blocked_without(self) -> None:
        (first,) = self.group(0, 4, 1)
        self.life(terminating_ms=MINUTE)
        self.end(first)
        delete = client("autoscaling").delete_auto_scaling_group
        self.refused("ScalingActivityInProgress", 400, delete, AutoScalingGroupName=self.name)
        delete(AutoScalingGroupName=self.name, ForceDelete=True)
        (found,) = client("ec2").describe_instances(InstanceIds=[first])["Reservations"][0]["Instances"]
        self.assertEqual(found["State"]["Name"], "terminated")


class Ended(Case):
    def found(self, **asked: Any) -> list[Any]:
        answer = client("ec2").describe_instances(**asked)
        return [one for part in answer["Reservations"] for one in part["Instances"]]

    def test_it_has_no_address_and_is_not_found_by_its_old_one(self) -> None:
        (only,) = self.group(0, 4, 1)
        address = self.seen()["instances"][0]["private_ip"]
        by_address = {"Filters": [{"Name": "private-ip-address", "Values": [address]}]}
        self.assertEqual([one["InstanceId"] for one in self.found(**by_address)], [only])
        self.desire(0)
        self.assertEqual(self.found(**by_address), [])
        (ended,) = self.found(InstanceIds=[only])
        self.assertEqual(ended["State"]["Name"], "terminated")
        self.assertNotIn("PrivateIpAddress", ended)
        self.assertEqual(ended["NetworkInterfaces"], [])

    def test_ec2_forgets_it_after_an_hour(self) -> None:
        (only,) = self.group(0, 4, 1)
        self.desire(0)
        self.later(3_500_000)
        self.assertEqual(len(self.found(InstanceIds=[only])), 1)
        self.later(200_000)
        self.refused("InvalidInstanceID.NotFound", 400, client("ec2").describe_instances, InstanceIds=[only])

    def test_also_when_its_group_is_gone(self) -> None:
        (only,) = self.group(0, 4, 1)
        self.desire(0)
        self.later(3_599_900)
        self.drop_group()
        deadline = time.monotonic() + DEADLINE
        with self.assertRaises(ClientError) as caught:
            while True:
                self.found(InstanceIds=[only])
                self.assertLess(time.monotonic(), deadline)
        self.assertEqual(caught.exception.response["Error"]["Code"], "InvalidInstanceID.NotFound")


class Clock(Case):
    def test_the_clock_of_a_group_moves_no_other(self) -> None:
        self.group(0, 4, 0)
        self.life(pending_ms=MINUTE)
        other = f"{self.name}-2"
        control("POST", "/_groups", {"name": other, "min": 0, "max": 1, "desired": 0})
        self.addCleanup(lambda: control("DELETE", "/_groups", name=other))
        control("PUT", "/_life", {"group": other, "pending_ms": MINUTE})
        client("autoscaling").set_desired_capacity(AutoScalingGroupName=other, DesiredCapacity=1)
        self.later(MINUTE)
        (one,) = control("GET", "/_groups", name=other)["instances"]
        self.assertEqual(one["lifecycle_state"], "Pending")
        self.assertEqual(control("GET", "/_life", group=self.name)["ahead_ms"], MINUTE)

    def test_wrong_wishes(self) -> None:
        self.group(0, 1, 0)
        for wrong, part in (({"pending_ms": -1}, "pending_ms"), ({"retry_ms": 1}, "retry_ms"), ({"x": 1}, "x")):
            answer = control("PUT", "/_life", {"group": self.name, **wrong}, status=400)
            self.assertIn(part, answer["message"])
        control("PUT", "/_life", {"group": f"{self.name}-none"}, status=404)
        control("POST", "/_clock", {"group": self.name, "advance_ms": -1}, status=400)
