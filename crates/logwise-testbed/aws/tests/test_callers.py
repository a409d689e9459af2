"""Who calls and what they may do: keys, roles, sessions, lists of allowed actions."""

from __future__ import annotations

import uuid
from typing import Any

import boto3
from botocore.config import Config

from .bed import DEADLINE, REGION, Case, client, control, url

OTHER = "999999999999"


def signing(service: str, key: str, secret: str = "s", token: str | None = None) -> Any:
    """boto3 with other credentials."""
    return boto3.client(
        service,
        endpoint_url=url(),
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=DEADLINE, s3={"addressing_style": "path"}),
    )


class Known(Case):
    def key(self, allow: Any = None) -> str:
        made = f"AKIA{uuid.uuid4().hex[:16].upper()}"
        control("POST", "/_keys", {"access_key_id": made, "allow": allow})
        return made

    def role(self, **more: Any) -> str:
        return str(control("POST", "/_roles", {"name": self.name, **more})["arn"])

    def assume(self, arn: str, sts: Any = None, **more: Any) -> dict[str, str]:
        answer = (sts or client("sts")).assume_role(RoleArn=arn, RoleSessionName="operator", **more)
        found: dict[str, str] = answer["Credentials"]
        return found

    def by_role(self, service: str, arn: str, **more: Any) -> Any:
        given = self.assume(arn, **more)
        return signing(service, given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])


class Assuming(Known):
    def refusal(self, arn: str, sts: Any = None, **more: Any) -> str:
        call = (sts or client("sts")).assume_role
        return self.refused("AccessDenied", 403, call, RoleArn=arn, RoleSessionName="operator", **more)

    def test_a_role_and_its_identity(self) -> None:
        sts = self.by_role("sts", self.role())
        who = sts.get_caller_identity()
        self.assertEqual((who["Account"], who["Arn"]), (
            "123456789012", f"arn:aws:sts::123456789012:assumed-role/{self.name}/operator",
        ))  # fmt: skip
        self.assertEqual(self.calls()[0]["action"], "AssumeRole")

    def test_a_role_of_another_account(self) -> None:
        arn = self.role(account=OTHER)
        self.assertEqual(arn, f"arn:aws:iam::{OTHER}:role/{self.name}")
        self.assertEqual(self.by_role("sts", arn).get_caller_identity()["Account"], OTHER)

    def test_an_unknown_role(self) -> None:
        arn = f"arn:aws:iam::123456789012:role/{self.name}"
        message = self.refusal(arn)
        self.assertEqual(message, (
            f"User: arn:aws:iam::123456789012:user/anonymous is not authorized to perform: sts:AssumeRole"
            f" on resource: {arn}"
        ))  # fmt: skip
        self.role()
        self.refusal(arn.replace("123456789012", OTHER))

    def test_the_external_id(self) -> None:
        arn = self.role(external_id="fixed")
        self.refusal(arn)
        self.refusal(arn, ExternalId="other")
        self.assertIn("AccessKeyId", self.assume(arn, ExternalId="fixed"))
        self.assertEqual([one["outcome"]["code"] for one in self.calls()], ["AccessDenied"] * 2 + [None])

    def test_only_those_whom_the_role_trusts(self) -> None:
        friend, stranger = self.key(), self.key()
        arn = self.role(principals=[f"key/{friend}"])
        self.refusal(arn)
        self.refusal(arn, signing("sts", stranger))
        self.assume(arn, signing("sts", friend))
        self.assertEqual([one["caller"] for one in self.calls()], ["anonymous key", f"key/{stranger}", f"key/{friend}"])

    def test_a_caller_needs_the_right_to_assume(self) -> None:
        arn = self.role()
        self.refusal(arn, signing("sts", self.key(allow=["s3:*"])))
        allow = [{"action": "sts:AssumeRole", "resource": arn}]
        self.assume(arn, signing("sts", self.key(allow)))

    def test_wrong_parameters(self) -> None:
        arn = self.role()
        call = client("sts").assume_role
        self.refused("ValidationError", 400, call, RoleArn=arn, RoleSessionName="operator", DurationSeconds=60_000)
        self.assertIn("name", control("POST", "/_roles", {}, status=400)["message"])
        wrong = {"name": self.name, "allow": ["GetObject", {"action": "GetObject"}]}
        self.assertIn("GetObject", control("POST", "/_roles", wrong, status=400)["message"])


