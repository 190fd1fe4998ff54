"""Writes the electricity readings of three plants, hour by hour: ``python generate.py --out DIR``.

Stands alone: numpy and the standard library. What the load is made of is told in the README beside this file.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

START = datetime(2023, 1, 2, tzinfo=UTC)
"""A Monday."""
ROME = ZoneInfo("Europe/Rome")
HOUR = timedelta(hours=1)
EASTER_SUNDAYS = {2023: (4, 9), 2024: (3, 31), 2025: (4, 20), 2026: (4, 5), 2027: (3, 28)}
"""Year → month and day."""
FIXED_HOLIDAYS = ((1, 1), (1, 6), (4, 25), (5, 1), (6, 2), (8, 15), (11, 1), (12, 8), (12, 25), (12, 26))
DAY_SHIFTS = {1: (8, 17), 2: (6, 22), 3: (0, 24)}
"""Shifts a day → first hour of work and the hour after the last, local time."""
COMFORT_C = (15.0, 23.0)
"""Below, the halls are heated; above, they are cooled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A production line with a meter of its own."""

    name: str
    shifts: int
    idle_kw: float
    """Drawn when nothing is made: standby, lighting, compressed air that leaks."""
    work_kw: float
    """Drawn on top at full production."""
    heating_kw_k: float
    """Per kelvin below the comfortable range."""
    cooling_kw_k: float
    pieces_h: float
    """Made at full production."""
    start_up: float = 0.25
    """Share of the work that warming up takes on top in the first hour of a working day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """How one firm works and what its meters leave out."""

    name: str
    lines: tuple[Line, ...]
    mean_c: float
    """Mean outside temperature of the year."""
    swing_c: float
    """Half the difference between the warmest and the coldest season."""
    patron: tuple[int, int]
    """Month and day of the town's own holiday."""
    august: tuple[int, int]
    """First and last day of August on which the plant is closed."""
    has_plan: bool = True


