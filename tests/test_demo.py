"""The demo city: labelled, repeatable, coupled as docs/demo.md says, and worth forecasting."""

import itertools

import numpy as np
import pytest

from cmust.city import City
from cmust.demo import DemoProcess, demo_city, demo_process, process
from cmust.demo import city as city_module
from cmust.demo.places import make_places
from cmust.errors import ConfigError

COUNTS = ("crowd_in", "crowd_out", "taxi_pickup", "taxi_dropoff")
WEEK = 336


@pytest.fixture(scope="module")
def city() -> City:
    return demo_city()


@pytest.fixture(scope="module")
def default_process() -> DemoProcess:
    return demo_process()


@pytest.fixture(scope="module")
def crowds(default_process: DemoProcess) -> tuple[np.ndarray, np.ndarray]:
    """Crowds out and in as they are, before sensors fall silent."""
    return city_module._count(default_process, "crowd", np.random.default_rng(0))


@pytest.fixture(scope="module")
def small() -> DemoProcess:
    return demo_process(seed=3, weeks=1, places=16)


def values(city: City, task: str) -> np.ndarray:
    return city.tasks[task].values[:, :, 0].astype(np.float64)


def places_of(city: City, role: str) -> list[int]:
    return [index for index, name in enumerate(city.tasks["risk"].nodes) if name.startswith(role)]


def weekly_average(series: np.ndarray, training: int) -> np.ndarray:
    """Mean per weekday, slot and place over the first `training` steps, laid out over all steps."""
    slot = np.arange(len(series)) % WEEK
    table = np.stack([np.nanmean(series[:training][slot[:training] == s], axis=0) for s in range(WEEK)])
    return table[slot]


def test_city_is_what_it_says(city: City) -> None:
    assert city.synthetic
    assert "synthetic" in city.source
    assert tuple(city.tasks) == (*COUNTS, "risk")
    for task in city.tasks.values():
        assert task.values.shape == (8 * WEEK, 60, 1)
        assert task.values.dtype == np.float32
        assert task.interval == 1800
        assert "synthetic" in task.description
        assert np.all(np.diff(task.time) == np.timedelta64(1800, "s"))
        assert len(set(task.nodes)) == 60
    assert [city.tasks[name].kind for name in city.tasks] == ["count"] * 4 + ["risk"]
    assert city.tasks["risk"].time[0].item().weekday() == 0
    rain, holiday = city.covariates["rain"], city.covariates["holiday"]
    assert (rain.known_ahead, holiday.known_ahead) == (False, True)
    assert rain.values.shape == holiday.values.shape == (8 * WEEK,)
    assert 0.05 < (rain.values > 0).mean() < 0.3
    assert holiday.values.sum() == 48


def test_levels_are_realistic(city: City) -> None:
    for task in COUNTS:
        low, high = (20, 60) if task.startswith("crowd") else (5, 15)
        assert low < np.nanmean(values(city, task)) < high
        counts = values(city, task)
        assert np.array_equal(counts[~np.isnan(counts)] % 1, np.zeros((~np.isnan(counts)).sum()))


def test_same_seed_same_city_other_seed_other_weeks_of_it() -> None:
    first, again, other = (demo_city(seed=seed, weeks=1, places=16) for seed in (5, 5, 6))
    for name, task in first.tasks.items():
        assert np.array_equal(task.values, again.tasks[name].values, equal_nan=True)
        assert not np.array_equal(task.values, other.tasks[name].values, equal_nan=True)
        assert task.nodes == other.tasks[name].nodes
        assert np.array_equal(task.lon, other.tasks[name].lon)
    assert np.array_equal(first.covariates["rain"].values, again.covariates["rain"].values)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"weeks": 0}, {"places": 15}])
def test_arguments_out_of_range_are_named(wrong: dict[str, int]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ConfigError, match=f"{name} is {value}, but has to be at least"):
        demo_city(**wrong)


