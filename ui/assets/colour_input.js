// A drawing is handed in: chosen, dropped, pasted or photographed. It goes to the server as it is,
// which says what is wrong with it. Handed in by Gradio: element, trigger, upload.
const said = element.querySelector('[role=alert]');

async function give(file) {
  if (!file) return;
  said.textContent = '';
  element.querySelector('.drop').classList.add('busy');
  try {
    const { path } = await upload(file);
    trigger('given', { value: path });
  } catch (error) {
    said.textContent = 'This file could not be handed in: it may be larger than 20 MB.';
  }
  element.querySelector('.drop').classList.remove('busy');
}

element.addEventListener('change', (event) => {
  give(event.target.files?.[0]);
  event.target.value = '';
});
element.addEventListener('dragover', (event) => event.preventDefault());
element.addEventListener('drop', (event) => {
  event.preventDefault();
  give(event.dataTransfer.files[0]);
});
document.addEventListener('paste', (event) => {
  if (element.offsetParent) give(event.clipboardData?.files?.[0]);
});
