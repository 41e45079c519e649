// The story editor. The DOM under .manuscript is made here and with textContent or value only,
// so that no word of a story is ever read as HTML. Handed in by Gradio: element, props, server,
// trigger, watch. Every change goes to props.value at once: what is on the screen is what gets
// painted.
const { make, keep } = window.storybrush;
const root = element.querySelector('.manuscript');
let rows = [];
let of; // which story of the desk it is
let title;
let author;
let deleted = null; // the last one, and where it stood
let changed = false; // by a person, since the story came

// A picture that the server has not read yet from a new text or wish, it reads when it is painted.
function written() {
  return {
    of,
    title: title ? title.value : '',
    author: author ? author.value : '',
    sentences: rows.map(({ text, brief, shows, asked, wished }) => (
      { text, brief: text === asked ? brief : '', shows, wish: wished })),
  };
}

function commit() {
  changed = true;
  props.value = written();
  if (rows.length) keep('tale', props.value);
}

function fit(area) {
  area.style.height = 'auto';
  if (area.scrollHeight) area.style.height = area.scrollHeight + 2 + 'px';
}

async function ask(row, wish) {
  const text = row.text;
  if (!text.trim() && !wish) return;
  const at = rows.indexOf(row);
  const before = rows.slice(0, at).map(({ text, brief }) => ({ text, brief }));
  const question = row.question = { text, wish: wish || '', before };
  row.wished = question.wish;
  row.asked = null;
  commit();
  const found = await server.read_brief(question).catch(() => null);
  if (!found || row.question !== question || row.text !== text || !rows.includes(row)) return;
  row.brief = found.brief;
  row.shows = found.shows;
  row.wished = '';
  row.asked = text;
  row.label.textContent = found.shows || '…';
  if (document.activeElement !== row.wish) row.wish.value = found.shows;
  commit();
}

function insert(at, text) {
  if (rows.length >= props.max_sentences) return null;
  const row = { text: text || '', brief: '', shows: '', wished: '', asked: null };
  rows.splice(at, 0, row);
  if (deleted && at <= deleted.at) deleted.at += 1;
  draw();
  row.area.focus();
  if (text) ask(row);
  return row;
}

function drop(at) {
  rows.splice(at, 1);
  if (deleted && at < deleted.at) deleted.at -= 1;
}

function remove(row) {
  const at = rows.indexOf(row);
  drop(at);
  if (row.text.trim()) deleted = { row, at };
  draw();
  (rows[Math.min(at, rows.length - 1)]?.area || title)?.focus();
}

function move(row, by) {
  const at = rows.indexOf(row);
  if (at + by < 0 || at + by >= rows.length) return;
  rows.splice(at, 1);
  rows.splice(at + by, 0, row);
  draw();
  const button = row.item.querySelector(by < 0 ? '.up' : '.down');
  (button.disabled ? row.area : button).focus();
}

function keys(event, row) {
  const area = row.area;
  const at = rows.indexOf(row);
  if (event.key === 'Enter' && !event.isComposing) { // split, as a word processor would
    event.preventDefault();
    const rest = area.value.slice(area.selectionEnd).trimStart();
    if (rows.length >= props.max_sentences) return;
    row.text = area.value.slice(0, area.selectionStart).trimEnd();
    const next = insert(at + 1, rest);
    if (next) next.area.setSelectionRange(0, 0);
    if (rest) ask(row);
  } else if (event.key === 'Backspace' && at > 0 && area.selectionEnd === 0) { // join
    event.preventDefault();
    const above = rows[at - 1];
    const seam = above.text.length;
    const joined = [above.text, row.text].filter(Boolean).join(' ');
    if (joined.length > props.max_characters) {
      area.setCustomValidity('Joined, they are longer than a page holds: shorten one first.');
      area.reportValidity();
      return;
    }
    above.text = joined;
    drop(at);
    draw();
    above.area.focus();
    above.area.setSelectionRange(seam, seam);
    ask(above);
  }
}

function tool(kind, sign, label, action, disabled) {
  const button = make('button', {
    type: 'button', class: 'tool ' + kind, 'aria-label': label, title: label, text: sign, onclick: action,
  });
  button.disabled = Boolean(disabled);
  return button;
}

function line(row, at) {
  const full = rows.length >= props.max_sentences;
  const name = 'sentence ' + (at + 1);
  row.area = make('textarea', {
    rows: 1, maxlength: props.max_characters, 'aria-label': 'Sentence ' + (at + 1), value: row.text,
    oninput: () => {
      row.text = row.area.value;
      row.area.setCustomValidity('');
      fit(row.area);
      commit();
    },
    onchange: () => { if (row.text !== row.asked) ask(row); },
    onkeydown: (event) => keys(event, row),
  });
  row.label = make('span', { text: row.shows || '…' });
  row.wish = make('input', {
    type: 'text', maxlength: 200, 'aria-label': 'What the picture of ' + name + ' shows', value: row.shows,
    placeholder: 'a fox near an owl, by the lake, at night',
    onchange: () => ask(row, row.wish.value),
  });
  row.item = make('li', { class: 'line' },
    make('span', { class: 'number', 'aria-hidden': 'true', text: String(at + 1) }),
    make('div', { class: 'words' }, row.area,
      make('details', {}, make('summary', {}, 'Picture: ', row.label), row.wish)),
    make('div', { class: 'tools', role: 'group', 'aria-label': 'Change ' + name },
      tool('up', '↑', 'Move ' + name + ' up', () => move(row, -1), at === 0),
      tool('down', '↓', 'Move ' + name + ' down', () => move(row, 1), at === rows.length - 1),
      tool('add', '+', 'Add a sentence below ' + name, () => insert(at + 1), full),
      tool('delete', '×', 'Delete ' + name, () => remove(row), rows.length === 1)));
  return row.item;
}

// Stands where the sentence stood that was deleted last.
function gap() {
  const { row, at } = deleted;
  const words = row.text.length > 44 ? row.text.slice(0, 40) + '…' : row.text;
  return make('li', { class: 'gap' }, make('button', {
    type: 'button', class: 'link', text: 'Put back: ' + words,
    onclick: () => { rows.splice(at, 0, row); deleted = null; draw(); row.area.focus(); },
  }));
}

function draw() {
  root.replaceChildren();
  if (!rows.length) return;
  const heading = (label, old, hint) => {
    const input = make('input', {
      type: 'text', maxlength: props.max_title, value: old ? old.value : '', placeholder: hint,
      oninput: commit,
    });
    root.append(make('label', { class: label.toLowerCase() }, make('span', { text: label }), input));
    return input;
  };
  title = heading('Title', title, 'My story');
  author = heading('Author', author, 'your name, if you like');
  const lines = rows.map(line);
  if (deleted && rows.length < props.max_sentences) lines.splice(deleted.at, 0, gap());
  root.append(make('ol', { class: 'lines' }, ...lines));
  rows.forEach((row) => fit(row.area));
  commit();
}

function load() { // a story came from the server
  const value = props.value || {};
  // What was typed while others were written, the server has not seen yet.
  if (changed && rows.length && value.of !== of) trigger('left', { value: written() });
  of = value.of;
  rows = (value.sentences || []).map((row) => ({ ...row, asked: row.text }));
  deleted = null;
  title = { value: value.title || '' };
  author = { value: value.author || '' };
  draw();
  changed = false;
}

watch('value', load);
load();
// In a tab that is not shown, nothing has a height yet.
new ResizeObserver(() => rows.forEach((row) => row.area && fit(row.area))).observe(root);
