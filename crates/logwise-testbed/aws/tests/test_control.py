"""The control interface, and the ground on which groups and buckets stand."""

from __future__ import annotations

import ipaddress

from .bed import Case, client, control


class Ready(Case):
    def test_ready(self) -> None:
        self.assertEqual(control("GET", "/_ready"), {"ready": True})

    def test_unknown_paths_say_what_is_known(self) -> None:
        self.assertIn("GET /_calls", control("GET", "/_nothing", status=404)["message"])

    def test_control_is_not_in_the_ledger(self) -> None:
        self.group(0, 2, 1)
        self.drop_group()
        self.bucket()
        control("GET", "/_objects", bucket=self.name)
        self.assertEqual(self.calls(), [])


class Groups(Case):
    def test_shape(self) -> None:
        self.group(1, 4, 2, tags={"team": "logs"})
        seen = self.seen()
        self.assertEqual({name: seen[name] for name in ("name", "min", "max", "desired", "tags")}, {
            "name": self.name, "min": 1, "max": 4, "desired": 2, "tags": {"team": "logs"},
        })  # fmt: skip
        for one in seen["instances"]:
            self.assertIn(ipaddress.ip_address(one["private_ip"]), ipaddress.ip_network("127.0.9.0/24"))
            self.assertEqual((one["lifecycle_state"], one["health"], one["protected"]), ("InService", "Healthy", False))

    def test_boto3_sees_the_same(self) -> None:
        ids = self.group(1, 4, 2, tags={"team": "logs"})
        (group,) = client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])[
            "AutoScalingGroups"
        ]
        self.assertCountEqual([one["InstanceId"] for one in group["Instances"]], ids)
        self.assertEqual({one["AvailabilityZone"] for one in group["Instances"]}, {"ap-south-1a"})
        self.assertIn(":123456789012:", group["AutoScalingGroupARN"])
        self.assertEqual([(tag["Key"], tag["Value"]) for tag in group["Tags"]], [("team", "logs")])

    def test_the_same_checks_as_for_aws_calls(self) -> None:
        wrong = {"name": self.name, "min": 3, "max": 2, "desired": 2}
        self.assertEqual(control("POST", "/_groups", wrong, status=400)["code"], "ValidationError")
        self.group(1, 2, 1)
        again = control("POST", "/_groups", {"name": self.name, "min": 1, "max": 2, "desired": 1}, status=400)
        self.assertEqual(again["code"], "AlreadyExists")

    def test_wrong_wishes_name_the_field(self) -> None:
        wish = {"name": self.name, "min": 1, "max": 2, "desired": "two"}
        self.assertIn("desired", control("POST", "/_groups", wish, status=400)["message"])
        wish = {"name": self.name, "min": 1, "max": 2, "desired": 2, "colour": "red"}
        self.assertIn("colour", control("POST", "/_groups", wish, status=400)["message"])

    def test_instances_of_all_groups(self) -> None:
        ids = self.group(1, 4, 2, tags={"team": "logs"})
        mine = [one for one in control("GET", "/_instances") if one["group"] == self.name]
        self.assertEqual([one["id"] for one in mine], ids)
        self.assertEqual(mine[0]["tags"], {"team": "logs"})
        client("autoscaling").terminate_instance_in_auto_scaling_group(
            InstanceId=ids[0], ShouldDecrementDesiredCapacity=True
        )
        mine = [one for one in control("GET", "/_instances") if one["group"] == self.name]
        self.assertEqual([one["id"] for one in mine], ids[1:])

    def test_delete_takes_protected_instances_along(self) -> None:
        self.group(2, 4, 2, protected=True)
        control("DELETE", "/_groups", name=self.name)
        control("GET", "/_groups", status=404, name=self.name)
        self.assertEqual([one for one in control("GET", "/_instances") if one["group"] == self.name], [])

    def test_addresses_do_not_run_out(self) -> None:
        self.group(0, 20, 20)
        scale = client("autoscaling").set_desired_capacity
        for _ in range(20):
            scale(AutoScalingGroupName=self.name, DesiredCapacity=0)
            scale(AutoScalingGroupName=self.name, DesiredCapacity=20)
        addresses = [one["private_ip"] for one in control("GET", "/_instances")]
        self.assertGreaterEqual(len(addresses), 20)
        self.assertEqual(len(addresses), len(set(addresses)))


class Buckets(Case):
    def test_objects(self) -> None:
        self.bucket()
        wish = [{"key": "b/2", "size": 5}, {"key": "b/1", "text": "hé"}, {"key": "a", "size": 0}]
        control("POST", "/_objects", {"bucket": self.name, "objects": wish})
        listed = control("GET", "/_objects", bucket=self.name, prefix="b/")
        self.assertEqual(listed, [{"key": "b/1", "size": 3}, {"key": "b/2", "size": 5}])
        body = client("s3").get_object(Bucket=self.name, Key="b/1")["Body"].read()
        self.assertEqual(body.decode(), "hé")

    def test_age_of_an_object(self) -> None:
        self.bucket()
        wish = [{"key": "old", "size": 1, "modified": 1_600_000_000_000}]
        control("POST", "/_objects", {"bucket": self.name, "objects": wish})
        head = client("s3").head_object(Bucket=self.name, Key="old")
        self.assertEqual(int(head["LastModified"].timestamp()), 1_600_000_000)

    def test_versioning(self) -> None:
        self.bucket(versioning=True)
        self.assertEqual(client("s3").get_bucket_versioning(Bucket=self.name)["Status"], "Enabled")
        client("s3").put_object(Bucket=self.name, Key="k", Body=b"1")
        client("s3").delete_object(Bucket=self.name, Key="k")
        self.assertEqual(control("GET", "/_objects", bucket=self.name), [])

    def test_delete_takes_the_contents_along(self) -> None:
        self.bucket(versioning=True)
        control("POST", "/_objects", {"bucket": self.name, "objects": [{"key": "k", "size": 1}]})
        control("DELETE", "/_buckets", name=self.name)
        self.refused("404", 404, client("s3").head_bucket, Bucket=self.name)
        self.bucket()
        self.assertEqual(control("GET", "/_objects", bucket=self.name), [])

    def test_a_bucket_is_made_once(self) -> None:
        self.bucket()
        again = control("POST", "/_buckets", {"name": self.name}, status=409)
        self.assertEqual(again["code"], "BucketAlreadyExists")
        control("GET", "/_objects", status=404, bucket=f"{self.name}-other")

    def test_the_region_is_the_beds(self) -> None:
        self.bucket()
        location = client("s3").get_bucket_location(Bucket=self.name)
        self.assertEqual(location["LocationConstraint"], "ap-south-1")
