"""AWS's checks of a lifecycle rule's filter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from .call import Refusal
from .lifecycle_xml import malformed, name_of, only, text_of

_SIZES = ("ObjectSizeGreaterThan", "ObjectSizeLessThan")


@dataclass(frozen=True)
class Scope:
    """What a rule's filter looks at besides the prefix."""

    prefix: str
    by_tag: bool
    by_size: bool


def scope_of(rule: Element) -> Scope:
    """The filter of a rule, if AWS takes it."""
    prefix, chosen = only(rule, "Prefix"), only(rule, "Filter")
    if (prefix is None) == (chosen is None):
        raise malformed("a rule has either Filter or Prefix")
    if chosen is None:
        return Scope(text_of(prefix), by_tag=False, by_size=False)
    both = only(chosen, "And")
    if len(chosen) > 1:
        raise malformed("a Filter with more than one condition needs And")
    conditions = list(both) if both is not None else list(chosen)
    if both is not None and len(conditions) < 2:
        raise malformed("And needs two conditions or more")
    _check_conditions(conditions)
    names = [name_of(condition) for condition in conditions]
    prefixes = [text_of(condition) for condition in conditions if name_of(condition) == "Prefix"]
    return Scope("".join(prefixes), "Tag" in names, any(size in names for size in _SIZES))


def _check_conditions(conditions: list[Element]) -> None:
    tags: set[str] = set()
    sizes: dict[str, int] = {}
    prefixes = 0
    for condition in conditions:
        name = name_of(condition)
        if name == "Tag":
            key, value = only(condition, "Key"), only(condition, "Value")
            if value is None or not text_of(key):
                raise malformed("a Tag has a Key and a Value")
            if text_of(key) in tags:
                raise Refusal(400, "InvalidRequest", "Duplicate Tag Keys are not allowed.")
            tags.add(text_of(key))
        elif name == "Prefix":
            prefixes += 1
        elif name in _SIZES:
            if name in sizes or not re.fullmatch(r"\d{1,18}", text_of(condition)):
                raise malformed(f"{name} is one number of bytes")
            sizes[name] = int(text_of(condition))
    if prefixes > 1:
        raise malformed("And has more than one Prefix")
    if len(sizes) == 2 and sizes["ObjectSizeGreaterThan"] >= sizes["ObjectSizeLessThan"]:
        raise Refusal(
            400, "InvalidRequest", "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'."
        )
