// ---- city: maps of truth, forecast and error, the time slider, the series of one place

/** Draws the places of a task once; returns how to colour them. */
function placeMap(of, label, tipRows) {
  const map = data.maps[of.map];
  const shapes = of.nodes.map((name, i) => {
    if (map.paths[i]) return svg('path', { class: map.lines[i] ? 'place line' : 'place', d: map.paths[i], 'fill-rule': 'evenodd', 'data-i': i });
    if (map.points[i]) return svg('circle', { class: 'place', cx: map.points[i][0], cy: map.points[i][1], r: map.radius, 'data-i': i });
    return null;
  });
  const chart = svg('svg', { viewBox: `0 0 ${map.width} ${map.height}`, role: 'img', 'aria-label': label }, ...shapes.filter(Boolean));
  const index = (event) => (event.target.dataset.i === undefined ? null : Number(event.target.dataset.i));
  chart.addEventListener('pointermove', (event) => {
    const i = index(event);
    mark('hover', i);
    if (i === null) hideTip(); else showTip(event, of.nodes[i], tipRows(i));
  });
  chart.addEventListener('pointerleave', () => { mark('hover', null); hideTip(); });
  chart.addEventListener('click', (event) => { if (index(event) !== null) change({ place: index(event) }); });
  const colour = (scale, values) => shapes.forEach((shape, i) => {
    if (shape) shape.style[map.lines[i] ? 'stroke' : 'fill'] = paint(scale, values(i));
  });
  return { chart, colour };
}

const horizonSeconds = (of) => ({ first: of.interval, last: of.interval * Math.max(...of.systems.map((s) => s.plain.length), 1) });
const ahead = (of, horizon) => `${duration(horizonSeconds(of)[horizon])} ahead`;

function cityView() {
  const box = byId('maps');
  if (!box) return;
  state.task = Math.max(data.tasks.findIndex((t) => t.sample), 0);
  let shown = 'forecast', drawn = null;

  const values = (i) => {
    const s = sample(task()), at = state.step * task().nodes.length + i;
    return { truth: s.truth[at], first: s.first[at], last: s.last[at] };
  };
  const tipRows = (i) => {
    const v = values(i);
    return [['truth', show(v.truth)], [`forecast ${ahead(task(), 'first')}`, show(v.first)], ['error', signed(v.first - v.truth)],
      [`forecast ${ahead(task(), 'last')}`, show(v.last)], ['error', signed(v.last - v.truth)]];
  };

  function buildMaps() {
    const of = task();
    refill(byId('city-controls'),
      taskControl(),
      segmented('forecast made', [['first', ahead(of, 'first')], ['last', ahead(of, 'last')]], state.horizon, (horizon) => change({ horizon })),
      segmented('map', [['truth', 'truth'], ['forecast', 'forecast'], ['error', 'error']], shown, (key) => { shown = key; showOne(); }, 'narrow-only'),
    );
    if (of.map === null) {
      box.replaceChildren(el('p', { class: 'empty' }, 'The model has no position for any place of this task: there is no map to draw.'));
      drawn = null;
      return;
    }
    const s = sample(of), scale = valueScale(Array.from(s.truth), of.kind);
    const errors = errorScale([...s.first.map((v, i) => v - s.truth[i]), ...s.last.map((v, i) => v - s.truth[i])]);
    const titles = { truth: 'Truth', forecast: 'Forecast', error: 'Error: forecast − truth' };
    drawn = Object.fromEntries(Object.entries(titles).map(([key, title]) => {
      const map = placeMap(of, `Map of ${title.toLowerCase()}, ${of.name}`, tipRows);
      const used = key === 'error' ? errors : scale;
      return [key, { ...map, scale: used, figure: el('figure', { class: 'map', 'data-map': key, style: 'margin:0' }, el('h3', {}, title), map.chart, legend(used, of.unit)) }];
    }));
    box.replaceChildren(el('div', { class: 'maps' }, ...Object.values(drawn).map((map) => map.figure)));
    showOne();
    colour();
    mark('picked', state.place);
  }

  const showOne = () => { for (const map of box.querySelectorAll('.map')) map.classList.toggle('shown', map.dataset.map === shown); };

  function colour() {
    if (!drawn) return;
    const h = state.horizon;
    drawn.truth.colour(drawn.truth.scale, (i) => values(i).truth);
    drawn.forecast.colour(drawn.forecast.scale, (i) => values(i)[h]);
    drawn.error.colour(drawn.error.scale, (i) => values(i)[h] - values(i).truth);
    drawn.forecast.figure.querySelector('h3').textContent = `Forecast ${ahead(task(), h)}`;
  }

  const time = timeControl(byId('time'));
  const series = seriesView(byId('series'));
  views.push((changed) => {
    const there = Boolean(task().sample);
    byId('time').hidden = byId('series').hidden = !there;
    if (!there) {
      time.stop();
      refill(byId('city-controls'), taskControl());
      box.replaceChildren(el('p', { class: 'empty' }, 'The evaluation has no sample of forecasts for this task.'));
      return;
    }
    if (changed.has('task')) { clampStep(); pickBusiest(); }
    if (changed.has('task') || changed.has('theme')) buildMaps();
    else if (changed.has('step') || changed.has('horizon')) colour();
    if (changed.has('place')) mark('picked', state.place);
    if (changed.has('task') || changed.has('step')) time.update();
    series(changed);
  });
  clampStep();
  pickBusiest();
  buildMaps();
  time.update();
  series(new Set(['task']));
}

