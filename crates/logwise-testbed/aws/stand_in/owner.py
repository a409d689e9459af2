"""Who owns a bucket, and the refusal of calls that expect someone else."""

from __future__ import annotations

from moto.s3.models import FakeBucket, S3Backend, s3_backends

from . import ACCOUNT
from .call import Call, Refusal


def store() -> S3Backend:
    """moto's S3."""
    return s3_backends[ACCOUNT]["aws"]


def bucket(name: str) -> FakeBucket:
    """moto's bucket, or AWS's refusal."""
    found = store().buckets.get(name)
    if found is None:
        raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist")
    return found


class Owners:
    """Buckets that belong to another account than the caller's; all others are the caller's own."""

    def __init__(self) -> None:
        self._foreign: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The account id of a bucket's owner."""
        return self._foreign.get(name, ACCOUNT)

    def set(self, name: str, account: str) -> None:
        """Gives a bucket to an account."""
        self._foreign[name] = account

    def forget(self, name: str) -> None:
        """The bucket is gone."""
        self._foreign.pop(name, None)

    def check(self, call: Call) -> None:
        """Refuses a call whose expected owner is not the owner; a missing bucket is left to S3."""
        name = str(call.params.get("Bucket", ""))
        if name in store().buckets:
            self._compare(name, call.header("x-amz-expected-bucket-owner"))
            if call.action == "CreateBucket" and name in self._foreign:
                raise Refusal(
                    409, "BucketAlreadyExists",
                    "The requested bucket name is not available. The bucket namespace is shared by all users of"
                    " the system. Please select a different name and try again.",
                )  # fmt: skip
        source = (call.header("x-amz-copy-source") or "").lstrip("/").split("/", 1)[0]
        if source in store().buckets:
            self._compare(source, call.header("x-amz-source-expected-bucket-owner"))

    def _compare(self, name: str, expected: str | None) -> None:
        if expected is not None and expected != self.of(name):
            raise Refusal(403, "AccessDenied", "Access Denied")
