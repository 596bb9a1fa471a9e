"""Answers that come late, in a real browser: the page does not end with what was so before a run."""

import functools
from threading import Event

import pytest
from playwright.sync_api import expect

from demos.shared import sweeping, tab
from tests.browser.test_walk import PROMPT, edit, give
from textedit_core.methods import imagic

pytestmark = pytest.mark.browser
AT_MOST = 60  # seconds


def test_a_page_that_was_written_to_quickly_comes_to_rest(visit, picture):
    page, asked = visit(), []
    give(page, picture())
    page.on("request", lambda request: asked.append(request.url) if "/run/" in request.url else None)
    page.locator("#imagic-prompt textarea").press_sequentially(" and a beard, sunglasses and a hat", delay=20)
    expect(page.locator("#imagic-prompt-hint")).to_be_attached()
    quiet = 0
    for _ in range(AT_MOST):
        before = len(asked)
        page.wait_for_timeout(1_000)
        quiet = quiet + 1 if len(asked) == before else 0
        if quiet == 3:
            break
    assert asked and quiet == 3, f"{len(asked)} requests, and no end"


@pytest.mark.parametrize(
    ("module", "look", "early", "place", "says"),
    [
        (tab, "known_fit", lambda found: found is None, "prepare-status", "Prepared for this image and"),
        (sweeping, "outlook", lambda found: found.fits > 0, "sweep-plan", "7 cells, about"),
    ],
)
def test_a_late_look_from_before_the_edit_does_not_unsay_its_end(
    visit, picture, monkeypatch, module, look, early, place, says
):
    real, held, let_go = getattr(module, look), Event(), Event()

    def late(*args):
        found = real(*args)
        if early(found):
            held.set()
            let_go.wait(AT_MOST)
        return found

    page = visit()
    page.locator("#imagic-y-values textarea, #imagic-y-values input").fill("0")
    give(page, picture())
    edit(page)
    first = page.locator("#imagic-edited img").get_attribute("src")
    monkeypatch.setattr(module, look, late)
    page.locator("#imagic-prompt textarea").fill(PROMPT + " and a beard")
    for _ in range(10 * AT_MOST):
        if held.is_set():
            break
        page.wait_for_timeout(100)
    assert held.is_set()
    page.locator("#imagic-edit").click()
    expect(page.locator("#imagic-edited img")).not_to_have_attribute("src", first)
    page.wait_for_timeout(1_000)  # a look at the end of the edit would be answered by now
    let_go.set()
    page.wait_for_timeout(2_000)  # the late answer arrives
    expect(page.locator(f"#imagic-{place}")).to_contain_text(says)


def test_a_run_that_fails_ends_too(visit, picture, monkeypatch):
    """The fit is kept, and the plan of the sweep is told of it."""

    @functools.wraps(imagic.edit)
    def broken(*_, **knobs):
        raise RuntimeError("broken")
        yield

    page = visit()
    page.locator("#imagic-y-values textarea, #imagic-y-values input").fill("0")
    give(page, picture())
    page.locator("#imagic-prompt textarea").fill(PROMPT)
    expect(page.locator("#imagic-sweep-plan")).to_contain_text("1 preparation first")
    monkeypatch.setattr(imagic, "edit", broken)
    page.locator("#imagic-edit").click()
    expect(page.locator("#imagic-edit-status")).to_contain_text("Something went wrong")
    expect(page.locator("#imagic-sweep-plan")).not_to_contain_text("preparation")
    expect(page.locator("#imagic-sweep-plan")).to_contain_text("7 cells")
