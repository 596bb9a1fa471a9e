"""The newcomer's walk in a real browser, and the page on a phone, in the dark, for a screen reader."""

import json
import re
import zipfile

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser import beyond_the_window
from tests.demos.conftest import settings_in
from textedit_core.methods import imagic

pytestmark = pytest.mark.browser
PROMPT = "a smiling woman with a red hat"


def button(page, name: str, number: int = 0):
    return page.get_by_role("button", name=name, exact=True).nth(number)


def give(page, path: str, prompt: str = PROMPT) -> None:
    """Add a source image and write the prompt."""
    page.set_input_files("#imagic-source input[type=file]", path)
    expect(page.locator("#imagic-source img").first).to_be_visible()
    page.locator("#imagic-prompt textarea").fill(prompt)


def edit(page) -> None:
    """Press Edit and wait until the picture is there, and Edit can be pressed again."""
    page.locator("#imagic-edit").click()
    expect(page.locator("#imagic-edited img")).to_be_visible()
    expect(page.locator("#imagic-prepare-status")).to_contain_text("Prepared for this image and prompt")
    at_rest(page, "#imagic-edit-status")


def at_rest(page, status: str) -> None:
    """Wait until a run has ended: the picture comes a little earlier, and a press in between is not one."""
    expect(page.locator(f"{status} [data-testid=status-tracker]")).to_have_class(re.compile(r"\bhide\b"))


def drag(page, label: str, value: float) -> None:
    """Set a slider by its number box; again where that had only just been drawn, and was drawn once more."""
    box = page.get_by_label(f"number input for {label}")
    for _ in range(5):
        box.fill(str(value))
        box.press("Tab")
        page.wait_for_timeout(150)
        if box.input_value() == str(value):
            return
    raise AssertionError(f"{label} stays {box.input_value()}")


def test_a_newcomer_edits_drags_eta_sweeps_and_downloads(visit, picture, tmp_path):
    page = visit()
    expect(page.get_by_text("Your edit will appear here.")).to_be_visible()
    give(page, picture())
    edit(page)
    expect(page.get_by_text("Your edit will appear here.")).to_be_hidden()
    expect(page.get_by_text(re.compile("CLIP score .*similarity to the source"))).to_be_visible()
    expect(page.locator("svg[aria-label='Loss of each preparation stage']")).to_be_visible()

    first = page.locator("#imagic-edited img").get_attribute("src")
    drag(page, "Eta", 0.2)
    page.locator("#imagic-edit").click()
    expect(page.locator("#imagic-edited img")).not_to_have_attribute("src", first)
    expect(page.locator("#imagic-prepare-status")).to_contain_text("from the cache")
    with page.expect_download() as download:
        page.get_by_text("Download PNG").click()
    download.value.save_as(tmp_path / "edit.png")
    assert settings_in(tmp_path / "edit.png")["knobs"]["eta"] == 0.2

    page.locator("#imagic-x-values textarea, #imagic-x-values input").fill("0-1 [3]")
    page.locator("#imagic-x-values textarea, #imagic-x-values input").press("Tab")
    expect(page.locator("#imagic-sweep-plan")).to_contain_text("6 cells")
    button(page, "Sweep").click()
    expect(page.locator("#imagic-sweep-grid [data-cell]")).to_have_count(6)
    expect(page.locator("#imagic-sweep-status")).to_contain_text("6 cells")
    expect(page.locator("svg[aria-label$='against Eta']")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_text("Download ZIP of the cells").click()
    download.value.save_as(tmp_path / "sweep.zip")
    with zipfile.ZipFile(tmp_path / "sweep.zip") as pack:
        assert len(json.loads(pack.read("sweep.json"))["cells"]) == 6
    with page.expect_download() as download:
        page.get_by_text("Download contact sheet").click()
    download.value.save_as(tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").width > 300

    page.get_by_role("button", name=re.compile("^eta 1 · seed 1")).click()
    expect(page.get_by_role("heading", name="eta 1 · seed 1")).to_be_visible()
    large_cells(page)
    button(page, "Send to the tab").click()
    expect(page.get_by_label("number input for Eta")).to_have_value("1")
    expect(page.locator("#imagic-seed input")).to_have_value("1")


def large_cells(page):
    """Opens the cell that was clicked, the last of 3 by 2, goes to its neighbours, and back to the page."""
    page.locator("#imagic-sweep-grid").get_by_role("button", name="Open large").click()
    dialog = page.get_by_role("dialog", name="Cells, large")
    told, picture = dialog.locator(".told"), dialog.locator("img")
    for key, name in (
        (None, "eta 1 · seed 1"),
        ("ArrowUp", "eta 1 · seed 0"),
        ("ArrowLeft", "eta 0.5 · seed 0"),
        ("ArrowDown", "eta 0.5 · seed 1"),
        ("ArrowDown", "eta 0.5 · seed 1"),  # there is none below
    ):
        if key:
            page.keyboard.press(key)
        expect(told).to_contain_text(re.compile(f"^{name}"))
    cell = picture.get_attribute("src")
    page.keyboard.press("Space")
    expect(told).to_contain_text("The source of: eta 0.5 · seed 1")
    assert picture.get_attribute("src") != cell
    page.keyboard.press("Space")
    expect(picture).to_have_attribute("src", cell)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name=re.compile("^eta 0.5 · seed 1"))).to_be_focused()


