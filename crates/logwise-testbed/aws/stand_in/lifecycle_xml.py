"""Reading a lifecycle document: elements by name, with or without S3's namespace."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from .call import Refusal

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
MAX_NUMBER = 2**31 - 1


def malformed(why: str) -> Refusal:
    """AWS says only the first sentence; the second is for whoever reads a failed test."""
    text = "The XML you provided was not well-formed or did not validate against our published schema"
    return Refusal(400, "MalformedXML", f"{text}. ({why})")


def name_of(node: Element) -> str:
    """The element's name without S3's namespace."""
    return str(node.tag).removeprefix(NAMESPACE)


def children(node: Element, *names: str) -> list[Element]:
    """The children with one of these names."""
    return [child for child in node if name_of(child) in names]


def only(node: Element, name: str) -> Element | None:
    """The child with this name, which may be there once."""
    found = children(node, name)
    if len(found) > 1:
        raise malformed(f"{name} is there {len(found)} times")
    return found[0] if found else None


def text_of(node: Element | None) -> str:
    """The element's own text, without the space around it."""
    return "" if node is None or node.text is None else node.text.strip()


def number(node: Element, name: str) -> int | None:
    """The whole number in a child, or None when there is no such child."""
    child = only(node, name)
    if child is None:
        return None
    if not re.fullmatch(r"[+-]?\d{1,12}", text_of(child)) or int(text_of(child)) > MAX_NUMBER:
        raise malformed(f"{name} is not a number of 32 bits: {text_of(child)!r}")
    return int(text_of(child))
