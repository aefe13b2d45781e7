// ---- backtest: errors over the weeks, by weekday, hour and time ahead, and by place

function backtestView() {
  const box = byId('backtest');
  if (!box) return;
  const head = el('div', { class: 'controls' }), empty = el('p', { class: 'empty' }, 'There is no backtest of this task.');
  const weeks = el('div', { class: 'chart' }), small = ['weekday', 'hour', 'horizon'].map((by) => [by, el('div', { class: 'chart' })]);
  const placesBox = el('div', {});
  const shown = el('div', {}, weeks, el('div', { class: 'charts' }, ...small.map(([, chart]) => chart)), placesBox);
  box.replaceChildren(head, empty, shown);
  const there = () => Boolean(task().backtest);
  const tables = {
    week: { title: 'by week', xTitle: 'week of the target, by its Monday', height: 270, tick: (name) => name.slice(5), room: 60 },
    weekday: { title: 'by weekday', xTitle: '', height: 210, tick: (name) => name.slice(0, 3), room: 40 },
    hour: { title: 'by hour', xTitle: 'hour of the day', height: 210, tick: (name) => name, room: 40 },
    horizon: { title: 'by time ahead', xTitle: 'time ahead', height: 210, tick: (name) => duration(Number(name) * task().interval), room: 75 },
  };
  const measure = () => (state.measure === 'bias' ? 'bias' : 'MAE');

  const draws = [['week', weeks], ...small].map(([by, chart]) => lineChart(chart, () => {
    const of = task(), rows = of.backtest.tables[by] || { names: [], targets: [], mean: [] }, about = tables[by];
    const systems = of.backtest.systems.filter((s) => (s[state.measure][by] || []).some(known));
    const every = Math.ceil(rows.names.length / Math.max(Math.floor(chart.clientWidth / about.room), 1));
    return {
      label: `${measure()} ${about.title}, ${of.name}`, height: about.height, count: rows.names.length, low: 0, high: state.measure === 'bias' ? 0 : undefined,
      yTitle: `${measure()} ${about.title}, ${of.unit}`, xTitle: about.xTitle, keys: by === 'week',
      xTicks: rows.names.map((name, i) => [i, about.tick(name)]).filter(([i]) => i % every === 0),
      series: systems.map((s) => ({ label: s.label, values: s[state.measure][by], ...styleOf(of.backtest.systems, s.key) })),
      tip: (i) => [by === 'week' ? `week of ${rows.names[i]}` : by === 'hour' ? `${rows.names[i]}:00` : about.tick(rows.names[i]),
        [...systems.map((s) => [s.label, show(s[state.measure][by][i])]), ['mean of the truth', show(rows.mean[i])], ['targets', String(rows.targets[i])]]],
    };
  }));
  const places = placesView(placesBox, 'MAE per place, over the whole backtest', () => (task().backtest ? task().backtest.systems : []), 'The backtest has no errors per place for this task.');

  const build = () => refill(head, taskControl(),
    segmented('error', [['mae', 'mean absolute error'], ['bias', 'bias: forecast − truth']], state.measure, (key) => change({ measure: key })));
  const update = (changed) => {
    if (changed.has('task')) build();
    empty.hidden = there();
    shown.hidden = !there();
    if (!there()) return;
    if (['task', 'measure', 'theme'].some((name) => changed.has(name))) for (const draw of draws) draw();
    places(changed);
  };
  views.push(update);
  update(new Set(['task']));
}
