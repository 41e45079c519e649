// Leafing through a book: buttons, dots, keys and swipes turn the leaf that is shown. Handed in by
// Gradio: element, trigger, watch, server. The HTML comes from markup.reader.
let at = 0;
let voice = null;
let last; // the book that was shown before

const reader = () => element.querySelector('.reader');
const leaves = () => [...element.querySelectorAll('.leaf')];
const calm = matchMedia('(prefers-reduced-motion: reduce)');

function show(to, from) {
  const all = leaves();
  if (!all.length) return;
  const next = Math.min(Math.max(to, 0), all.length - 1);
  reader().dataset.turning = from === undefined ? 'none' : next < from ? 'back' : 'on';
  at = next;
  all.forEach((leaf, n) => { leaf.hidden = n !== at; leaf.style.transform = ''; });
  element.querySelectorAll('.dot').forEach((dot, n) => {
    if (n === at) dot.setAttribute('aria-current', 'page');
    else dot.removeAttribute('aria-current');
  });
  element.querySelector('[data-turn="-1"]').disabled = at === 0;
  element.querySelector('[data-turn="1"]').disabled = at === all.length - 1;
  element.querySelector('[data-colour]').hidden = !all[at].querySelector('figure img');
}

function turn(by) {
  quiet();
  show(at + by, at);
}

// The address names the book, so that it can be passed on, and the browser's own Back closes it.
const named = () => new URL(location.href).searchParams.get('book') || '';

function name(id) {
  if (named() === id) return;
  const address = new URL(location.href);
  if (id) address.searchParams.set('book', id);
  else address.searchParams.delete('book');
  if (id && !named()) history.pushState({ ...history.state, book: id }, '', address);
  else if (!id && history.state?.book) history.back(); // to where the book was opened
  else history.replaceState(history.state, '', address);
}

function walked() {
  if (!element.isConnected) return window.removeEventListener('popstate', walked);
  if (named() !== (reader()?.dataset.book || '')) trigger('walk', { value: named() });
}
window.addEventListener('popstate', walked);

function opened() {
  const book = reader();
  name(book?.dataset.book || '');
  document.title = book ? book.getAttribute('aria-label') + ' · Storybrush' : 'Storybrush';
  quiet();
  full(false);
  show(book && book.dataset.book === last ? at : 0);
  last = book?.dataset.book;
  if (!book) return;
  const aloud = book.querySelector('[data-aloud]');
  const ready = () => { aloud.hidden = !speechSynthesis.getVoices().length; };
  if ('speechSynthesis' in window) {
    ready();
    speechSynthesis.addEventListener('voiceschanged', ready, { once: true });
  }
  if (!book.offsetParent) return; // another tab is open
  window.storybrush.read = book.dataset.book;
  book.focus({ preventScroll: true });
  element.scrollIntoView({ block: 'nearest' });
}

// Full screen, by the browser where it can (not on an iPhone) and by the style sheet everywhere.
function full(on) {
  const book = reader();
  if (book) {
    book.classList.toggle('full', on);
    book.querySelector('[data-full]').textContent = on ? 'Leave full screen' : 'Full screen';
    if (on) book.requestFullscreen?.().catch(() => {});
  }
  document.documentElement.classList.toggle('reading-full', Boolean(book && on));
  if (!on && document.fullscreenElement) document.exitFullscreen().catch(() => {});
}
const isFull = () => Boolean(reader()?.classList.contains('full'));

function left() {
  if (!element.isConnected) document.removeEventListener('fullscreenchange', left);
  else if (!document.fullscreenElement && isFull()) full(false);
}
document.addEventListener('fullscreenchange', left);

// Read aloud by the browser's own voice: this page, then the next ones.
function quiet() {
  if (!voice) return;
  voice = null;
  speechSynthesis.cancel();
  const button = element.querySelector('[data-aloud]');
  if (button) button.textContent = 'Read aloud';
}

