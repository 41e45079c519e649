// When the server has gone Gradio says so, and loads the page again when it is back. Of one that has
// gone and come back in between it knows nothing: the first click would wait in vain, and a job that
// has ended with the server would seem to go on.
(() => {
  let asking = false;
  const comeBack = () => {
    const said = document.createElement('p');
    said.className = 'restarted';
    said.setAttribute('role', 'alert');
    document.body.append(said);
    said.textContent = 'Storybrush was started again. This page comes back in a moment: your words and your '
      + 'drawing are kept.';
    setTimeout(() => location.reload(), 1500); // so that it can be read
  };
  const ask = async () => {
    const known = window.gradio_config?.app_id;
    if (asking || document.hidden || !known) return;
    asking = true;
    const server = await fetch('gradio_api/app_id').then((answer) => answer.json()).catch(() => null);
    if (server?.app_id && server.app_id !== known) comeBack();
    else setTimeout(() => { asking = false; }, 2000);
  };
  document.addEventListener('click', ask, true);
  setInterval(() => { if (document.querySelector('.status.busy')) ask(); }, 3000);
})();
