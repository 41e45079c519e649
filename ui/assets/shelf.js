// Asks every other second whether the library has changed, and then has the shelf filled again.
// Only while somebody looks at it.
let asking = false;

// Whoever closes a book is at its cover again; or at the first one, where it was deleted.
function changed() {
  setTimeout(() => { // the button that has closed it goes only now
    const { read } = window.storybrush;
    if (!read || !panel.offsetParent || document.activeElement !== document.body) return;
    window.storybrush.read = '';
    (panel.querySelector('[data-open="' + read + '"]') || panel.querySelector('.cover'))?.focus();
  }, 100);
}

// Forward, to a book that was closed: its reader is not on the page to hear of it.
function walked() {
  if (!element.isConnected) return window.removeEventListener('popstate', walked);
  const book = new URL(location.href).searchParams.get('book');
  if (book) trigger('walk', { value: book });
}
window.addEventListener('popstate', walked);

async function ask() {
  if (asking || document.hidden || !panel.offsetParent) return;
  asking = true;
  try {
    const answer = await fetch('news');
    const stamp = answer.ok ? await answer.text() : '';
    const shown = panel.querySelector('[data-stamp]');
    if (stamp && shown && stamp !== shown.dataset.stamp) trigger('news', {});
  } catch (error) { // the server is away: it is asked again
  } finally {
    asking = false;
  }
}

function look() {
  if (element.isConnected) return ask();
  clearInterval(looking);
  document.removeEventListener('visibilitychange', look);
}
const looking = setInterval(look, 2000);
document.addEventListener('visibilitychange', look);