PLANTS = (
    Plant(
        name="alfa",
        lines=(
            Line(
                name="A-press",
                shifts=2,
                idle_kw=55,
                work_kw=260,
                heating_kw_k=2.5,
                cooling_kw_k=4.0,
                pieces_h=420,
                start_up=0.3,
            ),
            Line(name="A-paint", shifts=1, idle_kw=40, work_kw=190, heating_kw_k=5.0, cooling_kw_k=2.0, pieces_h=150),
        ),
        mean_c=14.5,
        swing_c=11.0,
        patron=(10, 4),
        august=(5, 25),
    ),
    Plant(
        name="beta",
        lines=(
            Line(name="Forno 1", shifts=3, idle_kw=120, work_kw=310, heating_kw_k=1.0, cooling_kw_k=2.5, pieces_h=90),
            Line(
                name="Stampaggio", shifts=2, idle_kw=35, work_kw=170, heating_kw_k=2.0, cooling_kw_k=5.0, pieces_h=900
            ),
        ),
        mean_c=13.0,
        swing_c=12.0,
        patron=(12, 7),
        august=(10, 25),
        has_plan=False,
    ),
    Plant(
        name="gamma",
        lines=(
            Line(name="line_1", shifts=3, idle_kw=80, work_kw=230, heating_kw_k=1.5, cooling_kw_k=3.0, pieces_h=300),
            Line(name="line_2", shifts=1, idle_kw=25, work_kw=140, heating_kw_k=3.0, cooling_kw_k=3.0, pieces_h=60),
        ),
        mean_c=17.0,
        swing_c=8.5,
        patron=(6, 24),
        august=(12, 18),
    ),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One hour of one meter."""

    moment: datetime
    """Its beginning, UTC."""
    line: str
    energy_kwh: float
    forecast_c: float
    """What the weather service had said the day before."""
    planned: float
    """Pieces an hour in the plan."""


def readings_of(plant: Plant, days: int, seed: int) -> list[Reading]:
    """All readings of a plant in the order of time; each line's chance is its own."""
    random = np.random.default_rng([seed, PLANTS.index(plant)])
    weather = outside(plant, local_hours(days * 24), random)
    forecast = weather + wandering(days * 24, 1.2, memory=0.9, random=random)
    found = [reading for line in plant.lines for reading in metered(plant, line, (weather, forecast), random)]
    return sorted(found, key=lambda reading: (reading.moment, reading.line))


def local_hours(count: int) -> list[datetime]:
    """So many hours from the start on, each as a clock on the wall shows it."""
    return [(START + step * HOUR).astimezone(ROME) for step in range(count)]


def metered(
    plant: Plant, line: Line, air: tuple[np.ndarray, np.ndarray], random: np.random.Generator
) -> Iterator[Reading]:
    """The load of one line: what it makes, the air it works in (as it was and as it was foretold), and chance."""
    weather, forecast = air
    hours = len(weather)
    local = local_hours(hours)
    plan = planned_share(plant, line, local, random)
    made = plan * (1 - stops(hours, random)) * np.clip(1 + wandering(hours, 0.05, memory=0.7, random=random), 0, 1.3)
    first = (plan > 0) & (np.concatenate([[0.0], plan[:-1]]) == 0)
    work = line.work_kw * (made + line.start_up * first)
    open_share = np.where(plan > 0, 1.0, 0.25)  # closed halls are only kept from freezing and from heat
    comfort = line.heating_kw_k * np.clip(COMFORT_C[0] - weather, 0, None)
    comfort += line.cooling_kw_k * np.clip(weather - COMFORT_C[1], 0, None)
    idle = line.idle_kw * (1 + wandering(hours, 0.04, memory=0.98, random=random))
    load = np.clip((idle + work + comfort * open_share) * (1 + random.normal(0, 0.02, hours)), 0.5, None)
    for step, moment in enumerate(local):
        yield Reading(moment.astimezone(UTC), line.name, load[step], forecast[step], round(line.pieces_h * plan[step]))


def planned_share(plant: Plant, line: Line, local: list[datetime], random: np.random.Generator) -> np.ndarray:
    """Share of full production that the plan asks for, by the hour: shifts, closed days, orders, Saturdays at work."""
    weeks = len(local) // 168 + 2
    orders = np.clip(0.85 + wandering(weeks, 0.08, memory=0.8, random=random), 0.5, 1.1)
    saturdays = random.random(weeks) < 0.3 * (orders > 0.88)
    first, last = DAY_SHIFTS[line.shifts]
    share = np.zeros(len(local))
    for step, moment in enumerate(local):
        week = (moment.date() - START.date()).days // 7
        at_work = moment.weekday() < 5 or (moment.weekday() == 5 and saturdays[week] and moment.hour < 14)
        if at_work and first <= moment.hour < last and not is_closed(plant, moment.date()):
            lunch = 0.75 if line.shifts == 1 and moment.hour == 12 else 1.0
            share[step] = orders[week] * lunch
    return share


def is_closed(plant: Plant, day: date) -> bool:
    """National holidays, the town's, the weeks of August and the days around Christmas."""
    month_day = (day.month, day.day)
    monday = date(day.year, *EASTER_SUNDAYS[day.year]) + timedelta(days=1)
    in_august = day.month == 8 and plant.august[0] <= day.day <= plant.august[1]
    at_christmas = month_day >= (12, 24) or month_day <= (1, 6)
    return month_day in FIXED_HOLIDAYS or month_day == plant.patron or day == monday or in_august or at_christmas


def outside(plant: Plant, local: list[datetime], random: np.random.Generator) -> np.ndarray:
    """Temperature outside: the season, the hour, and weather that stays for days."""
    hour = np.array([moment.hour for moment in local])
    day = np.array([moment.timetuple().tm_yday for moment in local])
    season = -plant.swing_c * np.cos(2 * np.pi * (day - 20) / 365.25)
    daily = -4.0 * np.cos(2 * np.pi * (hour - 3) / 24)
    return plant.mean_c + season + daily + wandering(len(local), 3.0, memory=0.985, random=random)


def stops(hours: int, random: np.random.Generator) -> np.ndarray:
    """Share of production lost to stops that come some ten times a year and last for hours."""
    lost = np.zeros(hours)
    for start in np.flatnonzero(random.random(hours) < 12 / 8760):
        lost[start : start + int(random.integers(2, 12))] = random.uniform(0.4, 1.0)
    return lost


def wandering(count: int, spread: float, *, memory: float, random: np.random.Generator) -> np.ndarray:
    """A walk that returns to zero, with the given standard deviation."""
    path = random.normal(0, spread, count)
    for step in range(1, count):
        path[step] = memory * path[step - 1] + (1 - memory**2) ** 0.5 * path[step]
    return path


def as_logged(readings: list[Reading], random: np.random.Generator) -> list[Reading]:
    """What arrives at a desk: some hours are missing, a few days of one meter too, some rows come twice."""
    dark = {line: int(random.integers(0, len(readings))) for line in sorted({reading.line for reading in readings})}
    ends = {line: readings[start].moment + timedelta(hours=60) for line, start in dark.items()}
    starts = {line: readings[start].moment for line, start in dark.items()}
    kept: list[Reading] = []
    for reading, chance in zip(readings, random.random(len(readings)), strict=True):
        if chance < 0.002 or starts[reading.line] <= reading.moment < ends[reading.line]:
            continue
        kept += [reading] * (2 if chance > 0.999 else 1)
    return kept


HEADERS = {
    "alfa": "Timestamp,Production line,Electric energy [kWh],Outside temperature [°C],Planned production [pcs/h]",
    "beta": "Data e ora;Linea;Consumo (kWh);Temperatura esterna (°C)",
    "gamma": "timestamp\tline_id\telectric_energy [MJ]\tambient_temperature [°F]\tplanned_production [pcs/h]",
}
DELIMITERS = {"alfa": ",", "beta": ";", "gamma": "\t"}
MEGAJOULE_KWH = 3.6
"""One kilowatt-hour in megajoules. Source: NIST Special Publication 811 (2008), appendix B.8"""


def alfa_cells(row: Reading) -> tuple[object, ...]:
    """Local times with their offset."""
    when = row.moment.astimezone(ROME).isoformat()
    return when, row.line, f"{row.energy_kwh:.2f}", f"{row.forecast_c:.1f}", f"{row.planned:.0f}"


def beta_cells(row: Reading) -> tuple[object, ...]:
    """Local times without offset, day first: in spring an hour is missing, in autumn one comes twice."""
    when = row.moment.astimezone(ROME).strftime("%d/%m/%Y %H:%M")
    return when, row.line, f"{row.energy_kwh:.2f}".replace(".", ","), f"{row.forecast_c:.1f}".replace(".", ",")


def gamma_cells(row: Reading) -> tuple[object, ...]:
    """Seconds since 1970, megajoules, degrees Fahrenheit."""
    energy, fahrenheit = row.energy_kwh * MEGAJOULE_KWH, row.forecast_c * 9 / 5 + 32
    return int(row.moment.timestamp()), row.line, f"{energy:.1f}", f"{fahrenheit:.1f}", f"{row.planned:.0f}"


CELLS = {"alfa": alfa_cells, "beta": beta_cells, "gamma": gamma_cells}


def as_text(name: str, rows: Iterable[tuple[object, ...]]) -> str:
    """The whole file of a firm as text."""
    text = io.StringIO()
    text.write(HEADERS[name] + "\n")
    csv.writer(text, delimiter=DELIMITERS[name], lineterminator="\n").writerows(rows)
    return text.getvalue()


def write(folder: Path, days: int, seed: int) -> list[Path]:
    """One file a plant, and how the one without offsets is to be read."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, plant in enumerate(PLANTS):
        logged = as_logged(readings_of(plant, days, seed), np.random.default_rng([seed, 100 + number]))
        path = folder / f"{plant.name}.{'tsv' if plant.name == 'gamma' else 'csv'}"
        path.write_text(as_text(plant.name, (CELLS[plant.name](row) for row in logged)), encoding="utf-8")
        paths.append(path)
    (folder / "beta.read.json").write_text(json.dumps({"time_zone": "Europe/Rome"}), encoding="utf-8")
    return paths


def main() -> None:
    """Read the arguments, write the files, print their names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--days", type=int, default=1095, help="days from 2 January 2023 on")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    for path in write(chosen.out, chosen.days, chosen.seed):
        print(path)


if __name__ == "__main__":
    main()
