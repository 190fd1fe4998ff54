"""Writes the logs of a pump that drives water round a loop, run by run: ``python generate.py --out DIR [--benchmark]``.

Stands alone: numpy and the standard library. The README beside this file tells of the loop and what goes wrong in it.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

Signal = np.ndarray
START = datetime(2026, 3, 9, 8, tzinfo=UTC)
SECONDS = (950, 1250)
"""Least and greatest length of a run."""
BEGINS, LASTS = (480, 640), (220, 380)
"""When something goes wrong in a run, and for how long, seconds."""
MISSED = 0.06
"""Share of seconds that the logger leaves out."""
SENSORS = (
    "Accelerometer1RMS",
    "Accelerometer2RMS",
    "Current",
    "Pressure",
    "Temperature",
    "Thermocouple",
    "Voltage",
    "Volume Flow RateRMS",
)


@dataclass(frozen=True, slots=True)
class Loop:
    """One run's pump, pipe and hall."""

    speed: float
    """Of the pump, in thousands of turns a minute, before anyone changes it."""
    resistance: float
    """Of the pipe and its valves: bar for a squared litre a minute, times 10,000."""
    hall_c: float
    warm_c: float
    """How much warmer than the hall the motor is at the beginning."""
    balance: float
    """Vibration at a thousand turns a minute, g."""


@dataclass(slots=True)
class State:
    """What holds at each second, before it is measured; a fault bends it."""

    speed: Signal
    outlet: Signal
    """How far the outlet valve is open, 1 fully."""
    inlet: Signal
    imbalance: Signal
    """By what factor the rotor shakes more than it should."""
    air: Signal
    """Share of air in the water."""
    friction: Signal
    """Additional losses in the bearing, kW."""


def ramp(time: Signal, begin: float, lasts: float, *, rise: float) -> Signal:
    """From 0 to 1 within ``rise`` seconds, and back to 0 at the end."""
    return np.clip((time - begin) / rise, 0, 1) * np.clip((begin + lasts - time) / max(rise / 3, 1.0), 0, 1)


def outlet_closes(state: State, shape: Signal, random: np.random.Generator) -> None:
    """Somebody closes the outlet valve."""
    state.outlet *= 1 - random.uniform(0.25, 0.5) * shape


def inlet_closes(state: State, shape: Signal, random: np.random.Generator) -> None:
    """The inlet is throttled; the pump begins to cavitate."""
    state.inlet *= 1 - random.uniform(0.3, 0.55) * shape


def rotor_shakes(state: State, shape: Signal, random: np.random.Generator) -> None:
    """The rotor loses its balance."""
    state.imbalance += random.uniform(0.12, 0.4) * shape


def air_enters(state: State, shape: Signal, random: np.random.Generator) -> None:
    """Air gets into the water."""
    state.air += random.uniform(0.05, 0.12) * shape


def bearing_drags(state: State, shape: Signal, random: np.random.Generator) -> None:
    """A bearing runs dry: more current and heat for the same water."""
    state.friction += random.uniform(0.12, 0.25) * shape


FAULTS: Mapping[str, Callable[[State, Signal, np.random.Generator], None]] = {
    "outlet": outlet_closes,
    "inlet": inlet_closes,
    "imbalance": rotor_shakes,
    "air": air_enters,
    "bearing": bearing_drags,
}


@dataclass(frozen=True, slots=True)
class Run:
    """What a logger wrote of one run."""

    name: str
    start: datetime
    second: Signal
    readings: Signal
    """(rows, sensors)."""
    anomaly: Signal
    changepoint: Signal
    fault: str | None


def run(name: str, fault: str | None, start: datetime, random: np.random.Generator) -> Run:
    """One run, with something going wrong in its middle or with nothing."""
    time = np.arange(int(random.integers(*SECONDS)), dtype=np.float64)
    loop = Loop(
        speed=random.uniform(1.6, 3.0),
        resistance=random.uniform(0.8, 1.6),
        hall_c=random.uniform(19, 27),
        warm_c=random.uniform(25, 50),
        balance=random.uniform(0.010, 0.024),
    )
    begin, lasts = random.uniform(*BEGINS), random.uniform(*LASTS)
    state = healthy(loop, time, random)
    if fault:
        FAULTS[fault](state, ramp(time, begin, lasts, rise=random.choice([3.0, 20.0, 60.0])), random)
    is_wrong = (time >= begin) & (time < begin + lasts) & (fault is not None)
    kept = random.random(len(time)) >= MISSED
    kept[0] = True
    return Run(
        name=name,
        start=start,
        second=time[kept],
        readings=measured(loop, state, random)[kept],
        anomaly=is_wrong[kept],
        changepoint=(np.diff(is_wrong.astype(int), prepend=0) != 0)[kept],
        fault=fault,
    )


def healthy(loop: Loop, time: Signal, random: np.random.Generator) -> State:
    """Nothing wrong; the speed is changed a few times, as production asks."""
    speed = np.full(len(time), loop.speed)
    for moment in np.sort(random.uniform(40, len(time), 5)):
        aim = loop.speed * random.uniform(0.82, 1.18)
        speed += (aim - speed[-1]) * np.clip((time - moment) / 8, 0, 1)
    one, none = np.ones(len(time)), np.zeros(len(time))
    return State(speed, one.copy(), one.copy(), one.copy(), none.copy(), none.copy())


