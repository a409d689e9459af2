"""Auto Scaling: what AWS refuses, and what it does besides."""

from __future__ import annotations

from typing import Any

from .bed import Case, client, control


class Creating(Case):
    def create(self, **more: Any) -> dict[str, Any]:
        self.addCleanup(self.drop_group)
        return {
            "AutoScalingGroupName": self.name,
            "MinSize": 1,
            "MaxSize": 3,
            "LaunchTemplate": {"LaunchTemplateName": "logwise-worker"},
            "AvailabilityZones": ["ap-south-1a"],
            **more,
        }

    def test_an_existing_name_is_refused_and_changes_nothing(self) -> None:
        ids = self.group(1, 4, 2)
        call = client("autoscaling").create_auto_scaling_group
        message = self.refused("AlreadyExists", 400, call, **self.create())
        self.assertIn(self.name, message)
        self.assertEqual([one["id"] for one in self.seen()["instances"]], ids)
        self.assertEqual(self.seen()["max"], 4)

    def test_min_above_max(self) -> None:
        call = client("autoscaling").create_auto_scaling_group
        message = self.refused("ValidationError", 400, call, **self.create(MinSize=4))
        self.assertEqual(message, "Max bound, 3, must be greater than or equal to min bound, 4")

    def test_desired_outside_the_bounds(self) -> None:
        call = client("autoscaling").create_auto_scaling_group
        for desired in (0, 4):
            message = self.refused("ValidationError", 400, call, **self.create(DesiredCapacity=desired))
            self.assertIn(f"Desired capacity:{desired} must be between", message)
        control("GET", "/_groups", status=404, name=self.name)

    def test_without_desired_it_starts_at_min(self) -> None:
        client("autoscaling").create_auto_scaling_group(**self.create(MinSize=2))
        self.assertEqual(self.seen()["desired"], 2)


class Sizes(Case):
    def test_set_desired_above_max_and_below_min(self) -> None:
        self.group(1, 4, 2)
        call = client("autoscaling").set_desired_capacity
        above = self.refused("ValidationError", 400, call, AutoScalingGroupName=self.name, DesiredCapacity=9)
        self.assertEqual(above, "New SetDesiredCapacity value 9 is above max value 4 for the AutoScalingGroup.")
        below = self.refused("ValidationError", 400, call, AutoScalingGroupName=self.name, DesiredCapacity=0)
        self.assertEqual(below, "New SetDesiredCapacity value 0 is below min value 1 for the AutoScalingGroup.")
        self.assertEqual((self.seen()["desired"], len(self.seen()["instances"])), (2, 2))

    def test_set_desired_launches(self) -> None:
        ids = self.group(1, 4, 1)
        client("autoscaling").set_desired_capacity(AutoScalingGroupName=self.name, DesiredCapacity=3)
        now = [one["id"] for one in self.seen()["instances"]]
        self.assertEqual(len(now), 3)
        self.assertIn(ids[0], now)

    def test_update_checks_the_bounds_it_would_leave(self) -> None:
        self.group(1, 4, 2)
        call = client("autoscaling").update_auto_scaling_group
        for wrong in ({"MinSize": 5}, {"MaxSize": 0}, {"DesiredCapacity": 5}, {"MaxSize": 3, "DesiredCapacity": 4}):
            self.refused("ValidationError", 400, call, AutoScalingGroupName=self.name, **wrong)
        seen = self.seen()
        self.assertEqual((seen["min"], seen["max"], seen["desired"]), (1, 4, 2))

    def test_lowering_max_ends_instances(self) -> None:
        self.group(1, 4, 4)
        client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=self.name, MaxSize=2)
        seen = self.seen()
        self.assertEqual((seen["desired"], len(seen["instances"])), (2, 2))

    def test_raising_min_launches(self) -> None:
        self.group(1, 4, 1)
        client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=self.name, MinSize=3)
        seen = self.seen()
        self.assertEqual((seen["desired"], len(seen["instances"])), (3, 3))

    def test_protected_instances_outlive_a_lower_desired(self) -> None:
        self.group(0, 4, 2, protected=True)
        client("autoscaling").set_desired_capacity(AutoScalingGroupName=self.name, DesiredCapacity=0)
        seen = self.seen()
        self.assertEqual((seen["desired"], len(seen["instances"])), (0, 2))


