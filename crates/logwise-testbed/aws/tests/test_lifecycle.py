"""Lifecycle configurations: kept byte for byte, with the size setting, and taken away again."""

from __future__ import annotations

from .bed import Case, client, control
from .documents import ALL, ENABLED, WEEK, Answer, crc32, document, get, md5, put

SIZE = "x-amz-transition-default-minimum-object-size"
STRANGE = (
    b"<LifecycleConfiguration>\n  <!-- by hand -->\n<Rule><Prefix>old/</Prefix>  <Status>Enabled</Status>\t"
    b"<Expiration><Days>0007</Days></Expiration><FutureField a='1'><X>\xc3\xa9</X></FutureField></Rule>\n\n"
    b"</LifecycleConfiguration >\n"
)


class Keeping(Case):
    def test_byte_for_byte_with_comments_unknown_elements_and_no_id(self) -> None:
        self.bucket()
        for body in (STRANGE, document(ENABLED + ALL + WEEK, "<ID>b</ID>" + ENABLED + ALL + WEEK)):
            self.assertEqual(put(self.name, body).status, 200)
            answer = get(self.name)
            self.assertEqual((answer.status, answer.body), (200, body))
            self.assertEqual(answer.headers["Content-Type"], "application/xml")

    def test_boto3_writes_and_reads_everything_that_moto_alone_would_lose(self) -> None:
        self.bucket()
        rule = {
            "ID": "sizes", "Status": "Enabled",
            "Filter": {"And": {"Prefix": "a/", "ObjectSizeGreaterThan": 1, "ObjectSizeLessThan": 9}},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 3, "NewerNoncurrentVersions": 100},
        }  # fmt: skip
        s3 = client("s3")
        answer = s3.put_bucket_lifecycle_configuration(
            Bucket=self.name,
            LifecycleConfiguration={"Rules": [rule]},
            TransitionDefaultMinimumObjectSize="varies_by_storage_class",
        )
        self.assertEqual(answer["TransitionDefaultMinimumObjectSize"], "varies_by_storage_class")
        read = s3.get_bucket_lifecycle_configuration(Bucket=self.name)
        self.assertEqual(read["Rules"], [rule])
        self.assertEqual(read["TransitionDefaultMinimumObjectSize"], "varies_by_storage_class")

    def test_a_put_without_the_size_header_resets_it(self) -> None:
        self.bucket()
        body = document(ENABLED + ALL + WEEK)
        put(self.name, body, **{SIZE: "varies_by_storage_class"})
        self.assertEqual(get(self.name).headers[SIZE], "varies_by_storage_class")
        put(self.name, body)
        self.assertEqual(get(self.name).headers[SIZE], "all_storage_classes_128K")
        wrong = put(self.name, body, **{SIZE: "whatever"})
        self.assertEqual((wrong.status, wrong.code), (400, "InvalidArgument"))

    def test_none_and_deleted(self) -> None:
        self.bucket()
        self.assertEqual((get(self.name).status, get(self.name).code), (404, "NoSuchLifecycleConfiguration"))
        put(self.name, document(ENABLED + ALL + WEEK))
        deleted = Answer("DELETE", f"/{self.name}?lifecycle")
        self.assertEqual((deleted.status, deleted.body), (204, b""))
        self.assertEqual(get(self.name).code, "NoSuchLifecycleConfiguration")

    def test_a_missing_bucket(self) -> None:
        self.assertEqual((get(self.name).status, get(self.name).code), (404, "NoSuchBucket"))
        self.assertEqual(put(self.name, document(ENABLED + ALL + WEEK)).code, "NoSuchBucket")

    def test_a_new_bucket_of_the_same_name_has_none(self) -> None:
        self.bucket(lifecycle=STRANGE.decode())
        self.assertEqual(get(self.name).body, STRANGE)
        client("s3").delete_bucket(Bucket=self.name)
        self.bucket()
        self.assertEqual(get(self.name).code, "NoSuchLifecycleConfiguration")

    def test_a_refused_put_changes_nothing(self) -> None:
        self.bucket(lifecycle=STRANGE.decode())
        self.assertEqual(put(self.name, document()).status, 400)
        self.assertEqual(get(self.name).body, STRANGE)


class Digests(Case):
    def test_a_put_needs_one(self) -> None:
        self.bucket()
        body = document(ENABLED + ALL + WEEK)
        bare = Answer("PUT", f"/{self.name}?lifecycle", body)
        self.assertEqual((bare.status, bare.code), (400, "InvalidRequest"))
        self.assertEqual(Answer("PUT", f"/{self.name}?lifecycle", body, **md5(body)).status, 200)

    def test_a_wrong_one(self) -> None:
        self.bucket()
        body = document(ENABLED + ALL + WEEK)
        for wrong in (crc32(b"other"), md5(b"other"), {**crc32(body), **md5(b"other")}):
            answer = Answer("PUT", f"/{self.name}?lifecycle", body, **wrong)
            self.assertEqual((answer.status, answer.code), (400, "BadDigest"))
        self.assertEqual(get(self.name).code, "NoSuchLifecycleConfiguration")

    def test_one_that_is_no_digest(self) -> None:
        self.bucket()
        body = document(ENABLED + ALL + WEEK)
        for wrong in ({"Content-MD5": "%%%"}, {"Content-MD5": "YQ=="}):
            self.assertEqual(Answer("PUT", f"/{self.name}?lifecycle", body, **wrong).code, "InvalidDigest")


class ForeignWriter(Case):
    def test_it_writes_beside_the_ledger(self) -> None:
        self.bucket()
        self.assertEqual(
            control("GET", "/_lifecycle", bucket=self.name), {"document": None, "minimum_object_size": None}
        )
        text = STRANGE.decode()
        wish = {"bucket": self.name, "document": text, "minimum_object_size": "varies_by_storage_class"}
        control("PUT", "/_lifecycle", wish)
        self.assertEqual(
            control("GET", "/_lifecycle", bucket=self.name),
            {"document": text, "minimum_object_size": "varies_by_storage_class"},
        )
        self.assertEqual(self.calls(), [])
        answer = get(self.name)
        self.assertEqual((answer.body, answer.headers[SIZE]), (STRANGE, "varies_by_storage_class"))

    def test_it_is_held_to_the_same_rules_and_may_remove(self) -> None:
        self.bucket(lifecycle=STRANGE.decode())
        wrong = {"bucket": self.name, "document": document().decode()}
        self.assertEqual(control("PUT", "/_lifecycle", wrong, status=400)["code"], "MalformedXML")
        self.assertEqual(get(self.name).body, STRANGE)
        control("PUT", "/_lifecycle", {"bucket": self.name, "document": None})
        self.assertEqual(get(self.name).code, "NoSuchLifecycleConfiguration")

    def test_a_wrong_document_makes_no_bucket(self) -> None:
        control("POST", "/_buckets", {"name": self.name, "lifecycle": "<no"}, status=400)
        self.assertEqual(get(self.name).code, "NoSuchBucket")
