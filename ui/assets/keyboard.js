// The keyboard stays where it was: a button that goes away when it is pressed, as Paint does, leaves
// it to the one that comes in its place, as Stop does; and back again. One that leads to another tab
// leaves it to that tab's name. Who points at things and scrolls by the space bar must not press what
// they do not see, and is left alone.
(() => {
  const open = () => document.querySelector('#tabs [role="tab"][aria-selected="true"]');
  let row = null; // of the button that has the keyboard
  let tab = null; // that was open when it came there
  let soon = 0;
  document.addEventListener('focusin', ({ target }) => {
    const has = target.matches('button:focus-visible') && !target.matches('[role="tab"]');
    row = has ? target.closest('.actions') : null;
    tab = has ? open() : null;
  });
  document.addEventListener('pointerdown', () => { row = tab = null; });
  new MutationObserver(() => {
    if (!tab || soon || document.activeElement !== document.body) return;
    soon = setTimeout(() => { // the first of those that come, which need not come first
      soon = 0;
      if (!tab || document.activeElement !== document.body) return;
      const next = row && [...row.querySelectorAll('button')].find((button) => button.offsetParent);
      if (next) next.focus();
      else if (open() !== tab) open()?.focus({ preventScroll: true });
    }, 100);
  }).observe(document, {
    childList: true, subtree: true, attributes: true, attributeFilter: ['aria-selected'],
  });
})();
