"""The run bar in a real browser: in view, mistakes, the place in the queue, the picture of a step."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.test_walk import at_rest, button, drag, edit, give
from textedit_core.methods import imagic

pytestmark = pytest.mark.browser
SMALL = {"width": 1366, "height": 768}


def test_edit_is_in_view_in_every_tab_and_the_answer_no_higher_than_the_window(visit):
    page = visit()
    page.set_viewport_size(SMALL)
    for name, method in (
        ("Imagic", "imagic"),
        ("Null-text + P2P", "prompt_to_prompt"),
        ("Paint by Example", "paint_by_example"),
    ):
        page.get_by_role("tab", name=name, exact=True).click()
        expect(page.locator(f"#{method}-edit")).to_be_in_viewport(ratio=1)
        page.evaluate("scrollTo(0, 400)")
        expect(page.locator(f"#{method}-edit")).to_be_in_viewport(ratio=1)
        assert page.locator(".answer:visible").first.bounding_box()["height"] <= SMALL["height"]


def test_a_mistake_is_told_in_the_run_bar_with_a_way_to_its_field(visit):
    page = visit()
    page.set_viewport_size(SMALL)
    page.locator("#imagic-edit").click()
    bar = page.locator("#imagic-edit-runbar")
    expect(bar).to_contain_text("Source image: Add a source image first. (and 1 more)")
    page.evaluate("scrollTo(0, 2000)")
    bar.get_by_role("button", name="Go there").dispatch_event("click")
    expect(page.locator("#imagic-source")).to_be_in_viewport(ratio=1)


def test_who_waits_sees_it_and_stop_leaves_the_queue(visit, picture, held):
    there = held(imagic, "fit", 2)
    first, second = visit(), visit()
    give(first, picture())
    first.locator("#imagic-edit").click()
    assert there.wait(60)
    give(second, picture(1), "a sad man")
    second.locator("#imagic-edit").click()
    bar = second.locator("#imagic-edit-runbar")
    expect(bar).to_contain_text("Waiting for its turn: 1 before you")
    button(second, "Stop").click()
    expect(bar).to_contain_text("nothing of yours runs or waits now")
    expect(bar).not_to_contain_text("before you")
    button(first, "Stop").click()
    expect(first.locator("#imagic-prepare-status")).to_contain_text("Edit uses them")
    at_rest(first, "#imagic-edit-status")
    second.wait_for_timeout(500)  # as long as one that still waited would take to begin
    expect(second.locator("#imagic-prepare-status")).to_contain_text("Learns this image")
    expect(second.locator("#imagic-edited")).to_have_count(0)


def test_the_picture_of_a_step_is_shown_and_can_be_switched_off(visit, picture):
    page = visit()
    give(page, picture())
    page.get_by_text("Preparation settings").click()
    drag(page, "Fine-tuning steps", 3000)
    page.locator("#imagic-edit").click()
    expect(page.locator("#imagic-preview img")).to_have_attribute("alt", re.compile("step \\d+ of 3003"))
    expect(page.locator("#imagic-preview")).to_be_in_viewport()
    button(page, "Stop").click()
    expect(page.locator("#imagic-preview img")).to_have_count(0)
    at_rest(page, "#imagic-edit-status")
    page.get_by_label("Steps", exact=True).uncheck()
    drag(page, "Fine-tuning steps", 2990)
    page.locator("#imagic-edit").click()
    expect(page.locator("#imagic-prepare-status")).to_contain_text(re.compile("step [2-9]\\d\\d+ of 2993"))
    assert page.locator("#imagic-preview img").count() == 0
    button(page, "Stop").click()
    expect(page.locator("#imagic-prepare-status")).to_contain_text("Edit uses them")


def test_a_slider_that_is_let_go_edits_again_but_only_beside_a_result(visit, picture):
    page = visit()
    give(page, picture())
    slider = page.get_by_role("slider", name=re.compile("Eta")).first
    slider.press("ArrowRight")
    slider.dispatch_event("pointerup")
    edit(page)
    first = page.locator("#imagic-edited img").get_attribute("src")
    slider.press("ArrowRight")
    slider.dispatch_event("pointerup")
    expect(page.locator("#imagic-edited img")).not_to_have_attribute("src", first)
    expect(page.locator("#imagic-prepare-status")).to_contain_text("from the cache")
