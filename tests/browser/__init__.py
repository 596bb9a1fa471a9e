"""Tests in a real browser, and what they share beside fixtures."""

# Nobody can reach what lies beyond the window's right edge, for the page hides what overflows and does not
# scroll sideways; what scrolls by itself, such as a row of examples, is left out.
BEYOND = """() => [...document.querySelectorAll("main *")].filter((one) => {
  const box = one.getBoundingClientRect();
  if (!box.width || !box.height || box.right <= innerWidth + 1) return false;
  for (let at = one.parentElement; at && at.tagName !== "MAIN"; at = at.parentElement) {
    const within = at.getBoundingClientRect().right <= innerWidth + 1;
    if (within && getComputedStyle(at).overflowX !== "visible") return false;
  }
  return true;
}).map((one) => `${one.tagName} ${one.id} ${one.className}`.slice(0, 80))"""


def beyond_the_window(page) -> list[str]:
    """The visible elements that reach beyond the right edge of the window, without what scrolls by itself."""
    return page.evaluate(BEYOND)
