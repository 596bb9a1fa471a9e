"""The StyleCLIP tab in a real browser: a sample, alpha dragged, accept and undo, the optimizer's way."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser import beyond_the_window
from tests.browser.test_walk import button, drag

pytestmark = pytest.mark.browser


def shown(page, technique: str, name: str = "edited"):
    return page.locator(f"#styleclip_{technique}-{name} img")


def test_a_newcomer_picks_drags_accepts_undoes_and_scrubs(visit):
    page = visit()
    page.get_by_role("tab", name="StyleCLIP").click()
    expect(page.locator("#styleclip-gallery [data-cell]")).to_have_count(12)
    page.get_by_role("button", name="Pick seed 5").click()
    expect(page.locator("#styleclip-seed input")).to_have_value("5")
    expect(page.locator("#styleclip-latent")).to_contain_text("seed 5")

    drag(page, "Beta β", 0.05)
    page.locator("#styleclip_directions-edit").click()
    expect(shown(page, "directions")).to_be_visible()
    expect(page.locator("#styleclip_directions-bars svg")).to_be_visible()
    first = shown(page, "directions").get_attribute("src")
    slider = page.get_by_role("slider", name=re.compile("Alpha")).first
    slider.focus()
    slider.press("ArrowRight")
    slider.dispatch_event("pointerup")
    expect(shown(page, "directions")).not_to_have_attribute("src", first)

    button(page, "Accept, and go on from here").click()
    expect(page.locator("#styleclip_directions-chain")).to_contain_text("a person → a surprised person")
    expect(page.get_by_label("number input for Alpha α")).to_have_value("0")
    button(page, "Undo the last accepted").click()
    chain = page.locator("#styleclip_directions-chain")
    expect(chain).not_to_contain_text("a surprised person")
    expect(page.get_by_label("number input for Alpha α")).not_to_have_value("0")

    page.get_by_role("tab", name="Optimizer").click()
    page.locator("#styleclip_optimizer-prompt textarea, #styleclip_optimizer-prompt input").fill("a sad man")
    page.locator("#styleclip_optimizer-edit").click()
    expect(page.locator("#styleclip_optimizer-path [data-cell]")).to_have_count(4)
    last = shown(page, "optimizer").get_attribute("src")
    page.get_by_role("button", name="Go to step 1").click()
    expect(page.get_by_label("number input for Position")).to_have_value(re.compile(r"^0\.33"))
    expect(shown(page, "optimizer")).not_to_have_attribute("src", last)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_the_tab_without_sideways_scrolling(visit, theme):
    page = visit(390, theme)
    page.get_by_role("button", name="More tabs").first.click()
    page.get_by_role("button", name="StyleCLIP").click()
    expect(page.locator("#styleclip-gallery [data-cell]")).to_have_count(12)
    drag(page, "Beta β", 0.05)
    page.locator("#styleclip_directions-edit").click()
    expect(shown(page, "directions")).to_be_visible()
    assert beyond_the_window(page) == []
