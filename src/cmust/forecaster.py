"""What a user holds after training: load, forecast.

Shapes: T input steps, F forecast steps, N nodes, C channels, L slots a day.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from pydantic import ValidationError
from torch import Tensor

from cmust.city import City, Task
from cmust.clock import calendar
from cmust.errors import CityError, RunError
from cmust.files import write_text
from cmust.intervals.state import FILE as INTERVALS
from cmust.intervals.state import TaskIntervals, read_intervals
from cmust.model import Head, ModelConfig, Trunk, forecast
from cmust.prompts import FreePrompt, NoPrompt, SamplingAutoencoder, SummaryPrompt
from cmust.recent import MAX_MISSING, Recent, recent_steps
from cmust.rolling import state as store
from cmust.run import Run, read_json
from cmust.seasonal import week_slot
from cmust.windows import Frame, Scaler, Split, Windows

SCHEMA = 1


@dataclass
class TaskModel:
    """The final model of one task.

    Attributes:
        trunk, head: its weights.
        encoder: summarises the days of its nodes, also of nodes first seen later; None without summaries.
        average: ``(7 * L, N, C)``, the weekly average of the training part.
        profile: the same shape, what the network sees as the seasonal expectation.
        about: node names, coordinates, geometry, interval, unit, kind, channels (plain values).
    """

    trunk: Trunk
    head: Head
    encoder: SamplingAutoencoder | None
    average: npt.NDArray[np.float32]
    profile: npt.NDArray[np.float32]
    about: dict[str, Any]


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
        tasks: by name, in the order of training.
        home: the folder it was loaded from, where its calibrated intervals are; None for none.
    """

    config: ModelConfig
    city: dict[str, Any]
    protocol: str
    slots_per_day: int
    reference: np.datetime64
    frame: Frame
    tasks: dict[str, TaskModel] = field(default_factory=dict)
    home: Path | None = None

    # ------------------------------------------------------------ forecasting

    def model(self, task: str) -> TaskModel:
        """The model of a task.

        Raises:
            RunError: it was not trained.
        """
        if task not in self.tasks:
            raise RunError(f"this run has no task {task!r}; it has {', '.join(self.tasks)}")
        return self.tasks[task]

    def windows(self, task: Task) -> Windows:
        """The windows of a task's data as its model sees them, without a split.

        Raises:
            CityError: its nodes, interval or channels are not those the model was trained on.
        """
        model = self.model(task.name)
        about = model.about
        for label, found, expected in (
            ("nodes", list(task.nodes), about["nodes"]),
            ("interval", task.interval, about["interval"]),
            ("channels", list(task.channels), about["channels"]),
        ):
            if found != expected:
                raise CityError(
                    f"task {task.name!r} has {label} {_short(found)}, the run was trained on {_short(expected)}; "
                    "give the data of the same places in the same form"
                )
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

    @torch.no_grad()
    def forecast(self, windows: Windows, starts: Tensor) -> Tensor:
        """Forecasts ``(B, F, N, C)`` in original units of the windows that start at ``starts`` ``(B,)``."""
        model = self.model(windows.name)
        return forecast(model.trunk, model.head, windows.inputs(starts))

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
            ``(time, node)`` or ``(time, node, channel)`` in original units, with real times and node names. Along the
            nodes, ``filled`` is the share of missing inputs and ``flag`` one of ``ok``, ``partly_filled``,
            ``all_filled``. With ``level`` a data set of ``value``, ``lower`` and ``upper``.

        Raises:
            CityError: the data does not fit the model, is too short, or too much of it is missing.
            RunError: the task was not trained; or it has no intervals of this level, made before this time.
        """
        data, steps = city.task(task), self.config.input_steps
        recent = recent_steps(data, at, steps, self.config.horizon, max_missing)
        values = self.forecast(self.windows(recent.task), torch.tensor([0]))[0].numpy()
        about = {"unit": data.unit, "city": city.name, "synthetic": int(city.synthetic)}
        if level is None:
            return _labelled(values, recent, steps, about).rename(task)
        lower, upper = self.intervals(task, recent.task.time[steps]).around(values, level)
        ends = {"value": values, "lower": lower, "upper": upper}
        labelled = {name: _labelled(array, recent, steps, {"unit": data.unit}) for name, array in ends.items()}
        return xr.Dataset(labelled, attrs={**about, "task": task, "level": level})

    def intervals(self, task: str, at: np.datetime64) -> TaskIntervals:
        """The calibrated intervals of a task, for a forecast whose first step is ``at``.

        Raises:
            RunError: there are none, they belong to another model, or they have seen truths from ``at`` on.
        """
        known = read_intervals(self.home / INTERVALS) if self.home else {}
        place = f"run {self.home}" if self.home else "this forecaster, which is not of a run folder,"
        remedy = f"make them with `cmust calibrate {self.home or 'RUN'} CITY`"
        if task not in known:
            raise RunError(f"{place} has no calibrated intervals of task {task!r}; {remedy}")
        if known[task].model != self.identity(task):
            raise RunError(
                f"the intervals of task {task!r} in {place} belong to another version of its model; {remedy}"
            )
        if known[task].until >= at:
            raise RunError(
                f"the intervals of task {task!r} in {place} have seen the truth up to {known[task].until}, a forecast "
                f"from {at} must not; {remedy} --until {at}"
            )
        return known[task]

    def identity(self, task: str) -> str:
        """SHA-256 (hexadecimal) of all that makes the forecasts of a task."""
        model = self.model(task)
        digest = hashlib.sha256()
        for weights in (model.trunk.state_dict(), model.head.state_dict()):
            for name, tensor in weights.items():
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
        digest.update(model.average.tobytes())
        digest.update(model.profile.tobytes())
        return digest.hexdigest()

    # ------------------------------------------------------------ files

    def save(self, folder: Path, star: dict[str, Tensor] | None) -> None:
        """Write the ``model`` folder: weights first, ``model.json`` with their checksums last.

        Args:
            folder: of the model.
            star: ``W*`` after rolling, kept for tasks to come.
        """
        files = {}
        if star is not None:
            store.save(folder / "trunk.safetensors", {"trunk": star}, {"schema": SCHEMA})
            files["trunk.safetensors"] = _checksum(folder / "trunk.safetensors")
        for name, model in self.tasks.items():
            tensors = {"trunk": model.trunk.state_dict(), "head": model.head.state_dict()}
            if model.encoder is not None:
                tensors["encoder"] = model.encoder.state_dict()
            tensors["season"] = {
                "average": torch.from_numpy(model.average),
                "profile": torch.from_numpy(model.profile),
            }
            path = folder / "tasks" / f"{name}.safetensors"
            store.save(path, tensors, {"schema": SCHEMA, "task": name})
            files[f"tasks/{name}.safetensors"] = _checksum(path)
        about = {
            "schema": SCHEMA,
            "city": self.city,
            "protocol": self.protocol,
            "model": self.config.model_dump(),
            "slots_per_day": self.slots_per_day,
            "reference": str(self.reference),
            "frame": {"mean": self.frame.mean.tolist(), "std": self.frame.std.tolist()},
            "tasks": {name: model.about for name, model in self.tasks.items()},
            "checksums": files,
        }
        write_text(folder / "model.json", json.dumps(about) + "\n")

    @classmethod
    def load(cls, run: Path | str) -> "Forecaster":
        """The forecaster of a finished run folder. Nothing in it can run code.

        Raises:
            RunError: not a run folder, not finished, of a newer schema, or damaged.
        """
        folder = Run(run).model_folder
        if not (folder / "model.json").exists():
            Run(run).config()  # names a folder that is no run at all; the model needs no other file
        about = read_json(folder / "model.json", f"run {run} has no model yet; finish it with `cmust train`")
        if about.get("schema") != SCHEMA:
            raise RunError(
                f"{folder / 'model.json'} has schema {about.get('schema')!r}, this version reads {SCHEMA}; update cmust"
            )
        try:
            forecaster = cls(
                config=ModelConfig(**about["model"]),
                city=about["city"],
                protocol=about["protocol"],
                slots_per_day=about["slots_per_day"],
                reference=np.datetime64(about["reference"], "s"),
                frame=Frame(np.array(about["frame"]["mean"]), np.array(about["frame"]["std"])),
                home=Path(run),
            )
            for name in about["tasks"]:
                path = folder / "tasks" / f"{name}.safetensors"
                _verify(path, about["checksums"][f"tasks/{name}.safetensors"])
                forecaster.tasks[name] = forecaster._load_task(path, about)
        except (AttributeError, KeyError, TypeError, ValueError, ValidationError, RuntimeError) as error:
            raise RunError(
                f"the model in {folder} does not fit together ({error}); restore it from a copy or train again"
            ) from error
        return forecaster

    def _load_task(self, path: Path, about: dict[str, Any]) -> TaskModel:
        tensors = store.load(path).tensors
        task = about["tasks"][path.stem]
        channels = tuple(sorted({len(other["channels"]) for other in about["tasks"].values()}))
        trunk = Trunk(self.config, self.slots_per_day, channels)
        trunk.load_state_dict(tensors["trunk"])
        weights = tensors["head"]
        head = Head(self.config, _prompt_like(self.config, weights), weights["mean"], weights["std"])
        head.load_state_dict(weights)
        encoder = None
        if "encoder" in tensors:
            width = tensors["encoder"]["encoder.weight"].shape[::-1]
            encoder = SamplingAutoencoder(*width)
            encoder.load_state_dict(tensors["encoder"])
        trunk.eval()
        season = {name: table.numpy() for name, table in tensors["season"].items()}
        return TaskModel(trunk, head.eval(), encoder, season["average"], season["profile"], task)


def _prompt_like(config: ModelConfig, weights: dict[str, Tensor]) -> torch.nn.Module:
    if not config.prompts:
        return NoPrompt(config.d_p)
    if config.prompt == "summary":
        return SummaryPrompt(weights["prompt.summary"], config.d_p)
    return FreePrompt(weights["prompt.weight"])


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


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(path: Path, expected: str) -> None:
    if not path.exists():
        raise RunError(f"{path} is missing; restore the whole run folder or train again")
    found = _checksum(path)
    if found != expected:
        raise RunError(
            f"{path} was changed or truncated (sha256 {found[:12]}..., expected {expected[:12]}...); restore it "
            f"from a copy or train again"
        )


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 3:
        return f"{value[0]!r}, {value[1]!r}, ... ({len(value)})"
    return str(value)
