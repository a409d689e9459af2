"""Bodies of uploads: digests, aws-chunked framing, sizes."""

from __future__ import annotations

import hashlib
import io
import os

from boto3.s3.transfer import TransferConfig

from .bed import Case, client, control
from .documents import Answer, crc32, md5


def chunked(body: bytes, size: int, signed: bool, trailers: dict[str, str]) -> bytes:
    """aws-chunked framing."""
    extra = b";chunk-signature=" + b"0" * 64 if signed else b""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    framed = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extra, part) for part in parts)
    tail = "".join(f"{name}:{value}\r\n" for name, value in trailers.items())
    return framed + b"0%s\r\n" % extra + tail.encode() + b"\r\n"


class Framing(Case):
    def setUp(self) -> None:
        super().setUp()
        self.bucket()
        self.content = os.urandom(300_000)

    def upload(
        self, body: bytes, kind: str, headers: dict[str, str] | None = None, length: int | None = None
    ) -> Answer:
        sent = {
            "x-amz-content-sha256": f"STREAMING-{kind}",
            "x-amz-decoded-content-length": str(len(self.content) if length is None else length),
            "Content-Encoding": "aws-chunked",
            **(headers or {}),
        }
        return Answer("PUT", f"/{self.name}/k", body, **sent)

    def stored(self) -> bytes:
        content: bytes = client("s3").get_object(Bucket=self.name, Key="k")["Body"].read()
        return content

    def test_signed_chunks_as_the_java_sdk_sends_them(self) -> None:
        body = chunked(self.content, 131_072, True, {})
        self.assertEqual(self.upload(body, "AWS4-HMAC-SHA256-PAYLOAD").status, 200)
        self.assertEqual(self.stored(), self.content)
        self.assertNotIn("ContentEncoding", client("s3").head_object(Bucket=self.name, Key="k"))

    def test_signed_chunks_with_trailers(self) -> None:
        trailers = {**crc32(self.content), "x-amz-trailer-signature": "0" * 64}
        body = chunked(self.content, 65_536, True, trailers)
        answer = self.upload(body, "AWS4-HMAC-SHA256-PAYLOAD-TRAILER", {"x-amz-trailer": "x-amz-checksum-crc32"})
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.stored(), self.content)

    def test_unsigned_chunks_with_a_trailer(self) -> None:
        body = chunked(self.content, 8_192, False, crc32(self.content))
        headers = {"x-amz-trailer": "x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm": "CRC32"}
        self.assertEqual(self.upload(body, "UNSIGNED-PAYLOAD-TRAILER", headers).status, 200)
        self.assertEqual(self.stored(), self.content)

    def test_the_same_in_http_chunks(self) -> None:
        body = chunked(self.content, 8_192, False, crc32(self.content))
        pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:70_000], body[70_000:]))
        headers = {"Transfer-Encoding": "chunked"}
        answer = self.upload(pieces + b"0\r\n\r\n", "UNSIGNED-PAYLOAD-TRAILER", headers)
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.stored(), self.content)

    def test_a_wrong_trailer(self) -> None:
        body = chunked(self.content, 8_192, False, crc32(b"other"))
        answer = self.upload(body, "UNSIGNED-PAYLOAD-TRAILER")
        self.assertEqual((answer.status, answer.code), (400, "BadDigest"))
        self.assertEqual(control("GET", "/_objects", bucket=self.name), [])

    def test_cut_or_wrong_framing(self) -> None:
        whole = chunked(self.content, 8_192, False, {})
        for body in (whole[:-100_000], whole[10:], self.content, b""):
            answer = self.upload(body, "UNSIGNED-PAYLOAD-TRAILER")
            self.assertEqual((answer.status, answer.code), (400, "IncompleteBody"))
        answer = self.upload(whole, "UNSIGNED-PAYLOAD-TRAILER", length=5)
        self.assertEqual(answer.code, "IncompleteBody")

    def test_an_empty_object(self) -> None:
        self.assertEqual(self.upload(b"0\r\n\r\n", "UNSIGNED-PAYLOAD-TRAILER", length=0).status, 200)
        self.assertEqual(self.stored(), b"")


class Digests(Case):
    def test_of_an_object(self) -> None:
        self.bucket()
        for wrong in (crc32(b"other"), md5(b"other")):
            answer = Answer("PUT", f"/{self.name}/k", b"content", **wrong)
            self.assertEqual((answer.status, answer.code), (400, "BadDigest"))
        self.assertEqual(control("GET", "/_objects", bucket=self.name), [])

    def test_every_algorithm_that_boto3_has_here(self) -> None:
        self.bucket()
        for name in ("CRC32", "SHA1", "SHA256"):
            client("s3").put_object(Bucket=self.name, Key=name, Body=b"content", ChecksumAlgorithm=name)
        self.assertEqual(len(control("GET", "/_objects", bucket=self.name)), 3)

    def test_the_two_without_fast_code(self) -> None:
        self.bucket()
        # The published check values of CRC-32C and CRC-64/NVME for the text 123456789.
        for name, right in (("crc32c", "4waSgw=="), ("crc64nvme", "rosUhgp5mIg=")):
            header = f"x-amz-checksum-{name}"
            self.assertEqual(Answer("PUT", f"/{self.name}/k", b"123456789", **{header: right}).status, 200)
            self.assertEqual(Answer("PUT", f"/{self.name}/k", b"12345678", **{header: right}).code, "BadDigest")


class Large(Case):
    def test_50_megabytes_in_one_piece_and_in_parts(self) -> None:
        self.bucket()
        s3, content = client("s3"), os.urandom(50 << 20)
        s3.put_object(Bucket=self.name, Key="one", Body=content)
        parts = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20)
        s3.upload_fileobj(io.BytesIO(content), self.name, "parts", Config=parts)
        wanted = hashlib.sha256(content).digest()
        for key in ("one", "parts"):
            read = s3.get_object(Bucket=self.name, Key=key)["Body"].read()
            self.assertEqual(hashlib.sha256(read).digest(), wanted)
        tail = s3.get_object(Bucket=self.name, Key="one", Range="bytes=-8")["Body"].read()
        self.assertEqual(tail, content[-8:])
