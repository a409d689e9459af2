"""Faults by rule: refused, done but unanswered, not done and unanswered, late."""

from __future__ import annotations

import threading
import time
from typing import Any

from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError

from .bed import DEADLINE, Case, client, control


class Faulty(Case):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(lambda: control("DELETE", "/_faults", resource=self.name))

    def fault(self, **rule: Any) -> str:
        return str(control("POST", "/_faults", {"resource": self.name, **rule})["id"])

    def set_desired(self, number: int) -> None:
        client("autoscaling").set_desired_capacity(AutoScalingGroupName=self.name, DesiredCapacity=number)

    def outcomes(self) -> list[tuple[int, str | None, str | None]]:
        """Status, code and fault of each call so far."""
        return [tuple(one["outcome"][part] for part in ("status", "code", "fault")) for one in self.calls()]


class Errors(Faulty):
    def test_an_error_in_the_query_protocol(self) -> None:
        self.group(1, 4, 1)
        self.fault(action="SetDesiredCapacity", mode="error", status=400, code="Throttling", message="Rate exceeded")
        call = client("autoscaling").set_desired_capacity
        message = self.refused("Throttling", 400, call, AutoScalingGroupName=self.name, DesiredCapacity=2)
        self.assertEqual(message, "Rate exceeded")
        self.assertEqual(self.seen()["desired"], 1)
        self.set_desired(2)
        self.assertEqual(self.outcomes(), [(400, "Throttling", "error"), (200, None, None)])

    def test_an_error_of_s3_with_and_without_a_body(self) -> None:
        self.bucket()
        self.fault(mode="error", status=503, code="SlowDown", times=2)
        self.refused("SlowDown", 503, client("s3").list_objects_v2, Bucket=self.name)
        self.refused("503", 503, client("s3").head_bucket, Bucket=self.name)
        client("s3").head_bucket(Bucket=self.name)

    def test_an_error_in_the_json_and_the_ec2_protocol(self) -> None:
        (one,) = self.group(1, 4, 1)
        self.fault(mode="error", status=400, code="RequestLimitExceeded")
        self.refused("RequestLimitExceeded", 400, client("ec2").describe_instances, InstanceIds=[one])
        self.fault(service="glue", mode="error", status=400, code="ConcurrentModificationException")
        call = client("glue").get_tables
        self.refused("ConcurrentModificationException", 400, call, DatabaseName=self.name)


class Connections(Faulty):
    def test_lost_is_done_but_not_answered(self) -> None:
        self.group(1, 4, 1)
        self.fault(action="SetDesired", mode="lost")
        with self.assertRaises(ConnectionClosedError):
            self.set_desired(3)
        self.assertEqual((self.seen()["desired"], len(self.seen()["instances"])), (3, 3))
        self.assertEqual(self.outcomes(), [(200, None, "lost")])
        self.set_desired(2)

    def test_lost_keeps_aws_refusals(self) -> None:
        self.group(1, 4, 1)
        self.fault(mode="lost")
        with self.assertRaises(ConnectionClosedError):
            self.set_desired(9)
        self.assertEqual(self.outcomes(), [(400, "ValidationError", "lost")])

    def test_drop_is_neither_done_nor_answered(self) -> None:
        self.group(1, 4, 1)
        self.fault(mode="drop")
        with self.assertRaises(ConnectionClosedError):
            self.set_desired(3)
        self.assertEqual(self.seen()["desired"], 1)
        self.assertEqual(self.outcomes(), [(0, None, "drop")])

    def test_drop_of_an_upload(self) -> None:
        self.bucket()
        self.fault(action="^PutObject$", mode="drop")
        with self.assertRaises(HTTPClientError):
            client("s3").put_object(Bucket=self.name, Key="k", Body=b"x" * 100_000)
        self.assertEqual(control("GET", "/_objects", bucket=self.name), [])


