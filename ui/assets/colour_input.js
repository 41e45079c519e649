// A drawing is handed in: chosen, dropped, pasted or photographed. It goes to the server as it is,
// which says what is wrong with it. Where it asks for the drawing that this browser has kept, that is
// handed in as `kept`. Handed in by Gradio: element, props, trigger, upload, watch.
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

// --- what was kept ------------------------------------------------------------------------

let brought = false;

async function bring() {
  if (props.value !== 'asks') return brought && storybrush.drawing.forget(); // it was of no use
  const kept = !brought && await storybrush.drawing.recall();
  if (!kept) return;
  brought = true;
  const path = async ([name, blob]) => [name, (await upload(new File([blob], name))).path];
  try {
    const layers = Object.fromEntries(await Promise.all(Object.entries(kept.layers).map(path)));
    trigger('kept', { value: JSON.stringify({ layers, about: kept.about }) });
  } catch (error) { /* offline: the next time */ }
}

watch('value', bring);
bring();

// --- the camera ---------------------------------------------------------------------------

// `capture` opens that of a phone or tablet. On other computers the page shows what the camera sees,
// where it may: browsers keep cameras from pages without https, and there is no such button then.
const photo = element.querySelector('.photo');
if (!('capture' in photo.querySelector('input'))) {
  if (navigator.mediaDevices) photo.addEventListener('click', look);
  else photo.remove();
}

async function look(event) {
  event.preventDefault();
  said.textContent = '';
  let stream;
  try {
    const wanted = { facingMode: 'environment', width: { ideal: 1920 }, height: { ideal: 1440 } };
    stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
  } catch (error) {
    said.textContent = error.name === 'NotAllowedError'
      ? 'This page may not use the camera: allow it in the browser, or choose a file.'
      : 'There is no camera that can be used: choose a file.';
    return;
  }
  const dialog = document.createElement('dialog');
  dialog.className = 'camera';
  dialog.setAttribute('aria-label', 'Take a photo');
  dialog.innerHTML = `<video autoplay playsinline muted></video>
    <p>Hold your drawing still, so that it fills the picture.</p>
    <button type="button" class="small-button take" disabled>Take it</button>
    <button type="button" class="small-button">Cancel</button>`;
  const video = dialog.querySelector('video');
  const [take, cancel] = dialog.querySelectorAll('button');
  video.addEventListener('loadeddata', () => { take.disabled = false; });
  video.srcObject = stream;
  take.addEventListener('click', () => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext('2d').drawImage(video, 0, 0);
    canvas.toBlob((blob) => give(new File([blob], 'photo.jpg', { type: blob.type })), 'image/jpeg', 0.95);
    dialog.close();
  });
  cancel.addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', () => {
    stream.getTracks().forEach((track) => track.stop());
    dialog.remove();
  });
  element.append(dialog);
  dialog.showModal();
}
