"""May this caller do that? AWS's refusals, in the words of each service."""

from __future__ import annotations

from .allow import permits
from .call import Call, Refusal, Reply
from .callers import Caller, Callers
from .ground import Ground
from .iam_actions import needs


def authorize(call: Call, callers: Callers, ground: Ground) -> None:
    """Refuses credentials that are no good, and what their owner may not do."""
    _check_credentials(call, callers)
    caller = callers.of(call)
    for action, resource in needs(call, ground):
        if not permits(caller.allow, action, resource):
            raise denied(call, caller, action, resource)


def hide(call: Call, callers: Callers, reply: Reply) -> None:
    """Whoever may not list a bucket is not told which objects it does not have."""
    if call.action not in ("GetObject", "HeadObject") or reply.status != 404 or reply.code == "NoSuchBucket":
        return
    caller, bucket = callers.of(call), f"arn:aws:s3:::{call.params.get('Bucket', '')}"
    if not permits(caller.allow, "s3:ListBucket", bucket):
        raise denied(call, caller, "s3:ListBucket", bucket)


def denied(call: Call, caller: Caller, action: str, resource: str) -> Refusal:
    """The caller lacks this right."""
    why = f"because no identity-based policy allows the {action} action"
    if call.service == "ec2":
        on = "" if resource == "*" else f" on resource: {resource}"
        text = f"User: {caller.arn} is not authorized to perform: {action}{on} {why}"
        return Refusal(403, "UnauthorizedOperation", f"You are not authorized to perform this operation. {text}")
    shown = f'"{resource}"' if call.service == "s3" else resource
    text = f"User: {caller.arn} is not authorized to perform: {action} on resource: {shown}"
    if call.wire in ("json", "rest-json"):
        return Refusal(400 if call.wire == "json" else 403, "AccessDeniedException", f"{text} {why}")
    # AWS gives no reason for AssumeRole: it may be the trust as well.
    return Refusal(403, "AccessDenied", text if call.service == "sts" else f"{text} {why}")


def _check_credentials(call: Call, callers: Callers) -> None:
    session, key = callers.session_of(call), callers.keys.get(call.access_key)
    if key is not None and not key.valid:
        raise _unknown(call)
    if session is None:
        return
    if session.token != (call.header("x-amz-security-token") or call.params.get("X-Amz-Security-Token")):
        if call.service == "s3":
            raise Refusal(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
        raise _unknown(call)
    if session.expired:
        if call.service == "s3":
            raise Refusal(400, "ExpiredToken", "The provided token has expired.")
        code, status = ("ExpiredTokenException", 400) if call.wire == "json" else ("ExpiredToken", 403)
        raise Refusal(status, code, "The security token included in the request is expired")


def _unknown(call: Call) -> Refusal:
    if call.service == "s3":
        return Refusal(
            403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."
        )  # fmt: skip
    if call.service == "ec2":
        return Refusal(401, "AuthFailure", "AWS was not able to validate the provided access credentials")
    text = "The security token included in the request is invalid."
    if call.wire in ("json", "rest-json"):
        return Refusal(400, "UnrecognizedClientException", text)
    return Refusal(403, "InvalidClientTokenId", text)
