"""The ledger: every AWS call, with its parameters and its outcome, under the names that it touches."""

from __future__ import annotations

import json
import time

from .bed import Case, client, control
from .documents import ALL, ENABLED, WEEK, Answer, document, put


class Entries(Case):
    def test_an_entry_of_auto_scaling(self) -> None:
        self.group(1, 4, 1)
        before = time.time_ns() // 1_000_000
        client("autoscaling").set_desired_capacity(
            AutoScalingGroupName=self.name, DesiredCapacity=2, HonorCooldown=False
        )
        (entry,) = self.calls()
        self.assertLessEqual(before, entry.pop("time"))
        self.assertGreater(entry.pop("seq"), 0)
        self.assertEqual(entry, {
            "service": "autoscaling", "action": "SetDesiredCapacity", "resource": self.name, "mutating": True,
            "caller": "anonymous key", "expected_owner": None,
            "params": {"AutoScalingGroupName": self.name, "DesiredCapacity": "2", "HonorCooldown": "false"},
            "outcome": {"status": 200, "code": None, "fault": None},
        })  # fmt: skip

    def test_an_entry_of_s3(self) -> None:
        self.bucket()
        body = document(ENABLED + ALL + WEEK)
        put(self.name, body, **{"x-amz-expected-bucket-owner": "123456789012"})
        client("s3").list_objects_v2(Bucket=self.name, Prefix="a/b", MaxKeys=5)
        written, listed = self.calls()
        self.assertEqual((written["action"], written["mutating"]), ("PutBucketLifecycleConfiguration", True))
        self.assertEqual(written["params"]["body"], body.decode())
        self.assertEqual(written["params"]["x-amz-expected-bucket-owner"], "123456789012")
        self.assertIn("x-amz-checksum-crc32", written["params"])
        self.assertEqual((listed["action"], listed["mutating"]), ("ListObjectsV2", False))
        self.assertEqual([one["expected_owner"] for one in (written, listed)], ["123456789012", None])
        wanted = {"Bucket": self.name, "prefix": "a/b", "max-keys": "5", "list-type": "2"}
        self.assertEqual({name: listed["params"].get(name) for name in wanted}, wanted)

    def test_names_of_operations(self) -> None:
        self.bucket()
        s3, key = client("s3"), {"Bucket": self.name, "Key": "logs/a b/é"}
        s3.put_object(**key, Body=b"1")
        s3.get_object(**key)
        s3.head_object(**key)
        upload = s3.create_multipart_upload(**key)["UploadId"]
        s3.upload_part(**key, UploadId=upload, PartNumber=1, Body=b"1")
        s3.abort_multipart_upload(**key, UploadId=upload)
        s3.delete_objects(Bucket=self.name, Delete={"Objects": [{"Key": key["Key"]}]})
        s3.head_bucket(Bucket=self.name)
        s3.delete_bucket_lifecycle(Bucket=self.name)
        calls = self.calls()
        self.assertEqual([one["action"] for one in calls], [
            "PutObject", "GetObject", "HeadObject", "CreateMultipartUpload", "UploadPart", "AbortMultipartUpload",
            "DeleteObjects", "HeadBucket", "DeleteBucketLifecycle",
        ])  # fmt: skip
        self.assertEqual([one["mutating"] for one in calls], [True, False, False, True, True, True, True, False, True])
        self.assertEqual(calls[0]["params"]["Key"], key["Key"])

    def test_refusals_are_entries(self) -> None:
        self.group(1, 2, 1)
        call = client("autoscaling").set_desired_capacity
        self.refused("ValidationError", 400, call, AutoScalingGroupName=self.name, DesiredCapacity=9)
        self.assertEqual(self.calls()[0]["outcome"], {"status": 400, "code": "ValidationError", "fault": None})
        self.refused("NoSuchBucket", 404, client("s3").list_objects_v2, Bucket=f"{self.name}-none")
        (missing,) = control("GET", "/_calls", resource=f"{self.name}-none")
        self.assertEqual(missing["outcome"]["code"], "NoSuchBucket")

    def test_instances_are_filed_under_their_group(self) -> None:
        first, second = self.group(0, 4, 2)
        client("ec2").describe_instances(InstanceIds=[first, second])
        client("autoscaling").describe_auto_scaling_instances(InstanceIds=[first])
        client("autoscaling").terminate_instance_in_auto_scaling_group(
            InstanceId=first, ShouldDecrementDesiredCapacity=True
        )
        client("ec2").describe_instances(InstanceIds=[first])
        self.assertEqual(
            [one["action"] for one in self.calls()],
            ["DescribeInstances", "DescribeAutoScalingInstances", "TerminateInstanceInAutoScalingGroup",
             "DescribeInstances"],
        )  # fmt: skip

    def test_several_names_are_filed_under_each(self) -> None:
        names = [self.name, f"{self.name}-2"]
        client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=names)
        for name in names:
            (entry,) = control("GET", "/_calls", resource=name)
            self.assertEqual(entry["resource"], ",".join(names))


class Reading(Case):
    def test_by_resource_by_kind_and_from_a_number_on(self) -> None:
        self.group(1, 4, 1)
        scaling = client("autoscaling")
        scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])
        scaling.set_desired_capacity(AutoScalingGroupName=self.name, DesiredCapacity=2)
        scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])
        actions = ["DescribeAutoScalingGroups", "SetDesiredCapacity", "DescribeAutoScalingGroups"]
        self.assertEqual([one["action"] for one in self.calls()], actions)
        self.assertEqual([one["action"] for one in self.calls(mutating="true")], actions[1:2])
        self.assertEqual([one["action"] for one in self.calls(mutating="false")], actions[::2])
        first = self.calls()[0]["seq"]
        self.assertEqual([one["action"] for one in self.calls(after=first)], actions[1:])
        everything = [one["seq"] for one in control("GET", "/_calls")]
        self.assertEqual(everything, sorted(set(everything)))
        self.assertIn(first, everything)
        control("GET", "/_calls", status=400, mutating="maybe")

    def test_calls_that_name_nothing(self) -> None:
        client("sts").get_caller_identity()
        last = control("GET", "/_calls", resource="")[-1]
        self.assertEqual((last["service"], last["action"], last["mutating"]), ("sts", "GetCallerIdentity", False))


class Secrets(Case):
    def test_no_credential_is_kept(self) -> None:
        self.bucket()
        s3 = client("s3")
        s3.put_object(Bucket=self.name, Key="k", Body=b"1")
        link = s3.generate_presigned_url("get_object", Params={"Bucket": self.name, "Key": "k"})
        self.assertEqual(Answer("GET", "/" + link.split("/", 3)[3]).body, b"1")
        client("ec2").create_launch_template(
            LaunchTemplateName=self.name, LaunchTemplateData={"ImageId": "ami-1", "UserData": "aGlkZGVuLXRleHQ="}
        )
        text = json.dumps(self.calls() + control("GET", "/_calls", resource=""))
        for secret in ("AKIDLOGWISETEST", "a-secret-of-the-tests", "aGlkZGVuLXRleHQ="):
            self.assertNotIn(secret, text)
        self.assertIn("(withheld)", text)
