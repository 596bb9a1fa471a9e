"""Paint by Example in a real browser: a stroke, its preview, a result; the page on a phone."""

import re
from io import BytesIO

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser import beyond_the_window
from tests.browser.conftest import PATIENCE

pytestmark = pytest.mark.browser


def opened(visit, picture, width: int = 1400, theme: str = "light"):
    """The tab with a source and an exemplar."""
    page = visit(width, theme)
    if width < 640:  # a phone's bar holds the first tabs, a menu the others
        page.locator(".overflow-menu > button").first.click()
        page.locator(".overflow-dropdown button", has_text="Paint by Example").first.click()
    else:
        page.get_by_role("tab", name="Paint by Example").click()
    for place, seed in (("source", 1), ("example", 2)):
        page.set_input_files(f"#paint_by_example-{place} input[type=file]", picture(seed, (200, 200)))
        expect(page.locator(f"#paint_by_example-{place} img").first).to_be_visible()
    expect(page.locator("#paint_by_example-mask-hint")).to_contain_text("Paint over")
    return page


def canvas_with_source(page):
    """The canvas once it shows the source: a stroke before that is cleared by it, as it should be."""
    canvas = page.locator("#paint_by_example-mask canvas").first
    canvas.scroll_into_view_if_needed()
    for _ in range(PATIENCE // 200):
        seen = Image.open(BytesIO(canvas.screenshot())).convert("RGB")
        if seen.getcolors(maxcolors=1000) is None:  # a blank one has a few
            return canvas
        page.wait_for_timeout(200)
    raise AssertionError("the canvas never showed the source")


def stroke(page) -> None:
    """Drag the brush across the middle of the canvas."""
    canvas = canvas_with_source(page)
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 60, y)
    page.mouse.down()
    for across, down in ((-30, 5), (0, 10), (30, 5), (60, 0)):
        page.mouse.move(x + across, y + down, steps=4)
        page.wait_for_timeout(100)  # a busy page that is moved over at once sees the last place alone
    now = canvas.bounding_box()
    assert all(abs(now[side] - box[side]) < 1 for side in box), (
        f"the canvas moved under the hand: {box}, {now}"
    )
    page.mouse.up()
    expect(page.locator("#paint_by_example-repainted img")).to_be_visible()


def test_a_stroke_is_previewed_and_repainted(visit, picture, tmp_path):
    page = opened(visit, picture)
    page.locator("#paint_by_example-views").get_by_role("tab", name="Result").click()
    expect(page.locator("#paint_by_example-mask")).to_be_hidden()
    page.wait_for_timeout(1000)  # as long as a hand takes from the tab to the keys
    page.keyboard.press("Control+Enter")
    bar = page.locator("#paint_by_example-edit-runbar")
    expect(bar).to_contain_text("paint over what is to change")
    bar.locator(".wrong button").click()
    expect(page.get_by_text("it is empty; paint over what is to change").first).to_be_visible()
    expect(page.locator("#paint_by_example-mask")).to_be_visible()
    stroke(page)
    page.locator("#paint_by_example-edit").click()
    expect(page.locator("#paint_by_example-edited img")).to_be_visible()
    expect(page.get_by_text(re.compile("region and exemplar .*similarity to the source"))).to_be_visible()
    with page.expect_download() as download:
        page.get_by_text("Download PNG").click()
    download.value.save_as(tmp_path / "edit.png")
    edited, source = Image.open(tmp_path / "edit.png"), Image.open(picture(1, (200, 200)))
    assert edited.size == (200, 200)
    assert edited.getpixel((5, 5)) == source.getpixel((5, 5)), "far from the stroke it is the source"
    assert edited.getpixel((100, 100)) != source.getpixel((100, 100))
    told = page.locator("#paint_by_example-mask-hint").text_content()
    page.wait_for_timeout(1500)  # a person pauses; then the page stores what it holds
    page.reload()
    expect(page.locator("#paint_by_example-example img").first).to_be_visible()
    page.locator("#paint_by_example-views").get_by_role("tab", name="Mask").click()
    expect(page.locator("#paint_by_example-mask-hint")).to_have_text(told)  # the same share is repainted
    expect(page.locator("#paint_by_example-repainted img")).to_be_visible()


@pytest.mark.parametrize("theme", ["dark"])
def test_a_phone_shows_the_tab_without_sideways_scrolling(visit, picture, theme):
    page = opened(visit, picture, 390, theme)
    stroke(page)
    assert beyond_the_window(page) == []
    page.locator("#paint_by_example-edit").click()
    expect(page.locator("#paint_by_example-edited img")).to_be_visible()
    expect(page.get_by_text("paint_by_example").first).to_be_visible()  # the settings, in long lines
    assert beyond_the_window(page) == []
