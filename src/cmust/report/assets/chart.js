// ---- chart: lines over a common x axis

const SYSTEM_STYLE = {
  cmust: { colour: ['#0067a3', '#6cbcf0'], width: 3, dash: '' },
  last_value: { colour: ['#8a8f94', '#9aa1a8'], width: 1.5, dash: '2 3' },
  yesterday: { colour: ['#b07f00', '#e0b040'], width: 1.5, dash: '6 3' },
  last_week: { colour: ['#00876b', '#4cc9a6'], width: 1.5, dash: '8 3 2 3' },
  weekly_average: { colour: ['#c44e00', '#ff9650'], width: 2, dash: '5 3' },
  scaled_weekly_average: { colour: ['#a3207c', '#f08ac8'], width: 2, dash: '9 4' },
  weekly_profile: { colour: ['#5f6b00', '#c3d04a'], width: 2, dash: '12 3 2 3' },
};
const LEARNED_STYLE = [['#5b4bb5', '#b3a6ff'], ['#3d3d3d', '#dddddd'], ['#7a5c2e', '#d2b48c'], ['#2f6f2f', '#93d093']];

function styleOf(systems, key) {
  const named = SYSTEM_STYLE[key];
  const learned = systems.filter((s) => !SYSTEM_STYLE[s.key]).findIndex((s) => s.key === key);
  const style = named || { colour: LEARNED_STYLE[learned % LEARNED_STYLE.length], width: 2, dash: '' };
  return { colour: style.colour[dark() ? 1 : 0], width: style.width, dash: style.dash };
}

/** Round numbers that cover a range. */
function niceTicks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const ticks = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) ticks.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  return ticks;
}

function keyLine(style) {
  return svg('svg', { viewBox: '0 0 26 10', 'aria-hidden': 'true' },
    svg('line', { x1: 0, x2: 26, y1: 5, y2: 5, stroke: style.colour, 'stroke-width': style.width, 'stroke-dasharray': style.dash }));
}

/** The path of a series, broken where values are missing; a value alone between gaps becomes a dash. */
function curve(values, x, y) {
  let path = '';
  values.forEach((value, i) => {
    if (!known(value)) return;
    const joined = i > 0 && known(values[i - 1]);
    path += `${joined ? 'L' : 'M'}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
    if (!joined && !known(values[i + 1])) path += 'm-3 0h6';
  });
  return path;
}

/**
 * A line chart in `box`, drawn again when the box changes its width.
 * options(): {label, height, series: [{label, values, parts (values to draw apart), colour, width, dash}], count, xTicks: [[index, text]], yTitle, xTitle,
 *   low, log, keys (false: no legend), cursor, back(frame): svg nodes behind the curves, tip(index): [title, rows], pick(index)}
 */
function lineChart(box, options) {
  const draw = () => { if (box.clientWidth) drawChart(box, options()); };  // a hidden box has no width, and perhaps no data
  let width = 0;
  const follow = () => { if (box.clientWidth !== width) { width = box.clientWidth; draw(); } };
  new ResizeObserver(() => requestAnimationFrame(follow)).observe(box);  // drawn at once, the new height would be a complaint on the console
  return draw;
}

function drawChart(box, o) {
  const width = box.clientWidth;
  const frame = { left: 50, right: width - 10, top: 22, bottom: o.height - 36 };
  const values = o.series.flatMap((s) => Array.from(s.values).filter(known));
  const log = o.log && values.every((v) => v > 0);
  const transform = log ? Math.log10 : (v) => v;
  let [low, high] = values.length ? extent(values).map(transform) : [0, 1];
  low = Math.min(low, o.low ?? low);
  high = Math.max(high, o.high ?? high);
  if (high === low) high = low + (Math.abs(low) || 1);
  const margin = (high - low) * 0.05;
  if (low !== o.low) low -= margin;
  if (high !== o.high) high += margin;
  const x = (i) => (o.count > 1 ? frame.left + ((frame.right - frame.left) * i) / (o.count - 1) : (frame.left + frame.right) / 2);
  const y = (v) => frame.bottom - ((frame.bottom - frame.top) * (transform(v) - low)) / (high - low);
  const chart = svg('svg', { width, height: o.height, role: 'img', 'aria-label': o.label });
  if (o.back) chart.append(...o.back({ ...frame, x }));
  const yTicks = log ? logTicks(low, high) : niceTicks(low, high, 5);
  for (const tick of yTicks) {
    chart.append(svg('line', { class: 'grid', x1: frame.left, x2: frame.right, y1: y(tick), y2: y(tick) }),
      svg('text', { x: frame.left - 7, y: y(tick) + 4, 'text-anchor': 'end' }, o.yText ? o.yText(tick) : brief(tick)));
  }
  for (const [index, text] of o.xTicks) {
    chart.append(svg('line', { class: 'grid', x1: x(index), x2: x(index), y1: frame.bottom, y2: frame.bottom + 4 }),
      svg('text', { x: x(index), y: frame.bottom + 17, 'text-anchor': x(index) > width - 30 ? 'end' : 'middle' }, text));
  }
  chart.append(svg('text', { x: 2, y: 12 }, o.yTitle), svg('text', { x: frame.right, y: o.height - 3, 'text-anchor': 'end' }, o.xTitle));
  for (const s of o.series) {
    chart.append(svg('path', { class: 'curve', d: (s.parts || [s.values]).map((part) => curve(Array.from(part), x, y)).join(''), stroke: s.colour, 'stroke-width': s.width, 'stroke-dasharray': s.dash }));
  }
  if (known(o.cursor)) chart.append(svg('line', { class: 'cursor', x1: x(o.cursor), x2: x(o.cursor), y1: frame.top, y2: frame.bottom }));
  const pointer = svg('line', { class: 'cursor', y1: frame.top, y2: frame.bottom, visibility: 'hidden' });
  chart.append(pointer);
  const at = (event) => {
    const share = (event.clientX - chart.getBoundingClientRect().left - frame.left) / (frame.right - frame.left);
    return Math.min(Math.max(Math.round(share * (o.count - 1)), 0), o.count - 1);
  };
  chart.addEventListener('pointermove', (event) => {
    const index = at(event), [title, rows] = o.tip(index);
    fill(pointer, { x1: x(index), x2: x(index), visibility: 'visible' }, []);
    showTip(event, title, rows);
  });
  chart.addEventListener('pointerleave', () => { pointer.setAttribute('visibility', 'hidden'); hideTip(); });
  if (o.pick) chart.addEventListener('click', (event) => o.pick(at(event)));
  const keys = el('ul', { class: 'keys' }, ...o.series.map((s) => el('li', {}, keyLine(s), s.label)));
  box.replaceChildren(chart, ...(o.series.length > 1 && o.keys !== false ? [keys] : []));
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power++) {
    for (const m of high - low < 1.5 ? [1, 2, 5] : [1]) {
      const at = Math.log10(m) + power;
      if (at >= low && at <= high) ticks.push(m * 10 ** power);
    }
  }
  return ticks;
}
