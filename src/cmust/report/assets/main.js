// ---- main: the colour scheme, the table's columns, and all views

function scoresView() {
  const table = byId('scores');
  if (!table) return;
  const choose = (shown) => { table.dataset.show = shown; };
  const first = matchMedia('(max-width: 700px)').matches ? 'plain' : 'both';
  byId('scores-controls').replaceChildren(segmented('scores', [['both', 'both'], ['plain', 'plain'], ['masked', 'masked']], first, choose));
  choose(first);
}

function themeControl() {
  const system = matchMedia('(prefers-color-scheme: dark)');
  let chosen = 'system';
  const apply = () => {
    document.documentElement.dataset.theme = chosen === 'system' ? (system.matches ? 'dark' : 'light') : chosen;
    change({ theme: document.documentElement.dataset.theme });
  };
  system.addEventListener('change', apply);
  byId('theme').replaceChildren(segmented('colours', [['system', 'system'], ['light', 'light'], ['dark', 'dark']], chosen, (key) => { chosen = key; apply(); }));
  apply();
}

themeControl();
scoresView();
if (data.tasks.length) {
  cityView();
  errorsView();
  backtestView();
  intervalsView();
}
trainingView();