class Ending(Case):
    def test_terminate_with_decrement_ends_exactly_that_one(self) -> None:
        first, second = self.group(1, 4, 2)
        client("autoscaling").terminate_instance_in_auto_scaling_group(
            InstanceId=first, ShouldDecrementDesiredCapacity=True
        )
        seen = self.seen()
        self.assertEqual((seen["desired"], [one["id"] for one in seen["instances"]]), (1, [second]))

    def test_terminate_without_decrement_is_replaced(self) -> None:
        (first,) = self.group(1, 4, 1)
        client("autoscaling").terminate_instance_in_auto_scaling_group(
            InstanceId=first, ShouldDecrementDesiredCapacity=False
        )
        now = [one["id"] for one in self.seen()["instances"]]
        self.assertEqual(len(now), 1)
        self.assertNotIn(first, now)

    def test_terminate_below_min(self) -> None:
        (only,) = self.group(1, 4, 1)
        call = client("autoscaling").terminate_instance_in_auto_scaling_group
        message = self.refused("ValidationError", 400, call, InstanceId=only, ShouldDecrementDesiredCapacity=True)
        self.assertIn("desiredSize equals minSize (1)", message)
        self.assertEqual([one["id"] for one in self.seen()["instances"]], [only])

    def test_terminate_of_an_unknown_or_ended_instance(self) -> None:
        first, _ = self.group(0, 4, 2)
        call = client("autoscaling").terminate_instance_in_auto_scaling_group
        self.refused("ValidationError", 400, call, InstanceId="i-0unknown", ShouldDecrementDesiredCapacity=True)
        call(InstanceId=first, ShouldDecrementDesiredCapacity=True)
        message = self.refused("ValidationError", 400, call, InstanceId=first, ShouldDecrementDesiredCapacity=True)
        self.assertIn(f"No managed instance found for instance ID: {first}", message)
        self.assertEqual(self.seen()["desired"], 1)
        self.assertEqual([one["outcome"]["code"] for one in self.calls()], [None, "ValidationError"])

    def test_delete_needs_force_while_there_are_instances(self) -> None:
        self.group(1, 4, 2, protected=True)
        call = client("autoscaling").delete_auto_scaling_group
        self.refused("ResourceInUse", 400, call, AutoScalingGroupName=self.name)
        self.assertEqual(len(self.seen()["instances"]), 2)
        call(AutoScalingGroupName=self.name, ForceDelete=True)
        control("GET", "/_groups", status=404, name=self.name)
        running = client("ec2").describe_instances(
            Filters=[
                {"Name": "tag:aws:autoscaling:groupName", "Values": [self.name]},
                {"Name": "instance-state-name", "Values": ["running"]},
            ]
        )
        self.assertEqual(running["Reservations"], [])

    def test_an_empty_group_is_deleted_without_force(self) -> None:
        self.group(0, 4, 0)
        client("autoscaling").delete_auto_scaling_group(AutoScalingGroupName=self.name)
        control("GET", "/_groups", status=404, name=self.name)


class Unknown(Case):
    def test_calls_that_name_an_unknown_group(self) -> None:
        scaling = client("autoscaling")
        for call, more in (
            (scaling.set_desired_capacity, {"DesiredCapacity": 1}),
            (scaling.update_auto_scaling_group, {"MaxSize": 1}),
            (scaling.delete_auto_scaling_group, {}),
            (scaling.set_instance_protection, {"InstanceIds": ["i-1"], "ProtectedFromScaleIn": True}),
            (scaling.suspend_processes, {}),
        ):
            message = self.refused("ValidationError", 400, call, AutoScalingGroupName=self.name, **more)
            wanted = f"AutoScalingGroup name not found - AutoScalingGroup '{self.name}' not found"
            self.assertEqual(message, wanted)

    def test_describe_of_an_unknown_group_is_an_empty_list(self) -> None:
        answer = client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])
        self.assertEqual(answer["AutoScalingGroups"], [])

    def test_tags_of_an_unknown_group(self) -> None:
        tag = {"ResourceId": self.name, "ResourceType": "auto-scaling-group", "Key": "a", "Value": "b"}
        tag_it = client("autoscaling").create_or_update_tags
        self.refused("ValidationError", 400, tag_it, Tags=[{**tag, "PropagateAtLaunch": False}])
