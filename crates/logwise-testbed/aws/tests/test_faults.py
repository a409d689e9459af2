"""Faults by rule: refused, done but unanswered, not done and unanswered, late."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError

from .bed import DEADLINE, Case, client, control
from .documents import ENABLED, WEEK, Answer, document, get, put


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


class Throttling(Faulty):
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

    def test_each_service_says_it_in_its_own_words(self) -> None:
        (one,) = self.group(0, 1, 1)
        self.bucket()
        self.fault(mode="throttle", share=1)
        scaling = client("autoscaling").describe_auto_scaling_groups
        message = self.refused("Throttling", 400, scaling, AutoScalingGroupNames=[self.name])
        self.assertEqual(message, "Rate exceeded")
        self.refused("RequestLimitExceeded", 503, client("ec2").describe_instances, InstanceIds=[one])
        self.refused("SlowDown", 503, client("s3").list_objects_v2, Bucket=self.name)
        self.refused("ThrottlingException", 400, client("glue").get_tables, DatabaseName=self.name)
        self.assertEqual({one["outcome"]["fault"] for one in self.calls()}, {"throttle"})

    def test_a_share_of_the_calls_until_it_is_removed(self) -> None:
        self.fault(mode="throttle", share=0.5)
        self.assertEqual(self.codes(6), [None, "Throttling"] * 3)
        control("DELETE", "/_faults", resource=self.name)
        self.assertEqual(self.codes(2), [None, None])

    def test_a_burst_and_then_a_rate(self) -> None:
        self.fault(mode="throttle", rate=0, burst=3)
        self.assertEqual(self.codes(5), [None] * 3 + ["Throttling"] * 2)
        control("DELETE", "/_faults", resource=self.name)
        self.fault(mode="throttle", rate=1000, burst=1)
        self.assertIsNone(self.codes(1)[0])
        time.sleep(0.05)
        self.assertIsNone(self.codes(1)[0])

    def test_a_throttled_call_has_no_effect_and_others_pass_to_the_next_rule(self) -> None:
        self.group(0, 4, 1)
        self.fault(mode="throttle", share=0.5, action="SetDesired")
        self.fault(mode="error", code="A", action="SetDesired")
        call = client("autoscaling").set_desired_capacity
        self.refused("A", 400, call, AutoScalingGroupName=self.name, DesiredCapacity=2)
        self.refused("Throttling", 400, call, AutoScalingGroupName=self.name, DesiredCapacity=2)
        self.assertEqual(self.seen()["desired"], 1)

    def test_wrong_rules(self) -> None:
        for wrong, part in (
            ({}, "rate"), ({"rate": 1, "share": 0.5}, "rate"), ({"share": 2}, "share"),
            ({"share": 1, "burst": 2}, "burst"),
        ):  # fmt: skip
            rule = {"resource": self.name, "mode": "throttle", **wrong}
            self.assertIn(part, control("POST", "/_faults", rule, status=400)["message"])
        rule = {"resource": self.name, "mode": "drop", "rate": 1}
        self.assertIn("throttle", control("POST", "/_faults", rule, status=400)["message"])


class Deliveries(Faulty):
    def deliver(self) -> int:
        return int(control("POST", "/_deliveries", {"resource": self.name})["delivered"])

    def test_twice_is_done_again_after_what_came_between(self) -> None:
        self.group(1, 4, 1)
        self.fault(action="SetDesired", mode="twice", delay_ms=60_000)
        self.set_desired(2)
        self.set_desired(3)
        self.assertEqual(self.seen()["desired"], 3)
        (waiting,) = control("GET", "/_deliveries", resource=self.name)
        self.assertEqual((waiting["action"], waiting["params"]["DesiredCapacity"]), ("SetDesiredCapacity", "2"))
        self.assertEqual(self.deliver(), 1)
        self.assertEqual((self.seen()["desired"], len(self.states())), (2, 2))
        self.assertEqual(
            [(one["params"]["DesiredCapacity"], one["outcome"]["fault"]) for one in self.calls()],
            [("2", "twice"), ("3", None), ("2", "again")],
        )
        self.assertEqual((self.deliver(), control("GET", "/_deliveries", resource=self.name)), (0, []))

    def test_a_repeated_termination_finds_nothing(self) -> None:
        first, _, _ = self.group(0, 4, 3)
        self.fault(action="TerminateInstance", mode="twice")
        client("autoscaling").terminate_instance_in_auto_scaling_group(
            InstanceId=first, ShouldDecrementDesiredCapacity=True
        )
        self.until(lambda: len(self.calls()) == 2)
        self.assertEqual(self.outcomes(), [(200, None, "twice"), (400, "ValidationError", "again")])
        self.assertEqual((self.seen()["desired"], len(self.states())), (2, 2))

    def test_late_is_cut_off_and_done_afterwards(self) -> None:
        self.group(1, 4, 1)
        self.fault(action="SetDesired", mode="late", delay_ms=60_000)
        with self.assertRaises(ConnectionClosedError):
            self.set_desired(3)
        self.assertEqual((self.seen()["desired"], self.calls()), (1, []))
        self.set_desired(2)
        self.deliver()
        self.assertEqual((self.seen()["desired"], len(self.states())), (3, 3))
        self.assertEqual(self.outcomes(), [(200, None, None), (200, None, "late")])

    def test_late_arrives_by_itself_and_may_leave_the_caller_waiting(self) -> None:
        self.bucket()
        self.fault(action="^PutObject$", mode="late", delay_ms=50, hang_ms=100)
        begun = time.monotonic()
        with self.assertRaises(HTTPClientError):
            client("s3").put_object(Bucket=self.name, Key="k", Body=b"late")
        self.assertGreaterEqual(time.monotonic() - begun, 0.1)
        self.until(lambda: len(control("GET", "/_objects", bucket=self.name)) == 1)
        self.assertEqual(client("s3").get_object(Bucket=self.name, Key="k")["Body"].read(), b"late")

    def test_a_chunked_upload_that_came_twice_is_the_same_both_times(self) -> None:
        self.bucket()
        self.fault(action="^PutObject$", mode="twice", delay_ms=60_000)
        sent = {
            "Content-Encoding": "aws-chunked",
            "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            "x-amz-decoded-content-length": "4",
        }
        answer = Answer("PUT", f"/{self.name}/k", b"4\r\nbody\r\n0\r\n\r\n", **sent)
        self.assertEqual(answer.status, 200)
        self.deliver()
        self.assertEqual(self.outcomes(), [(200, None, "twice"), (200, None, "again")])
        self.assertEqual(client("s3").get_object(Bucket=self.name, Key="k")["Body"].read(), b"body")

    def test_a_lifecycle_document_that_came_twice_overwrites_a_newer_one(self) -> None:
        self.bucket()
        old, new = (document(ENABLED + f"<Filter><Prefix>{name}/</Prefix></Filter>" + WEEK) for name in "ab")
        self.fault(action="^PutBucketLifecycle", mode="twice", delay_ms=60_000)
        self.assertEqual((put(self.name, old).status, put(self.name, new).status), (200, 200))
        self.deliver()
        self.assertEqual(get(self.name).body, old)

    def until(self, so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not so():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)


class Everywhere(Faulty):
    def test_a_rule_for_any_resource_is_hit_by_service_and_action(self) -> None:
        rule = control("POST", "/_faults", {"resource": "*", "service": "glue", "mode": "error", "code": "A"})["id"]
        self.addCleanup(lambda: control("DELETE", "/_faults", id=rule))
        self.refused("A", 400, client("glue").get_tables, DatabaseName=self.name)
