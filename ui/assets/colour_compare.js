// Before and after: the slider moves the edge between the drawing and the picture.
element.addEventListener('input', (event) => {
  const frame = event.target.closest('.compare');
  if (frame) frame.style.setProperty('--at', event.target.value + '%');
});

function changed() {
  const frame = panel.querySelector('.compare');
  const slider = frame?.querySelector('input');
  if (slider) frame.style.setProperty('--at', slider.value + '%');
}
