"""Raw lifecycle documents, and raw PUTs of them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import zlib
from urllib.parse import urlsplit

from .bed import DEADLINE, signed, url

ENABLED = "<Status>Enabled</Status>"
ALL = "<Filter/>"
WEEK = "<Expiration><Days>7</Days></Expiration>"


def document(*rules: str) -> bytes:
    """A lifecycle document with these rules; each is the inside of its Rule element."""
    inner = "".join(f"<Rule>{rule}</Rule>" for rule in rules)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</LifecycleConfiguration>'
    ).encode()


def crc32(body: bytes) -> dict[str, str]:
    """The header with the body's CRC32."""
    return {"x-amz-checksum-crc32": base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()}


def md5(body: bytes) -> dict[str, str]:
    """The header with the body's MD5."""
    return {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}


class Answer:
    """Status, error code, headers and body of a raw call."""

    def __init__(self, method: str, target: str, body: bytes | None = None, **headers: str) -> None:
        connection = http.client.HTTPConnection(urlsplit(url()).netloc, timeout=DEADLINE)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, target, body, {**signed("s3"), **sent})
            answer = connection.getresponse()
            self.body = answer.read()
        finally:
            connection.close()
        self.status, self.headers = answer.status, answer.headers
        code = re.search(rb"<Code>(.*?)</Code>", self.body)
        self.code = code.group(1).decode() if code else None


def put(bucket: str, body: bytes, **headers: str) -> Answer:
    """PUT of a lifecycle document with its CRC32."""
    return Answer("PUT", f"/{bucket}?lifecycle", body, **crc32(body), **headers)


def get(bucket: str) -> Answer:
    """GET of the lifecycle document."""
    return Answer("GET", f"/{bucket}?lifecycle")
