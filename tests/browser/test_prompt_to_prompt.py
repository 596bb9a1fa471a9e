"""The Null-text + Prompt-to-Prompt tab in a real browser: write a prompt, weigh a word, edit, look."""

import pytest
from playwright.sync_api import expect

from tests.browser import beyond_the_window

pytestmark = pytest.mark.browser
TAB = "#prompt_to_prompt-"


@pytest.mark.parametrize(("width", "theme"), [(1400, "light"), (390, "dark")])
def test_a_caption_is_rewritten_weighed_and_edited(visit, picture, width, theme):
    page = visit(width, theme)
    page.get_by_role("tab", name="Null-text + P2P").click()
    page.set_input_files(f"{TAB}source input[type=file]", picture())
    expect(page.locator(f"{TAB}source img").first).to_be_visible()
    page.get_by_role("button", name="Swap a word").click()
    expect(page.get_by_text("Write the source prompt first")).to_be_visible()
    page.locator(f"{TAB}source-prompt textarea, {TAB}source-prompt input").first.fill(
        "a smiling man with a red hat"
    )
    page.get_by_role("button", name="Swap a word").click()
    expect(page.locator(f"{TAB}prompt textarea")).to_have_value("a smiling man with a blue hat")
    expect(page.locator(f"{TAB}type")).to_contain_text("Read from the prompts: replace")

    slider = page.get_by_label("Weight of blue")
    expect(page.locator(f"{TAB}weights input[type=range]")).to_have_count(6)  # "a" stands there twice
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.locator(f"{TAB}weights label").nth(4)).to_contain_text("1.3")
    expect(slider).to_be_focused()
    expect(page.get_by_label("Word weights")).to_have_value("blue=1.3")

    page.locator(f"{TAB}edit").click()
    expect(page.locator(f"{TAB}edited img")).to_be_visible()
    expect(page.locator(f"{TAB}maps figure")).to_have_count(12)
    expect(page.locator("body")).to_contain_text(" dB")
    page.get_by_role("tab", name="Settings of this picture").click()
    expect(page.get_by_text("blue=1.3").first).to_be_visible()
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("blue=1.4").first).to_be_visible()  # edited again, without a press of Edit
    assert beyond_the_window(page) == []
