// --- the link of the page, and what was left ------------------------------------------------------------

const studio = window.studio = {touched: false};  // a page that is left alone opens as at first
const save = () => studio.touched && document.querySelector('#save-visit')?.click();
let pause = 0, later = 0;
const touch = event => {
  if (event.target.id === 'save-visit') return;
  studio.touched = true;
  clearTimeout(pause);
  clearTimeout(later);
  pause = setTimeout(save, 600);
  later = setTimeout(save, 4000);  // what the host has filled in after it
};
for (const kind of ['pointerup', 'keyup', 'input', 'change', 'drop', 'paste'])
  document.addEventListener(kind, touch, {capture: true});

const tabButtons = () => {  // those of the page, not of a tabbed part of it
  const all = [...document.querySelectorAll('button[data-tab-id]')];
  return all.filter(one => !one.closest('[role=tabpanel]'));
};
const openTab = () => tabButtons().find(one => one.getAttribute('aria-selected') === 'true')?.dataset.tabId;
const address = query => {  // this page with that query; gradio's own parameters stay
  const own = [...new URLSearchParams(location.search)].filter(([name]) => name.startsWith('__'));
  const all = new URLSearchParams([...own, ...new URLSearchParams(query)]).toString();
  return location.pathname + (all ? `?${all}` : '');
};
const linked = () => new URLSearchParams(location.search).get('tab');
const firstTab = () => tabButtons()[0]?.dataset.tabId;

// The link of a result that was just made here; the tab in it is the open one.
studio.made = query => {
  if (studio.touched && new URLSearchParams(query).get('tab') === openTab())
    history.replaceState(null, '', address(query));
};
let before = null;
const followTab = () => {  // however it was opened
  const open = openTab();
  if (!open || open === before) return;
  if (before !== null && open !== (linked() ?? firstTab())) history.pushState(null, '', address(`tab=${open}`));
  before = open;
};
addEventListener('popstate', () => {
  const wanted = linked() ?? firstTab();
  if (wanted !== openTab()) tabButtons().find(one => one.dataset.tabId === wanted)?.click();
});

// Names for screen readers: gradio leaves an uploaded picture and those of the before/after slider nameless.
const named = picture => picture.classList.contains('fixed') ? 'Edited picture'
  : picture.dataset.testid === 'imageslider-image' ? 'Source picture'
  : picture.closest('.block').querySelector('label')?.textContent.trim() || 'Picture';
const name = () => document.querySelectorAll('.block img[alt=""]').forEach(p => p.alt = named(p));

// What says that nothing is there has a label, which needs a role.
const roles = () => document.querySelectorAll('.empty[aria-label]:not([role])').forEach(one => one.role = 'img');

// Gradio loads pictures when they come near the window: a result is there before it is scrolled to.
const load = () => document.querySelectorAll('.answer img[loading=lazy]').forEach(p => p.loading = 'eager');

const shown = element => element.getClientRects().length > 0;

// --- with the keyboard -----------------------------------------------------------------------------------

const unfolds = () => document.querySelectorAll('button.label-wrap').forEach(
  button => button.setAttribute('aria-expanded', String(button.classList.contains('open'))));
document.addEventListener('click', event => event.target.closest('button.label-wrap') && setTimeout(unfolds));

const run = () => [...document.querySelectorAll('.runbar .run button')].find(shown);
document.addEventListener('keydown', event => {  // ahead of a field's own Enter
  if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || !run()) return;
  event.preventDefault();
  event.stopPropagation();
  run().click();
}, true);

const first = () => [...document.querySelectorAll('.asking button, .asking input, .about a')].find(shown);
const skips = Object.assign(document.createElement('nav'), {className: 'skips', ariaLabel: 'Skip'});
for (const [text, target] of [['Skip to the source', first], ['Skip to the run button', run]]) {
  const link = Object.assign(document.createElement('a'), {href: '#', textContent: text});
  link.addEventListener('click', event => { event.preventDefault(); target()?.focus(); });
  skips.append(link);
}
document.body.prepend(skips);

// --- the run bars ---------------------------------------------------------------------------------------

const say = (bar, kind, text) => {  // a line of its own below gradio's, written only when it changes
  let line = bar.querySelector(`:scope > .${kind}`);
  if (!line) {
    line = document.createElement('div');
    line.className = kind;
    bar.append(line);
  }
  if (line.dataset.text !== text) {
    line.dataset.text = text;
    line.replaceChildren();
    if (text) line.append(Object.assign(document.createElement('p'), {className: 'note', textContent: text}));
    line.firstChild?.setAttribute('role', kind === 'wrong' ? 'alert' : 'status');
  }
  return line;
};

