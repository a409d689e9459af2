"""A server that answers yes and keeps less: it drops named elements from the documents it is sent."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from .wish import BadWish

SETTING = "TransitionDefaultMinimumObjectSize"
_NAME = re.compile(r"[A-Za-z]+")
_AND = re.compile(rb"<And>(.*?)</And>", re.DOTALL)


def named(fields: list[object]) -> frozenset[str]:
    """The names of what is dropped."""
    names = [str(field) for field in fields]
    strange = [name for name in names if not _NAME.fullmatch(name)]
    if strange:
        raise BadWish(f"{strange[0]!r} is not the name of an element")
    return frozenset(names)


def lessened(document: bytes, drops: frozenset[str]) -> bytes:
    """The document without these elements, everything else byte for byte."""
    for name in sorted(drops - {SETTING}):
        element = name.encode()
        document = re.sub(
            rb"<" + element + rb"(?:\s[^>]*)?(?:/>|(?<!/)>.*?</" + element + rb"\s*>)", b"", document, flags=re.DOTALL
        )
    return _AND.sub(_without_group, document) if drops else document


def _without_group(group: re.Match[bytes]) -> bytes:
    """One condition stands without And, and AWS would refuse an And around it."""
    conditions = len(ElementTree.fromstring(group.group(0)))
    return group.group(0) if conditions > 1 else group.group(1)
