// A panel: HTML from the server, of which only what differs is changed. Handed in by Gradio:
// element, props, trigger, watch; by panel.py: events, changed.
const panel = element.querySelector('.panel');

function same(old, fresh) {
  return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName
    && (old.nodeType !== Node.ELEMENT_NODE || old.dataset.key === fresh.dataset.key);
}

function settle(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (!same(old, fresh)) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  settleChildren(old, fresh);
}

// In order; but a node with a key stays itself wherever it has moved, so that a book that comes
// first does not make all the others new.
function settleChildren(old, fresh) {
  const keyed = (node) => node.dataset?.key;
  const known = new Map([...old.children].filter(keyed).map((node) => [keyed(node), node]));
  const wanted = new Set([...fresh.children].map(keyed));
  let at = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    while (at && keyed(at) && !wanted.has(keyed(at))) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
    const kept = keyed(node) && known.get(keyed(node));
    if (kept) {
      if (kept === at) at = at.nextSibling;
      else old.insertBefore(kept, at);
      settle(kept, node);
    } else if (!at || keyed(node)) {
      old.insertBefore(node, at);
    } else {
      const next = at.nextSibling;
      settle(at, node);
      at = next;
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function show() {
  const fresh = document.createElement('div');
  fresh.innerHTML = props.value || '';
  settleChildren(panel, fresh);
  changed();
}

element.addEventListener('click', (click) => {
  for (const event of events) {
    const button = click.target.closest('button[data-' + event + ']');
    if (button) trigger(event, { value: button.dataset[event] });
  }
});
watch('value', show);
show();
