// Gradio's messages come with their words, and screen readers speak only what changes in a place that
// was there before: here it is.
document.addEventListener('DOMContentLoaded', () => {
  const said = document.createElement('p');
  said.setAttribute('role', 'alert');
  said.style.cssText = 'position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%)';
  document.body.append(said);
  new MutationObserver((changes) => {
    for (const node of changes.flatMap(({ addedNodes }) => [...addedNodes])) {
      const message = node.nodeType === Node.ELEMENT_NODE
        && (node.closest('.toast-body') || node.querySelector('.toast-body'));
      const words = message && message.querySelector('[data-testid="toast-text"]');
      if (words?.textContent) said.textContent = words.textContent;
    }
  }).observe(document.body, { childList: true, subtree: true });
});
