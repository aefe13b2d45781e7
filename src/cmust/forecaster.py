"""What a user holds after training: load, forecast.

Shapes: T input steps, F forecast steps, N nodes, C channels, L slots a day.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from cmust import bundle
from cmust.city import City, Task, check_is_city
from cmust.clock import calendar
from cmust.errors import ConfigError, RunError
from cmust.files import atomic_folder, link_or_copy, write_text
from cmust.intervals.state import FILE as INTERVALS
from cmust.intervals.state import TaskIntervals, for_a_bundle, of_these_models, read_intervals, write_intervals
from cmust.model import ModelConfig
from cmust.recent import MAX_MISSING, Recent, recent_steps
from cmust.rolling import Star, TrainingConfig, training_config
from cmust.rolling import state as store
from cmust.same_data import check_same_data, check_zone
from cmust.seasonal import week_slot
from cmust.task_model import TaskModel
from cmust.windows import Frame, Scaler, Split, Windows

TRUNK = "trunk.safetensors"


@dataclass
class Forecaster:
    """The trained models of a city's tasks.

    Attributes:
        config: of the network.
        city: name, fingerprint, time zone and whether synthetic.
        protocol: of the split it was trained under.
        slots_per_day: rows of the time-of-day table.
        reference: first time of the training city; years are counted from it.
        frame: standardises coordinates.
        training: settings it was trained with; what comes later starts from them.
        tasks: by name, in the order of training.
        star: ``W*`` and its frozen part, for tasks to come; None where nothing rolled.
        record: how it came to be, for the card of a bundle (:class:`cmust.bundle.schema.Record`).
        home: the run folder or bundle it belongs to, where its calibrated intervals are; None for none.
    """

    config: ModelConfig
    city: dict[str, Any]
    protocol: str
    slots_per_day: int
    reference: np.datetime64
    frame: Frame
    training: TrainingConfig
    tasks: dict[str, TaskModel] = field(default_factory=dict)
    star: Star | None = None
    record: dict[str, Any] = field(default_factory=dict)
    home: Path | None = None

    def __repr__(self) -> str:
        """A line for the whole and one for each task; no weights."""
        steps = f"{self.config.input_steps} steps to {self.config.horizon}"
        lines = [f"<Forecaster of city {self.city['name']}: preset {self.config.preset}, {steps}, at {self.home}"]
        for name, about in ((name, model.about) for name, model in self.tasks.items()):
            seen = f", seen {about['seen']['from']} to {about['seen']['until']}" if "seen" in about else ""
            sizes = f"{len(about['nodes'])} nodes x {len(about['channels'])} channels"
            lines.append(f"  <TaskModel {name}: {sizes}, every {about['interval']} s{seen}>")
        return "\n".join(lines) + ">"

    # ------------------------------------------------------------ forecasting

    def to(self, device: torch.device | str) -> Self:
        """Move the networks of all tasks, in place: forecasts are computed there. What is returned is on the CPU as
        ever, and so is what is saved; to adapt, to export or to look at attention, move back to ``cpu`` first.
        """
        for model in self.tasks.values():
            model.to(device)
        return self

    def model(self, task: str) -> TaskModel:
        """The model of a task.

        Raises:
            RunError: it was not trained.
        """
        if task not in self.tasks:
            raise RunError(f"this run has no task {task!r}; it has {', '.join(self.tasks)}")
        return self.tasks[task]

    def task_of(self, city: City, name: str) -> Task:
        """The data of a task of this run, under its name: a task that reads another one's data at places of its own
        (``about["reads"]``) finds it there.

        Raises:
            CityError: the city does not have it, or keeps the time of another zone.
        """
        self.check_zone(city)
        reads = self.tasks[name].about.get("reads", name) if name in self.tasks else name
        return city.task(name) if name in city.tasks or reads == name else replace(city.task(reads), name=name)

    def check_zone(self, city: City) -> None:
        """Refuse a city whose clock is not that of the training city: every hour would be taken for another.

        Raises:
            CityError: it is not, or no city at all.
        """
        check_zone(city, self.city["timezone"])

    def tasks_in(self, city: City) -> tuple[str, ...]:
        """The tasks of this run that a city has the data of. Where several tasks read one task's data, at different
        places, it is that of the task whose places they are.
        """
        sources = {
            name: name if name in city.tasks else model.about.get("reads", name) for name, model in self.tasks.items()
        }
        here = {name: source for name, source in sources.items() if source in city.tasks}
        own = {name for name in here if list(city.tasks[here[name]].nodes) == self.tasks[name].about["nodes"]}
        taken = {here[name] for name in own}
        return tuple(name for name, source in here.items() if name in own or source not in taken)

    def windows(self, task: Task) -> Windows:
        """The windows of a task's data as its model sees them, without a split.

        Raises:
            CityError: its nodes, their coordinates, interval, time of the steps, channels or unit are not those the
                model was trained on.
        """
        model = self.model(task.name)
        check_same_data(task, model.about)
        slots = week_slot(task.time, task.interval)
        average = model.average[slots]
        valid = ~np.isnan(task.values)
        return Windows(
            name=task.name,
            values=torch.from_numpy(np.where(valid, task.values, average)),
            valid=torch.from_numpy(valid),
            average=torch.from_numpy(average),
            profile=torch.from_numpy(model.profile[slots]),
            clock=calendar(task.time, self.slots_per_day, self.reference),
            place=self.frame.standardise(task.lon, task.lat),
            scaler=Scaler(model.head.mean, model.head.std),
            split=Split({}, 0),
            steps_per_day=task.steps_per_day,
            input_steps=self.config.input_steps,
            horizon=self.config.horizon,
        )

    def forecast(self, windows: Windows, starts: Tensor) -> Tensor:
        """Forecasts ``(B, F, N, C)`` in original units of the windows that start at ``starts`` ``(B,)``.

        Raises:
            RunError: the task was not trained, or its model gives what is no number.
        """
        return self.model(windows.name).forecast(windows, starts)

    @overload
    def predict(
        self,
        city: City,
        task: str,
        at: str | np.datetime64 | None = None,
        *,
        level: None = None,
        max_missing: float = MAX_MISSING,
    ) -> xr.DataArray: ...

    @overload
    def predict(
        self,
        city: City,
        task: str,
        at: str | np.datetime64 | None = None,
        *,
        level: float,
        max_missing: float = MAX_MISSING,
    ) -> xr.Dataset: ...

    def predict(
        self,
        city: City,
        task: str,
        at: str | np.datetime64 | None = None,
        *,
        level: float | None = None,
        max_missing: float = MAX_MISSING,
    ) -> xr.DataArray | xr.Dataset:
        """Forecast the steps that follow a time, from the T steps before it; nothing later is used.

        Args:
            city: holds the last T steps of the task; missing ones are filled by the node's weekly average.
            task: which.
            at: local time of the first forecast step; the step after the last observation when not given.
            level: also give the interval that holds the truth in this share of all cases, such as 0.9; the run has to
                be calibrated (``cmust calibrate``).
            max_missing: largest share of the task's inputs that may be missing.

        Returns:
            ``(time, node)`` or ``(time, node, channel)`` in original units, with real times and node names; 0 where the
            network says less, but for tasks of the kind ``other``, which alone can be below it. Along the nodes,
            ``filled`` is the share of missing inputs and ``flag`` one of ``ok``, ``partly_filled``, ``all_filled``.
            With ``level`` a data set of ``value``, ``lower`` and ``upper``, both NaN where too few truths were heard
            for an interval; its attribute ``calibrated_until`` is the last step whose truth the intervals have seen.

        Raises:
            CityError: the data does not fit the model, is too short, or too much of it is missing; ``at`` is no step.
            ConfigError: ``max_missing`` is no share.
            RunError: the task was not trained, or its model gives what is no number; or it has no intervals of this
                level, made before this time.
        """
        data, steps = self.task_of(city, task), self.config.input_steps
        recent = recent_steps(data, at, steps, self.config.horizon, max_missing)
        made = self.forecast(self.windows(recent.task), torch.tensor([0]))[0].numpy()
        values = self.model(task).scale.centre(made)
        about = {"unit": data.unit, "city": city.name, "synthetic": int(city.synthetic)}
        if level is None:
            return _labelled(values, recent, steps, about).rename(task)
        intervals = self.intervals(task, recent.task.time[steps])
        lower, upper = intervals.around(made, level)
        ends = {"value": values, "lower": lower, "upper": upper}
        labelled = {name: _labelled(array, recent, steps, {"unit": data.unit}) for name, array in ends.items()}
        known = {"level": level, "calibrated_until": str(intervals.until)}
        return xr.Dataset(labelled, attrs={**about, "task": task, **known})

    def intervals(self, task: str, at: np.datetime64) -> TaskIntervals:
        """The calibrated intervals of a task, for a forecast whose first step is ``at``.

        Raises:
            RunError: there are none, they belong to another model, or they have seen truths from ``at`` on.
        """
        known = read_intervals(self.home / INTERVALS) if self.home else {}
        place = f"run {self.home}" if self.home else "this forecaster, which is not of a run folder,"
        command = f"cmust calibrate {self.home or 'RUN'} CITY"
        remedy = f"make them with `{command}`"
        if task not in known:
            raise RunError(f"{place} has no calibrated intervals of task {task!r}; {remedy}")
        if known[task].model != self.identity(task):
            raise RunError(
                f"the intervals of task {task!r} in {place} belong to another version of its model; {remedy}"
            )
        if known[task].until >= at:
            raise RunError(
                f"the intervals of task {task!r} in {place} have seen the truth up to {known[task].until}, a forecast "
                f"from {at} must not; make earlier ones with `{command} --until {at}`, which take the place of these"
            )
        if not known[task].fits(self.config.horizon, len(self.tasks[task].about["nodes"])):
            raise RunError(f"the intervals of task {task!r} in {place} are of other places or steps; {remedy}")
        return known[task]

    def identity(self, task: str) -> str:
        """SHA-256 (hexadecimal) of all that makes the forecasts of a task."""
        return self.model(task).identity()

    # ------------------------------------------------------------ what comes later

    def adapt(self, city: City, task: str, **options: Any) -> "Forecaster":
        """A forecaster with one more task, this one's weights untouched: a task never seen, or new places of a known
        one, in memory; :func:`cmust.adapt` does the same to a run folder.

        Args:
            city: holds the new task; a few days of it are enough.
            task: of the city.
            options: ``name``, ``like``, ``train``, ``until``, ``accelerator``, ``watcher`` and fields of
                :class:`cmust.rolling.TrainingConfig`, as of :func:`cmust.adapt`. What that writes into the records of a
                run, ``compare`` and ``command``, is not for a forecaster in memory.

        Raises:
            CityError: the city lacks the task, has too little of it, or is none.
            ConfigError: a setting or an option does not fit.
            RunError: the forecaster has the task.
        """
        from cmust.continual.adapt import adapt_forecaster

        check_is_city(city)
        for option in ("compare", "command"):
            if option in options:
                raise ConfigError(f"{option} is for the records of a run folder: give it to cmust.adapt(RUN, ...)")
        return adapt_forecaster(self, city, task, **options)

    # ------------------------------------------------------------ files

    def save(self, folder: Path, parent: Path | None = None, changed: Collection[str] = ()) -> dict[str, Any]:
        """Write the ``model`` folder: weights first, ``model.json`` with their checksums last; its content.

        Args:
            folder: of the model.
            parent: another model folder; its files stand for all weights that are not ``changed``.
            changed: names of tasks, and ``*`` for ``W*``.

        Raises:
            RunError: what is to be written could not be read again.
        """
        contents = self._contents()
        files = {name: _weight_file(name) for name in contents}
        for name, file in files.items():
            if parent is None or name in changed:
                store.save(folder / file, contents[name], {} if name == "*" else {"task": name})
            else:
                link_or_copy(parent / file, folder / file)
        return bundle.write_model(
            folder,
            {
                "city": self.city,
                "protocol": self.protocol,
                "model": self.config.model_dump(),
                "training": self.training.model_dump(mode="json"),
                "slots_per_day": self.slots_per_day,
                "reference": str(self.reference),
                "frame": {"mean": self.frame.mean.tolist(), "std": self.frame.std.tolist()},
                "tasks": {name: model.about for name, model in self.tasks.items()},
                "record": self.record,
            },
            files.values(),
        )

    def _contents(self) -> dict[str, dict[str, dict[str, Tensor]]]:
        """All tensors, in groups, by task; those of ``W*`` under ``*``."""
        star = {} if self.star is None else {"*": {"trunk": self.star.weights, "frozen": self.star.frozen}}
        return star | {name: model.tensors() for name, model in self.tasks.items()}

    def _check_weights(self, problem: str) -> None:
        """Refuse weights that :meth:`load` would refuse; ``problem`` begins the message."""
        files = {_weight_file(name): tensors for name, tensors in self._contents().items()}
        abouts = {name: model.about for name, model in self.tasks.items()}
        try:
            bundle.check_weights(files, self.config, self.slots_per_day, abouts)
        except RunError as error:
            raise RunError(f"{problem}: {error}") from error

    @classmethod
    def load(cls, path: Path | str, version: int | None = None) -> "Forecaster":
        """The forecaster of a finished run folder or of a bundle. Nothing in it can run code.

        Args:
            path: of the folder.
            version: of a run; the one in force when not given.

        Raises:
            RunError: it is neither, not finished, of a newer schema, or damaged; no such version.
        """
        folder = bundle.find_model(path, version)
        document = bundle.read_model(folder)
        config = ModelConfig(**document["model"])
        forecaster = cls(
            config=config,
            city=document["city"],
            protocol=document["protocol"],
            slots_per_day=document["slots_per_day"],
            reference=np.datetime64(document["reference"], "s"),
            frame=Frame(np.array(document["frame"]["mean"]), np.array(document["frame"]["std"])),
            training=_training(document, config),
            record=document["record"],
            home=Path(path),
        )
        files = {name: store.load(folder / name).tensors for name in document["checksums"]}
        try:
            bundle.check_weights(files, config, forecaster.slots_per_day, document["tasks"])
        except RunError as error:
            raise RunError(f"the weights in {folder} do not fit: {error}; restore them from a copy") from error
        for name, task in document["tasks"].items():
            weights = files[f"tasks/{name}.safetensors"]
            forecaster.tasks[name] = TaskModel.of(config, forecaster.slots_per_day, weights, task)
        if star := files.get(TRUNK):
            forecaster.star = Star(star["trunk"], star.get("frozen", {}))
        return forecaster

    # ------------------------------------------------------------ bundles

    def save_pretrained(self, folder: Path | str, *, license: str | None = None) -> None:
        """Write a bundle: the model's files, its calibrated intervals where it has some, and its card, README.md.

        Args:
            folder: must not exist, or be empty; a kill leaves no half bundle under this name.
            license: an identifier such as ``cc-by-4.0``, for the card.

        Raises:
            CmustError: the folder is taken or cannot be written.
            RunError: the run's ``config.json``, ``evaluation.json`` or ``intervals.json`` is damaged; or what is to be
                written could not be loaded again.
        """
        if license is not None and not isinstance(license, str):
            raise RunError(f"license is {license!r}, it has to be text: an identifier such as 'cc-by-4.0'")
        self._check_weights("the bundle is not written, since its weights could not be read again")
        identities = {name: self.identity(name) for name in self.tasks}
        record = {**self.record, **(bundle.read_record(self.home) if self.home else {})}
        record = bundle.of_these_models(record, identities)
        if license is not None:
            record["license"] = license
        known = read_intervals(self.home / INTERVALS) if self.home else {}
        own = {name: each for name, each in known.items() if each.model == identities.get(name)}
        with atomic_folder(folder) as temporary:
            document = replace(self, record=record).save(temporary)
            if self.home and own:
                content = of_these_models(self.home / INTERVALS, identities)
                write_intervals(temporary / INTERVALS, for_a_bundle(content))
            calibrated = {name: (each.levels, str(each.until)) for name, each in own.items()}
            write_text(temporary / "README.md", bundle.render_card(document, calibrated))

    @classmethod
    def from_pretrained(cls, name: Path | str, **options: Any) -> "Forecaster":
        """The forecaster of a bundle: a local folder, or a repository of the hub.

        Args:
            name: a folder, or ``OWNER/NAME`` (needs the extra ``cmust[hub]``).
            options: of the hub: ``revision``, ``token``, ``cache_dir``, ``force_download``, ``local_files_only``.

        Raises:
            RunError: there is no such bundle, or it is damaged.
            CmustError: it has to be fetched, and the hub's library is missing.
        """
        return cls.load(name if Path(name).exists() else bundle.fetch(str(name), **options))

    def push_to_hub(self, repo_id: str, *, license: str | None = None, **options: Any) -> str:
        """Upload a bundle of this forecaster to the hub (needs the extra ``cmust[hub]``).

        Args:
            repo_id: ``OWNER/NAME``; made where it does not exist.
            license: as for :meth:`save_pretrained`.
            options: ``private``, ``token``, ``commit_message``, ``branch``, ``create_pr``.

        Returns:
            The address of the commit.

        Raises:
            CmustError: the hub's library is missing.
            RunError: the hub refuses, or cannot be reached.
        """
        with TemporaryDirectory() as place:
            folder = Path(place) / "bundle"
            self.save_pretrained(folder, license=license)
            return bundle.push(folder, repo_id, **options)


def _training(document: dict[str, Any], config: ModelConfig) -> TrainingConfig:
    """The settings of training; the preset's for a model from before they were kept."""
    settings = document.get("training")
    return TrainingConfig(**settings) if settings else training_config(config.preset)


def _weight_file(name: str) -> str:
    return TRUNK if name == "*" else f"tasks/{name}.safetensors"


def _labelled(values: npt.NDArray[np.float32], recent: Recent, steps: int, about: dict[str, Any]) -> xr.DataArray:
    """Values ``(F, N, C)`` with the times and names of what was forecast."""
    task = recent.task
    array = xr.DataArray(
        values,
        dims=("time", "node", "channel"),
        coords={
            "time": task.time[steps:],
            "node": np.array(task.nodes, dtype=object),
            "channel": np.array(task.channels, dtype=object),
            "lon": ("node", task.lon),
            "lat": ("node", task.lat),
            "filled": ("node", recent.filled),
            "flag": ("node", recent.flag.astype(object)),
        },
        attrs=about,
    )
    return array.squeeze("channel", drop=True) if len(task.channels) == 1 else array
