"""The stand-in and the witness as programs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from .bed import DEADLINE, FOLDER, Case, client, control, signed, start, url
from .documents import ALL, ENABLED, WEEK, document


class Program(Case):
    def test_it_says_where_it_is_and_ends_on_sigterm_with_a_client_connected(self) -> None:
        process, where = start("--region", "eu-west-1")
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        host, _, port = urlsplit(where).netloc.partition(":")
        with socket.create_connection((host, int(port)), timeout=DEADLINE):
            wish = json.dumps({"name": "g", "min": 0, "max": 1, "desired": 1}).encode()
            with urllib.request.urlopen(f"{where}/_groups", wish, timeout=DEADLINE) as answer:
                self.assertEqual(json.load(answer)["instances"][0]["private_ip"], "127.0.9.4")
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(DEADLINE), 0)

    def test_a_small_subnet_is_one_zone_and_runs_out_of_addresses(self) -> None:
        process, where = start("--subnet", "127.0.9.0/28")
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        wish = json.dumps({"name": "g", "min": 0, "max": 20, "desired": 12}).encode()
        with urllib.request.urlopen(f"{where}/_groups", wish, timeout=DEADLINE) as answer:
            self.assertEqual(len(json.load(answer)["instances"]), 11)
        form = b"Action=DescribeScalingActivities&AutoScalingGroupName=g"
        request = urllib.request.Request(where, form, signed("autoscaling"))
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            self.assertIn(b"There are not enough free addresses in subnet", answer.read())
        wish = json.dumps({"name": "h", "min": 0, "max": 1, "desired": 0, "zones": ["b"]}).encode()
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{where}/_groups", wish, timeout=DEADLINE)
        self.assertIn("zones must be some of a", str(json.load(caught.exception)["message"]))
        caught.exception.close()

    def test_a_taken_port_is_one_line_and_an_exit_code(self) -> None:
        port = urlsplit(url()).netloc.partition(":")[2]
        command = [sys.executable, "-m", "stand_in", "--port", port, "--subnet", "127.0.9.0/24"]
        done = subprocess.run(command, check=False, cwd=FOLDER, capture_output=True, text=True, timeout=DEADLINE)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual((done.stdout, len(done.stderr.strip().splitlines())), ("", 1), done.stderr)
        self.assertIn(port, done.stderr)

    def test_the_log_is_one_line_per_error_without_credentials(self) -> None:
        command = [sys.executable, "-m", "stand_in", "--port", "0", "--subnet", "127.0.9.0/24"]
        with subprocess.Popen(
            command, cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            where = json.loads(process.stdout.readline())["url"]
            environment = {"AWS_ENDPOINT_URL": where, "AWS_SESSION_TOKEN": "token-of-the-test"}
            witness(["group", self.name], environment)
            call = client("autoscaling").meta.endpoint_url
            self.assertNotEqual(call, where)
            request = urllib.request.Request(f"{where}/?Action=x", b"Action=RollbackInstanceRefresh", method="POST")
            scope = "Credential=AKIDHIDDEN/20260101/ap-south-1/autoscaling/aws4_request"
            request.add_header("Authorization", f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=hidden")
            with self.assertRaises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request, timeout=DEADLINE)
            caught.exception.close()
            process.terminate()
            log = process.stderr.read()
        self.assertEqual(len(log.splitlines()), 1, log)
        self.assertIn("RollbackInstanceRefresh", log)
        self.assertNotIn("HIDDEN", log.upper())
        self.assertNotIn("token-of-the-test", log)


def witness(arguments: list[str], more: dict[str, str] | None = None) -> tuple[int, Any]:
    """Exit code and answer of the witness."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment.update({"AWS_ENDPOINT_URL": url(), "AWS_EC2_METADATA_DISABLED": "true"}, **(more or {}))
    done = subprocess.run(
        [sys.executable, "witness.py", *arguments],
        check=False, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=DEADLINE,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


class Witness(Case):
    def test_group(self) -> None:
        self.group(1, 4, 2, tags={"team": "logs"})
        self.assertEqual(witness(["group", self.name]), (0, self.seen()))
        code, answer = witness(["group", f"{self.name}-none"])
        self.assertEqual((code, list(answer)), (1, ["error"]))

    def test_lifecycle(self) -> None:
        text = document("<ID>week</ID>" + ENABLED + ALL + WEEK).decode()
        self.bucket(lifecycle=text)
        code, answer = witness(["lifecycle", self.name])
        self.assertEqual((code, answer["document"], answer["rules"][0]["ID"]), (0, text, "week"))
        self.assertEqual(answer["minimum_object_size"], "all_storage_classes_128K")
        control("PUT", "/_lifecycle", {"bucket": self.name, "document": None})
        self.assertEqual(witness(["lifecycle", self.name])[1]["rules"], [])
        self.assertEqual(witness(["lifecycle", f"{self.name}-none"])[0], 1)

    def test_objects(self) -> None:
        self.bucket()
        keys = [{"key": f"a/{number:04}", "size": 2} for number in range(1100)] + [{"key": "b", "size": 1}]
        control("POST", "/_objects", {"bucket": self.name, "objects": keys})
        code, answer = witness(["objects", self.name, "a/"])
        self.assertEqual((code, answer["count"], answer["bytes"]), (0, 1100, 2200))
        self.assertEqual(witness(["objects", self.name])[1]["count"], 1101)

    def test_a_wrong_command_shows_the_right_ones(self) -> None:
        code, text = witness(["bucket"])
        self.assertEqual(code, 2)
        self.assertIn("lifecycle BUCKET", text)
