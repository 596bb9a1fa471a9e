// --- a result that was made with other settings than those set now ------------------------------------------

// Told without asking the host: of each tab, what its widgets held when the result shown was asked for.
const results = new Map();  // by the run bar: {picture, asked, begun, busy, arrived}
for (const kind of ['input', 'change'])
  document.addEventListener(kind, () => soon(), {capture: true});

const ASKED = ['input:not([type=file])', 'textarea', '[id$=-source] img', '[id$=-example] img'];
const APART = '.runbar, .seeds fieldset, .strip, .gallery';  // what no picture depends on
const holds = one => one.tagName === 'IMG' ? one.src
  : one.type === 'checkbox' || one.type === 'radio' ? one.checked : one.value;
const asks = tab => {
  const found = [...tab.querySelectorAll(ASKED.map(one => `.asking ${one}`)), ...document.querySelectorAll('#models input')];
  return new Map(found.filter(one => !one.closest(APART)).map(one => [one, holds(one)]));
};

// A stroke on the canvas of a mask is nowhere to be read: it counts as a change.
document.addEventListener('pointerup', event => {
  if (!event.target.closest?.('.answer canvas')) return;
  for (const [bar, result] of results)
    if (shown(bar)) result.painted = true;
  soon();
}, {capture: true});

const isOutdated = (result, now) => result.painted ||
  [...result.asked].some(([one, value]) => one.isConnected && now.has(one) && now.get(one) !== value);

const tellOutdated = bar => {
  const tab = tabOf(bar), answer = tab?.querySelector('.answer');
  const picture = answer?.querySelector('[id$=-edited] img')?.src;
  if (!answer) return;
  const result = results.get(bar) ?? {asked: new Map()};
  results.set(bar, result);
  const now = asks(tab), busy = Boolean(bar.querySelector('.progress') || bar.querySelector('[data-testid=status-tracker]:not(.hide)'));
  if (busy && !result.busy) Object.assign(result, {begun: now, strokes: result.painted, painted: false});
  if (picture !== result.picture) {
    Object.assign(result, {picture, asked: result.begun ?? now, ran: Boolean(result.begun), arrived: performance.now()});
    if (!result.ran) result.painted = false;
    result.begun = null;
  } else if (!busy && result.begun) {  // it was stopped, or failed: what is shown is as old as before
    Object.assign(result, {begun: null, painted: result.painted || result.strokes});
  }
  result.busy = busy;
  // What came without a run, as an example does, may be followed by its settings: until the person does something.
  if (!result.ran && acted < result.arrived) result.asked = now;
  const outdated = Boolean(picture) && isOutdated(result, now);
  answer.classList.toggle('outdated', outdated);
  say(answer, 'age', outdated ? 'Made with other settings than those set now. Edit makes it anew.' : '');
};
