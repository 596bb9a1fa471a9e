"""The page goes over no statuses that show nothing: gradio's own, which this file knows by their shape."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_compare_walk import choose

pytestmark = pytest.mark.browser
# Counts what gradio's page is handed, beside what another page's Object.entries, left as it came, has in it.
COUNT = """() => {
  const raw = document.body.appendChild(document.createElement('iframe')).contentWindow.Object.entries;
  const ours = Object.entries, told = window.told = {ended: 0, handed: 0};
  const hasEnded = ([, one]) => one?.type === 'input' && one.stream_state === 'closed';
  const ended = found => found.filter(hasEnded).length;
  Object.entries = object => {
    const found = ours(object);
    told.ended += ended(raw(object));
    told.handed += ended(found);
    return found;
  };
}"""


def test_inputs_of_events_that_have_ended_are_not_gone_over(visit, tiny_folder):
    page = visit()
    page.get_by_role("tab", name="Compare").click()
    page.evaluate(COUNT)
    choose(page, f"{tiny_folder}/.")
    expect(page.locator("#compare-painting")).to_be_visible()
    page.wait_for_timeout(2000)
    told = page.evaluate("() => window.told")
    assert told["ended"] > 1000, "gradio's page keeps other statuses: demos/page/statuses.js does nothing now"
    assert told["handed"] == 0


def test_other_objects_have_all_their_entries(visit):
    page = visit()
    left = page.evaluate("""() => {
      const status = {type: 'output', stream_state: null, fn_index: 1}, ended = {...status, type: 'input'};
      ended.stream_state = 'closed';
      const without = [Object.entries({a: 1, b: null}), Object.entries([]), Object.entries('xy')];
      return [...without, Object.entries({1: status, 2: ended}).map(one => one[0])];
    }""")
    assert left == [[["a", 1], ["b", None]], [], [["0", "x"], ["1", "y"]], ["1"]]
