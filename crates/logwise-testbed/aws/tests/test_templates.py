"""Launch templates: an instance stays what it was launched from."""

from __future__ import annotations

from typing import Any

from .bed import Case, client, control


class Templates(Case):
    def version(self) -> int:
        """One more version of the test's template; its number."""
        return int(control("POST", "/_templates", {"name": self.name})["version"])

    def follow(self, version: str | None = None) -> dict[str, Any]:
        """The test's template in one of its versions."""
        named = {"LaunchTemplateName": self.name}
        return named if version is None else {**named, "Version": version}

    def versions(self) -> list[str]:
        """The version of each instance, in the order of the versions."""
        (group,) = client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])[
            "AutoScalingGroups"
        ]
        shown = [one["LaunchTemplate"] for one in group["Instances"]]
        for one in shown:
            self.assertEqual(one["LaunchTemplateName"], self.name)
            self.assertEqual(one["LaunchTemplateId"], group["LaunchTemplate"]["LaunchTemplateId"])
        return sorted(one["Version"] for one in shown)

    def create(self, version: str | None) -> None:
        self.version()
        client("autoscaling").create_auto_scaling_group(
            AutoScalingGroupName=self.name, MinSize=0, MaxSize=9, DesiredCapacity=1,
            LaunchTemplate=self.follow(version), AvailabilityZones=["ap-south-1a"],
        )  # fmt: skip
        self.addCleanup(self.drop_group)

    def test_a_group_on_a_number_launches_that_number(self) -> None:
        self.create("1")
        self.assertEqual(self.version(), 2)
        self.desire(2)
        self.assertEqual(self.versions(), ["1", "1"])
        update = client("autoscaling").update_auto_scaling_group
        update(AutoScalingGroupName=self.name, LaunchTemplate=self.follow("2"))
        self.assertEqual(self.versions(), ["1", "1"], "those that are there stay what they are")
        self.desire(3)
        self.assertEqual(self.versions(), ["1", "1", "2"])

    def test_a_group_on_the_latest_launches_what_that_is_at_the_time(self) -> None:
        self.create("$Latest")
        self.version()
        self.desire(2)
        self.assertEqual(self.versions(), ["1", "2"])

    def check_default(self, version: str | None) -> None:
        self.create(version)
        self.version()
        self.desire(2)
        self.assertEqual(self.versions(), ["1", "1"])
        client("ec2").modify_launch_template(LaunchTemplateName=self.name, DefaultVersion="2")
        self.desire(3)
        self.assertEqual(self.versions(), ["1", "1", "2"])

    def test_a_group_on_the_default_launches_what_that_is_at_the_time(self) -> None:
        self.check_default("$Default")

    def test_without_a_version_it_is_the_default(self) -> None:
        self.check_default(None)

    def test_versions_can_be_made_as_on_aws(self) -> None:
        self.create("$Latest")
        data = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m5.large"}
        client("ec2").create_launch_template_version(LaunchTemplateName=self.name, LaunchTemplateData=data)
        self.desire(2)
        self.assertEqual(self.versions(), ["1", "2"])
        self.assertEqual(self.version(), 3)

    def test_a_refresh_brings_the_new_version(self) -> None:
        self.create("$Latest")
        self.version()
        client("autoscaling").start_instance_refresh(
            AutoScalingGroupName=self.name, Preferences={"MinHealthyPercentage": 0}
        )
        self.assertEqual(self.versions(), ["2"])

    def test_wrong_wishes(self) -> None:
        self.assertIn("name", control("POST", "/_templates", {}, status=400)["message"])
        self.assertIn("x", control("POST", "/_templates", {"name": self.name, "x": 1}, status=400)["message"])
