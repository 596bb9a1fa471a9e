"""python -m studies.first_edit: clicks and seconds from the open page to an edit, for every tab and example.

Starts app.py on the bundled models and opens each tab in a headless Chromium (--browser) at 1366 x 768, as a
visitor who has just come. Each example is clicked, and it is measured how long its edited picture takes to
stand on the page; where a tab has no finished examples, the button of its run is pressed. Prints a Markdown
table: clicks, the least, median and most seconds, whether run button and result are in view together.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studies.visits import ROOT, running_app

# The tab in the link, the name of what it shows, and the button that is pressed where there are no examples.
TABS = (
    ("imagic", "imagic", ""),
    ("prompt_to_prompt", "prompt_to_prompt", ""),
    ("paint_by_example", "paint_by_example", ""),
    ("text2live", "text2live", ""),
    ("styleclip", "styleclip_directions", "#styleclip_directions-edit"),
    ("compare", "compare", "#compare-run"),
)
SCREEN = {"width": 1366, "height": 768}
PATIENCE = 300_000  # ms
COLUMNS = ("tab", "examples", "clicks", "least", "median", "most", "Edit and result in view")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--browser", default="/usr/bin/chromium", metavar="FILE")
    options = parser.parse_args(arguments)
    from playwright.sync_api import sync_playwright

    sys.stdout.write(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n")
    toon = ROOT / "textedit_core" / "weights" / "toon"
    with (
        tempfile.TemporaryDirectory() as work,
        running_app(toon, Path(work)) as (address, _),
        sync_playwright() as play,
    ):
        browser = play.chromium.launch(executable_path=options.browser, args=["--no-sandbox"])
        for tab, method, button in TABS:
            row = of_tab(browser, f"{address}/?tab={tab}", method, button)
            sys.stdout.write(f"| {tab} | {row} |\n")
            sys.stdout.flush()
        browser.close()


def of_tab(browser: Any, address: str, method: str, button: str) -> str:
    """The row of a tab."""
    with browser.new_context(viewport=SCREEN) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.locator(f"#{method}-edit, #{method}-run").first.wait_for()
        page.wait_for_timeout(3_000)  # what is asked when the page opens has been answered by then
        seconds, clicks = zip(*ways(page, method, button), strict=True)
        result = "#compare-table" if method == "compare" else ".compare:visible"
        together = in_view(page, f"#{method}-edit, #{method}-run") and in_view(page, result)
        told = [f"{one:.2f} s" for one in (min(seconds), statistics.median(seconds), max(seconds))]
        return " | ".join([str(len(seconds)), str(max(clicks)), *told, "yes" if together else "no"])


def ways(page: Any, method: str, button: str) -> Iterator[tuple[float, int]]:
    """Seconds and clicks of every example, the last one first: the first may be shown already."""
    tiles = page.locator(f"#{method}-examples [data-cell]")
    if button and not tiles.count():
        yield clicked(page, method, [page.locator(button)]), 1
        return
    for number in reversed(range(tiles.count())):
        presses = [tiles.nth(number), *([page.locator(button)] if button else [])]
        yield clicked(page, method, presses), len(presses)


def shown_in(method: str) -> str:
    """Where the edit of a tab stands."""
    return "#compare-table img" if method == "compare" else f"#{method}-edited img"


def clicked(page: Any, method: str, presses: list) -> float:
    """Seconds from the first press until another edited picture has been drawn."""
    place = page.locator(shown_in(method)).last
    before = place.get_attribute("src") if place.count() else None
    begun = time.monotonic()
    for number, one in enumerate(presses):
        source = page.locator(f"#{method}-source img")
        shown = source.first.get_attribute("src") if number + 1 < len(presses) and source.count() else None
        one.click()
        if number + 1 < len(presses):  # nobody presses the button before the picture is there
            changed(page, f"#{method}-source img", shown)
    changed(page, shown_in(method), before)
    return time.monotonic() - begun


def changed(page: Any, place: str, before: str | None) -> None:
    """Wait until another picture than that of this address has been drawn in a place."""
    page.wait_for_function(
        """([place, before]) => {
          const all = [...document.querySelectorAll(place)], last = all[all.length - 1];
          return last && last.getAttribute('src') !== before && last.complete && last.naturalWidth > 0;
        }""",
        arg=[place, before],
    )


def in_view(page: Any, selector: str) -> bool:
    """Whether something is on the screen: its first 200 pixels, if it is higher than that."""
    return page.locator(selector).first.evaluate(
        """one => { const box = one.getBoundingClientRect();
          const end = Math.min(box.bottom, box.top + 200);
          return box.width > 0 && box.top >= 0 && end <= innerHeight + 8; }"""
    )


if __name__ == "__main__":
    main()
