"""The page in a real browser, as a person uses it."""

import base64
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.organising.library import state_of
from tests.serving.conftest import Server

Open = Callable[[str], Any]


@pytest.fixture
def visit(page: Any, server: Server) -> Open:
    """Opens an address of the server."""

    def opened(address: str) -> Any:
        page.goto(server.url + address)
        return page

    return opened


def names(page: Any) -> list[str]:
    return page.locator(".tile .name").all_text_contents()


def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, for a minute at most."""
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.1)
    pytest.fail("it never came")


def first(page: Any, name: str) -> None:
    """Wait until the first result has a name."""
    page.locator(".tile[data-number='0'] .name").get_by_text(name, exact=True).wait_for()


def test_a_picture_is_chosen_and_the_address_keeps_the_question(visit: Open, library: Path) -> None:
    page = visit("/")
    first(page, "0.jpg")
    assert len(names(page)) == 15
    page.locator("#file").set_input_files(library / "photos/bus/half.img")
    first(page, "half.img")
    assert sorted(names(page)[:3]) == ["half.img", "mirrored.img", "original.jpg"]
    address = page.url
    page.locator("#parts button").click()
    first(page, "0.jpg")
    page.go_back()
    first(page, "half.img")
    page.goto(address)
    first(page, "half.img")


def test_a_picture_is_dropped_or_pasted(visit: Open, library: Path) -> None:
    data = base64.b64encode((library / "photos/sea/original.jpg").read_bytes()).decode()
    for kind, field in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page = visit("/")
        first(page, "0.jpg")
        page.evaluate(
            """([kind, field, data]) => {
                const bytes = Uint8Array.from(atob(data), one => one.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], 'x.jpg', {type: 'image/jpeg'}));
                const event = new Event(kind, {bubbles: true, cancelable: true});
                Object.defineProperty(event, field, {value: transfer});
                document.body.dispatchEvent(event);
            }""",
            [kind, field, data],
        )
        first(page, "original.jpg")
        assert "/sea/" in page.locator(".tile").first.get_attribute("title")


def test_a_file_that_is_no_picture_is_said(visit: Open, library: Path) -> None:
    (library / "words.jpg").write_bytes(b"no picture")
    page = visit("/")
    first(page, "0.jpg")
    page.locator("#file").set_input_files(library / "words.jpg")
    page.get_by_text("not a picture in a known format").wait_for()


def test_filters_are_completed_and_faults_are_said(visit: Open) -> None:
    page = visit("/")
    first(page, "0.jpg")
    page.locator("#where").fill("shape:l")
    page.locator("#terms li").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?where=shape%3Alandscape")
    page.locator("#where").fill("isoo:400")
    page.keyboard.press("Enter")
    page.get_by_text("isoo").wait_for()


def test_more_like_it_and_unlike_it_and_a_part_of_it(visit: Open) -> None:
    page = visit("/?where=path%3Asea")
    first(page, "jpeg.img")
    page.locator(".tile").first.click()
    page.keyboard.press("s")
    page.wait_for_url("**like=*")
    page.locator("#where").fill("")
    page.locator(".tile").nth(5).click()
    page.keyboard.press("-")
    page.wait_for_url("**unlike=*")
    assert page.locator("#parts li").count() == 2
    page.locator(".tile").first.click()
    page.locator(".stage .first").wait_for()
    page.wait_for_function("document.querySelector('.stage .first').naturalWidth > 0")
    page.keyboard.press("c")
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"], steps=3)
    page.mouse.up()
    page.wait_for_url("**crop=*")
    page.locator("#parts").get_by_text("a part").wait_for()


def test_a_review_by_keys_acts_and_undoes(visit: Open, server: Server, library: Path) -> None:
    before = state_of(library / "photos")
    page = visit("/duplicates")
    page.locator("#look").click()
    page.locator("#review").wait_for()
    page.locator("h1").click()
    counts = page.locator("#position")
    assert counts.text_content() == "0 of 2 groups decided"
    kept = page.locator("#files .name").first.text_content()
    page.keyboard.press("2")
    page.keyboard.press("1")
    assert page.locator("#files .mark").all_text_contents()[:2] == ["1 trash", "2 keep"]
    page.keyboard.press("2")
    assert page.locator("#files .mark").nth(1).text_content() == "2 keep", "the last one stays"
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    page.get_by_text("1 of 2 groups decided").wait_for()
    until(lambda: bool(server.client.get("/journal").json()))
    left = {os.path.basename(path).decode() for path in before.keys() & state_of(library / "photos").keys()}
    assert kept in left
    assert len(state_of(library / "photos")) < len(before)
    page.keyboard.press("n")
    page.get_by_text("2 of 2 groups decided").wait_for()
    page.keyboard.press("u")
    page.get_by_text("1 of 2 groups decided").wait_for()
    assert state_of(library / "photos") == before


def test_a_tier_is_accepted_at_once(visit: Open, library: Path) -> None:
    before = len(state_of(library / "photos"))
    page = visit("/duplicates")
    page.locator("#look").click()
    page.locator("#review").wait_for()
    tier = page.locator("#tier option").nth(1).get_attribute("value")
    page.locator("#tier").select_option(tier)
    page.locator("#accept-tier").click()
    page.get_by_text("in the trash.").wait_for()
    assert len(state_of(library / "photos")) < before


def test_the_map_shows_and_chooses_pictures(visit: Open) -> None:
    page = visit("/map")
    page.get_by_text("15 pictures", exact=True).wait_for(timeout=60_000)
    box = page.locator("#map").bounding_box()
    corners = [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99)]
    page.keyboard.down("Shift")
    for number, (x, y) in enumerate(corners):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if number == 0:
            page.mouse.down()
    page.mouse.up()
    page.keyboard.up("Shift")
    page.get_by_text("15 pictures chosen").wait_for()


def test_the_overview_updates_the_index(visit: Open, library: Path) -> None:
    (library / "photos/torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    page = visit("/overview")
    page.locator("#update").click()
    page.get_by_text("torn.png: ").wait_for()
    page.get_by_text("The index is up to date.").wait_for()


@pytest.fixture(params=["light", "dark", "phone"])
def view(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page in light, in dark, and as narrow as a phone."""
    wide = {"width": 390, "height": 800} if request.param == "phone" else {"width": 1200, "height": 800}
    context = browser.new_context(color_scheme="dark" if request.param == "dark" else "light", viewport=wide)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("address", ["/", "/duplicates", "/map", "/overview"])
def test_pages_fit_the_screen_and_name_everything(view: Any, server: Server, address: str) -> None:
    view.goto(server.url + address)
    view.wait_for_load_state("networkidle")  # with all that the page asks for
    wide = view.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1], "nothing sticks out"
    unnamed = view.evaluate(
        """[...document.querySelectorAll('button, input, select, a, img')].filter(one => {
            const label = one.labels?.[0]?.textContent ?? '';
            return one.checkVisibility()
                && !(one.textContent.trim() || one.ariaLabel || one.alt || label.trim() || one.alt === '');
        }).map(one => one.outerHTML)"""
    )
    assert not unnamed