class Allowed(Known):
    def test_s3_by_action_and_resource(self) -> None:
        self.bucket()
        allow = [
            {"action": ["s3:GetLifecycleConfiguration", "s3:ListBucket"], "resource": f"arn:aws:s3:::{self.name}"},
            {"action": "s3:GetObject", "resource": f"arn:aws:s3:::{self.name}/logs/*"},
        ]
        s3 = self.by_role("s3", self.role(allow=allow))
        s3.head_bucket(Bucket=self.name)
        s3.list_objects_v2(Bucket=self.name)
        self.refused("NoSuchLifecycleConfiguration", 404, s3.get_bucket_lifecycle_configuration, Bucket=self.name)
        message = self.refused("AccessDenied", 403, s3.delete_bucket_lifecycle, Bucket=self.name)
        self.assertEqual(message, (
            f"User: arn:aws:sts::123456789012:assumed-role/{self.name}/operator is not authorized to perform:"
            f' s3:PutLifecycleConfiguration on resource: "arn:aws:s3:::{self.name}" because no identity-based policy'
            " allows the s3:PutLifecycleConfiguration action"
        ))  # fmt: skip
        control("POST", "/_objects", {"bucket": self.name, "objects": [
            {"key": "logs/a", "text": "a"}, {"key": "checkpoint/a", "text": "a"},
        ]})  # fmt: skip
        s3.get_object(Bucket=self.name, Key="logs/a")
        self.refused("AccessDenied", 403, s3.get_object, Bucket=self.name, Key="checkpoint/a")
        self.refused("403", 403, s3.head_object, Bucket=self.name, Key="checkpoint/a")
        self.refused("AccessDenied", 403, s3.put_object, Bucket=self.name, Key="logs/a", Body=b"")

    def test_what_is_missing_is_told_to_those_who_may_list(self) -> None:
        self.bucket()
        read = {"action": "s3:GetObject", "resource": f"arn:aws:s3:::{self.name}/*"}
        s3 = self.by_role("s3", self.role(allow=[read]))
        message = self.refused("AccessDenied", 403, s3.get_object, Bucket=self.name, Key="a")
        self.assertIn(f's3:ListBucket on resource: "arn:aws:s3:::{self.name}"', message)
        self.refused("403", 403, s3.head_object, Bucket=self.name, Key="a")
        self.role(allow=[read, {"action": "s3:ListBucket", "resource": f"arn:aws:s3:::{self.name}"}])
        self.refused("NoSuchKey", 404, s3.get_object, Bucket=self.name, Key="a")
        self.refused("404", 404, s3.head_object, Bucket=self.name, Key="a")

    def test_deletes_and_copies_need_each_object(self) -> None:
        self.bucket()
        s3 = self.by_role("s3", self.role(allow=[
            {"action": "s3:DeleteObject", "resource": f"arn:aws:s3:::{self.name}/a"},
            {"action": "s3:PutObject", "resource": f"arn:aws:s3:::{self.name}/*"},
        ]))  # fmt: skip
        s3.delete_objects(Bucket=self.name, Delete={"Objects": [{"Key": "a"}]})
        both = {"Objects": [{"Key": "a"}, {"Key": "b"}]}
        self.refused("AccessDenied", 403, s3.delete_objects, Bucket=self.name, Delete=both)
        copy = {"Bucket": self.name, "Key": "b", "CopySource": f"{self.name}/a"}
        self.assertIn("s3:GetObject", self.refused("AccessDenied", 403, s3.copy_object, **copy))

    def test_auto_scaling_changes_by_group_and_reads_for_all(self) -> None:
        self.group(0, 4, 1)
        arn = f"arn:aws:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/{self.name}"
        role = self.role(allow=["autoscaling:Describe*", {"action": "autoscaling:SetDesiredCapacity", "resource": arn}])
        scaling = self.by_role("autoscaling", role)
        scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])
        scaling.set_desired_capacity(AutoScalingGroupName=self.name, DesiredCapacity=2)
        (first, _) = self.states()
        call = scaling.terminate_instance_in_auto_scaling_group
        message = self.refused("AccessDenied", 403, call, InstanceId=first, ShouldDecrementDesiredCapacity=True)
        self.assertIn("autoscaling:TerminateInstanceInAutoScalingGroup on resource: arn:aws:autoscaling:", message)
        self.assertEqual(self.seen()["desired"], 2)
        other = scaling.set_desired_capacity
        self.refused("AccessDenied", 403, other, AutoScalingGroupName=f"{self.name}-2", DesiredCapacity=1)

    def test_a_list_for_one_group_does_not_let_anybody_describe(self) -> None:
        arn = f"arn:aws:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/{self.name}"
        scaling = self.by_role("autoscaling", self.role(allow=[{"action": "autoscaling:*", "resource": arn}]))
        self.refused("AccessDenied", 403, scaling.describe_auto_scaling_groups, AutoScalingGroupNames=[self.name])

    def test_the_words_of_ec2_and_of_json_services(self) -> None:
        role = self.role(allow=[])
        ec2, glue = self.by_role("ec2", role), self.by_role("glue", role)
        message = self.refused("UnauthorizedOperation", 403, ec2.describe_instances)
        self.assertIn("is not authorized to perform: ec2:DescribeInstances because", message)
        message = self.refused("AccessDeniedException", 400, glue.get_tables, DatabaseName=self.name)
        self.assertIn("is not authorized to perform: glue:GetTables on resource: *", message)
        self.assertEqual(self.by_role("sts", role).get_caller_identity()["Account"], "123456789012")

    def test_open_sessions_follow_a_changed_list_and_end_with_the_role(self) -> None:
        self.bucket()
        s3 = self.by_role("s3", self.role(allow=[]))
        self.refused("AccessDenied", 403, s3.list_objects_v2, Bucket=self.name)
        self.role(allow=["s3:ListBucket"])
        s3.list_objects_v2(Bucket=self.name)
        control("DELETE", "/_roles", name=self.name)
        self.refused("AccessDenied", 403, s3.list_objects_v2, Bucket=self.name)
        control("DELETE", "/_roles", name=self.name, status=404)

    def test_a_key_with_a_list(self) -> None:
        self.bucket()
        key = self.key(["s3:List*"])
        s3 = signing("s3", key)
        s3.list_objects_v2(Bucket=self.name)
        message = self.refused("AccessDenied", 403, s3.get_bucket_versioning, Bucket=self.name)
        self.assertIn(f"arn:aws:iam::123456789012:user/{key}", message)
        self.assertEqual([one["caller"] for one in self.calls()], [f"key/{key}"] * 2)
        identity = signing("sts", key).get_caller_identity()
        self.assertEqual(identity["Arn"], f"arn:aws:iam::123456789012:user/{key}")

    def test_the_ledger_names_the_role(self) -> None:
        self.bucket()
        bucket, arn = self.name, self.role()
        self.by_role("s3", arn).head_bucket(Bucket=bucket)
        client("s3").head_bucket(Bucket=bucket)
        callers = [one["caller"] for one in self.calls() if one["service"] == "s3"]
        self.assertEqual(callers, [f"role/{self.name}", "anonymous key"])


