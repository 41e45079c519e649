// The canvas of the Colour tab: strokes and a mask over a drawing, each a layer of its own.
// Handed in by Gradio: element, props, trigger, upload, watch. The server's value says what to show
// (addresses of the layers); what is drawn here goes to it as the event `draw`, layer by layer, and
// a picture that is pasted as `given`.
const { make, palm } = window.storybrush;
const root = element.querySelector('.easel');
const MASK = '#e4562a';
const FETCHED = ['lines', 'original', 'kept', 'earlier', 'picture']; // layers that are not drawn here
const STEPS = 60; // that can be undone, ...
const MOST = 100e6; // ... and the bytes that they may take
const PATIENCE = 10_000; // milliseconds until strokes that nobody has taken are sent again
const TALL = 2.5; // times as high as wide
const BEFORE_AND_AFTER = 'Before and after';
const hints = document.createElement('canvas');
const mask = document.createElement('canvas');
let view, box, swatches, own, sizer, shown, compares, status;
let lines = null;
let picture = null;
let layer = hints;
let tool = 'brush';
let colour = '';
let zoom = 1;
let known = {}; // the value that is shown
let ready = false; // whether its strokes and mask are on the canvas, to be drawn on
let undone = [];
let done = [];
let stroke = null;
let timer = 0;
let again = 0;
let keeping = 0;
let sent = -Infinity; // when strokes were sent last
let number = 0; // of the newest message
const page = Math.random().toString(36).slice(2); // whose messages these are
const dirty = new Map(); // layers that the server lacks: the message they went with, or Infinity

const load = (address) => new Promise((resolve) => {
  if (!address) return resolve(null);
  const image = new Image();
  image.onload = () => resolve(image);
  image.onerror = () => resolve(null);
  image.src = address;
});

const lit = () => shown.getAttribute('aria-pressed') === 'true';

function compose(context) { // what is seen without the mask: colours or lines, strokes
  context.globalAlpha = 1;
  context.fillStyle = '#fff';
  context.fillRect(0, 0, view.width, view.height);
  const under = picture && lit() ? picture : lines;
  if (under) context.drawImage(under, 0, 0, view.width, view.height);
  context.drawImage(hints, 0, 0);
}

function paint() {
  if (!view) return;
  const context = view.getContext('2d');
  compose(context);
  context.globalAlpha = layer === mask ? 0.5 : 0.22;
  context.drawImage(mask, 0, 0);
}

// --- what goes to the server ---------------------------------------------------------------

const empty = (canvas) => !canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
  .data.some((value, n) => n % 4 === 3 && value > 127);

// Messages may overtake each other or be lost: each brings every layer that was not taken yet, and
// the server leaves those alone that are older than one it has.
function send() {
  if (!dirty.size || !element.isConnected) return;
  sent = performance.now();
  number += 1;
  const message = { name: known.name, round: known.round, page, number, over: known.heard };
  for (const [name, canvas] of [['hints', hints], ['mask', mask]]) {
    if (!dirty.has(name)) continue;
    message[name] = empty(canvas) ? '' : canvas.toDataURL('image/png');
    dirty.set(name, number);
  }
  trigger('draw', { value: JSON.stringify(message) });
  clearTimeout(again);
  again = setTimeout(send, PATIENCE);
}

function taken([by, newest]) {
  if (by !== page) return;
  for (const [name, message] of dirty) if (message <= newest) dirty.delete(name);
}

function touched(canvas) {
  dirty.set(canvas === mask ? 'mask' : 'hints', Infinity);
  clearTimeout(timer);
  // At once, but several quick strokes are sent as one.
  timer = setTimeout(send, performance.now() - sent > 500 ? 0 : 90);
  keepSoon();
  buttons();
}

// --- what this browser keeps, should the server forget the drawing ---------------------------

function keepSoon() {
  clearTimeout(keeping);
  keeping = setTimeout(keep, 800);
}

async function keep() {
  const value = known;
  const layers = {};
  try {
    for (const name of FETCHED.filter((layer) => value[layer])) {
      const found = await fetch(value[name]); // it was shown, so it comes from the browser's cache
      if (!found.ok) return;
      layers[name] = await found.blob();
    }
  } catch (error) { // offline: what was kept before stays
    return;
  }
  for (const [name, canvas] of [['hints', hints], ['mask', mask]]) {
    if (!empty(canvas)) layers[name] = await new Promise((resolve) => canvas.toBlob(resolve));
  }
  if (!ready || !element.isConnected || known.name !== value.name || known.round !== value.round) return;
  storybrush.drawing.keep(layers, value.about);
}

// --- strokes ------------------------------------------------------------------------------

