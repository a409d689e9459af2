"""The way into moto: one WSGI call, its answer, and a loud refusal when moto cannot do it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from .call import Call, Refusal, Reply
from .operations import S3_OPERATIONS
from .reply import code_of


class Inner:
    """moto's own server application. Not safe for threads: callers hold the stand-in's lock."""

    def __init__(self) -> None:
        # moto finds the service by host and signature at each call, a fifth of its time; the common ones go directly.
        self._direct = {service: create_backend_app(service) for service in ("autoscaling", "ec2", "s3", "sts")}
        self._by_signature = DomainDispatcherApplication(create_backend_app)

    def forward(self, call: Call) -> Reply:
        """Carries the call out, or refuses it as not implemented."""
        if call.service == "s3" and call.action not in S3_OPERATIONS:
            raise unimplemented(call, "S3 operation not known")
        environ = call.environ
        environ["wsgi.input"] = io.BytesIO(call.body)
        environ["CONTENT_LENGTH"] = str(len(call.body))
        started: list[tuple[str, list[tuple[str, str]]]] = []
        parts: list[bytes] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            started.append((status, headers))
            return parts.append

        try:
            app = self._direct.get(call.service, self._by_signature)
            parts.extend(app(environ, start))
        except Exception as problem:  # moto raises NotImplementedError, or stumbles over what it did not foresee
            raise unimplemented(call, f"{type(problem).__name__}: {problem}") from problem
        body = b"".join(parts)
        status, headers = int(started[-1][0].split(" ", 1)[0]), started[-1][1]
        if status >= 400 and body[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
            raise unimplemented(call, f"HTML page with status {status}")
        return Reply(status, headers, body, code_of(body) if status >= 400 else None)


def unimplemented(call: Call, why: str) -> Refusal:
    """The refusal that tests look for in the ledger; also one line in the log."""
    line = " ".join(f"not implemented: {call.service} {call.action}: {why}".split())
    sys.stderr.write(line[:500] + "\n")
    sys.stderr.flush()
    return Refusal(500, "InternalFailure", f"The stand-in does not do {call.action}.", "Unimplemented")
