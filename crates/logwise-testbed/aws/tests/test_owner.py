"""The expected owner of a bucket, on every S3 call that can carry one."""

from __future__ import annotations

from .bed import Case, client, control

OTHER = "999999999999"
OWN = "123456789012"


class ExpectedOwner(Case):
    def test_every_kind_of_call_refuses_another_owner(self) -> None:
        self.bucket()
        control("POST", "/_objects", {"bucket": self.name, "objects": [{"key": "k", "text": "kept"}]})
        s3, key = client("s3"), {"Key": "k"}
        rules = {"Rules": [{"Status": "Enabled", "Filter": {}, "Expiration": {"Days": 1}}]}
        for call, more in (
            (s3.list_objects_v2, {}),
            (s3.get_object, key),
            (s3.put_object, {**key, "Body": b"changed"}),
            (s3.delete_object, key),
            (s3.delete_objects, {"Delete": {"Objects": [key]}}),
            (s3.get_bucket_location, {}),
            (s3.get_bucket_versioning, {}),
            (s3.get_bucket_lifecycle_configuration, {}),
            (s3.put_bucket_lifecycle_configuration, {"LifecycleConfiguration": rules}),
            (s3.delete_bucket_lifecycle, {}),
            (s3.create_multipart_upload, key),
            (s3.list_multipart_uploads, {}),
            (s3.delete_bucket, {}),
        ):
            with self.subTest(call.__name__):
                self.refused("AccessDenied", 403, call, Bucket=self.name, ExpectedBucketOwner=OTHER, **more)
        for call, more in ((s3.head_bucket, {}), (s3.head_object, key)):
            self.refused("403", 403, call, Bucket=self.name, ExpectedBucketOwner=OTHER, **more)
        self.assertEqual(s3.get_object(Bucket=self.name, **key)["Body"].read(), b"kept")
        codes = {one["outcome"]["code"] for one in self.calls()[:-1]}
        self.assertEqual(codes, {"AccessDenied"})

    def test_the_right_owner_passes(self) -> None:
        self.bucket()
        client("s3").head_bucket(Bucket=self.name, ExpectedBucketOwner=OWN)
        self.assertEqual(self.calls()[0]["params"]["x-amz-expected-bucket-owner"], OWN)

    def test_a_bucket_of_another_account(self) -> None:
        self.bucket(owner=OTHER)
        s3 = client("s3")
        self.refused("AccessDenied", 403, s3.list_objects_v2, Bucket=self.name, ExpectedBucketOwner=OWN)
        s3.list_objects_v2(Bucket=self.name, ExpectedBucketOwner=OTHER)
        location = {"LocationConstraint": "ap-south-1"}
        create = s3.create_bucket
        self.refused("BucketAlreadyExists", 409, create, Bucket=self.name, CreateBucketConfiguration=location)

    def test_the_source_of_a_copy(self) -> None:
        self.bucket()
        control("POST", "/_objects", {"bucket": self.name, "objects": [{"key": "k", "size": 1}]})
        self.refused(
            "AccessDenied", 403, client("s3").copy_object,
            Bucket=self.name, Key="copy", CopySource=f"{self.name}/k", ExpectedSourceBucketOwner=OTHER,
        )  # fmt: skip

    def test_a_missing_bucket_is_missing_whoever_is_expected(self) -> None:
        call = client("s3").get_bucket_lifecycle_configuration
        self.refused("NoSuchBucket", 404, call, Bucket=self.name, ExpectedBucketOwner=OTHER)
        self.refused("NoSuchBucket", 404, client("s3").list_objects_v2, Bucket=self.name, ExpectedBucketOwner=OTHER)
