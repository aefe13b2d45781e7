// ---- base: data, elements, numbers, colours, the tooltip, controls, the shared state

const data = JSON.parse(document.getElementById('data').textContent);
const byId = (id) => document.getElementById(id);

/** An HTML element. Text children become text nodes: nothing from the data is ever parsed as markup. */
function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Quantised values back to numbers, step by step; what does not exist is NaN. */
function unpack(packed) {
  const bytes = atob(packed.u16);
  const values = new Float64Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) {
    const code = bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8);
    values[i] = code === 65535 ? NaN : packed.offset + packed.scale * code;
  }
  return values;
}

const known = (value) => typeof value === 'number' && Number.isFinite(value);

/** A value as a table shows it; whole numbers stay whole. */
function show(value) {
  if (!known(value)) return 'missing';
  const size = Math.abs(value);
  const text = Number.isInteger(value) || size >= 1000 ? value.toFixed(0) : size >= 100 ? value.toFixed(1) : size >= 1 ? value.toFixed(2) : value.toPrecision(3);
  return text.replace('-', '−');
}

/** A value as an axis or a legend shows it: three digits, no more than it needs. */
const brief = (value) => show(Math.abs(value) >= 1000 ? value : Number(value.toPrecision(3))).replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, '');

const signed = (value) => (known(value) && value > 0 ? '+' : '') + show(value);

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const two = (number) => String(number).padStart(2, '0');

/** Seconds of the city's wall clock as text; read as UTC so that the reader's own time zone cannot shift them. */
function clock(seconds) {
  const t = new Date(seconds * 1000);
  return `${DAYS[t.getUTCDay()]} ${t.getUTCFullYear()}-${two(t.getUTCMonth() + 1)}-${two(t.getUTCDate())} ${two(t.getUTCHours())}:${two(t.getUTCMinutes())}`;
}

function duration(seconds) {
  if (seconds % 86400 === 0) return `${seconds / 86400} d`;
  return seconds < 5400 && seconds !== 3600 ? `${+(seconds / 60).toFixed(1)} min` : `${+(seconds / 3600).toFixed(2)} h`;
}

/** Smallest and largest of the values that exist. */
function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) if (known(v)) { if (v < low) low = v; if (v > high) high = v; }
  return [low, high];
}

function quantile(values, q) {
  const sorted = Float64Array.from(values.filter(known)).sort();
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.round(q * (sorted.length - 1)))] : NaN;
}

// Colours. Sequential: viridis, turned in the light scheme, so that more always stands out more from the page.
// Diverging: blue to orange over a neutral of the page. Both are told apart with any colour vision.
const VIRIDIS = ['#440154', '#482878', '#3e4a89', '#31688e', '#26828e', '#1f9e89', '#35b779', '#6ece58', '#b5de2b', '#fde725'];
const COLD = ['#053061', '#2166ac', '#67a9cf'], WARM = ['#f0a35e', '#c05a0c', '#7f3b08'];
const COLD_DARK = ['#b9e0ff', '#58aee8', '#2b6c9c'], WARM_DARK = ['#a05a1e', '#ef9a4a', '#ffd9ae'];
const dark = () => document.documentElement.dataset.theme === 'dark';
const sequential = () => (dark() ? VIRIDIS : [...VIRIDIS].reverse());
const diverging = () => (dark() ? [...COLD_DARK, '#34393e', ...WARM_DARK] : [...COLD, '#f3f1ec', ...WARM]);
const channels = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));

/** The colour at a share between 0 and 1 of a ramp. */
function colourAt(ramp, share) {
  const at = Math.min(Math.max(share, 0), 1) * (ramp.length - 1);
  const i = Math.min(Math.floor(at), ramp.length - 2);
  const a = channels(ramp[i]), b = channels(ramp[i + 1]);
  return `rgb(${a.map((v, c) => Math.round(v + (b[c] - v) * (at - i))).join(' ')})`;
}

/** A scale of a map: where a value stands on its ramp, and the values at the ramp's ends and middle. */
function valueScale(values, kind) {
  const low = quantile(values, 0) >= 0 && quantile(values, 0.02) < 0.5 * quantile(values, 0.98) ? 0 : quantile(values, 0.01);
  let high = quantile(values, 0.99);
  if (!(high > low)) high = Math.max(quantile(values, 1), low + 1e-9);
  const root = low === 0 && (kind === 'count' || kind === 'risk');
  const share = (v) => (root ? Math.sqrt(Math.max(v, 0) / high) : (v - low) / (high - low));
  const value = (s) => (root ? s * s * high : low + s * (high - low));
  return { ramp: sequential, share, ticks: [0, 0.5, 1].map((s) => brief(value(s))), note: root ? 'square-root scale' : '', top: quantile(values, 1) > high };
}