function clampStep() { state.step = Math.min(state.step, task().sample.time.length - 1); }

/** The place with the highest mean: the one most people look for first. */
function pickBusiest() {
  const nodes = task().nodes.length, truth = sample(task()).truth;
  const sums = new Float64Array(nodes);
  truth.forEach((v, at) => { if (known(v)) sums[at % nodes] += v; });
  state.place = sums.indexOf(Math.max(...sums));
}

function timeControl(box) {
  let timer = null;
  const last = () => task().sample.time.length - 1;
  const slider = el('input', { type: 'range', min: 0, step: 1, 'aria-label': 'Time of the map', oninput: () => change({ step: Number(slider.value) }) });
  const output = el('output', {});
  const play = el('button', { type: 'button', id: 'play', onclick: () => (timer ? stop() : start()) }, '▶ Play');
  const move = (by) => change({ step: Math.min(Math.max(state.step + by, 0), last()) });
  function start() {
    if (state.step === last()) change({ step: 0 });
    timer = setInterval(() => { if (state.step < last()) move(1); else stop(); }, 180);
    play.textContent = '❚❚ Pause';
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = '▶ Play';
  }
  box.replaceChildren(play, el('button', { type: 'button', 'aria-label': 'one step back', onclick: () => move(-1) }, '‹'), slider,
    el('button', { type: 'button', 'aria-label': 'one step forward', onclick: () => move(1) }, '›'), output);
  const update = () => {
    slider.max = last();
    slider.value = state.step;
    output.textContent = clock(task().sample.time[state.step]);
    slider.setAttribute('aria-valuetext', output.textContent);
  };
  return { update, stop };
}

/** Truth and both forecasts of the chosen place over the whole sample. */
function seriesView(box) {
  const head = el('div', { class: 'controls' }), chart = el('div', { class: 'chart' });
  box.replaceChildren(head, chart);
  const column = (name) => {
    const nodes = task().nodes.length, all = sample(task())[name];
    return task().sample.time.map((_, step) => all[step * nodes + state.place]);
  };
  const draw = lineChart(chart, () => {
    const of = task(), times = of.sample.time;
    const colours = dark() ? ['#ffffff', '#6cbcf0', '#ff9650'] : ['#1d2126', '#0067a3', '#c44e00'];
    const columns = { truth: column('truth'), first: column('first'), last: column('last') };
    return {
      label: `Truth and forecasts at ${of.nodes[state.place]}`, height: 250, count: times.length, yTitle: of.unit, xTitle: '', cursor: state.step,
      low: extent(Object.values(columns).flat())[0] >= 0 ? 0 : undefined,
      xTicks: dayTicks(times, chart.clientWidth),
      series: [
        { label: 'truth', values: columns.truth, colour: colours[0], width: 1.6, dash: '' },
        { label: `forecast ${ahead(of, 'first')}`, values: columns.first, colour: colours[1], width: 1.8, dash: '' },
        { label: `forecast ${ahead(of, 'last')}`, values: columns.last, colour: colours[2], width: 1.6, dash: '5 3' },
      ],
      tip: (i) => [clock(times[i]), [['truth', show(columns.truth[i])], [`forecast ${ahead(of, 'first')}`, show(columns.first[i])],
        [`forecast ${ahead(of, 'last')}`, show(columns.last[i])]]],
      pick: (step) => change({ step }),
    };
  });
  return (changed) => {
    if (changed.has('task') || changed.has('place')) {
      const names = task().nodes.map((name, i) => [i, name]).sort((a, b) => String(a[1]).localeCompare(String(b[1]), undefined, { numeric: true }));
      refill(head, dropdown('place (or click it on a map)', names, state.place, (i) => change({ place: Number(i) })));
    }
    if (['task', 'place', 'step', 'theme'].some((name) => changed.has(name))) draw();
  };
}

/** A tick where a day begins, as many as fit; without a midnight in the sample, the first and the last step. */
function dayTicks(times, width) {
  const text = (seconds) => clock(seconds).slice(0, 14).replace(/ \d{4}-/, ' ');
  const days = times.map((t, i) => [i, text(t)]).filter(([i]) => times[i] % 86400 === 0);
  if (!days.length) return [[0, clock(times[0]).slice(4)], [times.length - 1, clock(times[times.length - 1]).slice(15)]];
  const every = Math.ceil(days.length / Math.max(Math.floor(width / 85), 1));
  return days.filter((_, i) => i % every === 0).map(([i, day]) => [i, day.slice(0, 9)]);
}

function taskControl() {
  const options = data.tasks.map((t, i) => [i, t.name]);
  return options.length <= 6
    ? segmented('task', options, state.task, (i) => change({ task: Number(i) }))
    : dropdown('task', options, state.task, (i) => change({ task: Number(i) }));
}