def test_stop_ends_a_fit_which_edit_uses_and_leaves_the_step_counts(visit, picture, held):
    page, there = visit(), held(imagic, "fit", 7)
    give(page, picture())
    page.get_by_text("Preparation settings").click()
    drag(page, "Fine-tuning steps", 3000)
    button(page, "Prepare only").click()
    told = page.locator("#imagic-prepare-status")
    assert there.wait(120)
    button(page, "Stop").click()
    expect(told).to_contain_text(re.compile(r"Kept 3 of 3 embedding and \d+ of 3000 fine-tuning steps"))
    page.locator("#imagic-edit").click()
    expect(page.locator("#imagic-edited img")).to_be_visible()
    expect(told).to_contain_text("Edit uses them.")
    expect(page.get_by_label("number input for Fine-tuning steps")).to_have_value("3000")
    page.locator("#imagic-prompt textarea").fill("a sad man")
    expect(told).to_contain_text("Learns this image and prompt, once")
    expect(page.locator("svg[aria-label='Loss of each preparation stage']")).to_have_count(0)


def test_mistakes_are_answered_in_red_beside_the_field_and_nothing_is_lost(visit, picture, tmp_path):
    page = visit()
    page.locator("#imagic-edit").click()
    expect(page.get_by_text("Add a source image first").first).to_be_visible()
    expect(page.get_by_text("Write the prompt").first).to_be_visible()
    give(page, picture(), "a woman with a zebra")
    expect(page.locator("#imagic-prompt-hint")).to_contain_text("does not know 'zebra'")
    edit(page)
    shown = page.locator("#imagic-edited img").get_attribute("src")
    page.locator("#imagic-prompt textarea").fill("red " * 60)
    page.locator("#imagic-edit").click()
    expect(page.get_by_text(re.compile("60 tokens, the model reads 30")).first).to_be_visible()
    assert page.locator("#imagic-edited img").get_attribute("src") == shown
    assert "Traceback" not in page.content()


def test_recall_sets_the_page_as_it_was(visit, picture, tmp_path):
    page = visit()
    give(page, picture())
    drag(page, "Eta", 0.45)
    edit(page)
    with page.expect_download() as download:
        page.get_by_text("Download PNG").click()
    download.value.save_as(tmp_path / "made.png")
    fresh = visit()
    fresh.get_by_role("tab", name="About").click()
    fresh.set_input_files("#recall input[type=file]", tmp_path / "made.png")
    expect(fresh.locator("#recall-status")).to_contain_text("Settings restored")
    expect(fresh.locator("#imagic-prompt textarea")).to_have_value(PROMPT)
    expect(fresh.get_by_label("number input for Eta")).to_have_value("0.45")
    expect(fresh.get_by_role("tab", name="Imagic")).to_have_attribute("aria-selected", "true")


def test_the_result_stays_in_sight_beside_the_button_that_asks_for_it(visit):
    page = visit()
    for name, method in (("Null-text + P2P", "prompt_to_prompt"), ("Paint by Example", "paint_by_example")):
        page.get_by_role("tab", name=name, exact=True).click()
        page.evaluate("scrollTo(0, 300)")
        expect(page.locator(f"#{method}-edit")).to_be_in_viewport(ratio=1)
        expect(page.locator(".answer:visible")).to_be_in_viewport(ratio=0.9)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_everything_without_sideways_scrolling(visit, picture, theme):
    page = visit(390, theme)
    give(page, picture())
    edit(page)
    page.locator("#imagic-y-values textarea, #imagic-y-values input").fill("0")
    button(page, "Sweep").click()
    expect(page.locator("#imagic-sweep-grid [data-cell]")).to_have_count(7)
    assert beyond_the_window(page) == []
    page.locator(
        ".overflow-menu > button"
    ).first.click()  # a phone's bar holds the first tabs, a menu the others
    page.locator(".overflow-dropdown button", has_text="About").first.click()
    assert beyond_the_window(page) == []


def test_every_control_has_a_name_for_screen_readers(visit, picture):
    page = visit()
    give(page, picture())
    edit(page)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('input, textarea, button, select, img')]
          .filter(e => e.offsetParent !== null && e.type !== 'file')
          .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('title') || e.alt
            || e.textContent.trim()
            || e.querySelector('img[alt]:not([alt=""])') || (e.labels && e.labels.length)))
          .map(e => e.outerHTML.slice(0, 160))"""
    )
    assert nameless == []
