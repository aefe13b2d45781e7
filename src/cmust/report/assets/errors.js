// ---- errors: by horizon, a line per system; by place, sorted bars and a map

function errorsView() {
  if (!byId('horizons')) return;
  const build = () => {
    refill(byId('errors-controls'), taskControl(),
      segmented('MAE by horizon', [['plain', 'plain'], ['masked', 'masked']], state.family, (family) => change({ family })));
  };
  const horizons = horizonView(byId('horizons'));
  const places = placesView(byId('places'), 'Plain MAE per place', () => task().systems, 'The evaluation has no errors per place for this task.');
  views.push((changed) => {
    if (changed.has('task')) build();
    horizons(changed);
    places(changed);
  });
  build();
  horizons(new Set(['task']));
  places(new Set(['task']));
}

function horizonView(box) {
  const chart = el('div', { class: 'chart' });
  const empty = el('p', { class: 'empty' }, 'The evaluation has no errors per horizon for this task.');
  box.replaceChildren(chart, empty);
  const systems = () => task().systems.filter((s) => s[state.family].some(known));
  const draw = lineChart(chart, () => {
    const of = task(), used = systems(), count = Math.max(...used.map((s) => s[state.family].length), 1);
    const every = Math.ceil(count / Math.max(Math.floor(chart.clientWidth / 75), 1));
    const steps = Array.from({ length: count }, (_, i) => i);
    return {
      label: `${state.family} MAE per horizon, ${of.name}`, height: 270, count, yTitle: `${state.family} MAE, ${of.unit}`, xTitle: 'time ahead', low: 0,
      xTicks: steps.filter((i) => i % every === 0).map((i) => [i, duration((i + 1) * of.interval)]),
      series: used.map((s) => ({ label: s.label, values: s[state.family], ...styleOf(of.systems, s.key) })),
      tip: (i) => [`${duration((i + 1) * of.interval)} ahead`,
        used.map((s) => [s.label, s[state.family][i]]).sort((a, b) => (a[1] ?? Infinity) - (b[1] ?? Infinity)).map(([name, v]) => [name, show(v)])],
    };
  });
  return (changed) => {
    if (!['task', 'family', 'theme'].some((name) => changed.has(name))) return;
    empty.hidden = systems().length > 0;
    chart.hidden = !empty.hidden;
    if (!chart.hidden) draw();
  };
}

/** Error of one of the systems at every place, or how much it differs there from another system's; `missing` where there is none. */
function placesView(box, title, systems, missing) {
  const head = el('div', { class: 'controls block' }), bars = el('div', { class: 'bars' }), map = el('div', { class: 'map shown' });
  box.replaceChildren(el('h3', { class: 'block' }, title), head, el('div', { class: 'by-place' }, map, bars));
  const withPlaces = () => systems().filter((s) => s.places.length);
  const system = () => withPlaces().find((s) => s.key === state.system) || withPlaces()[0];
  const against = () => withPlaces().find((s) => s.key === state.against && s !== system());

  function draw() {
    const of = task(), one = system(), other = against();
    if (!one) {
      head.replaceChildren();
      map.replaceChildren(el('p', { class: 'empty' }, missing));
      bars.replaceChildren();
      return;
    }
    const names = withPlaces().map((s) => [s.key, s.label]);
    refill(head, dropdown('system', names, one.key, (key) => change({ system: key })),
      dropdown('compared with', [['', 'nothing'], ...names.filter(([key]) => key !== one.key)], other ? other.key : '', (key) => change({ against: key })));
    const values = of.nodes.map((_, i) => (known(one.places[i]) ? (other ? (known(other.places[i]) ? one.places[i] - other.places[i] : NaN) : one.places[i]) : NaN));
    const scale = other ? errorScale(values) : valueScale(values, of.kind);
    const words = other ? `${one.label} − ${other.label}, ${of.unit}: below zero is better` : `MAE, ${of.unit}`;
    const rows = (i) => [[one.label, show(one.places[i])], ...(other ? [[other.label, show(other.places[i])], ['difference', signed(values[i])]] : [])];
    if (of.map === null) map.replaceChildren(el('p', { class: 'empty' }, 'No place of this task has a position.'));
    else {
      const drawn = placeMap(of, `Map of errors, ${of.name}`, rows);
      drawn.colour(scale, (i) => values[i]);
      map.replaceChildren(drawn.chart, legend(scale, words));
    }
    drawBars(of, values, scale, Boolean(other));
    mark('picked', state.place);
  }

  function drawBars(of, values, scale, differences) {
    const order = values.map((v, i) => i).sort((a, b) => (known(values[b]) ? values[b] : -Infinity) - (known(values[a]) ? values[a] : -Infinity));
    const top = Math.max(...values.filter(known).map(Math.abs), 1e-12);
    bars.replaceChildren(...order.map((i) => {
      const share = known(values[i]) ? (100 * Math.abs(values[i])) / top : 0;
      const bar = el('span', { class: 'fill' });
      bar.style.background = known(values[i]) ? paint(scale, values[i]) : 'none';
      bar.style.width = `${differences ? share / 2 : share}%`;
      bar.style.left = differences ? `${values[i] < 0 ? 50 - share / 2 : 50}%` : '0';
      const track = el('span', { class: 'track' }, bar);
      if (differences) { const zero = el('span', { class: 'zero' }); zero.style.left = '50%'; track.append(zero); }
      return el('button', { type: 'button', 'data-i': i, title: of.nodes[i], onclick: () => change({ place: i }), onpointerenter: () => mark('hover', i), onpointerleave: () => mark('hover', null) },
        el('span', { class: 'name' }, of.nodes[i]), track, el('span', { class: 'value' }, differences ? signed(values[i]) : show(values[i])));
    }));
  }

  return (changed) => {
    if (['task', 'system', 'against', 'theme'].some((name) => changed.has(name))) draw();
    else if (changed.has('place')) mark('picked', state.place);
  };
}
