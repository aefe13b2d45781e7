// ---- intervals: coverage, width and interval score by time ahead, and by group of places

function intervalsView() {
  const box = byId('intervals');
  if (!box) return;
  const head = el('div', { class: 'controls' }), empty = el('p', { class: 'empty' }, 'This task has no calibrated intervals.');
  const chart = el('div', { class: 'chart' }), groups = el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Groups of places' });
  const shown = el('div', {}, chart, el('h3', { class: 'block' }, 'Groups of places, the quietest first'), groups);
  box.replaceChildren(head, empty, shown);
  const words = { coverage: 'covered', width: 'width', interval_score: 'interval score' };
  const level = () => { const of = task().intervals; return of.levels.includes(state.level) ? state.level : of.usual; };
  const share = (value) => (known(value) ? `${(100 * value).toFixed(1)} %` : show(value));
  const text = (measure, value) => (measure === 'coverage' ? share(value) : show(value));

  const draw = lineChart(chart, () => {
    const of = task(), own = of.intervals, measure = state.quality, covered = measure === 'coverage';
    const values = (s) => s.levels[level()].horizon[measure];
    const count = Math.max(...own.systems.map((s) => values(s).length), 1);
    const every = Math.ceil(count / Math.max(Math.floor(chart.clientWidth / 75), 1));
    const wanted = { label: 'as asked for', values: Array(count).fill(Number(level())), colour: dark() ? '#9aa1a8' : '#5c646d', width: 1.5, dash: '2 3' };
    return {
      label: `${words[measure]} of ${100 * Number(level())} % intervals by time ahead, ${of.name}`, height: 250, count, low: covered ? undefined : 0,
      yTitle: covered ? `share of the truth inside ${+(100 * Number(level())).toFixed(3)} % intervals` : `${words[measure]}, ${of.unit}`, xTitle: 'time ahead',
      yText: covered ? (v) => `${+(100 * v).toFixed(2)} %` : undefined,
      xTicks: Array.from({ length: count }, (_, i) => [i, duration((i + 1) * of.interval)]).filter(([i]) => i % every === 0),
      series: [...own.systems.map((s) => ({ label: `around ${s.label}`, values: values(s), ...styleOf(own.systems, s.key) })), ...(covered ? [wanted] : [])],
      tip: (i) => [`${duration((i + 1) * of.interval)} ahead`, own.systems.map((s) => [s.label, text(measure, values(s)[i])])],
    };
  });

  function fillGroups() {
    const own = task().intervals, several = new Set(own.groups.map((group) => group.channel)).size > 1;
    const measures = Object.keys(words);
    const titles = own.systems.flatMap((s) => measures.map((measure) => el('th', { scope: 'col' }, words[measure], el('small', {}, s.label))));
    const row = (group, g) => el('tr', {},
      el('th', { scope: 'row', title: group.nodes.join(', ') }, `${several ? `${group.channel}: ` : ''}${group.nodes.length} places, such as ${group.nodes[0]}`),
      ...own.systems.flatMap((s) => measures.map((measure) => el('td', { class: 'n' }, text(measure, s.levels[level()].group[measure][g])))));
    groups.replaceChildren(el('table', { class: 'numbers' }, el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, ''), ...titles)), el('tbody', {}, ...own.groups.map(row))));
  }

  const build = () => refill(head, taskControl(),
    ...(task().intervals ? [segmented('level', task().intervals.levels.map((name) => [name, `${+(100 * Number(name)).toFixed(3)} %`]), level(), (key) => change({ level: key })),
      segmented('shown', Object.entries(words), state.quality, (key) => change({ quality: key }))] : []));
  const update = (changed) => {
    const there = Boolean(task().intervals);
    if (changed.has('task')) build();
    empty.hidden = there;
    shown.hidden = !there;
    if (!there || !['task', 'level', 'quality', 'theme'].some((name) => changed.has(name))) return;
    draw();
    fillGroups();
  };
  views.push(update);
  update(new Set(['task']));
}
