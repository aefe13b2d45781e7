"""Figure 4a: attention between observations, space and time at the end of each phase of rolling."""

import json
import shutil
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cmust.assembly import load_trunk
from cmust.city import City
from cmust.experiments import work as plain
from cmust.experiments.attention import PARTS, Map, attention_maps, average, change
from cmust.experiments.engine import Cell, Record
from cmust.experiments.sheet import Sheet, Shown
from cmust.experiments.study import Experiment, preset_of, title
from cmust.experiments.work import Terms
from cmust.files import atomic_path, link_or_copy, write_text
from cmust.forecaster import Forecaster
from cmust.rolling import Phase
from cmust.rolling import state as store
from cmust.run import Run, read_json
from cmust.training import Watcher
from cmust.windows import Protocol, make_windows, spread

WINDOWS = 8
"""So many windows of the validation part are looked at, evenly spread."""
ROLLED = ("start", "roll")


class Keeper:
    """A watcher that keeps the weights at the end of every phase of rolling, and passes on what it hears.

    At the first update of a phase the resume point is still the end of the phase before.
    """

    def __init__(self, run: Run, folder: Path, further: Watcher | None) -> None:
        self._run, self._folder, self._further = run, folder, further
        self._ended: dict[str, int] = {}

    def plan(self, phases: list[Phase], updates: list[int]) -> None:
        """Note which phase each one follows."""
        self._ended = {
            after.name: number for number, (before, after) in enumerate(pairwise(phases)) if before.kind in ROLLED
        }
        if self._further:
            self._further.plan(phases, updates)

    def update(self, phase: Phase, epoch: int) -> None:
        """At the first one, keep what the phase before ended with."""
        number = self._ended.pop(phase.name, None)
        if number is not None and epoch == 1:
            link_or_copy(self._run.state_file, kept_file(self._folder, number))
        if self._further:
            self._further.update(phase, epoch)

    def event(self, event: dict[str, Any]) -> None:
        """Nothing to keep."""
        if self._further:
            self._further.event(event)


def kept_file(folder: Path, number: int) -> Path:
    """The state at the end of a phase, counted from 0."""
    return folder / f"{number}.safetensors"


def cells(tasks: Sequence[str], system: str, seeds: Sequence[int]) -> list[Cell]:
    """One for each seed."""
    return [Cell(system, tuple(tasks), seed) for seed in seeds]


def work(cell: Cell, folder: Path, terms: Terms, watcher: Watcher | None) -> Record:
    """Train CMuST, then look at what each phase of rolling ended with, always on the same windows of the first task."""
    run, kept, seen = Run(folder / "run"), folder / "phases", folder / "attention.json"
    record = plain.work(cell, folder, terms, Keeper(run, kept, watcher))
    if not seen.exists():
        write_text(
            seen, json.dumps(_seen(run, kept, terms.city.select(tasks=cell.tasks), terms.of(cell).protocol)) + "\n"
        )
    shutil.rmtree(kept, ignore_errors=True)
    return {**record, "attention": read_json(seen, "")}


def _seen(run: Run, kept: Path, city: City, protocol: Protocol) -> dict[str, Any]:
    forecaster, first = Forecaster.load(run.folder), next(iter(city.tasks))
    config, model = forecaster.config, forecaster.model(first)
    split = make_windows(city, protocol, config.input_steps, config.horizon)[first].split
    chosen = spread(split.starts["validation"], WINDOWS)
    windows, head, phases = forecaster.windows(city.task(first)), deepcopy(model.head), []
    ends = [event for event in run.history() if event["event"] == "phase" and event["kind"] in ROLLED]
    for number, end in enumerate(ends):
        weights = store.load(kept_file(kept, number)).tensors
        head.load_state_dict(weights[f"head/{first}"])
        trunk = load_trunk(config, forecaster.slots_per_day, weights["trunk"])
        maps = attention_maps(trunk, head, windows, chosen)
        shown = {label: _written(each) for label, each in maps.items()}
        phases.append({"phase": end["phase"], "frozen_share": end["frozen_share"], "maps": shown})
    return {"task": first, "windows": len(chosen), "phases": phases}


