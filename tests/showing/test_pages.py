"""`pages`: one file that shows a report, whatever the names of the files."""

import html.parser
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from retrieval.errors import StorageError
from retrieval.showing import pages
from retrieval.showing.report import Card, Report, Section
from tests.showing.conftest import HOSTILE


class Read(html.parser.HTMLParser):
    """The elements of a page, as a browser reads them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements(text: str, name: str) -> list[dict[str, str | None]]:
    return [attributes for tag, attributes in Read(text).found if tag == name]


def test_all_pictures_are_in_the_file_and_nothing_else_is_asked_for(report: Report, tmp_path: Path) -> None:
    written = pages.write(report, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert written == (3, 0, (tmp_path / "page.html").stat().st_size)
    sources = [image["src"] or "" for image in elements(text, "img") if "src" in image]
    assert len(sources) == 3
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not elements(text, "link")
    assert all("src" not in script for script in elements(text, "script"))
    assert "torn.png" in text
    assert "cannot be used: damaged PNG" in text


def test_names_and_words_are_text(report: Report, tmp_path: Path) -> None:
    pages.write(report, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert not any("onerror" in image for image in elements(text, "img"))
    assert not elements(text, "b")
    assert len(elements(text, "script")) == 1
    assert r"&lt;img src=x onerror=alert(1)&gt;\n\x1b[31m&#34;&#39;&amp;.png" in text
    assert "\x1b" not in text


def test_a_policy_allows_this_script_and_no_other(report: Report, tmp_path: Path) -> None:
    pages.write(report, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    (policy,) = [meta["content"] or "" for meta in elements(text, "meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert len(re.findall(r"'sha256-[A-Za-z0-9+/]{43}='", policy)) == 2
    assert "unsafe" not in policy
    names = {name for _, attributes in Read(text).found for name in attributes}
    assert not {name for name in names if name == "style" or name.startswith("on")}, "the policy would refuse them"


def test_a_page_that_would_be_too_large_says_what_it_leaves_out(cards: list[Card], tmp_path: Path) -> None:
    report = Report(title="Many", sections=[Section(title="", cards=cards[:1] * 50)])
    written = pages.write(report, tmp_path / "page.html", most=10_000)
    assert written.pictures + written.left_out == 50
    assert 0 < written.pictures < 50
    assert f"{written.left_out} more pictures are left out" in (tmp_path / "page.html").read_text()


def test_a_file_that_cannot_be_written_is_said(report: Report, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        pages.write(report, tmp_path / "nowhere" / "page.html")


# -- in a browser -------------------------------------------------------------------------------------------------


def opened(page: Any, report: Report, tmp_path: Path) -> Any:
    pages.write(report, tmp_path / "page.html")
    page.goto((tmp_path / "page.html").as_uri())
    return page


def test_the_filter_hides_what_has_not_all_words(page: Any, report: Report, tmp_path: Path) -> None:
    opened(page, report, tmp_path)
    assert page.locator(".card:visible").count() == 4
    page.keyboard.press("/")
    page.keyboard.type("SCORE 0.1")
    assert page.locator(".card:visible .name").all_text_contents() == ["b.jpg"]
    assert page.locator("#count").text_content() == "1 of 4 pictures"
    page.locator("#filter").fill("")
    assert page.locator(".card:visible").count() == 4


def test_the_viewer_shows_and_compares_pictures_by_keys(page: Any, report: Report, tmp_path: Path) -> None:
    opened(page, report, tmp_path)
    page.locator(".card .picture").nth(1).click()
    stage = page.locator("#viewer .stage")
    assert page.locator("#viewer").is_visible()
    assert page.locator("#viewer .said").text_content() == "b.jpg · score 0.1"
    for key, mode in {"b": "beside", "f": "flicker", "d": "difference"}.items():
        page.keyboard.press(key)
        assert stage.get_attribute("data-mode") == mode
    page.keyboard.press("d")
    assert stage.get_attribute("data-mode") == "alone"
    page.keyboard.press("ArrowRight")
    assert "onerror=alert(1)" in (page.locator("#viewer .said").text_content() or "")
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()


def test_a_picture_has_no_difference_from_itself(page: Any, cards: list[Card], tmp_path: Path) -> None:
    twice = Report(title="Twice", sections=[Section(title="", lead=cards[0], cards=cards[:1])])
    opened(page, twice, tmp_path)
    page.locator(".card .picture").nth(1).click()
    page.keyboard.press("d")
    page.locator("#viewer .stage").screenshot(path=tmp_path / "stage.png")
    with Image.open(tmp_path / "stage.png") as image:
        inner = image.convert("RGB").crop((4, 4, image.width - 4, image.height - 4))  # without the edge of the dialog
    assert max(high for _, high in inner.getextrema()) == 0


def test_a_map_shows_the_picture_at_the_pointer(page: Any, cards: list[Card], tmp_path: Path) -> None:
    places = [(-1.0, -1.0), (1.0, 1.0), (0.0, 0.0)]
    report = Report(title="Map", sections=[Section(title="", cards=cards[:3])], points=places)
    opened(page, report, tmp_path)
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert HOSTILE[:10] in page.locator(".map .label").text_content()
    page.locator("#map").click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    assert page.locator("#viewer").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(browser: Any, report: Report, tmp_path: Path, scheme: str) -> None:
    pages.write(replace(report, summary=["A sentence."]), tmp_path / "page.html")
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    for selector in ("h1", "header p", ".card .name", ".card p:last-child", ".mark"):
        if page.locator(selector).count():
            assert contrast(page.locator(selector).first) >= 4.5, selector
    context.close()


def contrast(element: Any) -> float:
    """The contrast of an element's text with what is behind it, by WCAG 2.1."""
    colours = element.evaluate(
        """element => {
            let behind = element;
            while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
            return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
        }"""
    )
    bright, dark = sorted((luminance(colour) for colour in colours), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