class Delays(Faulty):
    def test_a_delayed_call_is_done_after_the_wait_and_holds_up_nobody(self) -> None:
        self.group(1, 4, 1)
        self.fault(mode="delay", action="SetDesired", delay_ms=1500)
        begun = time.monotonic()
        late = threading.Thread(target=self.set_desired, args=(3,))
        late.start()
        deadline = begun + DEADLINE
        while not any(rule["fired"] for rule in control("GET", "/_faults", resource=self.name)):
            self.assertLess(time.monotonic(), deadline)
        self.set_desired(2)
        self.assertEqual(self.seen()["desired"], 2)
        late.join()
        self.assertGreaterEqual(time.monotonic() - begun, 1.5)
        self.assertEqual(self.seen()["desired"], 3)
        self.assertEqual(
            [(one["params"]["DesiredCapacity"], one["outcome"]["fault"]) for one in self.calls()],
            [("2", None), ("3", "delay")],
        )


class Choosing(Faulty):
    def codes(self, number: int) -> list[str | None]:
        """The outcome of so many DescribeAutoScalingGroups."""
        found: list[str | None] = []
        for _ in range(number):
            try:
                client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])
                found.append(None)
            except ClientError as refused:
                found.append(refused.response["Error"]["Code"])
        return found

    def test_after_calls_and_times(self) -> None:
        self.fault(mode="error", code="A", after_calls=1, times=2)
        self.assertEqual(self.codes(5), [None, "A", "A", None, None])

    def test_times_0_lasts_until_it_is_removed(self) -> None:
        rule = self.fault(mode="error", code="A", times=0)
        self.assertEqual(self.codes(4), ["A"] * 4)
        self.assertEqual(control("DELETE", "/_faults", id=rule), {"removed": 1})
        self.assertEqual(self.codes(1), [None])

    def test_rules_wait_in_line_and_clear_nothing(self) -> None:
        self.fault(mode="error", code="A")
        self.codes(1)
        self.fault(mode="error", code="B")
        self.fault(mode="error", code="C")
        self.assertEqual(self.codes(3), ["B", "C", None])
        self.assertEqual(len(self.calls()), 4)
        rules = control("GET", "/_faults", resource=self.name)
        self.assertEqual([(rule["code"], rule["fired"]) for rule in rules], [("A", 1), ("B", 1), ("C", 1)])

    def test_only_the_named_resource_service_and_action(self) -> None:
        self.group(1, 4, 1)
        self.fault(resource=f"{self.name}-other", mode="error", code="A", times=0)
        self.fault(service="s3", mode="error", code="A", times=0)
        self.fault(action="^SetDesired$", mode="error", code="A", times=0)
        self.set_desired(2)
        self.assertEqual(control("DELETE", "/_faults", resource=f"{self.name}-other"), {"removed": 1})

    def test_an_instance_stands_for_its_group(self) -> None:
        first, _ = self.group(0, 4, 2)
        self.fault(action="TerminateInstance", mode="lost")
        with self.assertRaises(ConnectionClosedError):
            client("autoscaling").terminate_instance_in_auto_scaling_group(
                InstanceId=first, ShouldDecrementDesiredCapacity=True
            )
        self.assertEqual(len(self.seen()["instances"]), 1)

    def test_wrong_rules_are_refused_with_a_reason(self) -> None:
        for wrong, part in (
            ({"mode": "error", "code": "A"}, "resource"),
            ({"resource": self.name, "mode": "explode"}, "mode"),
            ({"resource": self.name, "mode": "error"}, "code"),
            ({"resource": self.name, "mode": "drop", "times": "1"}, "times"),
            ({"resource": self.name, "mode": "drop", "delay_ms": -1}, "delay_ms"),
            ({"resource": self.name, "mode": "drop", "action": "("}, "action"),
            ({"resource": self.name, "mode": "drop", "colour": "red"}, "colour"),
        ):
            self.assertIn(part, control("POST", "/_faults", wrong, status=400)["message"])
        control("DELETE", "/_faults", status=400)
        rule = self.fault(mode="drop", id=f"{self.name}-1")
        self.assertEqual(rule, f"{self.name}-1")
        control("POST", "/_faults", {"resource": self.name, "mode": "drop", "id": rule}, status=400)
