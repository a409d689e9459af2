"""AWS errors in the form that each protocol's clients read."""

from __future__ import annotations

import json
import re
import uuid
from xml.sax.saxutils import escape

from .call import Call, Refusal, Reply

_CODE = re.compile(rb"<Code>([^<]+)</Code>|\"__type\"\s*:\s*\"([^\"]+)\"")
_MESSAGE = re.compile(rb"<Message>([^<]*)</Message>|\"message\"\s*:\s*\"([^\"]*)\"", re.IGNORECASE)


def refuse(call: Call, refusal: Refusal) -> Reply:
    """The refusal as an HTTP answer in the call's wire format."""
    request_id = str(uuid.uuid4())
    kind, text = _render(call.wire, refusal, request_id)
    headers = [("Content-Type", kind), ("x-amzn-requestid", request_id), ("x-amz-request-id", request_id)]
    if call.wire == "rest-json":
        headers.append(("x-amzn-errortype", refusal.code))
    return Reply(refusal.status, headers, text.encode(), refusal.ledger_code)


def _render(wire: str, refusal: Refusal, request_id: str) -> tuple[str, str]:
    if wire in ("json", "rest-json"):
        kind = "application/x-amz-json-1.1" if wire == "json" else "application/json"
        return kind, json.dumps({"__type": refusal.code, "message": refusal.message})
    error = f"<Code>{escape(refusal.code)}</Code><Message>{escape(refusal.message)}</Message>"
    if wire == "ec2":
        return "text/xml", (
            f"<Response><Errors><Error>{error}</Error></Errors><RequestID>{request_id}</RequestID></Response>"
        )
    if wire == "query":
        side = "Sender" if refusal.status < 500 else "Receiver"
        return "text/xml", (
            f"<ErrorResponse><Error><Type>{side}</Type>{error}</Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    return "application/xml", (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{error}<RequestId>{request_id}</RequestId></Error>'
    )


def code_of(body: bytes) -> str | None:
    """The AWS error code in an error body, if it has one."""
    return _found(_CODE, body)


def message_of(body: bytes) -> str | None:
    """The message in an error body, if it has one."""
    return _found(_MESSAGE, body)


def _found(pattern: re.Pattern[bytes], body: bytes) -> str | None:
    match = pattern.search(body)
    return (match.group(1) or match.group(2)).decode() if match else None
