// ---- training: losses over all epochs, phases as bands; the frozen share below, over the same epochs

const KIND_COLOUR = {
  start: ['#cfe3f3', '#1d3a52'], roll: ['#fbe6c4', '#4a3815'], refine: ['#d8ecdf', '#1b4030'],
  single: ['#e6def2', '#362c50'], joint: ['#f4d9e4', '#4d2338'], head: ['#dde9c8', '#34421c'], adapt: ['#cfe8e6', '#173f3d'],
};
const kindColour = (kind) => (KIND_COLOUR[kind] || ['#e4e4e0', '#3a3f44'])[dark() ? 1 : 0];

function trainingView() {
  const box = byId('training');
  const phases = data.phases.map((phase, i) => ({ ...phase, number: i + 1 })).filter((phase) => phase.epoch.length);
  for (const label of document.querySelectorAll('.kind')) label.style.setProperty('--kind', kindColour(label.dataset.kind));
  if (!box) return;
  let start = 0;
  for (const phase of phases) { phase.start = start; start += phase.epoch.length; }
  const count = start;
  const epochs = phases.flatMap((phase) => phase.epoch.map((epoch, i) => ({ phase, epoch, i })));
  const joined = (name) => epochs.map(({ phase, i }) => phase[name][i]);

  /** Each epoch owns a strip of the width; a phase's band covers the strips of its epochs. */
  const bands = (labels) => (frame) => {
    const half = count > 1 ? (frame.x(1) - frame.x(0)) / 2 : (frame.right - frame.left) / 2;
    return phases.flatMap((phase) => {
      const left = Math.max(frame.x(phase.start) - half, frame.left), right = Math.min(frame.x(phase.start + phase.epoch.length - 1) + half, frame.right);
      const middle = (left + right) / 2;
      const wide = right - left > 12 * (phase.kind.length + 3) * 0.62;
      return [svg('rect', { class: 'band', x: left, width: Math.max(right - left, 1), y: frame.top, height: frame.bottom - frame.top, fill: kindColour(phase.kind) }),
        svg('line', { class: 'grid', x1: left, x2: left, y1: frame.top, y2: frame.bottom }),
        ...(labels ? [svg('text', { x: middle, y: frame.top + 14, 'text-anchor': 'middle' }, wide ? `${phase.number} ${phase.kind}` : String(phase.number))] : [])];
    });
  };
  // Losses of one phase do not lead into those of the next, which is about another task: no line between them.
  const broken = (name) => {
    const values = joined(name);
    return phases.map((phase) => values.map((v, i) => (i >= phase.start && i < phase.start + phase.epoch.length ? v : null)));
  };
  const ticks = (width) => {
    const every = Math.max(Math.ceil(count / Math.max(Math.floor(width / 55), 1)), 1);
    return epochs.map((_, i) => [i, String(i + 1)]).filter(([i]) => i % every === 0);
  };
  const title = (i) => `${epochs[i].phase.number}: ${epochs[i].phase.name} (${epochs[i].phase.kind}), epoch ${epochs[i].epoch}`;

  const losses = el('div', { class: 'chart' }), frozen = el('div', { class: 'chart' });
  const kinds = [...new Set(phases.map((phase) => phase.kind))];
  const key = el('ul', { class: 'keys' });
  box.replaceChildren(losses, key, frozen);

  const drawLosses = lineChart(losses, () => {
    const both = [...joined('train'), ...joined('validation')].filter((v) => known(v) && v > 0);
    const log = Math.max(...both) > 10 * Math.min(...both);
    const styles = { train: { colour: dark() ? '#ff9650' : '#c44e00', width: 1.6, dash: '5 3' }, validation: { colour: dark() ? '#6cbcf0' : '#0067a3', width: 2.4, dash: '' } };
    return {
      label: 'Training and validation loss per epoch', height: 290, count, log, yTitle: log ? 'loss (logarithmic)' : 'loss', xTitle: 'epochs of all phases', xTicks: ticks(losses.clientWidth),
      series: Object.keys(styles).map((name) => ({ label: name === 'train' ? 'training loss' : 'validation loss', values: joined(name), ...styles[name], parts: broken(name) })),
      back: bands(true),
      tip: (i) => [title(i), [['training loss', show(joined('train')[i])], ['validation loss', show(joined('validation')[i])],
        ...(epochs[i].phase.best === epochs[i].epoch ? [['', 'best of its phase']] : [])]],
    };
  });
  const drawFrozen = lineChart(frozen, () => ({
    label: 'Frozen share per epoch', height: 150, count, yTitle: 'frozen share of the trunk', xTitle: '', low: 0, high: 1, yText: (v) => `${Math.round(100 * v)} %`, xTicks: ticks(frozen.clientWidth),
    series: [{ label: 'frozen share', values: joined('frozen'), colour: dark() ? '#d3a0e6' : '#7a3e8e', width: 2.2, dash: '', parts: broken('frozen') }],
    back: bands(false),
    tip: (i) => [title(i), [['frozen', known(joined('frozen')[i]) ? `${(100 * joined('frozen')[i]).toFixed(1)} %` : 'not recorded']]],
  }));
  const colourKinds = () => {
    key.replaceChildren(...kinds.map((kind) => {
      const swatch = el('span', { class: 'legend-swatch' });
      swatch.style.background = kindColour(kind);
      return el('li', {}, swatch, `${kind} phase`);
    }), el('li', {}, 'numbers: the phases in the table below'));
    for (const label of document.querySelectorAll('.kind')) label.style.setProperty('--kind', kindColour(label.dataset.kind));
  };
  frozen.hidden = !joined('frozen').some(known);
  colourKinds();
  views.push((changed) => {
    if (!changed.has('theme')) return;
    drawLosses();
    drawFrozen();
    colourKinds();
  });
}
