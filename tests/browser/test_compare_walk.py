"""The Compare tab in a real browser: mask and exemplar unfold for the method that needs them."""

import shutil

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def choose(page, models: str) -> None:
    """Type the path of other models."""
    field = page.locator("#models input")
    field.fill(models)
    field.press("Enter")


def test_mask_and_exemplar_unfold_when_ticked_and_go_with_the_models(visit, tiny_folder, tmp_path):
    without = tmp_path / "without"
    shutil.copytree(tiny_folder, without, ignore=shutil.ignore_patterns("paint_by_example"))
    page = visit()
    page.get_by_role("tab", name="Compare").click()
    asked, exemplar = page.locator("#compare-painting"), page.locator("#compare-exemplar")
    expect(asked).to_be_visible()
    expect(exemplar).to_be_hidden()
    page.locator("#compare-methods").get_by_label("Paint by Example").check()
    expect(exemplar).to_be_visible()
    expect(page.locator("#compare-mask")).to_be_visible()
    choose(page, str(without))
    expect(asked).to_be_hidden()
    expect(page.locator("#compare-methods").get_by_label("Paint by Example")).to_have_count(0)
    choose(page, str(tiny_folder))
    expect(asked).to_be_visible()
    page.locator("#compare-methods").get_by_label("Paint by Example").check()
    expect(page.locator("#compare-mask")).to_be_visible()
