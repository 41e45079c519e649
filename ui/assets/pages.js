// Which book the pages belong to, for when this page is loaded again.
function changed() {
  const book = panel.querySelector('[data-book]');
  if (book) window.storybrush?.keep('book', book.dataset.book);
}