// Gradio tells the place in the queue in the corner of the line that a run reports to.
const waiting = bar => {
  for (const tracker of bar.querySelectorAll('[data-testid=status-tracker]:not(.hide)')) {
    const place = tracker.textContent.match(/queue:\s*(\d+)\s*\//);
    if (place) return `Waiting for its turn: ${place[1]} before you. Stop leaves the queue.`;
  }
  return '';
};

const labelOf = error => {
  const block = error.closest('.block');
  const kinds = ['[data-testid=block-info]', '[data-testid=block-label]', 'legend', 'label'];  // innermost first
  const label = kinds.map(kind => block?.querySelector(kind)).find(Boolean);
  const own = [...(label?.childNodes ?? [])].filter(node => !node.classList?.contains('validation-error'));
  return own.map(node => node.textContent).join('').trim();
};

const jump = block => {
  for (let at = block.parentElement; at; at = at.parentElement) {  // unfold what it is folded away in
    at.parentElement?.querySelector(':scope > button.label-wrap:not(.open)')?.click();
    if (at.role === 'tabpanel' && !shown(at)) document.getElementById(`${at.id}-button`)?.click();
  }
  block.scrollIntoView({block: 'center'});
  block.querySelector('textarea, input:not([type=file]), button')?.focus({preventScroll: true});
};

const tabOf = bar => {  // the whole tab that a bar stands in
  let panel = bar.closest('[role=tabpanel]');
  for (let outer = panel; outer; outer = outer.parentElement.closest('[role=tabpanel]')) panel = outer;
  return panel;
};

const mistakes = bar => [...(tabOf(bar)?.querySelectorAll('div.validation-error') ?? [])].filter(
  one => one.textContent.trim() && !one.closest('.sweeping'));

// Gradio takes a mistake back whenever anything that was asked earlier answers. Here it stands until the
// person does something about it.
const told = new Map();  // by the bar that a mistake stands in: {field, text, at}
let acted = 0;  // when the person last did something, but for going to the field of a mistake
for (const kind of ['pointerdown', 'keydown', 'input', 'drop', 'paste'])
  document.addEventListener(kind, event => {
    if (!event.target.closest?.('.wrong')) acted = performance.now();
  }, {capture: true});

// What is taken back leaves its place empty until the next run: whoever is painting by then would see the
// canvas beside it move under the hand.
const clear = bar => {
  const height = bar.querySelector(':scope > .wrong')?.getBoundingClientRect().height;
  const kept = height && !bar.querySelector('.progress');
  say(bar, 'wrong', '').style.height = kept ? `${height}px` : '';
};

const complain = bar => {
  const found = mistakes(bar), first = found[0], before = told.get(bar);
  if (!first) {
    if (before && acted < before.at) return;
    told.delete(bar);
    return void clear(bar);
  }
  if (before?.text !== first.textContent)
    told.set(bar, {field: first.closest('.block'), text: first.textContent, at: performance.now()});
  const more = found.length > 1 ? ` (and ${found.length - 1} more)` : '';
  const label = labelOf(first), text = first.firstChild.textContent.trim();
  const line = say(bar, 'wrong', `${text.startsWith(`${label}:`) ? '' : `${label}: `}${text}${more}`);
  line.firstChild.classList.add('problem');
  if (line.querySelector('button')) return;
  const button = Object.assign(document.createElement('button'), {type: 'button', textContent: 'Go there'});
  button.addEventListener('click', () => {
    const field = mistakes(bar)[0]?.closest('.block') ?? told.get(bar)?.field;
    if (field?.isConnected) jump(field);
  });
  line.append(button);
};

// The history lies over the page: a click beside it or Escape closes it.
const closeHistory = () => document.querySelector('#history > button.label-wrap.open')?.click();
// By the path of the click: what was clicked may have been drawn anew since.
const inHistory = event => event.composedPath().some(one => one.id === 'history');
document.addEventListener('click', event => {
  if (event.isTrusted && !inHistory(event)) closeHistory();  // the page presses buttons of its own
});
document.addEventListener('keydown', event => event.key === 'Escape' && closeHistory());

// A run ends with the page that asked for it: the page that follows says so.
const LEFT = 'textedit-studio-left';
addEventListener('pagehide', () => {
  const bar = [...document.querySelectorAll('.runbar')].find(one => one.querySelector('.progress') || waiting(one));
  const at = bar?.querySelector('.progress .note')?.textContent ?? 'waiting for its turn';
  if (bar) sessionStorage.setItem(LEFT, JSON.stringify({bar: bar.id, at}));
});
let left = null;
try { left = JSON.parse(sessionStorage.getItem(LEFT)); } catch { /* written by hand */ }
sessionStorage.removeItem(LEFT);
const tellLeft = bar => {
  if (left?.bar !== bar.id) return;
  const runs = bar.querySelector('.progress') || waiting(bar);
  say(bar, 'left', runs ? '' : `What ran when the page was left has ended (${left.at}). Press the button to run it again.`);
  if (runs) left = null;
};

// Gradio says that a slider was let go for the pointer alone: the keys let it go too, after a pause.
let keyed = 0;
document.addEventListener('keyup', event => {
  if (!event.target.matches?.('input[type=range]') || !/^(Arrow|Page|Home|End)/.test(event.key)) return;
  clearTimeout(keyed);
  keyed = setTimeout(() => event.target.dispatchEvent(new PointerEvent('pointerup', {bubbles: true})), 300);
});

const refresh = () => {
  name();
  roles();
  load();
  unfolds();
  followTab();
  document.querySelectorAll('.runbar').forEach(bar => {
    if (!shown(bar)) return;
    say(bar, 'place', waiting(bar));
    complain(bar);
    tellLeft(bar);
    tellOutdated(bar);
  });
};
let due = false;
const soon = () => {
  if (due) return;
  due = true;
  setTimeout(() => { due = false; refresh(); }, 60);
};
// A mistake is read at once: it may be taken back within the pause.
const isMistake = node => node.nodeType === 1 && (node.matches('div.validation-error') || node.querySelector('div.validation-error'));
new MutationObserver(changes => {
  if (changes.some(one => [...one.addedNodes].some(isMistake))) refresh();
  else soon();
}).observe(document.body, {childList: true, subtree: true, characterData: true});
