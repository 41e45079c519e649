// A brush over a picture: where it goes is painted again. Handed in by Gradio: element, props, watch.
// Strokes are kept as shares of the picture's sides and are in props.value at once.
const root = element.querySelector('.part');
const { make, palm } = window.storybrush;
const INK = '#e4562a';
const canvas = make('canvas', {
  role: 'img', 'aria-label': 'The picture of this page: brush over the part that is to be painted again',
  onpointerdown: begin, onpointermove: move, onpointerup: end, onpointercancel: end,
});
const sizer = make('input', { type: 'range', min: '2', max: '30', value: '10', 'aria-label': 'Brush size' });
const tools = ['Brush', 'Eraser'].map((name) => make('button', {
  type: 'button', class: 'small-button', text: name, 'aria-pressed': String(name === 'Brush'),
  onclick: () => use(name),
}));
const undo = make('button', { type: 'button', class: 'small-button', text: 'Undo', onclick: () => keep(strokes.slice(0, -1)) });
const clear = make('button', { type: 'button', class: 'small-button', text: 'Clear', onclick: () => keep([]) });
let erase = false;
let strokes = [];
let stroke = null; // that is being drawn
let picture = null;
let address = '';

root.append(
  make('p', { text: 'Paint only here: brush over a part; the rest stays as it is' }),
  make('div', { class: 'tool-row' },
    make('div', { class: 'group', role: 'group', 'aria-label': 'Tool' }, ...tools),
    make('label', { class: 'sizer' }, make('span', { text: 'Size' }), sizer), undo, clear),
  canvas);

function use(name) {
  erase = name === 'Eraser';
  tools.forEach((button) => button.setAttribute('aria-pressed', String(button.textContent === name)));
}

function keep(list) {
  strokes = list;
  props.value = { picture: address, strokes };
  paint();
}

function brush(context, { size, erase, points }) {
  const { width, height } = canvas;
  context.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
  context.strokeStyle = INK;
  context.lineWidth = size * Math.max(width, height);
  context.lineCap = context.lineJoin = 'round';
  context.beginPath();
  points.forEach(([x, y], n) => context[n ? 'lineTo' : 'moveTo'](x * width, y * height));
  context.lineTo(points.at(-1)[0] * width + 0.01, points.at(-1)[1] * height);
  context.stroke();
}

function paint() {
  const layer = make('canvas', { width: canvas.width, height: canvas.height });
  [...strokes, ...(stroke ? [stroke] : [])].forEach((one) => brush(layer.getContext('2d'), one));
  const context = canvas.getContext('2d');
  context.globalAlpha = 1;
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (picture) context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 0.6;
  context.drawImage(layer, 0, 0);
  undo.disabled = clear.disabled = !strokes.length;
}

function at(event) {
  const frame = canvas.getBoundingClientRect();
  return [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height]
    .map((share) => Math.round(Math.min(Math.max(share, 0), 1) * 1000) / 1000);
}

const drawn = () => strokes.reduce((sum, { points }) => sum + points.length, 0);

function begin(event) {
  if (!picture || event.button > 0 || !event.isPrimary || drawn() >= props.most_points) return;
  if (palm(event)) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  stroke = { size: sizer.value / 100, erase, points: [at(event)], by: event.pointerId };
  requestAnimationFrame(paint);
}

function move(event) {
  if (stroke?.by !== event.pointerId) return;
  for (const part of event.getCoalescedEvents?.() || [event]) {
    const point = at(part);
    const last = stroke.points.at(-1);
    const near = Math.hypot(point[0] - last[0], point[1] - last[1]) < 0.004;
    if (!near && drawn() + stroke.points.length < props.most_points) stroke.points.push(point);
  }
  requestAnimationFrame(paint);
}

function end(event) {
  if (stroke?.by !== event.pointerId) return;
  const { by, ...done } = stroke;
  stroke = null;
  // Otherwise a second finger has come: the page is being zoomed.
  keep(event.type === 'pointerup' ? [...strokes, done] : strokes);
}

function show() { // a page came from the server
  const value = props.value || {};
  strokes = value.strokes || [];
  if (value.picture === address) return paint();
  address = value.picture;
  picture = null;
  paint();
  if (!address) return;
  const image = new Image();
  image.onload = () => {
    if (image.src !== new URL(address, location.href).href) return;
    picture = image;
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    paint();
  };
  image.src = address;
}

watch('value', show);
show();
