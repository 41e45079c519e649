// The way to the page that is being painted, or else the next one, wherever one has scrolled to.
function changed() {}

element.addEventListener('click', (click) => {
  if (!click.target.closest('[data-live]')) return;
  const pages = ['painting', 'sketched', 'waiting'].map((state) => document.querySelector('#pages .' + state));
  pages.find(Boolean)?.querySelector('img, .blank').scrollIntoView({ block: 'center' });
});
