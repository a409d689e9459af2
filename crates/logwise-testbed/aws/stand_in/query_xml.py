"""Answers of our own in the query protocol."""

from __future__ import annotations

import uuid
from typing import Any
from xml.sax.saxutils import escape

from .call import Call, Reply

_SPACES = {
    "autoscaling": "http://autoscaling.amazonaws.com/doc/2011-01-01/",
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
}


def answer(call: Call, result: dict[str, Any]) -> Reply:
    """A success: dictionaries become elements, lists `member`s, None nothing."""
    request_id, name = str(uuid.uuid4()), call.action
    text = (
        f'<{name}Response xmlns="{_SPACES[call.service]}"><{name}Result>{_inside(result)}</{name}Result>'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{name}Response>"
    )
    return Reply(200, [("Content-Type", "text/xml"), ("x-amzn-requestid", request_id)], text.encode())


def _inside(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"<{name}>{_inside(one)}</{name}>" for name, one in value.items() if one is not None)
    if isinstance(value, list):
        return "".join(f"<member>{_inside(one)}</member>" for one in value)
    if isinstance(value, bool):
        return str(value).lower()
    return escape(str(value))
