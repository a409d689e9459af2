"""AWS's checks of a lifecycle document as a whole: its shape and the rules' ids."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from .call import Refusal
from .lifecycle_actions import check_actions
from .lifecycle_filter import scope_of
from .lifecycle_xml import malformed, name_of, only, text_of

MAX_RULES = 1000
MAX_ID = 255

_ONCE = (
    "ID", "Prefix", "Filter", "Status", "Expiration", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload",
)  # fmt: skip


def validate(document: bytes) -> None:
    """Raises AWS's refusal of a document that AWS would not store. Unknown elements in a rule are let be."""
    seen: set[str] = set()
    for rule in _rules(document):
        for name in _ONCE:
            only(rule, name)
        if text_of(only(rule, "Status")) not in ("Enabled", "Disabled"):
            raise malformed("Status must be Enabled or Disabled")
        scope = scope_of(rule)
        _check_id(text_of(only(rule, "ID")), seen)
        check_actions(rule, scope)


def _rules(document: bytes) -> list[Element]:
    if b"<!DOCTYPE" in document or b"<!ENTITY" in document:
        raise malformed("a document type is not allowed")
    try:
        root = ElementTree.fromstring(document)
    except (ElementTree.ParseError, ValueError, LookupError) as problem:
        raise malformed(str(problem)) from None
    if name_of(root) != "LifecycleConfiguration":
        raise malformed(f"the root is {name_of(root)}, not LifecycleConfiguration")
    strange = [name_of(child) for child in root if name_of(child) != "Rule"]
    if strange:
        raise malformed(f"{strange[0]} is not a Rule")
    if not 1 <= len(root) <= MAX_RULES:
        raise malformed(f"{len(root)} rules: 1 to {MAX_RULES} are allowed")
    return list(root)


def _check_id(rule_id: str, seen: set[str]) -> None:
    if not rule_id:
        return  # AWS invents one
    if len(rule_id) > MAX_ID:
        raise Refusal(400, "InvalidArgument", f"ID length should not exceed allowed limit of {MAX_ID}")
    if rule_id in seen:
        raise Refusal(
            400, "InvalidArgument", f"Rule ID must be unique. Found same ID for more than one rule ({rule_id})"
        )
    seen.add(rule_id)
