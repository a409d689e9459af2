"""An independent reader: asks AWS's own client what is there and prints one JSON object.

    witness.py group NAME | lifecycle BUCKET | objects BUCKET [PREFIX]

The endpoint comes from AWS_ENDPOINT_URL, the region from AWS_REGION or AWS_DEFAULT_REGION (ap-south-1), credentials
from wherever boto3 finds them. Exit code 1 and {"error": ...} when the thing cannot be read, 2 for a wrong command.
"""

from __future__ import annotations

import ipaddress
import json
import os
import sys
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError


def client(service: str) -> Any:
    """A client with short time-outs; the stand-in takes any credentials, so some are made up if there are none."""
    if not (os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_PROFILE")):
        os.environ.update(AWS_ACCESS_KEY_ID="witness", AWS_SECRET_ACCESS_KEY="witness")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "ap-south-1"
    config = Config(
        connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 2}, s3={"addressing_style": "path"}
    )
    return boto3.client(service, region_name=region, config=config)


def group(name: str) -> dict[str, Any]:
    """Bounds and instances of an Auto Scaling group."""
    found = client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    if not found:
        raise LookupError(f"there is no Auto Scaling group {name}")
    members = {one["InstanceId"]: one for one in found[0]["Instances"]}
    return {
        "name": name,
        "min": found[0]["MinSize"],
        "max": found[0]["MaxSize"],
        "desired": found[0]["DesiredCapacity"],
        "instances": [
            {
                "id": one,
                "private_ip": address,
                "lifecycle_state": members[one]["LifecycleState"],
                "zone": members[one]["AvailabilityZone"],
                "health": members[one]["HealthStatus"],
                "protected": members[one]["ProtectedFromScaleIn"],
            }
            for one, address in addresses(list(members))
        ],
        "tags": {tag["Key"]: tag["Value"] for tag in found[0]["Tags"]},
    }


def addresses(ids: list[str]) -> list[tuple[str, str]]:
    """Instance ids with their private addresses, in the order of the addresses; ended ones have none."""
    if not ids:
        return []
    reservations = client("ec2").describe_instances(InstanceIds=ids)["Reservations"]
    found = [
        (one["InstanceId"], one.get("PrivateIpAddress", "")) for part in reservations for one in part["Instances"]
    ]  # fmt: skip
    return sorted(found, key=lambda pair: ipaddress.ip_address(pair[1] or "0.0.0.0"))


def lifecycle(bucket: str) -> dict[str, Any]:
    """The rules as boto3 understands them, and the document as it came."""
    s3 = client("s3")
    raw: list[bytes] = []
    s3.meta.events.register(
        "before-parse.s3.GetBucketLifecycleConfiguration",
        lambda response_dict, **_: raw.append(response_dict["body"]),
    )
    try:
        answer = s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    except ClientError as refused:
        if refused.response["Error"]["Code"] != "NoSuchLifecycleConfiguration":
            raise
        return {"bucket": bucket, "rules": [], "minimum_object_size": None, "document": None}
    return {
        "bucket": bucket,
        "rules": answer["Rules"],
        "minimum_object_size": answer.get("TransitionDefaultMinimumObjectSize"),
        "document": raw[-1].decode("utf-8", "replace"),
    }


def objects(bucket: str, prefix: str = "") -> dict[str, Any]:
    """Keys and sizes under a prefix."""
    pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found = [{"key": one["Key"], "size": one["Size"]} for page in pages for one in page.get("Contents", [])]
    return {
        "bucket": bucket,
        "prefix": prefix,
        "count": len(found),
        "bytes": sum(one["size"] for one in found),
        "objects": found,
    }


def main(arguments: list[str]) -> int:
    """Runs one command."""
    commands = {("group", 1): group, ("lifecycle", 1): lifecycle, ("objects", 1): objects, ("objects", 2): objects}
    command = commands.get((arguments[0], len(arguments) - 1)) if arguments else None
    if command is None:
        sys.stderr.write(__doc__ or "")
        return 2
    try:
        answer: dict[str, Any] = command(*arguments[1:])
        code = 0
    except (BotoCoreError, ClientError, LookupError) as problem:
        answer, code = {"error": str(problem)}, 1
    sys.stdout.write(json.dumps(answer, default=str) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
