"""Who calls: keys and roles that a test has registered, and the sessions of the roles."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from . import ACCOUNT
from .allow import Allow
from .call import Call
from .clock import world_ms


@dataclass
class Role:
    """A role that can be assumed."""

    name: str
    account: str = ACCOUNT
    external_id: str | None = None
    allow: Allow = None
    principals: tuple[str, ...] = ("*",)
    session_ms: int | None = None

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.account}:role/{self.name}"


@dataclass
class Session:
    """Credentials of a role."""

    role: Role
    name: str
    expires: int
    key: str = field(default_factory=lambda: "ASIA" + secrets.token_hex(8).upper())
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(30))
    token: str = field(default_factory=lambda: secrets.token_urlsafe(60))

    @property
    def arn(self) -> str:
        return f"arn:aws:sts::{self.role.account}:assumed-role/{self.role.name}/{self.name}"

    @property
    def expired(self) -> bool:
        return world_ms() >= self.expires


@dataclass
class Key:
    """A long-lived access key, until it is taken away."""

    id: str
    allow: Allow = None
    valid: bool = True


@dataclass(frozen=True)
class Caller:
    """The one behind a call: its name in the ledger, its ARN, and what it may do."""

    name: str
    arn: str
    account: str
    user_id: str
    allow: Allow


class Callers:
    """Everybody that is known."""

    def __init__(self) -> None:
        self.roles: dict[str, Role] = {}
        self.keys: dict[str, Key] = {}
        self._sessions: dict[str, Session] = {}

    def session_of(self, call: Call) -> Session | None:
        """The session whose credentials signed the call."""
        return self._sessions.get(call.access_key)

    def of(self, call: Call) -> Caller:
        """The one who calls; keys that nobody registered are anonymous and may do everything."""
        session, key = self.session_of(call), self.keys.get(call.access_key)
        if session is not None:
            role, user_id = session.role, f"AROA{session.role.name.upper()}:{session.name}"
            return Caller(f"role/{role.name}", session.arn, role.account, user_id, role.allow)
        if key is not None:
            return Caller(f"key/{key.id}", user_arn(key.id), ACCOUNT, f"AIDA{key.id}", key.allow)
        return Caller("anonymous key", user_arn("anonymous"), ACCOUNT, "AIDAANONYMOUS", None)

    def put_role(self, role: Role) -> Role:
        """Makes a role or changes it; sessions that are open follow the change."""
        known = self.roles.setdefault(role.name, role)
        known.account, known.external_id, known.allow = role.account, role.external_id, role.allow
        known.principals, known.session_ms = role.principals, role.session_ms
        return known

    def drop_role(self, name: str) -> bool:
        """Takes a role away; its sessions may do nothing more."""
        gone = self.roles.pop(name, None)
        if gone is not None:
            gone.allow = ()
        return gone is not None

    def begin_session(self, role: Role, name: str, seconds: int) -> Session:
        """Hands out credentials."""
        length = seconds * 1000 if role.session_ms is None else role.session_ms
        session = Session(role, name, world_ms() + length)
        self._sessions[session.key] = session
        return session


def user_arn(name: str) -> str:
    """The user to whom a key belongs."""
    return f"arn:aws:iam::{ACCOUNT}:user/{name}"
