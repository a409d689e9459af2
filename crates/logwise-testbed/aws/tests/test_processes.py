"""Suspended processes, and the replacement of unhealthy instances."""

from __future__ import annotations

from .bed import Case, client, control


class Processes(Case):
    def suspend(self, *names: str) -> None:
        client("autoscaling").suspend_processes(AutoScalingGroupName=self.name, ScalingProcesses=list(names))

    def resume(self, *names: str) -> None:
        client("autoscaling").resume_processes(AutoScalingGroupName=self.name, ScalingProcesses=list(names))

    def sick(self, instance: str, **more: bool) -> None:
        client("autoscaling").set_instance_health(InstanceId=instance, HealthStatus="Unhealthy", **more)


class Suspending(Processes):
    def test_launch(self) -> None:
        self.group(0, 4, 1)
        self.suspend("Launch")
        self.desire(2)
        self.assertEqual((self.seen()["desired"], len(self.states())), (2, 1))
        self.resume("Launch")
        self.assertEqual(len(self.states()), 2)

    def test_terminate(self) -> None:
        self.group(0, 4, 2)
        self.suspend("Terminate")
        self.desire(1)
        self.assertEqual((self.seen()["desired"], len(self.states())), (1, 2))
        self.resume()
        self.assertEqual(len(self.states()), 1)

    def test_terminate_spares_only_instances_in_service(self) -> None:
        (first,) = self.group(0, 4, 1)
        self.life(pending_ms=60_000)
        self.desire(2)
        self.suspend("Terminate")
        self.desire(0)
        self.assertEqual(self.states(), {first: "InService"})

    def test_they_are_described(self) -> None:
        self.group(0, 4, 0)
        self.suspend("AZRebalance")
        (group,) = client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])[
            "AutoScalingGroups"
        ]
        self.assertEqual([one["ProcessName"] for one in group["SuspendedProcesses"]], ["AZRebalance"])

    def test_unknown_ones(self) -> None:
        self.group(0, 4, 0)
        call = client("autoscaling").suspend_processes
        message = self.refused("ValidationError", 400, call, AutoScalingGroupName=self.name, ScalingProcesses=["Nap"])
        self.assertIn("Nap", message)


class Health(Processes):
    def test_an_unhealthy_instance_is_replaced_although_it_is_protected(self) -> None:
        first, second = self.group(1, 4, 2, protected=True)
        self.sick(first)
        now = self.states()
        self.assertEqual((len(now), first in now, second in now), (2, False, True))
        launched, ended = self.activities()[:2]
        self.assertIn("in response to an unhealthy instance needing to be replaced.", launched["Cause"])
        self.assertIn("taken out of service in response to a user health-check.", ended["Cause"])

    def test_not_while_replacement_is_suspended(self) -> None:
        for process in ("ReplaceUnhealthy", "Terminate"):
            with self.subTest(process):
                self.drop_group()
                (first,) = self.group(1, 4, 1)
                self.suspend(process)
                self.sick(first)
                self.assertEqual(self.seen()["instances"][0]["health"], "Unhealthy")
                self.assertIn(first, self.states())
                self.resume(process)
                self.assertNotIn(first, self.states())

    def test_with_launch_suspended_it_ends_and_is_missing(self) -> None:
        (first,) = self.group(1, 4, 1)
        self.suspend("Launch")
        self.sick(first)
        self.assertEqual(self.states(), {})
        self.resume("Launch")
        self.assertEqual(len(self.states()), 1)

    def test_it_takes_its_time_and_may_recover(self) -> None:
        (first,) = self.group(1, 4, 1)
        self.life(health_ms=60_000)
        self.sick(first)
        self.later(30_000)
        client("autoscaling").set_instance_health(InstanceId=first, HealthStatus="Healthy")
        self.later(60_000)
        self.assertIn(first, self.states())
        self.sick(first)
        self.later(60_000)
        self.assertNotIn(first, self.states())

    def test_the_grace_period_is_respected_unless_told_otherwise(self) -> None:
        self.group(0, 4, 0)
        client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=self.name, HealthCheckGracePeriod=600)
        self.desire(1)
        (first,) = self.states()
        self.sick(first)
        self.assertIn(first, self.states())
        self.sick(first, ShouldRespectGracePeriod=False)
        self.assertNotIn(first, self.states())

    def test_a_reclaimed_machine_is_gone_at_once_and_replaced(self) -> None:
        first, _ = self.group(2, 4, 2, protected=True)
        self.life(pending_ms=60_000)
        control("POST", "/_reclaim", {"instance": first})
        self.assertEqual(sorted(self.states().values()), ["InService", "Pending"])
        self.assertIn("indicating it has been terminated or stopped", self.activities()[1]["Cause"])
        control("POST", "/_reclaim", {"instance": first}, status=404)

    def test_nobody_notices_while_health_checks_are_suspended(self) -> None:
        (first,) = self.group(1, 4, 1)
        self.suspend("HealthCheck")
        control("POST", "/_reclaim", {"instance": first})
        self.assertEqual(self.states(), {first: "InService"})
        self.assertEqual([one for one in control("GET", "/_instances") if one["id"] == first], [])
        self.resume("HealthCheck")
        self.assertNotIn(first, self.states())

    def test_a_machine_that_somebody_ends_through_ec2(self) -> None:
        first, second = self.group(1, 4, 2)
        client("ec2").terminate_instances(InstanceIds=[first])
        now = self.states()
        self.assertEqual((len(now), first in now, second in now), (2, False, True))
        self.assertIn("indicating it has been terminated or stopped", self.activities()[1]["Cause"])

    def test_failed_status_checks(self) -> None:
        (first,) = self.group(1, 4, 1)
        control("POST", "/_impair", {"instance": first})
        self.assertNotIn(first, self.states())
        self.assertIn("status checks failure", self.activities()[1]["Cause"])
