"""The pages by axe: people who do not see, or use no mouse, can work with them."""

from typing import Any

import pytest

from tests.serving.conftest import Server

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")


def faults(page: Any) -> list[str]:
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(browser: Any, server: Server, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # axe is put into the page
    page = context.new_page()
    page.goto(server.url)
    page.locator(".tile").first.wait_for()
    assert not faults(page)
    page.locator(".tile").first.click()
    assert not faults(page)
    page.goto(server.url + "/duplicates")
    page.locator("#look").click()
    page.locator("#review").wait_for()
    assert not faults(page)
    for address in ("/map", "/overview"):
        page.goto(server.url + address)
        page.wait_for_load_state("networkidle")
        assert not faults(page)
    context.close()
