// The keyboard stays where it was: a button that goes away when it is pressed, as Paint does, leaves
// it to the one that comes in its place, as Stop does; and back again. Who points at things and
// scrolls by the space bar must not press what they do not see, and is left alone.
(() => {
  let row = null; // of the button that has the keyboard
  let soon = 0;
  document.addEventListener('focusin', ({ target }) => {
    row = target.matches('button:focus-visible') ? target.closest('.actions') : null;
  });
  document.addEventListener('pointerdown', () => { row = null; });
  new MutationObserver(() => {
    if (!row || soon || document.activeElement !== document.body) return;
    soon = setTimeout(() => { // the first of those that come, which need not come first
      soon = 0;
      if (!row || document.activeElement !== document.body) return;
      [...row.querySelectorAll('button')].find((button) => button.offsetParent)?.focus();
    }, 100);
  }).observe(document, { childList: true, subtree: true });
})();
