// The drawing on the Colour tab, kept in this browser alone, for when the server has been started again:
// one drawing, {layers: blobs by name, about: what the server says of it}, with the tab that drew it.
window.storybrush.drawing = (() => {
  const MOST = 20 * 2 ** 20; // bytes
  const { tab, last } = window.storybrush;
  const opened = () => new Promise((resolve, reject) => {
    const asked = indexedDB.open('storybrush', 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore('drawing');
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
  // What `act` asks of the store; nothing where a browser keeps nothing (private, blocked, full).
  async function ask(mode, act) {
    let base;
    try {
      base = await opened();
      return await new Promise((resolve, reject) => {
        const work = base.transaction('drawing', mode);
        const found = act(work.objectStore('drawing'));
        work.oncomplete = () => resolve(found.result);
        work.onabort = () => reject(work.error);
      });
    } catch (error) {
      return undefined;
    } finally {
      base?.close();
    }
  }
  const recall = async (whose) => {
    const kept = await ask('readonly', (store) => store.get('last'));
    return kept?.tab === whose ? kept : null;
  };
  const forget = async () => {
    if (await recall(tab)) await ask('readwrite', (store) => store.delete('last'));
  };
  return {
    keep: async (layers, about) => {
      const size = Object.values(layers).reduce((sum, { size }) => sum + size, 0);
      if (size > MOST) return forget();
      window.storybrush.keep('drawn', true); // of two tabs the one that drew last is gone on with
      return ask('readwrite', (store) => store.put({ tab, layers, about }, 'last'));
    },
    recall: () => recall(last), // what the tab drew that this one follows
    forget,
  };
})();
