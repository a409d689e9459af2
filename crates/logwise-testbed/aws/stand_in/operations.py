"""Tables about AWS operations: which ones only read, which S3 ones moto really does, what is withheld."""

from __future__ import annotations

import re
from typing import Any

READING_VERBS = (
    "BatchGet", "Check", "Describe", "Estimate", "Filter", "Get", "Head", "List", "Lookup", "Preview",
    "Query", "Scan", "Search", "Select", "Validate",
)  # fmt: skip

# Operations whose first word says the wrong thing, or nothing.
READING = {("sts", "AssumeRole"), ("sts", "AssumeRoleWithWebIdentity"), ("sts", "AssumeRoleWithSAML")}

# moto's S3 answers sub-resources that it does not know as if they were not there (a GET becomes a listing,
# a DELETE ends the bucket), so only these pass. The three lifecycle operations are our own.
S3_OPERATIONS = frozenset(
    """
    AbortMultipartUpload CompleteMultipartUpload CopyObject CreateBucket CreateMultipartUpload DeleteBucket
    DeleteBucketCors DeleteBucketEncryption DeleteBucketLifecycle DeleteBucketOwnershipControls DeleteBucketPolicy
    DeleteBucketReplication DeleteBucketTagging DeleteBucketWebsite DeleteObject DeleteObjectTagging DeleteObjects
    DeletePublicAccessBlock GetBucketAccelerateConfiguration GetBucketAcl GetBucketCors GetBucketEncryption
    GetBucketInventoryConfiguration GetBucketLifecycleConfiguration GetBucketLocation GetBucketLogging
    GetBucketNotificationConfiguration GetBucketOwnershipControls GetBucketPolicy GetBucketPolicyStatus
    GetBucketReplication GetBucketTagging GetBucketVersioning GetBucketWebsite GetObject GetObjectAcl
    GetObjectAttributes GetObjectLegalHold GetObjectLockConfiguration GetObjectTagging GetPublicAccessBlock
    HeadBucket HeadObject ListBucketInventoryConfigurations ListBuckets ListMultipartUploads ListObjectVersions
    ListObjects ListObjectsV2 ListParts PutBucketAccelerateConfiguration PutBucketAcl PutBucketCors
    PutBucketEncryption PutBucketInventoryConfiguration PutBucketLifecycleConfiguration PutBucketLogging
    PutBucketNotificationConfiguration PutBucketOwnershipControls PutBucketPolicy PutBucketReplication
    PutBucketTagging PutBucketVersioning PutBucketWebsite PutObject PutObjectAcl PutObjectLegalHold
    PutObjectLockConfiguration PutObjectRetention PutObjectTagging PutPublicAccessBlock RestoreObject
    SelectObjectContent UploadPart UploadPartCopy
    """.split()
)

# Their checksum header speaks of the object, not of the request's body.
CHECKSUM_OF_OBJECT = frozenset(("CompleteMultipartUpload", "CopyObject", "CreateMultipartUpload", "UploadPartCopy"))

_SECRET = re.compile(
    r"password|secret|credential|signature|accesskeyid|userdata|session-?token|security-?token"
    r"|webidentitytoken|samlassertion|tokencode",
    re.IGNORECASE,
)


def is_mutating(service: str, action: str) -> bool:
    """Whether the operation changes anything."""
    return (service, action) not in READING and not action.startswith(READING_VERBS)


def without_secrets(params: dict[str, Any]) -> dict[str, Any]:
    """A copy of the parameters in which everything that may be a credential is replaced."""
    return {name: "(withheld)" if _SECRET.search(name) else _inner(value) for name, value in params.items()}


def _inner(value: Any) -> Any:
    if isinstance(value, dict):
        return without_secrets(value)
    if isinstance(value, list):
        return [_inner(item) for item in value]
    return value
