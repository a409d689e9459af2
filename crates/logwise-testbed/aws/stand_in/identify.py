"""From an HTTP request to a `Call`: which service, which operation, with which parameters."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from moto.core.request import Request
from moto.core.routing import get_service_router

from .call import Call, Environ
from .operations import is_mutating, without_secrets

_SCOPE = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request")
# Request headers of S3 that say what the caller wanted.
_S3_HEADERS = (
    "content-md5", "if-match", "if-none-match", "x-amz-acl", "x-amz-checksum-crc32", "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme", "x-amz-checksum-sha1", "x-amz-checksum-sha256", "x-amz-copy-source",
    "x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner", "x-amz-storage-class",
    "x-amz-transition-default-minimum-object-size",
)  # fmt: skip


def identify(environ: Environ, body: bytes) -> Call:
    """Understands a request; what is not understood becomes an action such as `GET /path`."""
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    access_key, region, service = _scope(environ, query)
    form = _form(environ, body)
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        wire, action, params = "json", str(target).rsplit(".", 1)[-1], _json(body)
    elif "Action" in form:
        service = service or "sts"  # the only query calls that are not signed
        wire, action = "ec2" if service == "ec2" else "query", form.pop("Action")
        form.pop("Version", None)
        params = dict(form)
    elif service in ("", "s3"):
        service, wire = "s3", "s3"
        action, params = _s3(environ, query)
        if action == "PutBucketLifecycleConfiguration":
            params["body"] = body.decode("utf-8", "replace")
    else:
        wire = "rest-json"
        action, found = _route(service, environ)
        params = {**found, **query, **_json(body)}
    return Call(
        environ=environ, body=body, service=service, region=region, wire=wire, action=action,
        params=without_secrets(params), mutating=is_mutating(service, action), access_key=access_key,
    )  # fmt: skip


def form_call(region: str, service: str, fields: dict[str, str]) -> Call:
    """A query call as if it had come by HTTP; for the control interface."""
    body = urlencode(fields).encode()
    environ: Environ = {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/", "RAW_URI": "/", "QUERY_STRING": "", "SCRIPT_NAME": "",
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "80", "HTTP_HOST": "127.0.0.1",
        "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http",
        "CONTENT_TYPE": "application/x-www-form-urlencoded; charset=utf-8",
        "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 Credential=control/20000101/{region}/{service}/aws4_request, x",
    }  # fmt: skip
    return identify(environ, body)


def _scope(environ: Environ, query: dict[str, str]) -> tuple[str, str, str]:
    """Who signed the request, for which region and service; empty when it is not signed."""
    signed = str(environ.get("HTTP_AUTHORIZATION", "")) or f"Credential={query.get('X-Amz-Credential', '')}"
    match = _SCOPE.search(signed)
    return (match.group(1), match.group(2), match.group(3).lower()) if match else ("", "us-east-1", "")


def _form(environ: Environ, body: bytes) -> dict[str, str]:
    if not str(environ.get("CONTENT_TYPE", "")).startswith("application/x-www-form-urlencoded"):
        return {}
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _s3(environ: Environ, query: dict[str, str]) -> tuple[str, dict[str, Any]]:
    action, found = _route("s3", environ)
    params: dict[str, Any] = {**found, **query}
    params.pop("x-id", None)
    for name in _S3_HEADERS:
        value = environ.get("HTTP_" + name.upper().replace("-", "_"))
        if value is not None:
            params[name] = value
    return action, params


def _route(service: str, environ: Environ) -> tuple[str, dict[str, Any]]:
    request = Request(environ)
    try:
        operation, found = get_service_router(service).match(request)
    except Exception:  # an unknown service, or a path that no operation of it has
        return f"{environ['REQUEST_METHOD']} {unquote(request.raw_path)}", {}
    return str(operation.name), dict(found)
