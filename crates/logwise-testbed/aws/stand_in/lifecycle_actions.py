"""AWS's checks of what a lifecycle rule does, and when."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from itertools import pairwise
from xml.etree.ElementTree import Element

from .call import Refusal
from .lifecycle_filter import Scope
from .lifecycle_xml import children, malformed, number, only, text_of

_ACTIONS = (
    "Expiration", "Transition", "NoncurrentVersionExpiration", "NoncurrentVersionTransition",
    "AbortIncompleteMultipartUpload",
)  # fmt: skip

_ARCHIVES = {"GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"}
_INFREQUENT = {"STANDARD_IA", "ONEZONE_IA"}
# The waterfall: where an object may still go from each class.
_ONWARD: dict[str, set[str]] = {
    "STANDARD_IA": {"INTELLIGENT_TIERING", "ONEZONE_IA", *_ARCHIVES},
    "INTELLIGENT_TIERING": {"ONEZONE_IA", *_ARCHIVES},
    "ONEZONE_IA": {"GLACIER", "DEEP_ARCHIVE"},
    "GLACIER_IR": {"GLACIER", "DEEP_ARCHIVE"},
    "GLACIER": {"DEEP_ARCHIVE"},
    "DEEP_ARCHIVE": set(),
}
_MONTH = 30

# A count of days, or a date as the number of its day: two of one kind can be compared.
Step = tuple[int, str]


def _invalid(message: str) -> Refusal:
    return Refusal(400, "InvalidArgument", message)


def _request(message: str) -> Refusal:
    return Refusal(400, "InvalidRequest", message)


def check_actions(rule: Element, scope: Scope) -> None:
    """Raises AWS's refusal of a rule whose actions AWS would not take."""
    if not children(rule, *_ACTIONS):
        raise _request("At least one action needs to be specified in a rule")
    _check_current(rule, scope)
    _check_noncurrent(rule, scope)
    abort = only(rule, "AbortIncompleteMultipartUpload")
    if abort is not None:
        days = number(abort, "DaysAfterInitiation")
        if days is None:
            raise malformed("AbortIncompleteMultipartUpload without DaysAfterInitiation")
        if days < 1:
            raise _invalid("'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer")
        if scope.by_tag:
            raise _request("AbortIncompleteMultipartUpload cannot be specified with Tags.")
        if scope.by_size:
            raise _request("AbortIncompleteMultipartUpload cannot be specified with object size.")


def _check_current(rule: Element, scope: Scope) -> None:
    kinds: set[str] = set()
    steps: list[Step] = []
    for transition in children(rule, "Transition"):
        kind, when = _when(transition, "Transition")
        if kind is None:
            raise malformed("a Transition has either Days or Date")
        kinds.add(kind)
        steps.append((when, _storage_class(transition)))
    expiration = only(rule, "Expiration")
    end: int | None = None
    if expiration is not None:
        kind, when = _when(expiration, "Expiration")
        _check_marker(expiration, kind, scope)
        if kind is not None:
            kinds.add(kind)
            end = when
    if len(kinds) > 1:
        raise _request(
            "Found mixed 'Date' and 'Days' based Expiration and Transition actions in lifecycle rule for"
            f" prefix '{scope.prefix}'"
        )
    _check_steps(steps, kinds == {"Days"}, "Days", scope)
    if end is not None and any(when >= end for when, _ in steps):
        raise _invalid(
            f"'{kinds.pop()}' in the Expiration action for filter '(prefix={scope.prefix})' must be greater than"
            " the one in the Transition action"
        )


def _check_marker(expiration: Element, kind: str | None, scope: Scope) -> None:
    marker = only(expiration, "ExpiredObjectDeleteMarker")
    if (marker is None) == (kind is None):
        raise malformed("an Expiration has exactly one of Days, Date and ExpiredObjectDeleteMarker")
    if marker is None:
        return
    if text_of(marker) not in ("true", "false"):
        raise malformed("ExpiredObjectDeleteMarker must be true or false")
    if scope.by_tag:
        raise _request("ExpiredObjectDeleteMarker cannot be specified with Tags.")


def _check_noncurrent(rule: Element, scope: Scope) -> None:
    steps: list[Step] = []
    for transition in children(rule, "NoncurrentVersionTransition"):
        steps.append((_noncurrent_days(transition, "NoncurrentVersionTransition", 0), _storage_class(transition)))
    _check_steps(steps, True, "NoncurrentDays", scope)
    expiration = only(rule, "NoncurrentVersionExpiration")
    if expiration is None:
        return
    end = _noncurrent_days(expiration, "NoncurrentVersionExpiration", 1)
    if any(when >= end for when, _ in steps):
        raise _invalid(
            f"'NoncurrentDays' in the NoncurrentVersionExpiration action for filter '(prefix={scope.prefix})' must be"
            " greater than 'NoncurrentDays' in the NoncurrentVersionTransition action"
        )


def _noncurrent_days(action: Element, name: str, least: int) -> int:
    days, newer = number(action, "NoncurrentDays"), number(action, "NewerNoncurrentVersions")
    if days is None or days < least:
        kind = "a positive" if least else "a nonnegative"
        raise _invalid(f"'NoncurrentDays' for {name} action must be {kind} integer")
    if newer is not None and not 1 <= newer <= 100:
        raise _invalid(f"'NewerNoncurrentVersions' for {name} action must be from 1 to 100")
    return days


def _storage_class(transition: Element) -> str:
    name = text_of(only(transition, "StorageClass"))
    if name not in _ONWARD:
        raise malformed(f"{name!r} is no storage class to move to")
    return name


def _when(action: Element, name: str) -> tuple[str | None, int]:
    """`Days` or `Date` with its number; None when the action has neither."""
    days, on = number(action, "Days"), only(action, "Date")
    if days is not None and on is not None:
        raise malformed(f"{name} has both Days and Date")
    if on is not None:
        return "Date", _midnight(text_of(on)).toordinal()
    if days is not None and days < (1 if name == "Expiration" else 0):
        kind = "a positive integer" if name == "Expiration" else "nonnegative"
        raise _invalid(f"'Days' for {name} action must be {kind}")
    return ("Days", days) if days is not None else (None, 0)


def _midnight(text: str) -> date:
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(T.*)?", text):
            raise ValueError(text)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise malformed(f"{text!r} is no ISO 8601 date") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if (moment.hour, moment.minute, moment.second, moment.microsecond) != (0, 0, 0, 0):
        raise _invalid("'Date' must be at midnight GMT")
    return moment.date()


def _check_steps(steps: list[Step], in_days: bool, field: str, scope: Scope) -> None:
    if len({name for _, name in steps}) < len(steps):
        raise _request(
            f"'StorageClass' must be different for transition actions in same 'Rule' with prefix '{scope.prefix}'"
        )
    for when, name in steps:
        if in_days and name in _INFREQUENT and when < _MONTH:
            raise _invalid(
                f"'{field}' in Transition action must be greater than or equal to 30 for storageClass '{name}'"
            )
    ordered = sorted(steps)
    for (earlier, first), (later, then) in pairwise(ordered):
        gap = _MONTH if first in _INFREQUENT and then in _ARCHIVES else 1
        if then not in _ONWARD[first] or later - earlier < gap:
            raise _invalid(
                f"'{field}' in the transition action for StorageClass '{then}' for filter '(prefix={scope.prefix})'"
                f" must come {gap} day(s) or more after '{first}', and objects must be able to move on from it"
            )
