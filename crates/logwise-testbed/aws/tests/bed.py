"""One stand-in for all tests of a run, in its own process on a free port."""

from __future__ import annotations

import atexit
import functools
import http.client
import json
import subprocess
import sys
import unittest
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

FOLDER = Path(__file__).resolve().parent.parent
REGION = "ap-south-1"
DEADLINE = 30


def start(*extra: str) -> tuple[subprocess.Popen[str], str]:
    """Starts a stand-in and waits until it says where it listens."""
    command = [sys.executable, "-m", "stand_in", "--port", "0", "--subnet", "127.0.9.0/24", *extra]
    process = subprocess.Popen(command, cwd=FOLDER, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, str(json.loads(process.stdout.readline())["url"])


@functools.cache
def url() -> str:
    """Where the shared stand-in listens."""
    process, where = start()
    assert process.stdout is not None
    atexit.register(process.stdout.close)
    atexit.register(process.wait)
    atexit.register(process.kill)
    return where


@functools.cache
def client(service: str) -> Any:
    """boto3 without retries."""
    return boto3.client(
        service,
        endpoint_url=url(),
        region_name=REGION,
        aws_access_key_id="AKIDLOGWISETEST",
        aws_secret_access_key="a-secret-of-the-tests",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=DEADLINE, s3={"addressing_style": "path"}),
    )


def control(method: str, path: str, body: Any = None, status: int = 200, **query: Any) -> Any:
    """A call of the control interface; fails when the status is another one."""
    asked = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in query.items())
    connection = http.client.HTTPConnection(urlsplit(url()).netloc, timeout=DEADLINE)
    try:
        connection.request(method, f"{path}?{asked}", None if body is None else json.dumps(body))
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    assert answer.status == status, f"{method} {path}: {answer.status} {content!r}"
    return json.loads(content)


def signed(service: str) -> dict[str, str]:
    """The header by which the stand-in knows the service of a raw request."""
    scope = f"AKIDLOGWISETEST/20260101/{REGION}/{service}/aws4_request"
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}


class Case(unittest.TestCase):
    """Names of its own per test, and what most tests do."""

    def setUp(self) -> None:
        self.name = f"t-{uuid.uuid4().hex[:12]}"

    def group(self, low: int, high: int, desired: int, **more: Any) -> list[str]:
        """Makes the test's group; the ids of its instances."""
        made = control("POST", "/_groups", {"name": self.name, "min": low, "max": high, "desired": desired, **more})
        self.addCleanup(self.drop_group)
        return [one["id"] for one in made["instances"]]

    def drop_group(self) -> None:
        """Ends the test's group if the test did not."""
        if any(one["name"] == self.name for one in control("GET", "/_groups")):
            control("DELETE", "/_groups", name=self.name)

    def seen(self) -> Any:
        """The test's group as the control interface shows it."""
        return control("GET", "/_groups", name=self.name)

    def states(self) -> dict[str, str]:
        """The lifecycle state of each instance."""
        return {one["id"]: one["lifecycle_state"] for one in self.seen()["instances"]}

    def desire(self, number: int) -> None:
        """SetDesiredCapacity of the test's group."""
        client("autoscaling").set_desired_capacity(AutoScalingGroupName=self.name, DesiredCapacity=number)

    def life(self, **settings: int) -> None:
        """How long things take in the test's group."""
        control("PUT", "/_life", {"group": self.name, **settings})

    def later(self, ms: int) -> None:
        """The group's clock goes on."""
        control("POST", "/_clock", {"group": self.name, "advance_ms": ms})

    def activities(self) -> list[Any]:
        """Of the test's group, the newest first."""
        found = client("autoscaling").describe_scaling_activities(AutoScalingGroupName=self.name)
        return list(found["Activities"])

    def bucket(self, **more: Any) -> None:
        """Makes the test's bucket."""
        control("POST", "/_buckets", {"name": self.name, **more})

    def calls(self, **query: Any) -> list[Any]:
        """The ledger of the test's group or bucket."""
        found: list[Any] = control("GET", "/_calls", resource=self.name, **query)
        return found

    def refused(self, code: str, status: int, call: Callable[..., Any], **parameters: Any) -> str:
        """The call must be refused like this; AWS's message."""
        with self.assertRaises(ClientError) as caught:
            call(**parameters)
        answer = caught.exception.response
        got = (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"])
        self.assertEqual(got, (code, status), answer)
        return str(answer["Error"]["Message"])
