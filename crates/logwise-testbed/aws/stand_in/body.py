"""Bodies of S3 requests: taking aws-chunked framing off, and checking the digests that were sent along."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import zlib
from collections.abc import Callable

from .call import Call, Refusal
from .operations import CHECKSUM_OF_OBJECT

# The standard library has no fast code for these two; larger bodies are not compared.
_SLOW_LIMIT = 4 << 20


@functools.cache
def _crc_table(polynomial: int) -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        table.append(value)
    return table


def _reflected_crc(body: bytes, polynomial: int, size: int) -> bytes:
    table, ones = _crc_table(polynomial), (1 << 8 * size) - 1
    value = ones
    for byte in body:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return (value ^ ones).to_bytes(size, "big")


CHECKSUMS: dict[str, Callable[[bytes], bytes]] = {
    "crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "crc32c": lambda body: _reflected_crc(body, 0x82F63B78, 4),
    "crc64nvme": lambda body: _reflected_crc(body, 0x9A6C9329AC4BC9B5, 8),
    "sha1": lambda body: hashlib.sha1(body).digest(),
    "sha256": lambda body: hashlib.sha256(body).digest(),
}


def unchunk(call: Call) -> None:
    """Replaces an aws-chunked body by its content; checksums in trailers become headers."""
    environ = call.environ
    encodings = [part.strip() for part in str(environ.get("HTTP_CONTENT_ENCODING", "")).split(",")]
    streaming = str(environ.get("HTTP_X_AMZ_CONTENT_SHA256", "")).startswith("STREAMING-")
    if not streaming and "aws-chunked" not in encodings:
        return
    content, trailers = _content(call.body)
    announced = environ.pop("HTTP_X_AMZ_DECODED_CONTENT_LENGTH", None)
    if announced is not None and announced != str(len(content)):
        raise _incomplete()
    call.body = content
    environ["HTTP_X_AMZ_CONTENT_SHA256"] = "UNSIGNED-PAYLOAD"
    environ.pop("HTTP_X_AMZ_TRAILER", None)
    environ["HTTP_CONTENT_ENCODING"] = ",".join(part for part in encodings if part not in ("", "aws-chunked"))
    if not environ["HTTP_CONTENT_ENCODING"]:
        del environ["HTTP_CONTENT_ENCODING"]
    for name, value in trailers.items():
        if name.startswith("x-amz-checksum-"):
            environ["HTTP_" + name.upper().replace("-", "_")] = value


def _content(body: bytes) -> tuple[bytes, dict[str, str]]:
    parts, position = [], 0
    while True:
        end = body.find(b"\r\n", position)
        try:
            size = int(body[position:end].split(b";", 1)[0], 16) if end >= 0 else -1
        except ValueError:
            size = -1
        if size < 0 or (size and body[end + 2 + size : end + 4 + size] != b"\r\n"):
            raise _incomplete()
        if size == 0:
            break
        parts.append(memoryview(body)[end + 2 : end + 2 + size])
        position = end + 4 + size
    lines = body[end + 2 :].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if ":" in line)
    return b"".join(parts), {name.strip().lower(): value.strip() for name, _, value in pairs}


def _incomplete() -> Refusal:
    return Refusal(
        400, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header."
    )


def verify(call: Call) -> None:
    """Compares Content-MD5 and x-amz-checksum-* with the body they were sent for."""
    sent = call.header("content-md5")
    if sent is not None:
        if len(_decoded(sent, "Content-MD5")) != 16:
            raise Refusal(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
        _compare(_decoded(sent, "Content-MD5"), hashlib.md5(call.body).digest(), "Content-MD5")
    if call.action in CHECKSUM_OF_OBJECT:
        return
    for name, digest in CHECKSUMS.items():
        sent = call.header(f"x-amz-checksum-{name}")
        slow = name in ("crc32c", "crc64nvme") and len(call.body) > _SLOW_LIMIT
        if sent is not None and not slow:
            _compare(_decoded(sent, f"x-amz-checksum-{name}"), digest(call.body), name.upper())


def has_digest(call: Call) -> bool:
    """Whether the caller sent anything that proves the body arrived whole."""
    names = ["content-md5", *(f"x-amz-checksum-{name}" for name in CHECKSUMS)]
    return any(call.header(name) is not None for name in names)


def _decoded(text: str, header: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Refusal(400, "InvalidDigest", f"The value of {header} is not valid base64.") from None


def _compare(sent: bytes, real: bytes, name: str) -> None:
    if sent != real:
        raise Refusal(400, "BadDigest", f"The {name} you specified did not match the calculated checksum.")
