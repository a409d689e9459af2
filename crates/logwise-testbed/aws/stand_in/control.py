"""The control interface: JSON under paths that start with `/_`. Never in the ledger, never subject to faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from .app import StandIn
from .call import Environ, Refusal, Reply
from .control_buckets import Buckets
from .control_callers import Callers
from .control_faults import Faults
from .control_groups import Groups
from .control_lives import Lives
from .fault_fields import BadRule
from .wish import BadWish, Query

Answer = Any


class Control:
    """Routes of the control interface."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        groups, buckets = Groups(stand_in), Buckets(stand_in)
        self._routes: dict[tuple[str, str], Callable[[Query, Any], Answer]] = {
            ("GET", "/_ready"): lambda query, wish: {"ready": True},
            ("GET", "/_calls"): self._calls,
            ("POST", "/_groups"): groups.create,
            ("GET", "/_groups"): groups.show,
            ("DELETE", "/_groups"): groups.delete,
            ("GET", "/_instances"): groups.instances,
            ("POST", "/_templates"): groups.add_template_version,
            ("POST", "/_buckets"): buckets.create,
            ("DELETE", "/_buckets"): buckets.delete,
            ("POST", "/_objects"): buckets.add_objects,
            ("GET", "/_objects"): buckets.objects,
            ("GET", "/_lifecycle"): buckets.lifecycle,
            ("PUT", "/_lifecycle"): buckets.put_lifecycle,
            ("PUT", "/_drops"): buckets.put_drops,
            **Lives(stand_in).routes,
            **Faults(stand_in).routes,
            **Callers(stand_in).routes,
        }

    def answer(self, environ: Environ, body: bytes) -> Reply:
        """Always JSON; errors are `{"code", "message"}`."""
        method, path = str(environ["REQUEST_METHOD"]), str(environ["PATH_INFO"])
        route = self._routes.get((method, path))
        try:
            if route is None:
                known = ", ".join(sorted({" ".join(key) for key in self._routes}))
                raise Refusal(404, "NotFound", f"no {method} {path}: known are {known}")
            query = Query(dict(parse_qsl(str(environ.get("QUERY_STRING", "")), keep_blank_values=True)))
            return _json(200, route(query, _wish(body)))
        except (BadRule, BadWish) as problem:
            return _json(400, {"code": "BadRequest", "message": str(problem)})
        except Refusal as refusal:
            return _json(refusal.status, {"code": refusal.code, "message": refusal.message})

    def _calls(self, query: Query, wish: Any) -> Answer:
        flag = query.get("mutating")
        if flag not in (None, "true", "false"):
            raise BadWish("mutating must be true or false")
        mutating = None if flag is None else flag == "true"
        return self._stand_in.ledger.select(query.get("resource"), mutating, query.number("after", 0))


def _wish(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError as problem:
        raise BadWish(f"the body must be JSON: {problem}") from problem


def _json(status: int, value: Any) -> Reply:
    return Reply(status, [("Content-Type", "application/json")], json.dumps(value).encode())
