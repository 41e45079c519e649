// Leafing through a book: buttons, arrow keys and swipes turn the leaf that is shown.
let at = 0;

const reader = () => element.querySelector('.reader');

function show(to) {
  const leaves = element.querySelectorAll('.leaf');
  if (!leaves.length) return;
  at = Math.min(Math.max(to, 0), leaves.length - 1);
  leaves.forEach((leaf, n) => { leaf.hidden = n !== at; });
  const inner = at > 0 && at < leaves.length - 1;
  element.querySelector('.where').textContent = inner ? at + ' / ' + (leaves.length - 2) : '';
  element.querySelector('[data-turn="-1"]').disabled = at === 0;
  element.querySelector('[data-turn="1"]').disabled = at === leaves.length - 1;
}

function opened() {
  const book = reader();
  const address = new URL(location.href);
  if (book) address.searchParams.set('book', book.dataset.book);
  else address.searchParams.delete('book');
  history.replaceState(history.state, '', address);
  show(0);
  if (!book) return;
  book.focus({ preventScroll: true });
  element.scrollIntoView({ block: 'start' });
}

element.addEventListener('click', async (event) => {
  const turn = event.target.closest('[data-turn]');
  if (turn) show(at + Number(turn.dataset.turn));
  const link = event.target.closest('[data-link]');
  if (!link) return;
  try {
    await navigator.clipboard.writeText(location.href);
    link.textContent = 'Copied';
  } catch (error) { // a page without https may not write to the clipboard
    link.textContent = location.href;
  }
});

function turnByKey(event) {
  if (!element.isConnected) return document.removeEventListener('keydown', turnByKey);
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const busy = event.target.closest?.('input, textarea, select, [role="tab"]');
  if (by && !busy && reader()?.offsetParent) {
    event.preventDefault();
    show(at + by);
  }
}
document.addEventListener('keydown', turnByKey);

let touch = null;
element.addEventListener('touchstart', (event) => { touch = event.changedTouches[0]; }, { passive: true });
element.addEventListener('touchend', (event) => {
  const end = event.changedTouches[0];
  const x = touch ? end.clientX - touch.clientX : 0;
  const y = touch ? end.clientY - touch.clientY : 0;
  touch = null;
  if (Math.abs(x) > 40 && Math.abs(x) > 2 * Math.abs(y)) show(at + (x < 0 ? 1 : -1));
}, { passive: true });

watch('value', opened);
if (reader()) opened();