class Credentials(Known):
    def test_a_session_needs_its_token(self) -> None:
        self.bucket()
        given = self.assume(self.role())
        for token in (None, "other"):
            s3 = signing("s3", given["AccessKeyId"], given["SecretAccessKey"], token)
            self.refused("InvalidToken", 400, s3.list_objects_v2, Bucket=self.name)
            scaling = signing("autoscaling", given["AccessKeyId"], given["SecretAccessKey"], token)
            self.refused("InvalidClientTokenId", 403, scaling.describe_auto_scaling_groups)

    def test_a_session_ends(self) -> None:
        self.bucket()
        arn = self.role(session_ms=0)
        self.refused("ExpiredToken", 400, self.by_role("s3", arn).list_objects_v2, Bucket=self.name)
        self.refused("ExpiredToken", 403, self.by_role("autoscaling", arn).describe_auto_scaling_groups)
        self.refused("ExpiredTokenException", 400, self.by_role("glue", arn).get_databases)

    def test_a_key_that_was_taken_away(self) -> None:
        self.bucket()
        key = self.key()
        signing("s3", key).list_objects_v2(Bucket=self.name)
        control("DELETE", "/_keys", access_key_id=key)
        self.refused("InvalidAccessKeyId", 403, signing("s3", key).list_objects_v2, Bucket=self.name)
        self.refused("InvalidClientTokenId", 403, signing("autoscaling", key).describe_auto_scaling_groups)
        self.refused("AuthFailure", 401, signing("ec2", key).describe_instances)
        self.refused("UnrecognizedClientException", 400, signing("glue", key).get_databases)
        self.key()
        control("DELETE", "/_keys", status=404, access_key_id="AKIANOBODY")


class Simulating(Known):
    def test_it_says_what_the_list_says(self) -> None:
        arn = self.role(allow=[{"action": "s3:PutLifecycle*", "resource": "arn:aws:s3:::mine"}])
        answer = client("iam").simulate_principal_policy(
            PolicySourceArn=arn,
            ActionNames=["s3:PutLifecycleConfiguration", "s3:GetObject"],
            ResourceArns=["arn:aws:s3:::mine", "arn:aws:s3:::other"],
        )
        found = {
            (one["EvalActionName"], one["EvalResourceName"]): one["EvalDecision"] for one in answer["EvaluationResults"]
        }
        self.assertEqual(len(found), 4)
        self.assertEqual([pair for pair, said in found.items() if said == "allowed"], [
            ("s3:PutLifecycleConfiguration", "arn:aws:s3:::mine"),
        ])  # fmt: skip

    def test_sources_and_the_right_to_ask(self) -> None:
        arn = self.role(allow=[])
        asked = {"ActionNames": ["s3:GetObject"]}
        call = client("iam").simulate_principal_policy
        self.refused("NoSuchEntity", 404, call, PolicySourceArn=f"{arn}-none", **asked)
        session = f"arn:aws:sts::123456789012:assumed-role/{self.name}/operator"
        self.refused("InvalidInput", 400, call, PolicySourceArn=session, **asked)
        iam = self.by_role("iam", arn)
        self.refused("AccessDenied", 403, iam.simulate_principal_policy, PolicySourceArn=arn, **asked)
