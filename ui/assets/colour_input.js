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
    const most = window.gradio_config?.max_file_size; // bytes, as --max-upload says
    const large = most && file.size > most;
    said.textContent = large
      ? `This file is larger than ${Math.round(most / 2 ** 20)} MB: make it smaller and hand it in again.`
      : 'This file could not be handed in: look whether you are online, and try again.';
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