def inside(lon: float, lat: float, ring: list[list[float]]) -> bool:
    """Ray casting, corner by corner."""
    crossings = 0
    for (x1, y1), (x2, y2) in itertools.pairwise(ring):
        if (y1 > lat) != (y2 > lat) and lon < x1 + (lat - y1) / (y2 - y1) * (x2 - x1):
            crossings += 1
    return crossings % 2 == 1


@pytest.mark.parametrize("count", [16, 60, 137])
def test_map(count: int) -> None:
    places = make_places(count)
    rings = [polygon["coordinates"][0] for polygon in places.geometry]
    assert len(set(places.names)) == len(rings) == count
    assert all(ring[0] == ring[-1] and len(ring) == 7 for ring in rings)
    for index, (lon, lat) in enumerate(zip(places.lon, places.lat, strict=True)):
        assert [i for i, ring in enumerate(rings) if inside(lon, lat, ring)] == [index]
    uses = [corner for ring in rings for corner in map(tuple, ring[:-1])]
    assert len(set(uses)) < 0.7 * len(uses)  # neighbours share their corners
    assert {"centre", "business", "nightlife", "station", "stadium", "hall", "waterfront", "residential"} == set(
        places.roles
    )


def test_trips_follow_rates_and_destinations(small: DemoProcess) -> None:
    flow_index = 0
    flow = small.flows[flow_index]
    batch = next(itertools.islice(small.trips("crowd", np.random.default_rng(1), scale=3.0), flow_index, None))
    rates = 3.0 * small.departures(flow, "crowd")
    expected = rates.sum(axis=0)
    found = np.bincount(batch.origin, minlength=16)
    assert np.all(np.abs(found - expected) < 5 * np.sqrt(expected) + 1)
    by_step = np.bincount(batch.pickup // 1800, minlength=WEEK)
    assert np.all(np.abs(by_step - rates.sum(axis=1)) < 6 * np.sqrt(rates.sum(axis=1)) + 3)
    origin = int(np.argmax(found))
    reached = np.bincount(batch.destination[batch.origin == origin], minlength=16)
    likely = found[origin] * flow.destination[origin]
    assert np.all(np.abs(reached - likely) < 5 * np.sqrt(likely) + 1)
    usual = 60 * small.minutes["crowd"][batch.origin, batch.destination]
    ratio = (batch.dropoff - batch.pickup) / usual
    assert ratio.min() > 0.69
    assert ratio.max() < 1.31
    assert abs(ratio.mean() - 1) < 0.01
    sizes = batch.passengers(np.random.default_rng(2))
    assert set(np.unique(sizes)) == {1, 2, 3, 4, 5, 6}
    assert abs((sizes == 1).mean() - 0.72) < 0.02


def test_trips_of_a_part_of_the_time_stay_in_it(small: DemoProcess) -> None:
    pickups = np.concatenate(
        [batch.pickup for batch in small.trips("taxi", np.random.default_rng(0), start=48, stop=96)]
    )
    assert 48 * 1800 <= pickups.min() < pickups.max() < 96 * 1800
    assert np.any(pickups < 49 * 1800)
    assert np.any(pickups >= 95 * 1800)


def test_counts_are_those_of_the_trips(small: DemoProcess) -> None:
    """Trip by trip, against the vectorised count with the same lots."""
    departed, arrived = city_module._count(small, "taxi", np.random.default_rng(4))
    slow_out, slow_in = np.zeros((WEEK, 16)), np.zeros((WEEK, 16))
    for batch in small.trips("taxi", np.random.default_rng(4)):
        for start, end, pickup, dropoff in zip(
            batch.origin.tolist(),
            batch.destination.tolist(),
            batch.pickup.tolist(),
            batch.dropoff.tolist(),
            strict=True,
        ):
            slow_out[pickup // 1800, start] += 1
            if dropoff < WEEK * 1800:
                slow_in[dropoff // 1800, end] += 1
    assert np.array_equal(departed, slow_out)
    assert np.array_equal(arrived, slow_in)


def test_arrivals_by_hand() -> None:
    """40 minutes: of those who leave in a half hour, two thirds arrive in the next, one third in the one after."""
    departures = np.zeros((5, 2))
    departures[1, 0] = 6.0
    arrivals = process._arrivals(departures, np.array([[0.0, 1.0], [1.0, 0.0]]), np.full((2, 2), 40.0))
    assert np.allclose(arrivals[:, 1], [0, 0, 4, 2, 0])
    assert np.allclose(arrivals[:, 0], 0)


def test_people_and_taxis_are_conserved(city: City, crowds: tuple[np.ndarray, np.ndarray]) -> None:
    pickups, dropoffs = values(city, "taxi_pickup"), values(city, "taxi_dropoff")
    assert 0 <= 1 - dropoffs.sum() / pickups.sum() < 0.001  # only who rides past the end is missing
    crowd_out, crowd_in = crowds
    assert 0 <= 1 - crowd_in.sum() / crowd_out.sum() < 0.001
    # Who goes out comes back: over the weeks a place gets about as many as it sends.
    come, go = (crowd_in + dropoffs).sum(axis=0), (crowd_out + pickups).sum(axis=0)
    assert np.all(np.abs(come / go - 1) < 0.12)
    # Morning: homes empty, jobs fill; evening the other way round.
    hour, weekday = np.arange(8 * WEEK) % 48 / 2, np.arange(8 * WEEK) // 48 % 7
    gain = values(city, "crowd_in") - values(city, "crowd_out")
    morning, evening = (weekday < 5) & (hour >= 7) & (hour < 9), (weekday < 5) & (hour >= 16) & (hour < 18)
    assert np.nanmean(gain[morning][:, places_of(city, "residential")]) < -10
    assert np.nanmean(gain[morning][:, places_of(city, "business")]) > 50
    assert np.nanmean(gain[evening][:, places_of(city, "business")]) < -50


def test_gaps_are_in_the_crowd_sensors_only(city: City) -> None:
    missing = np.isnan(values(city, "crowd_in"))
    assert np.array_equal(missing, np.isnan(values(city, "crowd_out")))  # one sensor counts both
    assert 0.005 < missing.mean() < 0.05
    longest = np.array(
        [
            max((len(list(run)) for gap, run in itertools.groupby(column) if gap), default=0)
            for column in missing.T.tolist()
        ]
    )
    assert 6 <= (longest >= 12).sum() <= 12
    assert (missing.sum(axis=0) > 0).sum() > 40  # single readings are missing nearly everywhere
    for task in ("taxi_pickup", "taxi_dropoff", "risk"):
        assert not np.isnan(values(city, task)).any()


def test_zeros_are_kept_and_risk_is_sparse(city: City) -> None:
    for task in COUNTS:
        assert 0.03 < (values(city, task) == 0).mean() < 0.3
    risk = values(city, "risk")
    assert risk.min() == 0
    assert 0.02 < (risk > 0).mean() < 0.10


def test_rain_raises_taxis_and_risk_and_lowers_crowds(city: City) -> None:
    rain = city.covariates["rain"].values
    hour = np.arange(8 * WEEK) % 48 / 2
    day = (hour >= 8) & (hour < 23)

    def relative(series: np.ndarray) -> float:
        """Wet over dry, each step against the mean of its half hour of the week."""
        wet, dry = day & (rain > 0.5), day & (rain == 0)
        total, usual = (np.nansum(x, axis=1) for x in (series, weekly_average(series, len(series))))
        return float(total[wet].sum() / usual[wet].sum() / (total[dry].sum() / usual[dry].sum()))

    assert relative(values(city, "taxi_pickup")) > 1.15
    assert relative(values(city, "crowd_out")) < 0.95
    assert relative(values(city, "risk")) > 1.5


def test_holiday_looks_like_a_sunday(city: City) -> None:
    day = int(np.flatnonzero(city.covariates["holiday"].values)[0]) // 48
    assert day % 7 == 3
    business = np.nansum(values(city, "crowd_in")[:, places_of(city, "business")], axis=1).reshape(-1, 48)
    sunday = business[6::7].mean(axis=0)
    thursday = np.delete(business[3::7], day // 7, axis=0).mean(axis=0)
    assert np.abs(business[day] - sunday).sum() < 0.3 * np.abs(business[day] - thursday).sum()


def test_events_fill_and_empty_their_venue(
    city: City, default_process: DemoProcess, crowds: tuple[np.ndarray, np.ndarray]
) -> None:
    assert {event.venue for event in default_process.events} == {"stadium", "hall"}
    for event in default_process.events:
        (venue,) = places_of(city, event.venue)
        leave, arrive = crowds[0][:, venue], crowds[1][:, venue]
        assert arrive[event.start - 5 : event.start + 3].sum() > 0.6 * event.attendance
        taxis = values(city, "taxi_pickup")[:, venue]
        if event.start + 12 <= len(leave):
            assert (leave + taxis)[event.start + 3 : event.start + 12].sum() > 0.8 * event.attendance
            assert taxis[event.start + 4 : event.start + 10].mean() > 2 * np.median(taxis)


def test_taxis_are_more_at_night_and_in_the_centre(city: City) -> None:
    hour = np.arange(8 * WEEK) % 48 / 2
    night = (hour < 3) | (hour >= 23)

    def share(steps: np.ndarray, role: str) -> float:
        where = places_of(city, role)
        taxis = values(city, "taxi_pickup")[steps][:, where].sum()
        return float(taxis / (taxis + np.nansum(values(city, "crowd_out")[steps][:, where])))

    for role in ("centre", "residential", "nightlife"):
        assert share(night, role) > 1.3 * share(~night, role)
    assert share(~night, "centre") > 1.3 * share(~night, "residential")


def test_counts_are_overdispersed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Second differences at calm hours: 6 times the mean for independent Poisson counts, more with bursts."""

    def dispersion() -> float:
        counts = values(demo_city(weeks=4, places=16), "crowd_out").reshape(28, 48, 16)[:, 20:30]
        counts = counts[:, :, np.nanmean(counts, axis=(0, 1)) > 25]
        rough = counts[:, 2:] - 2 * counts[:, 1:-1] + counts[:, :-2]
        return float(np.nanmean(rough**2) / np.nanmean(counts) / 6)

    with_bursts = dispersion()
    monkeypatch.setattr(process, "BURST_SHAPE", 1e9)
    assert with_bursts > 1.5 * dispersion()


@pytest.mark.parametrize("task", COUNTS)
def test_recent_values_and_places_beat_the_weekly_average(city: City, task: str) -> None:
    """A ridge on square roots: last 12 half hours here and citywide, and the weekly average; plain MAE, 12 ahead."""
    series = values(city, task)
    training, test = int(0.7 * len(series)), int(0.8 * len(series))
    average = weekly_average(series, training)
    root, root_average = np.sqrt(np.where(np.isnan(series), average, series)), np.sqrt(average)
    excess = root - root_average
    citywide = np.broadcast_to(excess.mean(axis=1, keepdims=True), excess.shape)

    def windows(start: int, stop: int) -> tuple[np.ndarray, ...]:
        first = np.arange(start, stop - 23)

        def rows(source: np.ndarray, steps: range) -> np.ndarray:
            return np.stack([source[first + step] for step in steps], axis=-1).reshape(-1, len(steps))

        past, ahead = range(12), range(12, 24)
        inputs = np.hstack([rows(excess, past), rows(citywide, past), rows(root_average, range(24))])
        return inputs, rows(root_average, ahead), rows(average, ahead), rows(series, ahead)

    inputs, start, _, truth = windows(0, training)
    middle, goal = inputs.mean(axis=0), np.nan_to_num(np.sqrt(truth) - start)
    centred = inputs - middle
    weights = np.linalg.solve(centred.T @ centred + 10 * np.eye(48), centred.T @ goal)
    inputs, start, naive, truth = windows(test, len(series))
    forecast = np.maximum(start + goal.mean(axis=0) + (inputs - middle) @ weights, 0) ** 2
    learned_error, naive_error = np.nanmean(np.abs(forecast - truth)), np.nanmean(np.abs(naive - truth))
    assert learned_error < 0.95 * naive_error
