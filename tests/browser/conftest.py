"""A headless Chromium on the running app; every request it makes is written down."""

import os
import shutil

import pytest
from playwright.sync_api import expect

from tests.demos.conftest import app, empty_cache, held, picture  # noqa: F401  the same app and pictures

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 120_000  # ms; what comes is waited for no longer than it takes, on a loaded machine too


@pytest.fixture(scope="session")
def chromium():
    """The browser; skipped only where there is none and no CI asks for it."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if binary is None:
        if os.environ.get("CI"):
            pytest.fail("CI is set, but there is no chromium")
        pytest.skip("there is no chromium here")
    from playwright.sync_api import sync_playwright

    expect.set_options(timeout=int(os.environ.get("PATIENCE", PATIENCE)))
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=binary, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, app):  # noqa: F811
    """visit(width, theme) -> a page on the app. At the end: nothing left 127.0.0.1, no page error."""
    requests, errors, contexts = [], [], []

    def open_page(width: int = 1400, theme: str = "light"):
        context = chromium.new_context(viewport={"width": width, "height": 1000}, accept_downloads=True)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        # The page asks for its first example as soon as its buttons are wired; a click before that is lost.
        with page.expect_request(lambda request: "/queue/join" in request.url):
            page.goto(f"{app}?__theme={theme}")
        page.get_by_role("heading", name="TextEdit Studio").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    outside = [url for url in requests if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))]
    assert not outside, f"requests left this machine: {outside[:5]}"
    assert requests, "nothing was requested at all"
    assert not errors, f"errors in the page: {errors[:3]}"
