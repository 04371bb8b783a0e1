"""XMP: the properties of an XML packet (ISO 16684-1).

Only simple properties and lists of them are read and written, in the descriptions at the top of a packet.
"""

import re
from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element, ParseError, XMLParser
from xml.sax.saxutils import escape

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_NAMESPACES = {
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://ns.adobe.com/exif/1.0/aux/": "aux",
    "http://cipa.jp/exif/1.0/": "exifEX",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
}
"""Address of a namespace -> its usual prefix."""
_MARKUP = re.compile(r"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_START = re.compile(r"<((?:\w{1,20}:)?(?:x[am]pmeta|RDF))\b")
Properties = Mapping[str, tuple[str, ...]]
"""Name of a property with its usual prefix, as in `dc:subject` -> its values."""


def read(packet: bytes) -> Properties:
    """Return the properties of a packet; none if the packet is damaged.

    A packet with entities is refused, because entities can grow without a bound.
    """
    text = _decoded(packet)
    if _MARKUP.search(text):
        return {}
    parser = XMLParser()  # noqa: S314 - entities are refused above
    try:
        parser.feed(text)
        root = parser.close()
    except (ParseError, ValueError, LookupError):
        return {}
    found: dict[str, tuple[str, ...]] = {}
    top = root if root.tag == f"{_RDF}RDF" else root.find(f"{_RDF}RDF")
    for description in () if top is None else top.findall(f"{_RDF}Description"):
        for name, values in _properties(description):
            found.setdefault(name, values)
    return found


def write(properties: Properties) -> str:
    """Return a packet with these properties. Their names are prefixed as `read` returns them.

    A value of `dc:subject` is an item of a list without order; any other property has one value. The values hold only
    characters that XML can have.
    """
    used = {name.partition(":")[0] for name in properties}
    spaces = "".join(f' xmlns:{prefix}="{address}"' for address, prefix in _NAMESPACES.items() if prefix in used)
    lines = [f"   <{name}>{_element(name, values)}</{name}>\n" for name, values in properties.items()]
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        f' <rdf:RDF xmlns:rdf="{_RDF[1:-1]}">\n'
        f'  <rdf:Description rdf:about=""{spaces}>\n'
        f"{''.join(lines)}"
        "  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n"
    )


def _element(name: str, values: tuple[str, ...]) -> str:
    if name != "dc:subject":
        return escape(values[0])
    return f"<rdf:Bag>{''.join(f'<rdf:li>{escape(value)}</rdf:li>' for value in values)}</rdf:Bag>"


def _decoded(packet: bytes) -> str:
    """Return the XML element of a packet, without what programs put before and behind it; "" if there is none."""
    encoding = "utf-8"
    if b"<\0" in packet[:64]:
        encoding = "utf-16-le" if packet.find(b"<\0") % 2 == 0 else "utf-16-be"
    elif b"\0<" in packet[:64]:
        encoding = "utf-16-be"
    text = packet.decode(encoding, "replace")
    start = _START.search(text)
    end = -1 if start is None else text.find(f"</{start[1]}", start.end())
    return "" if start is None or end < 0 else text[start.start() : text.find(">", end) + 1]


def _properties(description: Element) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, value in description.attrib.items():
        if known := _known(name):
            yield known, (value,)
    for element in description:
        if known := _known(element.tag):
            items = [item.text or "" for items in element for item in items.findall(f"{_RDF}li")]
            yield known, tuple(items) if items else (element.text or "",)


def _known(name: str) -> str | None:
    """Return the name of a property with the prefix of its namespace; None in an unknown namespace."""
    namespace, _, local = name.removeprefix("{").rpartition("}")
    prefix = _NAMESPACES.get(namespace)
    return None if prefix is None else f"{prefix}:{local}"
