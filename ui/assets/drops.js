// A file that is dropped beside a place for it is not opened by the browser in the place of the app.
for (const event of ['dragover', 'drop']) {
  document.addEventListener(event, (drag) => {
    if (drag.defaultPrevented || !drag.dataTransfer?.types.includes('Files')) return;
    drag.preventDefault();
    drag.dataTransfer.dropEffect = 'none';
  });
}
