"""Writes the histories of engines that wear until they fail: ``python generate.py --out DIR [--cmapss]``.

Stands alone: numpy and the standard library. What the columns are and where the form comes from is told in the README
beside this file.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LIFE_CYCLES = (200.0, 0.22, 128, 360)
"""Median, spread of the logarithm, least and greatest."""
SETTINGS = (
    (0.0, 0.0, 100.0),
    (10.0, 0.25, 100.0),
    (20.0, 0.7, 100.0),
    (25.0, 0.62, 60.0),
    (35.0, 0.84, 100.0),
    (42.0, 0.84, 100.0),
)
"""Six ways to run: what the settings are near to."""
THINNEST = 0.55
"""By what factor readings are smaller in the last way to run; those between lie between."""
LEAST_LEFT = 7
"""Cycles that a history that was cut off at least leaves."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """One reading: what it is in a new engine, how far wear moves it, and how much it wavers."""

    new: float
    worn: float
    """Added at the end of life."""
    noise: float
    digits: int
    power: float = 1.0
    """The greater, the later wear shows."""


SENSORS = (
    Sensor(520.00, 0.0, 0.0, 2),
    Sensor(640.50, 2.0, 0.38, 2),
    Sensor(1580.00, 21.0, 4.6, 2, 0.9),
    Sensor(1398.00, 33.0, 4.8, 2),
    Sensor(14.50, 0.0, 0.0, 2),
    Sensor(21.50, 0.0, 0.003, 2),
    Sensor(555.00, -3.6, 0.45, 2),
    Sensor(2390.00, 0.25, 0.045, 2, 1.2),
    Sensor(9050.00, 34.0, 8.0, 2, 2.0),
    Sensor(1.30, 0.0, 0.0, 2),
    Sensor(47.10, 1.1, 0.13, 2),
    Sensor(522.30, -2.9, 0.38, 2),
    Sensor(2390.00, 0.26, 0.045, 2, 1.2),
    Sensor(8130.00, 30.0, 7.0, 2, 2.0),
    Sensor(8.400, 0.14, 0.019, 4),
    Sensor(0.03, 0.0, 0.0, 2),
    Sensor(391.0, 5.6, 1.1, 0),
    Sensor(2388.0, 0.0, 0.0, 0),
    Sensor(100.00, 0.0, 0.0, 2),
    Sensor(38.95, -0.70, 0.10, 2),
    Sensor(23.370, -0.42, 0.06, 4),
)
"""Twenty-one readings, some of which never change and two of which are whole numbers."""


@dataclass(frozen=True, slots=True)
class Row:
    """One cycle of one engine."""

    unit: int
    cycle: int
    settings: tuple[float, ...]
    readings: tuple[float, ...]
    left: int
    """Cycles until it fails; 0 in the last."""


def engine(unit: int, *, ways: int, random: np.random.Generator) -> list[Row]:
    """The whole life of one engine. Args: ways — how many ways to run it knows."""
    median, spread, least, most = LIFE_CYCLES
    life = int(np.clip(median * np.exp(random.normal(0, spread)), least, most))
    cycle = np.arange(1, life + 1)
    way = random.integers(ways, size=life)
    near = np.asarray(SETTINGS)[way]
    settings = near + np.column_stack([random.normal(0, 0.0022, life), random.normal(0, 0.0003, life), np.zeros(life)])
    wear = worn(cycle, life, random)
    thin = 1.0 - (1.0 - THINNEST) * way / (len(SETTINGS) - 1)
    readings = np.stack([reading(sensor, wear, thin, random) for sensor in SENSORS], axis=1)
    return [
        Row(unit, int(cycle[place]), tuple(settings[place]), tuple(readings[place]), life - int(cycle[place]))
        for place in range(life)
    ]


def worn(cycle: np.ndarray, life: int, random: np.random.Generator) -> np.ndarray:
    """Wear from what the engine brings along to 1 in its last cycle: nothing much until the onset, then ever faster."""
    brought = random.uniform(0.0, 0.12)
    onset = life - random.uniform(90, 150)
    after = np.clip((cycle - onset) / (life - onset), 0.0, 1.0)
    steepness = random.uniform(1.6, 2.8)
    grown = np.expm1(steepness * after) / np.expm1(steepness)
    return brought + (1.0 - brought) * (0.06 * cycle / life + 0.94 * grown)


def reading(sensor: Sensor, wear: np.ndarray, thin: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """What a sensor says of an engine with that wear, run in that way."""
    noise = random.normal(0, 1, len(wear)) * sensor.noise
    return np.round((sensor.new + sensor.worn * wear**sensor.power + noise) * thin, sensor.digits)


def fleet(count: int, *, ways: int, random: np.random.Generator) -> list[list[Row]]:
    """As many engines, one history each."""
    return [engine(unit, ways=ways, random=random) for unit in range(1, count + 1)]


# Exports of firms

FIRMS = {"nord": 1, "sud": 6}
"""Firm → ways in which it runs its engines."""
HEADER = (
    "Engine ID,Cycle,"
    + ",".join(f"Operating setting {number}" for number in (1, 2, 3))
    + ","
    + ",".join(f"Sensor reading {number}" for number in range(1, 22))
    + ",Remaining cycles"
)


def export(engines: list[list[Row]], firm: str) -> str:
    """A CSV of engines that ran until they failed."""
    text = io.StringIO()
    text.write(HEADER + "\n")
    writer = csv.writer(text, lineterminator="\n")
    for row in (row for history in engines for row in history):
        writer.writerow([f"{firm}-{row.unit:03}", row.cycle, *spelled(row), row.left])
    return text.getvalue()


def spelled(row: Row) -> Iterator[str]:
    """Settings and readings with the digits they are logged with."""
    yield from (f"{row.settings[0]:.4f}", f"{row.settings[1]:.4f}", f"{row.settings[2]:.1f}")
    yield from (f"{value:.{sensor.digits}f}" for sensor, value in zip(SENSORS, row.readings, strict=True))


# Files in the form of NASA's C-MAPSS data

SUBSETS = {"FD001": 1, "FD002": 6}


def lines(engines: list[list[Row]]) -> str:
    """One row a line, 26 values parted by a space, two spaces at the end, no header."""
    rows = (row for history in engines for row in history)
    return "".join(f"{row.unit} {row.cycle} {' '.join(spelled(row))}  \n" for row in rows)


def cut_off(history: list[Row], random: np.random.Generator, *, shortest: int) -> list[Row]:
    """The beginning of a history that ends some time before the failure."""
    return history[: int(random.integers(min(shortest, len(history) - LEAST_LEFT), len(history) - LEAST_LEFT + 1))]


def cmapss(subset: str, count: int, random: np.random.Generator) -> dict[str, str]:
    """File name → text: engines until failure, other engines cut off before, and what those had left."""
    ways = SUBSETS[subset]
    train = fleet(count, ways=ways, random=random)
    test = [cut_off(history, random, shortest=20) for history in fleet(count, ways=ways, random=random)]
    return {
        f"train_{subset}.txt": lines(train),
        f"test_{subset}.txt": lines(test),
        f"RUL_{subset}.txt": "".join(f"{history[-1].left} \n" for history in test),
    }


def write(folder: Path, engines: int, seed: int, *, as_cmapss: bool = False) -> list[Path]:
    """The files of both firms, or of both subsets."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, str] = {}
    for place, (name, ways) in enumerate((SUBSETS if as_cmapss else FIRMS).items()):
        random = np.random.default_rng([seed, place])
        if as_cmapss:
            files |= cmapss(name, engines, random)
        else:
            files[f"{name}.csv"] = export(fleet(engines, ways=ways, random=random), name)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="ascii")
    return [folder / name for name in files]


def main() -> None:
    """Read the arguments, write the files, print their names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--engines", type=int, default=40, help="engines a firm, or a file of C-MAPSS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cmapss", action="store_true", help="write train, test and RUL files as C-MAPSS has them")
    chosen = parser.parse_args()
    for path in write(chosen.out, chosen.engines, chosen.seed, as_cmapss=chosen.cmapss):
        print(path)


if __name__ == "__main__":
    main()
