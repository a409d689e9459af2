"""Answers about buckets as S3 words them."""

from __future__ import annotations

import re

from .call import Call, Reply

# moto names the operation where S3 has the name of the document; clients refuse to read that.
_MOTO_ROOT = re.compile(rb"(</?)GetBucketVersioningResponse\b")


def as_s3_words_it(call: Call, reply: Reply) -> Reply:
    """The same answer, mended where S3 clients could not read it."""
    if call.action != "GetBucketVersioning" or reply.status != 200:
        return reply
    body = _MOTO_ROOT.sub(rb"\1VersioningConfiguration", reply.body)
    headers = [(name, value) for name, value in reply.headers if name.lower() != "content-length"]
    return Reply(reply.status, headers, body, reply.code)
