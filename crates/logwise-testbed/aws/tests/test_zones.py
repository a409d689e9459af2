"""Several zones: launches are spread, and a group is balanced when the test says so."""

from __future__ import annotations

from collections import Counter

from .bed import Case, client, control


class Zones(Case):
    def crowd(self) -> dict[str, int]:
        return dict(Counter(one["zone"][-1] for one in self.seen()["instances"]))

    def uneven(self, **more: object) -> list[str]:
        """Four instances in zone a, none in b; the ids."""
        self.group(0, 6, 4, **more)
        client("autoscaling").update_auto_scaling_group(
            AutoScalingGroupName=self.name, VPCZoneIdentifier=",".join(self.subnets("a", "b"))
        )
        return list(self.states())

    def subnets(self, *letters: str) -> list[str]:
        found = {one["AvailabilityZone"][-1]: one["SubnetId"] for one in client("ec2").describe_subnets(
            Filters=[{"Name": "cidr-block", "Values": ["127.0.9.0/25", "127.0.9.128/26", "127.0.9.192/26"]}]
        )["Subnets"]}  # fmt: skip
        return [found[letter] for letter in letters]

    def rebalance(self) -> list[str]:
        return list(control("POST", "/_rebalance", {"group": self.name})["launched"])


class Spreading(Zones):
    def test_launches_go_where_there_are_fewest(self) -> None:
        self.group(0, 9, 5, zones=["a", "b", "c"])
        self.assertEqual(self.crowd(), {"a": 2, "b": 2, "c": 1})
        (group,) = client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])[
            "AutoScalingGroups"
        ]
        self.assertEqual({one["AvailabilityZone"] for one in group["Instances"]}, set(group["AvailabilityZones"]))

    def test_unknown_zones(self) -> None:
        wish = {"name": self.name, "min": 0, "max": 1, "desired": 0, "zones": ["z"]}
        self.assertIn("a, b, c", control("POST", "/_groups", wish, status=400)["message"])


class Balancing(Zones):
    def test_newcomers_first_then_ends(self) -> None:
        old = self.uneven()
        self.assertEqual(self.crowd(), {"a": 4})
        self.life(pending_ms=60_000)
        launched = self.rebalance()
        self.assertEqual(len(launched), 2)
        self.assertEqual(self.crowd(), {"a": 4, "b": 2})
        self.assertEqual(self.seen()["desired"], 4)
        self.later(60_000)
        self.assertEqual(self.crowd(), {"a": 2, "b": 2})
        self.assertEqual(len(set(self.states()) & set(old)), 2)
        self.assertEqual(self.rebalance(), [])

    def test_suspended_it_does_nothing(self) -> None:
        for process in ("AZRebalance", "Launch"):
            with self.subTest(process):
                self.drop_group()
                self.uneven()
                client("autoscaling").suspend_processes(AutoScalingGroupName=self.name, ScalingProcesses=[process])
                self.assertEqual(self.rebalance(), [])
                self.assertEqual(self.crowd(), {"a": 4})

    def test_with_terminate_suspended_the_group_stays_too_large(self) -> None:
        self.uneven()
        client("autoscaling").suspend_processes(AutoScalingGroupName=self.name, ScalingProcesses=["Terminate"])
        self.rebalance()
        self.assertEqual(self.crowd(), {"a": 4, "b": 2})
        client("autoscaling").resume_processes(AutoScalingGroupName=self.name)
        self.assertEqual(self.crowd(), {"a": 2, "b": 2})

    def test_protected_instances_stay_where_they_are(self) -> None:
        self.uneven(protected=True)
        self.assertEqual(self.rebalance(), [])
        self.assertEqual(self.crowd(), {"a": 4})

    def test_it_goes_little_beyond_max(self) -> None:
        self.uneven()
        client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=self.name, MaxSize=4)
        self.life(pending_ms=60_000)
        self.assertEqual(len(self.rebalance()), 1)
