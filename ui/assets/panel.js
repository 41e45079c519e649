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

function settleChildren(old, fresh) {
  const now = [...old.childNodes];
  const then = [...fresh.childNodes];
  then.forEach((node, n) => (n < now.length ? settle(now[n], node) : old.append(node)));
  now.slice(then.length).forEach((node) => node.remove());
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
