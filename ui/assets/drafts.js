// Whoever has just asked for a story is shown where it is being written.
let writing = false;

function changed() {
  const before = writing;
  writing = Boolean(panel.querySelector('.writing'));
  if (!writing || before || !panel.offsetParent) return;
  const hidden = panel.getBoundingClientRect().top > innerHeight * 0.6;
  if (hidden) document.querySelector('#story-status')?.scrollIntoView();
}
