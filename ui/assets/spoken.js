// Gradio's messages come with their words, and screen readers speak only what changes in a place that
// was there before: here it is.
(() => {
  const said = document.createElement('p');
  said.setAttribute('role', 'alert');
  said.style.cssText = 'position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%)';
  new MutationObserver((changes) => {
    if (!said.isConnected) document.body?.append(said);
    for (const node of changes.flatMap(({ addedNodes }) => [...addedNodes])) {
      const message = node.nodeType === Node.ELEMENT_NODE
        && (node.closest('.toast-body') || node.querySelector('.toast-body'));
      const words = message && message.querySelector('[data-testid="toast-text"]');
      if (words?.textContent) said.textContent = words.textContent;
    }
  }).observe(document, { childList: true, subtree: true });
})();
