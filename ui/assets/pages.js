// Which book the pages belong to, for when this page is loaded again; and where they are, for
// whoever has just let them be painted.
let painting = false;

function changed() {
  const book = panel.querySelector('[data-book]');
  if (book?.dataset.book) window.storybrush?.keep('book', book.dataset.book);
  const before = painting;
  painting = Boolean(panel.querySelector('.painting'));
  // The tab may be opened only just now, and has no height before that.
  if (painting && !before) setTimeout(() => panel.offsetParent && document.querySelector('#pages').scrollIntoView(), 150);
}
