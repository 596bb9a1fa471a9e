"""A result that was made with other settings than those set now is paler, and says so; in a real browser."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_walk import PROMPT, at_rest, drag, edit, give

pytestmark = pytest.mark.browser
SAID = "Made with other settings than those set now."


def test_a_result_is_paler_as_long_as_other_settings_are_set(visit, picture):
    page = visit()
    answer = page.locator("#imagic-edited").locator("xpath=ancestor::*[contains(@class,'answer')]")
    give(page, picture())
    edit(page)
    at_rest(page, "#imagic-edit-status")
    page.wait_for_timeout(500)  # several looks of the page
    expect(answer).not_to_contain_text(SAID)
    prompt = page.locator("#imagic-prompt textarea")
    prompt.fill("a sad woman")
    expect(answer).to_contain_text(SAID)
    assert float(answer.locator(".result").evaluate("one => getComputedStyle(one).opacity")) < 1
    prompt.fill(PROMPT)
    expect(answer).not_to_contain_text(SAID)
    drag(page, "Eta", 0.3)  # a slider that is let go edits again: nothing is old then
    at_rest(page, "#imagic-edit-status")
    expect(answer).not_to_contain_text(SAID)
    prompt.fill("a sad woman")
    expect(answer).to_contain_text(SAID)
    edit(page)
    at_rest(page, "#imagic-edit-status")
    expect(answer).not_to_contain_text(SAID)