function errorScale(values) {
  const limit = quantile(values.map(Math.abs), 0.98) || quantile(values.map(Math.abs), 1) || 1;
  return { ramp: diverging, share: (v) => 0.5 + v / (2 * limit), ticks: [`−${brief(limit)}`, '0', `+${brief(limit)}`], note: '', top: false };
}

function legend(scale, words) {
  const stops = scale.ramp().join(', ');
  const ramp = el('div', { class: 'ramp' });
  ramp.style.background = `linear-gradient(to right, ${stops})`;
  const ticks = scale.ticks.map((tick, i) => el('span', {}, i === 2 && scale.top ? `≥ ${tick}` : tick));
  return el('div', { class: 'legend' }, ramp, el('div', { class: 'ticks' }, ...ticks), el('p', {}, [words, scale.note].filter(Boolean).join(', ')));
}

const paint = (scale, value) => (known(value) ? colourAt(scale.ramp(), scale.share(value)) : 'url(#missing)');

// Tooltip: a title and rows of name and value, always as text.
const tip = byId('tip');

function showTip(event, title, rows) {
  tip.replaceChildren(el('b', {}, title), el('table', {}, ...rows.map(([name, value]) => el('tr', {}, el('td', {}, name), el('td', {}, value)))));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = event.clientX + 14 + box.width > innerWidth ? event.clientX - box.width - 14 : event.clientX + 14;
  const top = event.clientY + 14 + box.height > innerHeight ? event.clientY - box.height - 14 : event.clientY + 14;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, top)}px`;
}

const hideTip = () => { tip.hidden = true; };

// Controls: real radio buttons and selects, so that the keyboard works by itself.
let controls = 0;

function segmented(title, options, value, choose, extra = '') {
  const name = `control-${controls++}`;
  const labels = options.map(([key, text]) => el('label', {},
    el('input', { type: 'radio', name, value: key, checked: key === value ? '' : null, onchange: () => choose(key) }), el('span', {}, text)));
  return el('fieldset', { class: `control ${extra}`, 'data-title': title }, el('legend', {}, title), el('div', { class: 'segments' }, ...labels));
}

function dropdown(title, options, value, choose) {
  const id = `control-${controls++}`;
  const select = el('select', { id, onchange: () => choose(select.value) },
    ...options.map(([key, text]) => el('option', { value: key, selected: String(key) === String(value) ? '' : null }, text)));
  return el('div', { class: 'control', 'data-title': title }, el('label', { for: id }, title), select);
}

/** New controls in place of the old; who was on one with the keyboard stays on it. */
function refill(box, ...items) {
  const active = box.contains(document.activeElement) ? document.activeElement.closest('.control') : null;
  box.replaceChildren(...items);
  if (!active) return;
  const same = items.find((item) => item.dataset.title === active.dataset.title);
  same?.querySelector('input:checked, select')?.focus();
}

// State: what is looked at. A change tells every view which of its parts changed.
const state = { task: 0, horizon: 'first', step: 0, place: 0, family: 'plain', system: 'cmust', against: '', measure: 'mae', level: '', quality: 'coverage' };
const views = [];

function change(parts) {
  const names = Object.keys(parts).filter((name) => state[name] !== parts[name]);
  Object.assign(state, parts);
  if (names.length) for (const view of views) view(new Set(names));
}

const task = () => data.tasks[state.task];

/** Values of the task's sample, unpacked when first asked for. */
function sample(of) {
  if (of.sample && !of.values) {
    of.values = { truth: unpack(of.sample.truth), first: unpack(of.sample.first), last: unpack(of.sample.last) };
  }
  return of.values;
}

/** Keeps the hovered place marked wherever it is drawn. */
function mark(className, place) {
  for (const node of document.querySelectorAll(`.${className}`)) if (node.dataset.i !== undefined) node.classList.remove(className);
  if (place === null) return;
  for (const node of document.querySelectorAll(`[data-i="${place}"]`)) node.classList.add(className);
}
