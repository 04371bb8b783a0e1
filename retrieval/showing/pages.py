"""A report as one HTML file that needs nothing else: no other file, no network, no server.

The pictures, the style and the script are in the file. A policy in it lets a browser run this script and no other, so
that nothing in the name of a file is ever more than text.
"""

import base64
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from retrieval.disk.files import disk_errors, replacing
from retrieval.showing.report import Card, Report, Section
from retrieval.showing.small import Small, small
from retrieval.types import displayed

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

STATIC = Path(__file__).with_name("static")
MOST_BYTES = 25_000_000
"""Largest size of all pictures of a page, in bytes: about 2,500 pictures. A browser opens that in a second or two."""
AT_A_TIME = 256
"""Number of thumbnails that are made at a time."""
SHARES = 20
RATIOS = range(6, 121)
"""Widths of pictures for which the style has a rule, in `SHARES` of their height. Others get the nearest one."""


class Written(NamedTuple):
    """A page that was written."""

    pictures: int
    """Number of pictures in it."""
    left_out: int
    """Number of pictures that would have made it too large."""
    bytes: int
    """Size of the file, in bytes."""


class Shown(NamedTuple):
    """A card as the template takes it."""

    name: str
    place: str
    """The path, for a person."""
    url: str
    source: str
    """The thumbnail as an address; empty if there is none."""
    width: int
    height: int
    ratio: int
    """Width of the picture, in `SHARES` of its height."""
    why: str
    """Why there is no thumbnail."""
    mark: str
    lines: tuple[str, ...]


def write(report: Report, path: Path, most: int = MOST_BYTES) -> Written:
    """Write a report to a file, in place of what is there. Raises `StorageError` if it cannot be written.

    Pictures of which the thumbnails take more than `most` bytes together are left out, the last ones first; the page
    says how many.
    """
    shown, left_out = _shown(report, most)
    text = _page(report, shown, left_out)
    data = text.encode("utf-8", "backslashreplace")
    with disk_errors(), replacing(path, durable=False) as file:
        file.write(data)
    return Written(sum(bool(card.source) for card in shown.values()), left_out, len(data))


def _shown(report: Report, most: int) -> tuple[dict[int, Shown], int]:
    """Return the cards that fit, by their number in the report, and the number of those that do not."""
    cards = list(_cards(report))
    found: dict[int, Shown] = {}
    size = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for start in range(0, len(cards), AT_A_TIME):
            for number, picture in enumerate(threads.map(small, cards[start : start + AT_A_TIME]), start):
                size += len(picture.jpeg) * 4 // 3
                if size > most:
                    return found, len(cards) - number
                found[number] = _card(cards[number], picture)
    return found, 0


def _cards(report: Report) -> Iterator[Card]:
    for section in report.sections:
        if section.lead is not None:
            yield section.lead
        yield from section.cards


def _card(card: Card, picture: Small) -> Shown:
    data = base64.b64encode(picture.jpeg).decode()
    ratio = round(SHARES * picture.width / picture.height)
    return Shown(
        name=displayed(card.path.name),
        place=displayed(card.path),
        url="file://" + quote(os.fsencode(card.path)),
        source=f"data:image/jpeg;base64,{data}" if data else "",
        width=picture.width,
        height=picture.height,
        ratio=min(max(ratio, RATIOS[0]), RATIOS[-1]),
        why=picture.why,
        mark=card.mark,
        lines=tuple(map(displayed, card.lines)),
    )


def _page(report: Report, shown: dict[int, Shown], left_out: int) -> str:
    number = 0
    sections = []
    for section in report.sections:
        count = len(section.cards) + (section.lead is not None)
        cards = [shown[at] for at in range(number, number + count) if at in shown]
        lead = cards.pop(0) if section.lead is not None and cards else None
        sections.append((section, lead, cards))
        number += count
    style = style_sheet()
    script = "".join(map(static, ("viewer.js", *(["map.js"] if report.points else []), "report.js")))
    return template("report.html").render(
        title=displayed(report.title),
        summary=map(displayed, report.summary),
        sections=[section for section in sections if _has_content(section)],
        left_out=left_out,
        points=_points(report),
        style=_as_is(style),
        script=_as_is(script),
        policy="; ".join([
            "default-src 'none'", "img-src data:", f"style-src '{_digest(style)}'", f"script-src '{_digest(script)}'",
        ]),
    )  # fmt: skip


def _points(report: Report) -> dict[str, list[float] | list[str]]:
    """Return the points of a map as the script reads them; none if there is no map."""
    if not report.points:
        return {}
    xs, ys = zip(*report.points, strict=True)
    names = [displayed(card.path.name) for card in _cards(report)]
    return {"xs": [round(x, 5) for x in xs], "ys": [round(y, 5) for y in ys], "names": names}


def _has_content(part: tuple[Section, Shown | None, list[Shown]]) -> bool:
    section, lead, cards = part
    return bool(lead or cards or section.facts or section.note)


def _digest(text: str) -> str:
    """Return the digest by which a policy names a script or a style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _as_is(text: str) -> "Markup":
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - a file of this package


# -- templates ----------------------------------------------------------------------------------------------------


@cache
def environment() -> "jinja2.Environment":
    """Return the templates. Whatever is put into them is escaped."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("retrieval.showing"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def template(name: str) -> "jinja2.Template":
    """Return a template by its name."""
    return environment().get_template(name)


@cache
def static(name: str) -> str:
    """Return the text of a style or a script."""
    return (STATIC / name).read_text("utf-8")


@cache
def style_sheet() -> str:
    """Return the style, with a rule for each shape of a picture."""
    rules = (f".r{ratio} {{ flex: {ratio} 1 calc({ratio / SHARES} * var(--row)); }}" for ratio in RATIOS)
    return static("page.css") + "\n".join(rules) + "\n"
