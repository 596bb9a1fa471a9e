"""The newcomer's walk on the models of the repository: example, prompt, Edit, eta, a sweep, downloads."""

import json
import re
import zipfile

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.test_walk import at_rest, drag
from tests.demos.conftest import settings_in

pytestmark = pytest.mark.browser
PROMPT = "an angry person with sunglasses"
LONG = 240_000


@pytest.fixture(scope="module")
def app():
    """The address of the app as `make run` starts it."""
    from demos.app import LAUNCH_KWARGS, create_app
    from textedit_core.models import zoo

    demo = create_app(zoo)
    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, _frontend=False, **LAUNCH_KWARGS)
    yield address
    demo.close()


def test_an_example_is_edited_dragged_swept_and_downloaded(visit, tmp_path):
    page = visit()
    page.locator("#imagic-examples [data-cell]").first.click()
    expect(page.locator("#imagic-source img").first).to_be_visible()
    page.get_by_text("Preparation settings").click()
    for name, suited in (("Embedding steps", "100"), ("Fine-tuning steps", "120")):
        expect(page.get_by_label(f"number input for {name}")).to_have_value(suited)
        drag(page, name, 30)  # the whole fit takes half a minute on two free cores
    page.locator("#imagic-prompt textarea").fill(PROMPT)
    expect(page.locator("#imagic-prompt-hint")).not_to_contain_text("does not know")

    page.locator("#imagic-edit").click()
    status = page.locator("#imagic-prepare-status")
    expect(status).to_contain_text(re.compile(r"Learning the embedding, step \d+ of 60, about"), timeout=LONG)
    expect(status).to_contain_text(re.compile(r"Fine-tuning the model, step \d+ of 60"), timeout=LONG)
    expect(page.locator("#imagic-edited img")).to_be_visible(timeout=LONG)
    expect(status).to_contain_text("Prepared for this image and prompt")
    expect(page.get_by_text(re.compile("CLIP score .*similarity to the source"))).to_be_visible()

    at_rest(page, "#imagic-edit-status")
    first = page.locator("#imagic-edited img").get_attribute("src")
    drag(page, "Eta", 0.9)
    page.locator("#imagic-edit").click()
    expect(page.locator("#imagic-edited img")).not_to_have_attribute("src", first)
    with page.expect_download() as download:
        page.get_by_text("Download PNG").click()
    download.value.save_as(tmp_path / "edit.png")
    made = settings_in(tmp_path / "edit.png")
    assert (made["models"], made["prompts"], made["knobs"]["eta"]) == ("toon", {"prompt": PROMPT}, 0.9)
    assert Image.open(tmp_path / "edit.png").size == (256, 256), "as toon shows its pictures"

    values = page.locator("#imagic-x-values textarea, #imagic-x-values input")
    values.fill("0.3, 0.9")
    values.press("Tab")
    expect(page.locator("#imagic-sweep-plan")).to_contain_text("4 cells")
    page.get_by_role("button", name="Sweep", exact=True).click()
    expect(page.locator("#imagic-sweep-grid [data-cell]")).to_have_count(4, timeout=LONG)
    with page.expect_download() as download:
        page.get_by_text("Download ZIP of the cells").click()
    download.value.save_as(tmp_path / "sweep.zip")
    with zipfile.ZipFile(tmp_path / "sweep.zip") as pack:
        cells = json.loads(pack.read("sweep.json"))["cells"]
    assert len(cells) == 4