def measured(loop: Loop, state: State, random: np.random.Generator) -> Signal:
    """The eight readings: pump curve against pipe, power, heat that comes and goes slowly, and each sensor's noise."""
    head = 0.42 * state.speed**2 * (1 - 1.6 * state.air) * (0.55 + 0.45 * state.inlet)
    pipe = loop.resistance * 1e-4 / state.outlet**2 + 0.5e-4 / state.inlet**2
    flow = np.sqrt(head / (pipe + 0.6e-4))
    pressure = head - 0.6e-4 * flow**2
    power = 0.18 + 0.0016 * pressure * flow + 0.02 * state.speed**2 + state.friction
    motor = warmed(power, loop, random)
    water = loop.hall_c + 1.5 + np.cumsum(power - power.mean() * 0.9) * 0.0012
    cavitation = np.clip(1 - state.inlet, 0, None) * 0.9 + 3.0 * state.air
    shake = loop.balance * state.speed**2
    rows = len(flow)
    readings = (
        shake * state.imbalance + 0.02 * cavitation + random.normal(0, 0.012, rows) * shake,
        1.35 * shake * (0.7 + 0.3 * state.imbalance) + 0.03 * cavitation + random.normal(0, 0.012, rows) * shake,
        2.6 * power + random.normal(0, 0.16, rows),
        quantised(pressure + random.normal(0, 0.10, rows), 0.0328),
        motor + random.normal(0, 0.12, rows),
        water + random.normal(0, 0.012, rows),
        229.0 + random.normal(0, 11.0, rows),
        quantised(flow + random.normal(0, 0.5, rows), 0.33),
    )
    return np.stack(readings, axis=1)


def warmed(power: Signal, loop: Loop, random: np.random.Generator) -> Signal:
    """The motor's temperature, which follows its power within minutes."""
    found = np.empty(len(power))
    level = loop.hall_c + loop.warm_c
    gain = loop.warm_c / power[0] * random.uniform(0.92, 1.08)
    for second, used in enumerate(power):
        level += (loop.hall_c + gain * used - level) / 240.0
        found[second] = level
    return found


def quantised(values: Signal, step: float) -> Signal:
    """As a coarse converter tells it."""
    return np.round(values / step) * step


def cells(one: Run, place: int) -> list[str]:
    """A row's moment and readings as they are logged."""
    moment = one.start + timedelta(seconds=float(one.second[place]))
    return [moment.strftime("%Y-%m-%d %H:%M:%S"), *(f"{value:.6g}" for value in one.readings[place])]


# Exports of firms

FIRMS = ("alfa", "beta")
HEADER = (
    "Timestamp;Run;Vibration 1 [g];Vibration 2 [g];Current [A];Pressure [bar];Temperature [°C];Thermocouple [°C];"
    "Voltage [V];Volume flow [l/min];Anomaly;Changepoint"
)


def export(runs: list[Run]) -> str:
    """A firm's runs in one table; nobody labelled those in which nothing happened."""
    text = io.StringIO()
    text.write(HEADER + "\n")
    writer = csv.writer(text, delimiter=";", lineterminator="\n")
    for one in runs:
        for place in range(len(one.second)):
            moment, *values = cells(one, place)
            labels = [int(one.anomaly[place]), int(one.changepoint[place])] if one.fault else ["", ""]
            writer.writerow([moment, one.name, *values, *labels])
    return text.getvalue()


# Files in the form of the Skoltech Anomaly Benchmark


def benchmark(runs: list[Run]) -> dict[str, str]:
    """Path → text: a file a run, with labels where something happened and without their columns where nothing did."""
    found = {}
    for one in runs:
        header = ["datetime", *SENSORS, *(["anomaly", "changepoint"] if one.fault else [])]
        rows = [";".join(header)]
        for place in range(len(one.second)):
            labels = [f"{float(one.anomaly[place])}", f"{float(one.changepoint[place])}"] if one.fault else []
            rows.append(";".join([*cells(one, place), *labels]))
        place = f"{one.fault}/{one.name}.csv" if one.fault else f"anomaly-free/{one.name}.csv"
        found[place] = "\n".join(rows) + "\n"
    return found


def runs_of(firm: str, count: int, random: np.random.Generator) -> list[Run]:
    """Runs one after the other; in one of six nothing goes wrong."""
    kinds: list[str | None] = [*FAULTS, None]
    starts = [START + timedelta(hours=2 * number) for number in range(count)]
    return [
        run(f"{firm}-{number:02}", kinds[number % len(kinds)], start, random) for number, start in enumerate(starts)
    ]


def write(folder: Path, runs: int, seed: int, *, as_benchmark: bool = False) -> list[Path]:
    """One table a firm, or one file a run."""
    files: dict[str, str] = {}
    for place, firm in enumerate(FIRMS):
        random = np.random.default_rng([seed, place])
        made = runs_of(firm, runs, random)
        files |= benchmark(made) if as_benchmark else {f"{firm}.csv": export(made)}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]


def main() -> None:
    """Read the arguments, write the files, print their names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--runs", type=int, default=12, help="runs a firm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--benchmark", action="store_true", help="write a file a run, as the benchmark has them")
    chosen = parser.parse_args()
    for path in write(chosen.out, chosen.runs, chosen.seed, as_benchmark=chosen.benchmark):
        print(path)


if __name__ == "__main__":
    main()