function at(event) {
  const frame = view.getBoundingClientRect();
  return [(event.clientX - frame.left) * view.width / frame.width,
    (event.clientY - frame.top) * view.height / frame.height];
}

// The sizes are meant for a square as wide as the screen shows it at first. What is thinner than two
// pixels may cover none of them by half, and is no stroke then.
const width = () => Math.max(2, sizer.value * Math.sqrt(view.width * view.height) / 512);

function dab(from, to) {
  const context = layer.getContext('2d');
  context.globalCompositeOperation = tool === 'eraser' ? 'destination-out' : 'source-over';
  context.strokeStyle = layer === mask ? MASK : colour;
  context.lineWidth = width() * (layer === mask || tool === 'eraser' ? 2 : 1);
  context.lineCap = context.lineJoin = 'round';
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(to[0] + 0.01, to[1]);
  context.stroke();
  context.globalCompositeOperation = 'source-over';
}

const copy = (canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);

// The part of a canvas that differs from what it was, as it was; null where none does.
function patch(canvas, before) {
  const [was, is] = [before, copy(canvas)].map(({ data }) => new Uint32Array(data.buffer));
  let [left, top, right, bottom] = [canvas.width, canvas.height, 0, 0];
  for (let n = 0; n < was.length; n += 1) {
    if (was[n] !== is[n]) {
      const x = n % canvas.width;
      const y = (n - x) / canvas.width;
      [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x + 1), Math.min(top, y), y + 1];
    }
  }
  if (!bottom) return null;
  const pixels = new ImageData(right - left, bottom - top);
  const rows = new Uint32Array(pixels.data.buffer);
  for (let y = top; y < bottom; y += 1) {
    const begin = y * canvas.width;
    rows.set(was.subarray(begin + left, begin + right), (y - top) * pixels.width);
  }
  return { canvas, x: left, y: top, pixels };
}

function note(canvas, before) { // one step that can be undone
  const step = patch(canvas, before);
  if (!step) return;
  done.push(step);
  const size = () => done.reduce((sum, { pixels }) => sum + pixels.data.length, 0);
  while (done.length > STEPS || (done.length > 1 && size() > MOST)) done.shift();
  undone = [];
  touched(canvas);
}

function change(canvas, act) {
  if (!ready) return;
  const before = copy(canvas);
  act();
  note(canvas, before);
  requestAnimationFrame(paint);
}

function swap(from, to) {
  const last = from.pop();
  if (!last) return;
  const { canvas, x, y, pixels } = last;
  const context = canvas.getContext('2d');
  to.push({ canvas, x, y, pixels: context.getImageData(x, y, pixels.width, pixels.height) });
  context.putImageData(pixels, x, y);
  touched(canvas);
  paint();
}

function pick(point) { // the mask tints what one sees, and is no colour
  const dot = make('canvas', { width: '1', height: '1' });
  const context = dot.getContext('2d');
  context.translate(-Math.floor(point[0]), -Math.floor(point[1]));
  compose(context);
  const [r, g, b] = context.getImageData(0, 0, 1, 1).data;
  choose('#' + [r, g, b].map((value) => value.toString(16).padStart(2, '0')).join(''));
  use('brush');
}

function begin(event) {
  if (!known.name || !ready || event.button > 0 || !event.isPrimary) return;
  if (palm(event)) return;
  if (stroke) end({ type: 'pointercancel' }); // by the hand, before its pen came down
  event.preventDefault();
  view.focus({ preventScroll: true });
  const point = at(event);
  if (tool === 'pick') return pick(point);
  view.setPointerCapture(event.pointerId);
  stroke = { point, canvas: layer, before: copy(layer), by: event.pointerId };
  dab(point, point);
  requestAnimationFrame(paint);
}

function move(event) {
  if (stroke?.by !== event.pointerId) return;
  for (const part of event.getCoalescedEvents?.() || [event]) {
    const point = at(part);
    dab(stroke.point, point);
    stroke.point = point;
  }
  requestAnimationFrame(paint);
}

function end(event) {
  if (!stroke || (event.pointerId ?? stroke.by) !== stroke.by) return;
  const { canvas, before } = stroke;
  stroke = null;
  if (event.type === 'pointercancel') { // a second finger: the page is being zoomed
    canvas.getContext('2d').putImageData(before, 0, 0);
    return paint();
  }
  note(canvas, before);
}

const wipe = (canvas) => canvas.getContext('2d').clearRect(0, 0, canvas.width, canvas.height);

function fill() {
  const context = mask.getContext('2d');
  context.fillStyle = MASK;
  context.fillRect(0, 0, mask.width, mask.height);
}

// --- tools --------------------------------------------------------------------------------

function press(group, value) {
  root.querySelectorAll(`[data-${group}]`).forEach((button) => {
    button.setAttribute('aria-pressed', String(button.dataset[group] === value));
  });
}