function aloud() {
  const words = new SpeechSynthesisUtterance(leaves()[at].querySelector('.text').innerText);
  words.rate = 0.9;
  voice = words;
  element.querySelector('[data-aloud]').textContent = 'Stop reading';
  words.onend = () => {
    if (voice !== words) return;
    if (at === leaves().length - 1) return quiet();
    show(at + 1, at);
    aloud();
  };
  speechSynthesis.speak(words);
}

// Who opens another tab has put the book down.
new ResizeObserver(() => { if (!element.offsetParent && !isFull()) quiet(); }).observe(element);

element.addEventListener('click', async (event) => {
  const on = (name) => event.target.closest('[data-' + name + ']');
  if (on('turn')) turn(Number(on('turn').dataset.turn));
  else if (on('go')) turn(Number(on('go').dataset.go) - at);
  else if (on('full')) full(!isFull());
  else if (on('aloud')) (voice ? quiet : aloud)();
  else if (on('colour')) {
    full(false);
    trigger('colour', { value: String(at - 1) }); // the cover comes before the first page
  }
  else if (on('link')) {
    try {
      await navigator.clipboard.writeText(location.href);
      const link = on('link');
      link.textContent = 'Copied ✓';
      setTimeout(() => { link.textContent = 'Copy link'; }, 3000);
    } catch (error) { // a page without https may not write to the clipboard
      on('link').textContent = location.href;
    }
  } else if (event.target.closest('.plate') && !swiped) {
    turn(1); // a click on the picture turns the page
  }
});

// A book that is still being painted, maybe by somebody else, grows while one reads.
let stamp = '';
const growing = setInterval(async () => {
  if (!element.isConnected) return clearInterval(growing);
  const book = reader();
  if (!book?.offsetParent || document.hidden || voice || isFull()) return;
  if (!book.hasAttribute('data-growing')) return;
  const now = await fetch('news').then((answer) => answer.text()).catch(() => stamp);
  if (now !== stamp) trigger('grow', {});
  stamp = now;
}, 2000);

function key(event) {
  if (!element.isConnected) return document.removeEventListener('keydown', key);
  if (!reader()?.offsetParent && !isFull()) return;
  if (event.target !== document.body && !element.contains(event.target)) return;
  if (event.target.closest?.('input, textarea, select, video')) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const keys = {
    ArrowLeft: () => turn(-1), ArrowRight: () => turn(1), PageUp: () => turn(-1),
    PageDown: () => turn(1), Home: () => turn(-at), End: () => turn(leaves().length), f: () => full(!isFull()),
  };
  if (event.key === 'Escape' && isFull()) keys.Escape = () => full(false);
  if (event.key === ' ' && !event.target.closest?.('button, a, summary')) keys[' '] = () => turn(1);
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}
document.addEventListener('keydown', key);

// A swipe: the leaf follows the finger, and is turned when it has been carried far enough.
let finger = null;
let swiped = false;
element.addEventListener('touchstart', (event) => {
  swiped = false;
  finger = event.touches.length === 1 && event.target.closest('.leaves')
    ? { x: event.touches[0].clientX, y: event.touches[0].clientY, by: 0 } : null;
}, { passive: true });
element.addEventListener('touchmove', (event) => {
  if (!finger || event.touches.length > 1) return;
  const x = event.touches[0].clientX - finger.x;
  const y = event.touches[0].clientY - finger.y;
  if (!finger.by && Math.abs(y) > Math.abs(x)) finger = null; // that is scrolling
  else {
    finger.by = x;
    if (!calm.matches) leaves()[at].style.transform = 'translateX(' + x * 0.6 + 'px)';
  }
}, { passive: true });
element.addEventListener('touchend', () => {
  const by = finger?.by || 0;
  finger = null;
  swiped = Math.abs(by) > 10;
  if (Math.abs(by) > 40) turn(by < 0 ? 1 : -1);
  else if (leaves()[at]) leaves()[at].style.transform = '';
}, { passive: true });

watch('value', opened);
if (reader()) opened();
