"""HTTP/1.1 with kept connections; also the only place that can cut one."""

from __future__ import annotations

import socket
import sys
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import ThreadedWSGIServer

from .app import StandIn
from .call import Environ, Reply
from .control import Control

# Written here, whatever the inner application thinks of them.
_OWN_HEADERS = ("connection", "date", "server", "transfer-encoding")


class Listener(ThreadedWSGIServer):
    """One thread per connection."""

    request_queue_size = 512

    def __init__(self, bound: socket.socket, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        self.control = Control(stand_in)
        host, port = bound.getsockname()[:2]
        super().__init__(host, port, _unused, Connection, fd=bound.fileno())
        self.server_activate()

    def handle_error(self, request: Any, client_address: Any) -> None:
        kind, problem, _ = sys.exc_info()
        sys.stderr.write(f"connection ended: {kind.__name__ if kind else '-'}: {problem}\n")


def _unused(environ: Environ, start: Any) -> list[bytes]:
    raise NotImplementedError("Connection answers by itself")


class Connection(MotoRequestHandler):
    """Reads whole requests, so that a connection can serve the next one."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        body = self._read(environ)
        if body is None:
            self._cut()
            return
        reply = self._answer(environ, body)
        if reply is None:
            self._cut()
        else:
            self._write(reply)

    def _answer(self, environ: Environ, body: bytes) -> Reply | None:
        try:
            if str(environ["PATH_INFO"]).startswith("/_"):
                return self.server.control.answer(environ, body)
            return self.server.stand_in.answer(environ, body)
        except Exception as problem:
            line = f"failed: {self.command} {environ['PATH_INFO']}: {type(problem).__name__}: {problem}"
            sys.stderr.write(" ".join(line.split())[:500] + "\n")
            return Reply(500, [("Content-Type", "text/plain")], b"the stand-in failed, see its log\n")

    def _read(self, environ: Environ) -> bytes | None:
        """The whole body; None when it did not arrive whole."""
        if environ.get("wsgi.input_terminated"):
            content: bytes = environ["wsgi.input"].read()
            environ.pop("HTTP_TRANSFER_ENCODING", None)
            environ.pop("wsgi.input_terminated")
        else:
            text = str(environ.get("CONTENT_LENGTH") or "0")
            if not text.isdecimal():
                return None
            content = self.rfile.read(int(text))
            if len(content) != int(text):
                return None
        environ["CONTENT_LENGTH"] = str(len(content))
        return content

    def _write(self, reply: Reply) -> None:
        bodiless = self.command == "HEAD" or reply.status in (204, 304)
        lines = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}", f"Date: {formatdate(usegmt=True)}"]
        for name, value in reply.headers:
            lower = name.lower()
            if lower not in _OWN_HEADERS and (bodiless or lower != "content-length"):
                lines.append(f"{name}: {value}")
        if not bodiless:
            lines.append(f"Content-Length: {len(reply.body)}")
        if self.close_connection:
            lines.append("Connection: close")
        head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
        if bodiless or not reply.body:
            self.wfile.write(head)
        elif len(reply.body) < 65536:
            self.wfile.write(head + reply.body)
        else:
            self.wfile.write(head)
            self.wfile.write(reply.body)

    def _cut(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was faster

    def log(self, type: str, message: str, *args: Any) -> None:
        """Requests are in the ledger, not in the log."""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