function use(name) {
  tool = name;
  press('tool', name);
}

function draw(name) {
  layer = name === 'mask' ? mask : hints;
  press('layer', name);
  root.classList.toggle('masking', layer === mask);
  if (tool === 'pick' && layer === mask) use('brush');
  buttons();
  paint();
}

function choose(value) {
  colour = value;
  own.value = value;
  press('colour', value);
  if (tool === 'eraser') use('brush');
}

function buttons() {
  root.querySelector('.undo').disabled = !done.length;
  root.querySelector('.redo').disabled = !undone.length;
}

function scale(by) {
  zoom = Math.min(Math.max(zoom * by, 1), 6);
  const middle = [box.scrollLeft + box.clientWidth / 2, box.scrollTop + box.clientHeight / 2];
  // A very tall picture does not take the whole width: one scrolls beside it.
  const share = Math.min(1, Math.max(0.25, TALL * view.width / view.height));
  view.style.width = 100 * share * zoom + '%';
  root.classList.toggle('tall', share < 1);
  box.style.maxHeight = zoom > 1 ? box.clientHeight + 'px' : '';
  box.scrollTo(middle[0] * by - box.clientWidth / 2, middle[1] * by - box.clientHeight / 2);
}

function button(text, label, act, more) {
  return make('button', {
    type: 'button', class: 'small-button', text, 'aria-label': label, title: label, onclick: act, ...more,
  });
}

function toggle(group, value, text, label, act) {
  return button(text, label, act, { ['data-' + group]: value, 'aria-pressed': 'false' });
}

// On a phone before and after come in the place of the canvas: below it nobody would find them.
function compare(on) {
  root.classList.toggle('comparing', on);
  for (const name of ['aria-label', 'title']) compares.setAttribute(name, on ? 'Draw on' : BEFORE_AND_AFTER);
  compares.textContent = compares.title;
  const slider = on && document.querySelector('#compare input');
  if (!slider) return;
  slider.value = 50;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
}

function palette(colours) {
  swatches.replaceChildren(own, ...colours.map((value, n) => make('button', {
    type: 'button', class: 'swatch', style: `background:${value}`, 'data-colour': value,
    'aria-label': `Colour ${n + 1}, ${value}`, title: value, 'aria-pressed': 'false',
    onclick: () => choose(value),
  })));
  if (!colour) choose(colours[0]);
  else press('colour', colour);
}

function build() {
  view = make('canvas', {
    tabindex: '0', role: 'img', onpointerdown: begin, onpointermove: move, onpointerup: end,
    onpointercancel: end,
    'aria-label': 'Your drawing: draw strokes of colour over it with mouse, pen or finger',
  });
  box = make('div', { class: 'paper' }, view);
  swatches = make('div', { class: 'swatches', role: 'group', 'aria-label': 'Colours' });
  own = make('input', { type: 'color', 'aria-label': 'A colour of your own', oninput: () => choose(own.value) });
  sizer = make('input', { type: 'range', min: '2', max: '40', value: '9', 'aria-label': 'Brush size' });
  shown = button('Colours shown', 'Show the colours under your strokes, or the lines alone', () => {
    shown.setAttribute('aria-pressed', String(!lit()));
    paint();
  }, { 'aria-pressed': 'true' });
  compares = button(BEFORE_AND_AFTER, BEFORE_AND_AFTER, () => compare(!root.classList.contains('comparing')),
    { class: 'small-button compares' });
  root.append(
    make('div', { class: 'tool-row' },
      make('div', { class: 'group', role: 'group', 'aria-label': 'What to draw' },
        toggle('layer', 'hints', 'Colours', 'Draw colours', () => draw('hints')),
        toggle('layer', 'mask', 'Mask', 'Draw a mask: only there the picture will change', () => draw('mask'))),
      make('div', { class: 'group', role: 'group', 'aria-label': 'Tool' },
        toggle('tool', 'brush', '🖌', 'Brush', () => use('brush')),
        toggle('tool', 'eraser', '⌫', 'Eraser', () => use('eraser')),
        toggle('tool', 'pick', '⊕', 'Take a colour from the picture', () => use('pick'))),
      make('div', { class: 'group' },
        button('↶', 'Undo', () => { swap(done, undone); }, { class: 'small-button undo' }),
        button('↷', 'Redo', () => { swap(undone, done); }, { class: 'small-button redo' })),
      make('div', { class: 'group', role: 'group', 'aria-label': 'View' },
        button('−', 'Smaller view', () => scale(1 / 1.5)),
        button('+', 'Larger view', () => scale(1.5)))),
    make('div', { class: 'tool-row for-hints' }, swatches),
    make('div', { class: 'tool-row' },
      make('label', { class: 'sizer' }, make('span', { text: 'Size' }), sizer),
      button('Clear', 'Clear all strokes of this layer', () => change(layer, () => wipe(layer))),
      button('Fill', 'Mask everything', () => change(mask, fill), { class: 'small-button for-mask' }),
      shown, compares),
    box);
  const list = KEYS.flatMap(([name, what]) => [make('kbd', { text: name }), make('span', { text: what })]);
  root.append(make('details', { class: 'keys' }, make('summary', { text: 'Keys' }), make('div', {}, ...list)));
  document.addEventListener('keydown', key);
  document.addEventListener('paste', paste);
  use('brush');
  draw('hints');
}

