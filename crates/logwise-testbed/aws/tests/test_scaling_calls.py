"""Auto Scaling: ids, pages and parameters that AWS refuses."""

from __future__ import annotations

from urllib.parse import urlencode

from .bed import Case, client, signed
from .documents import Answer


class Protection(Case):
    def test_it_is_set_and_taken(self) -> None:
        first, second = self.group(0, 4, 2)
        protect = client("autoscaling").set_instance_protection
        protect(AutoScalingGroupName=self.name, InstanceIds=[first, second], ProtectedFromScaleIn=True)
        protect(AutoScalingGroupName=self.name, InstanceIds=[second], ProtectedFromScaleIn=False)
        seen = {one["id"]: one["protected"] for one in self.seen()["instances"]}
        self.assertEqual(seen, {first: True, second: False})

    def test_instances_of_others_and_too_many(self) -> None:
        self.group(0, 4, 1)
        protect = client("autoscaling").set_instance_protection
        wrong = {"AutoScalingGroupName": self.name, "ProtectedFromScaleIn": True}
        message = self.refused("ValidationError", 400, protect, InstanceIds=["i-0unknown"], **wrong)
        self.assertEqual(message, f"The instance i-0unknown is not part of Auto Scaling group {self.name}.")
        many = [f"i-{number}" for number in range(51)]
        message = self.refused("ValidationError", 400, protect, InstanceIds=many, **wrong)
        self.assertIn("must not exceed 50", message)


    def test_an_update_protects_newcomers_and_nothing_else(self) -> None:
        (old,) = self.group(1, 4, 1)
        update = client("autoscaling").update_auto_scaling_group
        update(AutoScalingGroupName=self.name, NewInstancesProtectedFromScaleIn=True)
        self.desire(2)
        seen = self.seen()
        self.assertEqual((seen["min"], seen["max"], seen["desired"]), (1, 4, 2))
        protected = {one["id"]: one["protected"] for one in seen["instances"]}
        self.assertEqual((protected.pop(old), list(protected.values())), (False, [True]))
        (group,) = client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])[
            "AutoScalingGroups"
        ]
        self.assertTrue(group["NewInstancesProtectedFromScaleIn"])
        update(AutoScalingGroupName=self.name, MaxSize=5)
        self.desire(3)
        self.assertEqual(sum(one["protected"] for one in self.seen()["instances"]), 2, "the setting stays")


class Detaching(Case):
    def test_not_below_min(self) -> None:
        (only,) = self.group(1, 4, 1)
        names = {"AutoScalingGroupName": self.name, "InstanceIds": [only]}
        detach = client("autoscaling").detach_instances
        message = self.refused("ValidationError", 400, detach, **names, ShouldDecrementDesiredCapacity=True)
        self.assertIn("min-size=1", message)
        self.assertEqual([one["id"] for one in self.seen()["instances"]], [only])


class Parameters(Case):
    def refusal(self, **form: str) -> str:
        """What a raw call that boto3 would not send is answered."""
        answer = Answer(
            "POST", "/", urlencode({"AutoScalingGroupName": self.name, **form}).encode(),
            **signed("autoscaling"), **{"Content-Type": "application/x-www-form-urlencoded"},
        )  # fmt: skip
        self.assertEqual((answer.status, answer.code), (400, "ValidationError"))
        return answer.body.decode()

    def test_missing_and_senseless_ones(self) -> None:
        self.group(1, 4, 2)
        self.assertIn("Value null at 'desiredCapacity'", self.refusal(Action="SetDesiredCapacity"))
        for wrong in ("-1", "two", "1.5"):
            self.assertIn(f"not {wrong}", self.refusal(Action="SetDesiredCapacity", DesiredCapacity=wrong))
        self.assertEqual(self.seen()["desired"], 2)


class Paging(Case):
    def test_limits_and_tokens(self) -> None:
        describe = client("autoscaling").describe_auto_scaling_groups
        self.refused("ValidationError", 400, describe, MaxRecords=101)
        self.refused("InvalidNextToken", 400, describe, NextToken=self.name)


class Standby(Case):
    def test_in_standby_it_does_not_count_and_comes_back(self) -> None:
        first, second = self.group(0, 4, 2)
        scaling = client("autoscaling")
        names = {"AutoScalingGroupName": self.name, "InstanceIds": [first]}
        scaling.enter_standby(**names, ShouldDecrementDesiredCapacity=True)
        self.assertEqual((self.seen()["desired"], self.states()), (1, {first: "Standby", second: "InService"}))
        message = self.refused(
            "ValidationError", 400, scaling.enter_standby, **names, ShouldDecrementDesiredCapacity=True
        )
        self.assertIn("is not in InService", message)
        scaling.exit_standby(**names)
        self.assertEqual((self.seen()["desired"], set(self.states().values())), (2, {"InService"}))

    def test_without_decrement_another_takes_its_place(self) -> None:
        first, second = self.group(0, 4, 2)
        names = {"AutoScalingGroupName": self.name, "InstanceIds": [first]}
        client("autoscaling").enter_standby(**names, ShouldDecrementDesiredCapacity=False)
        self.assertEqual(sorted(self.states().values()), ["InService", "InService", "Standby"])
        client("autoscaling").detach_instances(
            AutoScalingGroupName=self.name, InstanceIds=[second], ShouldDecrementDesiredCapacity=False
        )
        self.assertNotIn(second, self.states())
        self.assertEqual(sorted(self.states().values()), ["InService", "InService", "Standby"])
