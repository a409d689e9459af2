"""Control of who may do what: keys and roles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import ACCOUNT, allow
from .app import StandIn
from .call import Refusal
from .callers import Key, Role
from .wish import BadWish, Fields, Query


class Callers:
    """Routes about keys and roles."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self._callers = stand_in.callers
        self.routes: dict[tuple[str, str], Callable[[Query, Any], Any]] = {
            ("POST", "/_keys"): self.put_key,
            ("DELETE", "/_keys"): self.drop_key,
            ("POST", "/_roles"): self.put_role,
            ("DELETE", "/_roles"): self.drop_role,
        }

    def put_key(self, query: Query, wish: Any) -> Any:
        fields = Fields(wish)
        key = Key(fields.need("access_key_id", str), allow.read(fields.maybe("allow", list)))
        fields.done()
        with self._stand_in.serial:
            self._callers.keys[key.id] = key
        return {}

    def drop_key(self, query: Query, wish: Any) -> Any:
        key_id = query.need("access_key_id")
        with self._stand_in.serial:
            key = self._callers.keys.get(key_id)
            if key is None:
                raise Refusal(404, "NotFound", f"there is no key {key_id}")
            key.valid = False
        return {}

    def put_role(self, query: Query, wish: Any) -> Any:
        fields = Fields(wish)
        principals = fields.maybe("principals", list)
        role = Role(
            fields.need("name", str),
            fields.maybe("account", str) or ACCOUNT,
            fields.maybe("external_id", str),
            allow.read(fields.maybe("allow", list)),
            ("*",) if principals is None else tuple(str(one) for one in principals),
            fields.maybe("session_ms", int),
        )
        fields.done()
        if "/" in role.name or not role.name:
            raise BadWish("name must be a plain name without a path")
        with self._stand_in.serial:
            return {"arn": self._callers.put_role(role).arn}

    def drop_role(self, query: Query, wish: Any) -> Any:
        name = query.need("name")
        with self._stand_in.serial:
            if not self._callers.drop_role(name):
                raise Refusal(404, "NotFound", f"there is no role {name}")
        return {}
