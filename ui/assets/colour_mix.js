// The way from one variation to another: the slider says which picture of it is shown and kept.
element.addEventListener('input', (event) => {
  const frame = event.target.closest('.mix');
  if (frame) go(frame, Number(event.target.value));
});

function go(frame, at) {
  frame.querySelectorAll('img').forEach((image, n) => { image.hidden = n !== at; });
  frame.querySelector('[data-mixed]').dataset.mixed = at;
}

function changed() {
  const slider = panel.querySelector('.mix input');
  if (slider) go(slider.closest('.mix'), Number(slider.value));
}
