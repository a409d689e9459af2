"""What moto cannot do fails loudly: InternalFailure for the caller, Unimplemented in the ledger."""

from __future__ import annotations

from .bed import Case, client, control
from .documents import Answer


class Unimplemented(Case):
    def code(self) -> str:
        return str(self.calls()[-1]["outcome"]["code"])

    def test_auto_scaling(self) -> None:
        self.group(0, 1, 0)
        call = client("autoscaling").rollback_instance_refresh
        message = self.refused("InternalFailure", 500, call, AutoScalingGroupName=self.name)
        self.assertIn("RollbackInstanceRefresh", message)
        self.assertEqual(self.code(), "Unimplemented")

    def test_s3_does_not_mistake_one_call_for_another(self) -> None:
        self.bucket()
        s3 = client("s3")
        name = {"Bucket": self.name, "Id": "one"}
        for call in (s3.get_bucket_analytics_configuration, s3.delete_bucket_metrics_configuration):
            self.refused("InternalFailure", 500, call, **name)
            self.assertEqual(self.code(), "Unimplemented")
        s3.head_bucket(Bucket=self.name)
        answer = Answer("PATCH", f"/{self.name}/k")
        self.assertEqual((answer.status, answer.code), (500, "InternalFailure"))

    def test_json(self) -> None:
        call = client("glue").get_blueprint
        self.refused("InternalFailure", 500, call, Name=self.name)
        self.assertEqual(self.code(), "Unimplemented")

    def test_ec2(self) -> None:
        call = client("ec2").describe_scheduled_instances
        self.refused("InternalFailure", 500, call)
        self.assertEqual(control("GET", "/_calls", resource="")[-1]["outcome"]["code"], "Unimplemented")

    def test_rest_json(self) -> None:
        self.refused("InternalFailure", 500, client("eks").list_insights, clusterName=self.name)
        self.assertEqual(control("GET", "/_calls", resource="")[-1]["outcome"]["code"], "Unimplemented")
