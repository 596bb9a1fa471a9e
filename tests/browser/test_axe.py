"""axe-core (WCAG 2.1, A and AA) on every tab, in light and dark: no serious finding."""

from pathlib import Path

import axe_playwright_python
import pytest

pytestmark = pytest.mark.browser
AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
# In the dark only the colours are others.
RULES = {
    "light": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
    "dark": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
}
LOOK = """rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']}).then(all => all.violations
  .filter(one => ['serious', 'critical'].includes(one.impact))
  .flatMap(one => one.nodes.map(node => `${one.id}: ${node.target} ${node.html.slice(0, 120)}`)))"""
OUTER = "button[data-tab-id]"


def tabs(page, within: str = "") -> list:
    """The buttons of the page's tabs; within: of those that lie in the open tab of that name."""
    inner = page.locator(OUTER).evaluate_all(
        """(all, within) => all.filter(one => (one.closest('[role=tabpanel]') !== null) === Boolean(within)
          && one.getClientRects().length && !one.closest('.answer')).map(one => one.textContent.trim())""",
        within,
    )
    return list(dict.fromkeys(inner))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_tab_has_a_serious_finding(visit, theme):
    page = visit(1366, theme)
    page.add_script_tag(path=AXE)
    looked, wrong = [], []
    for name in tabs(page):
        page.get_by_role("tab", name=name, exact=True).first.click()
        inner = tabs(page, "StyleCLIP") if name == "StyleCLIP" else [""]
        for one in inner:
            if one:
                page.get_by_role("tab", name=one, exact=True).first.click()
            page.wait_for_timeout(300)  # transitions of colours
            looked.append((name, one))
            wrong += [f"{name} {one}: {found}" for found in page.evaluate(LOOK, RULES[theme])]
    assert len(looked) >= 11, looked
    assert not wrong, "\n".join(wrong)
