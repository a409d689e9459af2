"""Which IAM actions a call needs, and on which resources."""

from __future__ import annotations

import re

from . import ACCOUNT
from .call import Call
from .ground import Ground

# S3 operations whose action has another name than the operation.
_S3 = {
    "CompleteMultipartUpload": "PutObject", "CopyObject": "PutObject", "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject", "UploadPartCopy": "PutObject", "AbortMultipartUpload": "AbortMultipartUpload",
    "DeleteBucketCors": "PutBucketCORS", "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration", "DeleteBucketReplication": "PutReplicationConfiguration",
    "DeleteBucketTagging": "PutBucketTagging", "DeleteObjects": "DeleteObject",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock", "GetBucketAccelerateConfiguration":
    "GetAccelerateConfiguration", "GetBucketCors": "GetBucketCORS", "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "GetBucketReplication": "GetReplicationConfiguration",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "HeadBucket": "ListBucket", "HeadObject": "GetObject", "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads", "ListObjectVersions": "ListBucketVersions",
    "ListObjects": "ListBucket", "ListObjectsV2": "ListBucket", "ListParts": "ListMultipartUploadParts",
    "PutBucketCors": "PutBucketCORS", "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
    "PutBucketReplication": "PutReplicationConfiguration",
    "PutObjectLockConfiguration": "PutBucketObjectLockConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "SelectObjectContent": "GetObject",
}  # fmt: skip
# Nobody needs a right for these.
_FREE = {("sts", "GetCallerIdentity")}

Need = tuple[str, str]


def needs(call: Call, ground: Ground) -> list[Need]:
    """Pairs of action and resource; all of them must be permitted."""
    if (call.service, call.action) in _FREE:
        return []
    if call.service == "s3":
        return _of_s3(call)
    action = f"{call.service}:{call.action}"
    if call.service == "autoscaling" and call.mutating:
        return [(action, _group_arn(name, ground)) for name in call.resources] or [(action, "*")]
    if call.service == "ec2" and call.mutating:
        named = call.numbered("InstanceId")
        return [(action, f"arn:aws:ec2:{call.region}:{ACCOUNT}:instance/{one}") for one in named] or [(action, "*")]
    if call.service in ("iam", "sts"):
        return [(action, str(call.params.get("RoleArn") or call.params.get("PolicySourceArn") or "*"))]
    return [(action, "*")]


def _of_s3(call: Call) -> list[Need]:
    bucket, key = str(call.params.get("Bucket", "")), call.params.get("Key")
    action = f"s3:{_S3.get(call.action, call.action)}"
    arn = f"arn:aws:s3:::{bucket}" if bucket else "*"
    if call.action == "DeleteObjects":
        keys = re.findall(r"<Key>([^<]*)</Key>", call.body.decode("utf-8", "replace"))
        return [(action, f"{arn}/{one}") for one in keys] or [(action, f"{arn}/*")]
    found = [(action, arn if key is None else f"{arn}/{key}")]
    source = (call.header("x-amz-copy-source") or "").lstrip("/").split("?", 1)[0]
    return [*found, ("s3:GetObject", f"arn:aws:s3:::{source}")] if source else found


def _group_arn(name: str, ground: Ground) -> str:
    group = ground.groups().get(name)
    if group is not None:
        return str(group.arn)
    return f"arn:aws:autoscaling:{ground.region}:{ACCOUNT}:autoScalingGroup:*:autoScalingGroupName/{name}"
