"""One AWS call, what may be answered to it, and a typed refusal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Environ = dict[str, Any]


@dataclass
class Call:
    """A call as understood from its HTTP request."""

    environ: Environ
    body: bytes
    service: str
    region: str
    wire: str  # "s3", "ec2", "query", "json" or "rest-json": decides how an error is written
    action: str
    params: dict[str, Any] = field(default_factory=dict)
    resources: tuple[str, ...] = ()
    mutating: bool = True
    access_key: str = ""
    caller: str = "anonymous key"
    fault: str | None = None  # what was wrong with the answer, if no rule made it so

    @property
    def method(self) -> str:
        return str(self.environ["REQUEST_METHOD"])

    def header(self, name: str) -> str | None:
        """The value of a request header; `name` in lower case with dashes."""
        key = name.upper().replace("-", "_")
        value = self.environ.get(key if key == "CONTENT_TYPE" else f"HTTP_{key}")
        return None if value is None else str(value)

    def numbered(self, prefix: str, suffix: str = "") -> list[str]:
        """Values of a flattened list: `InstanceIds.member` gives `.1`, `.2` and so on."""
        values: list[str] = []
        while (value := self.params.get(f"{prefix}.{len(values) + 1}{suffix}")) is not None:
            values.append(str(value))
        return values


@dataclass
class Reply:
    """An HTTP answer; `code` is the AWS error code as the ledger shows it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    code: str | None = None


class Refusal(Exception):
    """AWS would not do this: its status, code and message."""

    def __init__(self, status: int, code: str, message: str, ledger_code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.ledger_code = ledger_code or code
