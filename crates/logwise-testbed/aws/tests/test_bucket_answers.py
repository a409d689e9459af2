"""Answers about buckets, as bytes: clients differ in what they forgive."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from .bed import DEADLINE, Case, client, signed, url


class BucketAnswers(Case):
    def asked(self) -> bytes:
        connection = http.client.HTTPConnection(urlsplit(url()).netloc, timeout=DEADLINE)
        try:
            connection.request("GET", f"/{self.name}?versioning", headers=signed("s3"))
            return connection.getresponse().read()
        finally:
            connection.close()

    def test_versioning_comes_under_the_name_of_its_document(self) -> None:
        self.bucket()
        self.assertIn(b"<VersioningConfiguration ", self.asked())
        self.assertNotIn(b"Status", self.asked())
        for status in ("Enabled", "Suspended"):
            client("s3").put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": status})
            answer = self.asked()
            self.assertIn(f"<Status>{status}</Status>".encode(), answer)
            self.assertTrue(answer.endswith(b"</VersioningConfiguration>"), answer)
