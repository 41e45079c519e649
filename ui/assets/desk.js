// What a browser remembers of the work on this page: in the tab's own storage, so that loading the
// page again changes nothing, and in the browser's, for the next tab after this one was closed.
window.storybrush = (() => {
  const key = 'storybrush-desk';
  const read = (store) => {
    try {
      return JSON.parse(window[store].getItem(key)) || {};
    } catch (error) { // nothing there, damaged, or storage is switched off
      return {};
    }
  };
  const write = (store) => {
    try {
      window[store].setItem(key, JSON.stringify(now));
    } catch (error) { /* full or switched off: the desk on the server still knows */ }
  };
  const name = () => Array.from(crypto.getRandomValues(new Uint8Array(16)),
    (byte) => byte.toString(16).padStart(2, '0')).join('');
  const own = read('sessionStorage');
  const before = own.tab ? own : read('localStorage');
  const now = { ...before, tab: own.tab || name() };
  const again = performance.getEntriesByType('navigation')[0]?.type === 'reload';
  const found = JSON.stringify({ ...now, last: before.tab, again });
  if (!own.tab) { // another tab may still work on that story
    delete now.tale;
    delete now.book;
  }
  write('sessionStorage');
  const make = (tag, attributes, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
      else if (name === 'text') node.textContent = value;
      else if (name === 'value') node.value = value;
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  };
  let own_words = '';
  let shown = ''; // the example that was chosen last
  const example = (typed, text) => {
    if (typed === text) return own_words || text;
    if (typed !== shown) own_words = typed;
    shown = text;
    return text;
  };
  const alone = (dialog) => {
    const others = [];
    for (let at = dialog; at !== document.body; at = at.parentElement) {
      for (const other of at.parentElement.children) {
        if (other !== at && !other.inert && !other.matches('.toast-wrap, [role=alert]')) others.push(other);
      }
    }
    others.forEach((other) => { other.inert = true; });
    const timer = setInterval(() => { // whatever has closed it
      if (dialog.getClientRects().length) return;
      clearInterval(timer);
      others.forEach((other) => { other.inert = false; });
    }, 50);
  };
  let pen = false;
  const palm = (event) => {
    pen ||= event.pointerType === 'pen';
    return pen && event.pointerType === 'touch';
  };
  return {
    make, // an element, for those whose DOM is made in the browser
    example, // what an example puts in the place of what was typed; pressed again, that comes back
    palm, // whether a pointer is a hand that rests on the screen: who has a pen draws with that
    alone, // nothing but this dialog can be reached while it is there
    tab: now.tab,
    last: before.tab, // the tab whose work is gone on with
    kept: () => found,
    keep: (part, value) => {
      now[part] = value;
      write('sessionStorage');
      write('localStorage');
    },
  };
})();
addEventListener('pagehide', () => {
  const open = document.querySelector('#tabs [role=tab][aria-selected=true]');
  if (open) storybrush.keep('shown', open.dataset.tabId);
});
