// --- the cells of a sweep, a ranking or a comparison, one at a time and large ---------------------------
{

// The dialog is made once. Arrow keys go to the neighbours, rows and columns as they stand; Space shows the
// source in the same place while it is held or until it is pressed again; Escape closes, as in any dialog.
const large = document.createElement('dialog');
large.className = 'large';
large.setAttribute('aria-label', 'Cells, large');
large.innerHTML = `<div class="shown"><img alt=""></div><p class="told" role="status"></p>
<p class="keys"><button type="button" data-go="-1">Previous</button>
<button type="button" data-source aria-pressed="false">Source</button>
<button type="button" data-go="1">Next</button><button type="button" data-close>Close</button>
<span>Arrow keys: neighbours. Space: the source in its place.</span></p>`;
document.body.append(large);
let cells = null, at = 0;  // the tiles of the container that is open, those to come among them, and which is shown

const pictureOf = tile => tile?.querySelector('[data-cell] img');
const columnsOf = container =>
  Number(getComputedStyle(container.querySelector('.cells') ?? container).getPropertyValue('--columns')) || 1;
const sourceOf = tile => tile?.dataset.source ?? cells.source;
const showLarge = () => {
  const picture = pictureOf(cells.tiles[at]), button = large.querySelector('[data-source]');
  const source = button.getAttribute('aria-pressed') === 'true';
  const told = source ? `The source of: ${picture.alt}` : picture.alt;
  Object.assign(large.querySelector('img'), {src: source ? sourceOf(cells.tiles[at]) : picture.src, alt: told});
  large.querySelector('.told').textContent = told;
  button.hidden = !sourceOf(cells.tiles[at]);
};
const goLarge = step => {  // to the next tile that has a picture, `step` tiles on each time
  for (let next = at + step; next >= 0 && next < cells.tiles.length; next += step)
    if (pictureOf(cells.tiles[next])) { at = next; break; }
  showLarge();
};
const compareSource = () => {
  const button = large.querySelector('[data-source]');
  if (button.hidden) return;
  button.setAttribute('aria-pressed', String(button.getAttribute('aria-pressed') !== 'true'));
  showLarge();
};
const openLarge = (container, tile) => {
  const tiles = [...container.querySelectorAll('.tile')];
  at = Math.max(tiles.indexOf(tile), 0);
  if (!pictureOf(tiles[at])) at = tiles.findIndex(pictureOf);
  if (at < 0) return;
  cells = {tiles, columns: columnsOf(container), source: container.dataset.source};
  large.querySelector('[data-source]').setAttribute('aria-pressed', 'false');
  showLarge();
  large.showModal();
};
document.addEventListener('click', event => {
  const container = event.target.closest?.('button.enlarge')?.closest('.enlargeable');
  if (container) openLarge(container, container.querySelector('[aria-pressed=true]')?.closest('.tile'));
});
document.addEventListener('dblclick', event => {
  const tile = event.target.closest?.('.enlargeable .tile');
  if (tile) openLarge(tile.closest('.enlargeable'), tile);
});
large.addEventListener('click', event => {
  if (event.target === large || event.target.closest('[data-close]')) return large.close();
  const go = event.target.closest('[data-go]');
  if (go) goLarge(Number(go.dataset.go));
  if (event.target.closest('[data-source]')) compareSource();
});
large.addEventListener('keydown', event => {
  const steps = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -cells.columns, ArrowDown: cells.columns};
  if (event.key in steps) goLarge(steps[event.key]);
  else if (event.key === ' ') compareSource();
  else return;
  event.preventDefault();
  event.stopPropagation();
});
large.addEventListener('close', () => pictureOf(cells.tiles[at])?.closest('button').focus());
}
