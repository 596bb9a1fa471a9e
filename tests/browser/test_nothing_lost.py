"""What a visitor has made is found again: after a reload, by a link, in the history, as the next source."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.test_walk import PROMPT, at_rest, drag, edit, give

pytestmark = pytest.mark.browser


def opened(page, name: str):
    return expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")


def open_history(page, number: int) -> None:
    page.locator("#history > button").click()
    page.wait_for_timeout(1000)  # until the page has kept the visit by a button of its own
    expect(page.locator("#history [data-cell]")).to_have_count(number)


def test_nothing_is_lost(visit, picture):
    page, eta, edited = visit(), "number input for Eta", "#imagic-edited img"
    give(page, picture())
    drag(page, "Eta", 0.4)
    edit(page)
    expect(page.locator("#history")).to_contain_text("History (1)")
    expect(page).to_have_url(re.compile(r"tab=imagic&prompt=a\+smiling\+woman.*&eta=0\.4"))
    theirs, first = page.url, page.locator(edited).get_attribute("src")

    page.get_by_role("tab", name="Compare", exact=True).click()
    expect(page).to_have_url(re.compile(r"[?&]tab=compare$"))
    page.go_back()
    opened(page, "Imagic")
    page.go_forward()
    opened(page, "Compare")
    page.go_back()
    opened(page, "Imagic")

    page.get_by_role("slider", name=re.compile("Eta")).first.press("ArrowRight")  # edits again at once
    expect(page.locator(edited)).not_to_have_attribute("src", first)
    at_rest(page, "#imagic-edit-status")
    expect(page.locator("#history")).to_contain_text("History (2)")
    page.reload()
    expect(page.get_by_label(eta)).to_have_value("0.45")
    expect(page.locator("#imagic-prompt textarea")).to_have_value(PROMPT)
    expect(page.locator("#imagic-source img").first).to_be_visible()
    expect(page.locator(edited)).to_be_visible()

    open_history(page, 2)
    page.locator("#history [data-cell='1']").click()
    expect(page.locator(edited)).to_have_attribute("src", first)
    expect(page.get_by_label(eta)).to_have_value("0.4")
    expect(page.locator("#history [data-cell]").first).to_be_hidden()
    page.get_by_label("Use as source in which tab").locator("visible=true").click()
    page.get_by_role("option", name="in Compare").click()
    page.get_by_role("button", name="Use as source").locator("visible=true").click()
    opened(page, "Compare")
    expect(page.locator("#compare-source img").first).to_be_visible()

    other = visit()
    expect(other.locator("#history")).not_to_contain_text("(")
    other.goto(theirs + "&steps=100000")
    expect(other.locator("#imagic-prompt textarea")).to_have_value(PROMPT)
    expect(other.get_by_label(eta)).to_have_value("0.4")
    expect(other.locator("#recall-status")).to_contain_text("Left out of the link: Sampling steps")
    expect(other.locator("#imagic-source img")).to_have_count(0)
