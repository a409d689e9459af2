"""Control of faults: rules, requests under way, stale reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .app import StandIn
from .owner import bucket
from .stale import MOST_WRITES, Window
from .wish import BadWish, Fields, Query


class Faults:
    """Routes about what goes wrong between the caller and AWS."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self.routes: dict[tuple[str, str], Callable[[Query, Any], Any]] = {
            ("POST", "/_faults"): lambda query, wish: {"id": stand_in.faults.add(wish).id},
            ("GET", "/_faults"): lambda query, wish: stand_in.faults.list(query.get("resource")),
            ("DELETE", "/_faults"): self.remove,
            ("GET", "/_deliveries"): lambda query, wish: stand_in.deliveries.list(query.get("resource")),
            ("POST", "/_deliveries"): self.deliver,
            ("POST", "/_stale"): self.make_stale,
            ("GET", "/_stale"): self.show_stale,
            ("DELETE", "/_stale"): self.end_stale,
        }

    def remove(self, query: Query, wish: Any) -> Any:
        resource, rule_id = query.get("resource"), query.get("id")
        if resource is None and rule_id is None:
            raise BadWish("say which: ?resource=NAME or ?id=ID")
        return {"removed": self._stand_in.faults.remove(resource, rule_id)}

    def deliver(self, query: Query, wish: Any) -> Any:
        fields = Fields(wish)
        resource = fields.need("resource", str)
        fields.done()
        return {"delivered": self._stand_in.deliveries.now(resource)}

    def make_stale(self, query: Query, wish: Any) -> Any:
        fields = Fields(wish)
        name = fields.need("bucket", str)
        window = Window(
            for_ms=fields.maybe("for_ms", int),
            reads=fields.maybe("reads", int),
            alternate=bool(fields.maybe("alternate", bool)),
            waiting=bool(fields.maybe("after_next_write", bool)),
            writes=1 if (writes := fields.maybe("writes", int)) is None else writes,
        )
        fields.done()
        if (window.for_ms or 0) < 0 or (window.reads or 0) < 0:
            raise BadWish("for_ms and reads must be 0 or more")
        if not 1 <= window.writes <= MOST_WRITES:
            raise BadWish(f"writes must be from 1 to {MOST_WRITES}")
        with self._stand_in.serial:
            self._stand_in.lifecycles.stale.set(bucket(name).name, window)
            return self._stand_in.lifecycles.stale.shown(name)

    def show_stale(self, query: Query, wish: Any) -> Any:
        with self._stand_in.serial:
            return self._stand_in.lifecycles.stale.shown(bucket(query.need("bucket")).name)

    def end_stale(self, query: Query, wish: Any) -> Any:
        with self._stand_in.serial:
            self._stand_in.lifecycles.stale.end(bucket(query.need("bucket")).name)
        return {}
