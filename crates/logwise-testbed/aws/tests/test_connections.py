"""HTTP: kept connections, many at once, unfinished requests."""

from __future__ import annotations

import http.client
import socket
import threading
from urllib.parse import urlsplit

from .bed import DEADLINE, Case, client, control, signed, url


class Connections(Case):
    def test_one_connection_serves_many_calls(self) -> None:
        self.bucket()
        connection = http.client.HTTPConnection(urlsplit(url()).netloc, timeout=DEADLINE)
        self.addCleanup(connection.close)
        connection.connect()
        used = connection.sock
        for method, status, length in (("PUT", 200, 0), ("HEAD", 200, 0), ("GET", 200, 7), ("DELETE", 204, 0)):
            connection.request(method, f"/{self.name}/k", b"content" if method == "PUT" else None, signed("s3"))
            answer = connection.getresponse()
            self.assertEqual((answer.status, len(answer.read())), (status, length))
            if method == "HEAD":
                self.assertEqual(answer.headers["Content-Length"], "7")
            self.assertIs(connection.sock, used)

    def test_a_client_that_wants_it_closed(self) -> None:
        connection = http.client.HTTPConnection(urlsplit(url()).netloc, timeout=DEADLINE)
        self.addCleanup(connection.close)
        connection.request("GET", "/_ready", headers={"Connection": "close"})
        answer = connection.getresponse()
        self.assertEqual(answer.headers["Connection"], "close")
        answer.read()
        self.assertIsNone(connection.sock)

    def test_an_upload_that_breaks_off_is_not_done(self) -> None:
        self.bucket()
        host, _, port = urlsplit(url()).netloc.partition(":")
        with socket.create_connection((host, int(port)), timeout=DEADLINE) as half:
            head = f"PUT /{self.name}/k HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
            half.sendall(f"{head}Authorization: {signed('s3')['Authorization']}\r\n\r\nhalf".encode())
            half.shutdown(socket.SHUT_WR)
            self.assertEqual(half.recv(100), b"")
        self.assertEqual(control("GET", "/_objects", bucket=self.name), [])
        self.assertEqual(self.calls(), [])

    def test_a_client_may_wait_for_continue(self) -> None:
        self.bucket()
        host, _, port = urlsplit(url()).netloc.partition(":")
        with socket.create_connection((host, int(port)), timeout=DEADLINE) as careful:
            head = f"PUT /{self.name}/k HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n"
            careful.sendall(f"{head}Authorization: {signed('s3')['Authorization']}\r\n\r\n".encode())
            self.assertTrue(careful.recv(100).startswith(b"HTTP/1.1 100 "))
            careful.sendall(b"body")
            self.assertTrue(careful.recv(4096).startswith(b"HTTP/1.1 200 "))

    def test_many_at_once_are_all_counted(self) -> None:
        self.group(0, 40, 0)
        self.bucket()
        scaling, s3 = client("autoscaling"), client("s3")

        def work(number: int) -> None:
            for step in range(5):
                scaling.set_desired_capacity(AutoScalingGroupName=self.name, DesiredCapacity=(number + step) % 9)
                s3.put_object(Bucket=self.name, Key=f"{number}/{step}", Body=b"x" * 10_000)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        calls = self.calls()
        self.assertEqual(len(calls), 80)
        self.assertEqual({one["outcome"]["status"] for one in calls}, {200})
        self.assertEqual(len(control("GET", "/_objects", bucket=self.name)), 40)
        last = [one["params"]["DesiredCapacity"] for one in calls if one["action"] == "SetDesiredCapacity"][-1]
        seen = self.seen()
        self.assertEqual((seen["desired"], len(seen["instances"])), (int(last), int(last)))