const KEYS = [
  ['B', 'brush'], ['E', 'eraser'], ['I', 'take a colour from the picture'], ['C', 'colours'], ['M', 'mask'],
  ['1 … 9', 'choose a colour'], ['[ ]', 'brush size'], ['+ −', 'view'], ['X', 'colours or lines'],
  ['Delete', 'clear this layer'], ['Ctrl+Z', 'undo'], ['Ctrl+Shift+Z', 'redo'],
];

function key(event) {
  if (!element.isConnected) return document.removeEventListener('keydown', key);
  if (!view.offsetParent || stroke || event.altKey) return;
  if (event.target !== document.body && !element.contains(event.target)) return;
  if (event.target.closest?.('textarea, select, input:not([type=range], [type=checkbox], [type=color])')) return;
  const pressed = event.key.toLowerCase();
  const size = (by) => { sizer.value = Number(sizer.value) * by + (by > 1 ? 1 : -1); };
  const acts = event.ctrlKey || event.metaKey ? {
    z: () => (event.shiftKey ? swap(undone, done) : swap(done, undone)), y: () => swap(undone, done),
  } : {
    b: () => use('brush'), e: () => use('eraser'), i: () => use('pick'), c: () => draw('hints'),
    m: () => draw('mask'), x: () => shown.click(), '[': () => size(0.8), ']': () => size(1.25),
    '+': () => scale(1.5), '-': () => scale(1 / 1.5), delete: () => change(layer, () => wipe(layer)),
  };
  const swatch = /^[1-9]$/.test(pressed) && !event.ctrlKey && !event.metaKey
    && swatches.querySelectorAll('.swatch')[Number(pressed) - 1];
  const act = swatch ? () => choose(swatch.dataset.colour) : acts[pressed];
  if (!act) return;
  event.preventDefault();
  act();
}

async function paste(event) { // another drawing; one can go back to this one
  if (!element.isConnected) return document.removeEventListener('paste', paste);
  const file = event.clipboardData?.files?.[0];
  if (!file || !view.offsetParent || event.target.closest?.('textarea, input[type=text], input[type=number]')) return;
  event.preventDefault();
  const given = await upload(file).catch(() => null);
  trigger('given', { value: given?.path || '' });
}

// --- what comes from the server -------------------------------------------------------------

async function show() {
  const value = props.value ? JSON.parse(props.value) : {};
  if (!value.name) {
    known = {};
    return;
  }
  const before = known;
  known = value;
  taken(value.heard);
  if (!view) build();
  const fresh = value.name !== before.name;
  const others = value.heard[0] !== page && value.heard.join() !== before.heard?.join(); // another tab's
  const anew = fresh || others || value.round !== before.round;
  if (anew) { // what was not sent belongs to what was there, and nothing is drawn until this is
    ready = false;
    stroke = null;
    dirty.clear();
    done = [];
    undone = [];
    buttons();
  }
  if (fresh || value.palette.join() !== (before.palette || []).join()) palette(value.palette);
  if (fresh) {
    [view, hints, mask].forEach((canvas) => { canvas.width = value.width; canvas.height = value.height; });
    zoom = 1;
    compare(false);
    scale(1);
    box.scrollTo(0, 0);
    picture = null;
  }
  if (fresh || value.lines !== before.lines) {
    const image = await load(value.lines);
    if (known.lines === value.lines) lines = image;
  }
  if (anew) {
    const [strokes, inside] = await Promise.all([load(value.hints), load(value.mask)]);
    if (known.name !== value.name || known.round !== value.round) return;
    for (const [canvas, image] of [[hints, strokes], [mask, inside]]) {
      wipe(canvas);
      if (image) canvas.getContext('2d').drawImage(image, 0, 0);
    }
    ready = true;
    draw(value.masking ? 'mask' : 'hints');
  }
  if (fresh || value.picture !== before.picture) {
    const image = await load(value.picture);
    if (known.picture === value.picture) picture = image;
  }
  root.dataset.picture = value.picture; // for whoever waits for it
  paint();
  keepSoon();
}

watch('value', show);
show();
