// Files to take away: a button asks for one, and when it is made its link is followed. Handed in
// by Gradio: element; by panel.js: a call of changed() after every change.
let followed;

function changed() {
  for (const button of element.querySelectorAll('[aria-busy]')) button.removeAttribute('aria-busy');
  const link = element.querySelector('a[data-made]');
  const made = link ? link.dataset.made : '';
  // What was made before the page was loaded is not wanted again.
  if (followed !== undefined && made && made !== followed) link.click();
  followed = made;
}

element.addEventListener('click', (click) => {
  const button = click.target.closest('button[data-take]');
  if (!button) return;
  button.setAttribute('aria-busy', 'true');
  setTimeout(() => button.removeAttribute('aria-busy'), 30000); // should the answer never come
});