def _written(map_: Map) -> dict[str, Any]:
    return {"focus": map_.focus, "even": map_.even.tolist(), "parts": map_.parts.round(5).tolist()}


def _read(written: dict[str, Any]) -> Map:
    return Map(np.array(written["parts"]), np.array(written["even"]), written["focus"])


@dataclass(frozen=True)
class AttentionFigure:
    """The figure.

    Attributes:
        title: in a few words.
        phases: of rolling, in order.
        frozen: after each phase, the share of the shared weights that is frozen, one per seed.
        maps: by interaction, for each phase one per seed.
        notes: below the numbers.
    """

    title: str
    phases: Sequence[str]
    frozen: Sequence[Sequence[float]]
    maps: Mapping[str, Sequence[Sequence[Map]]]
    notes: Sequence[str]

    def sheet(self) -> Sheet:
        """How far from even the attention is in each phase, and how much of it has moved since the phase before."""
        heads = ["frozen", *(f"{label}, {what}" for label in self.maps for what in ("focus", "moved"))]
        rows = []
        for number, phase in enumerate(self.phases):
            cells = [_percent(self.frozen[number])]
            for by_phase in self.maps.values():
                cells.append(_percent([each.focus for each in by_phase[number]]))
                before = by_phase[number - 1] if number else []
                moved = [
                    change(old.parts, new.parts)
                    for old, new in zip(before, by_phase[number] if number else [], strict=True)
                ]
                cells.append(_percent(moved))
            rows.append((phase, cells))
        legend = (
            "Who asks → who answers. Focus: 0 % where all get the same attention, 100 % where one gets all "
            "(1 - entropy / its maximum). Moved: the share of the attention that went elsewhere than after the phase "
            "before. With several seeds: mean ± standard deviation."
        )
        return Sheet(self.title, heads, rows, legend, self.notes)

    def picture(self, path: Path) -> None:
        """A line of maps for each interaction, a column for each phase, averaged over seeds: how many times the even
        share of attention goes where; PNG.
        """
        size = (2.0 + 1.9 * len(self.phases), 0.8 + 1.9 * len(self.maps))
        figure = Figure(figsize=size, layout="compressed")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(self.maps), len(self.phases), squeeze=False)
        for line, (label, by_phase) in zip(panels, self.maps.items(), strict=True):
            means = [average(seeds) for seeds in by_phase]
            drawn = [each.parts / each.even for each in means]
            far = max(float(np.abs(each - 1).max()) for each in drawn)
            for panel, times in zip(line, drawn, strict=True):
                image = panel.imshow(times, vmin=1 - far, vmax=1 + far, cmap="RdBu_r")
                panel.set_xticks([])
                panel.set_yticks([])
            line[0].set_ylabel(label, fontsize=8)
            figure.colorbar(image, ax=list(line), shrink=0.8).ax.tick_params(labelsize=7)
        for panel, phase in zip(panels[0], self.phases, strict=True):
            panel.set_title(phase, fontsize=8)
        figure.suptitle(self.title, fontsize=10)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150)


def _percent(values: Sequence[float]) -> Shown:
    if not values:
        return Shown()
    return Shown(f"{mean(values):.2%}" + (f" ± {stdev(values):.2%}" if len(values) > 1 else ""))


def table(config: dict[str, Any], records: Sequence[Record]) -> AttentionFigure:
    """The phases of all seeds."""
    seen = [record["attention"] for record in records]
    phases = [each["phase"] for each in seen[0]["phases"]]
    maps = {
        label: [[_read(each["phases"][number]["maps"][label]) for each in seen] for number in range(len(phases))]
        for label in seen[0]["phases"][0]["maps"]
    }
    frozen = [[each["phases"][number]["frozen_share"] for each in seen] for number in range(len(phases))]
    notes = [
        f"Preset: {preset_of(records)}. Always on the same {seen[0]['windows']} windows of the validation part of "
        f"{seen[0]['task']}, with the shared weights as each phase left them. In the picture a row asks and a column "
        f"answers, 1 is an even share of the attention; places from south to north and steps of time as they follow, "
        f"in up to {PARTS} groups.",
    ]
    return AttentionFigure(title(config), phases, frozen, maps, notes)


FIG4A = Experiment("fig4a", table, work=work, one_preset=True)
