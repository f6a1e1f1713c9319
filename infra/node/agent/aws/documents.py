"""Read and write the XML documents of S3."""

from __future__ import annotations

from typing import Iterable, Iterator, Mapping
from xml.etree import ElementTree
from xml.sax.saxutils import escape


def parse(body: bytes) -> ElementTree.Element:
    """Return a document; an empty one if it is none."""
    try:
        return ElementTree.fromstring(body.strip())  # noqa: S314  expat limits what entities can do, and this is S3's answer
    except ElementTree.ParseError:
        return ElementTree.Element("")


def fields_of(element: ElementTree.Element) -> dict[str, str]:
    """Return the texts below an element by their names, without namespaces."""
    return {local_name(each): each.text or "" for each in element}


def read_fields(body: bytes) -> dict[str, str]:
    """Return the texts of a document by their names."""
    return fields_of(parse(body))


def read_rows(body: bytes, name: str) -> Iterator[dict[str, str]]:
    """Yield the fields of each element of this name below a document."""
    for each in parse(body):
        if local_name(each) == name:
            yield fields_of(each)


def local_name(element: ElementTree.Element) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def write_parts(parts: Iterable[Mapping[str, str]]) -> bytes:
    """Return the document that completes an upload."""
    rows = ("".join(f"<{name}>{escape(text)}</{name}>" for name, text in part.items()) for part in parts)
    inner = "".join(f"<Part>{row}</Part>" for row in rows)
    return f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</CompleteMultipartUpload>'.encode()
