// Which book the pages belong to, and which story it is painted from, for when this page is loaded
// again; and where they are, for whoever has just let them be painted.
let painting = false;

function changed() {
  const book = panel.querySelector('[data-book]');
  if (book) window.storybrush?.keep('book', { id: book.dataset.book, of: book.dataset.of });
  const before = painting;
  painting = Boolean(panel.querySelector('.painting, .sketched'));
  // The tab may be opened only just now, and has no height before that.
  if (painting && !before) setTimeout(() => panel.offsetParent && document.querySelector('#pages').scrollIntoView(), 150);
}
