// Ratings by the keys 1 to 5.
function key(event) {
  if (!element.isConnected) return document.removeEventListener('keydown', key);
  if (!panel.offsetParent || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target !== document.body && !panel.contains(event.target)) return;
  panel.querySelectorAll('[data-rate]').forEach((button) => {
    if (button.dataset.rate.endsWith(':' + event.key)) button.click();
  });
}
document.addEventListener('keydown', key);

function changed() {}
