"""Writes the exports of three firms that run the same kind of machine: ``python generate.py --out DIR``.

Stands alone: numpy and the standard library. The physics and its sources are told in the README beside this file.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
NARROWEST_RISE_K, SLOWEST_RPM = 8.6, 1360.0
"""Heat: the process must be this much warmer than the hall, or the spindle this fast, for its heat to leave."""
POWER_WINDOW_W = (3_900.0, 9_400.0)
"""Power: below, the cut stalls; above, the drive trips."""
STRAIN_LIMIT = {"L": 12_000.0, "M": 13_000.0, "H": 14_000.0}
"""Strain: the product of tool wear and torque a grade bears, min·Nm."""
TOOL_LIFE_MIN = (226.0, 5.0)
"""Wear: mean and spread of a tool's life; nobody sees it from outside."""
RANDOM_FAILURE = 0.0005
WEAR_A_PART_MIN = {"L": 2.1, "M": 3.0, "H": 4.6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Firm:
    """How one firm runs its machines; the limits above are the same for all three."""

    name: str
    machines: tuple[str, ...]
    grades: dict[str, float]
    hall_k: float
    """Mean temperature of the hall."""
    swing_k: float
    """Half the difference between day and night."""
    rise_k: float
    """How much warmer than the hall the process runs."""
    torque_nm: float
    speed_factor: float
    change_at_min: float
    """Tool wear at which the operators plan to change the tool."""


FIRMS = (
    Firm(
        name="alfa",
        machines=tuple(f"A-{number:02}" for number in range(1, 9)),
        grades={"L": 0.6, "M": 0.3, "H": 0.1},
        hall_k=301.5,
        swing_k=2.5,
        rise_k=10.8,
        torque_nm=38.5,
        speed_factor=0.97,
        change_at_min=200,
    ),
    Firm(
        name="beta",
        machines=tuple(f"FRESA {number}" for number in range(1, 8)),
        grades={"L": 0.3, "M": 0.5, "H": 0.2},
        hall_k=297.0,
        swing_k=1.5,
        rise_k=11.0,
        torque_nm=42.0,
        speed_factor=1.0,
        change_at_min=196,
    ),
    Firm(
        name="gamma",
        machines=tuple(f"press_{number}" for number in range(11, 20)),
        grades={"L": 0.2, "M": 0.3, "H": 0.5},
        hall_k=299.0,
        swing_k=4.0,
        rise_k=10.6,
        torque_nm=37.0,
        speed_factor=0.98,
        change_at_min=214,
    ),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One logged operation of one machine, in SI units but for wear (min) and speed (1/min)."""

    time: float
    """Seconds since 1970, UTC."""
    machine: str
    grade: str
    air: float
    process: float
    speed: float
    torque: float
    wear: float
    failed: bool


def rows_of(firm: Firm, count: int, seed: int) -> list[Row]:
    """All rows of a firm in the order of time."""
    shares = [count // len(firm.machines) + (place < count % len(firm.machines)) for place in range(len(firm.machines))]
    rows: list[Row] = []
    for place, (machine, share) in enumerate(zip(firm.machines, shares, strict=True)):
        random = np.random.default_rng([seed, FIRMS.index(firm), place])
        rows.extend(operations(firm, machine, share, random))
    return sorted(rows, key=lambda row: row.time)


def operations(firm: Firm, machine: str, count: int, random: np.random.Generator) -> Iterator[Row]:
    """The life of one machine: the hall warms and cools, tools wear and are changed, some operations fail."""
    times = START.timestamp() + np.cumsum(random.uniform(480, 1_500, count))
    day = 2 * math.pi * (times % 86_400) / 86_400
    air = firm.hall_k + random.normal(0, 0.5) - firm.swing_k * np.cos(day) + wandering(count, 0.5, random)
    rise = firm.rise_k + random.normal(0, 0.2) + wandering(count, 1.3, random)
    load = firm.torque_nm * (1 + random.normal(0, 0.02)) * np.exp(random.normal(0, 0.33, count).clip(-0.9, 0.9))
    pace = 1_500 * firm.speed_factor * (1 + random.normal(0, 0.01)) * np.exp(random.normal(0, 0.05, count))
    grades = random.choice(list(firm.grades), count, p=list(firm.grades.values()))
    chances = random.random(count)
    wear, life, change = 0.0, *new_tool(firm, random)
    for step in range(count):
        grade = str(grades[step])
        torque = load[step] * (0.96 + 0.08 * wear / 200)
        # Operators slow a heavy cut down, less than a constant-power drive would.
        speed = pace[step] * (firm.torque_nm / torque) ** 0.5
        hazard = failure_chance(grade, float(rise[step]), (float(speed), float(torque)), (wear, life))
        failed = bool(chances[step] < hazard)
        yield Row(times[step], machine, grade, air[step], air[step] + rise[step], speed, torque, round(wear, 1), failed)
        wear += WEAR_A_PART_MIN[grade] * random.uniform(0.8, 1.2)
        if wear > change or (failed and wear > 0.8 * change):
            wear, life, change = 0.0, *new_tool(firm, random)


def new_tool(firm: Firm, random: np.random.Generator) -> tuple[float, float]:
    """The life of the next tool and the wear at which it will be changed, minutes."""
    return random.normal(*TOOL_LIFE_MIN), random.normal(firm.change_at_min, 14)


def failure_chance(
    grade: str, rise: float, speed_and_torque: tuple[float, float], wear_and_life: tuple[float, float]
) -> float:
    """The chance that an operation fails, from five causes that act apart from each other."""
    (speed, torque), (wear, life) = speed_and_torque, wear_and_life
    power = torque * speed * 2 * math.pi / 60
    causes = (
        soft_step((NARROWEST_RISE_K - rise) / 0.03) * soft_step((SLOWEST_RPM - speed) / 3),
        soft_step((POWER_WINDOW_W[0] - power) / 15),
        soft_step((power - POWER_WINDOW_W[1]) / 15),
        soft_step((wear * torque - STRAIN_LIMIT[grade]) / 90),
        soft_step((wear - life) / 1.5),
        RANDOM_FAILURE,
    )
    return 1 - math.prod(1 - cause for cause in causes)


def soft_step(distance: float) -> float:
    """From 0 to 0.98 around zero: what is beyond a limit nearly always fails, never surely."""
    return 0.98 / (1 + math.exp(-max(-40.0, min(40.0, distance))))


def wandering(count: int, spread: float, random: np.random.Generator) -> np.ndarray:
    """A slow walk that returns to zero, with the given standard deviation."""
    memory, path = 0.9, random.normal(0, spread, count)
    for step in range(1, count):
        path[step] = memory * path[step - 1] + math.sqrt(1 - memory**2) * path[step]
    return path


HEADERS = {
    "alfa": "Sequence number,Product ID,Product grade,Air temperature [K],Process temperature [K],"
    "Rotational speed [rpm],Torque [Nm],Tool wear [min],Machine failure,Machine ID,Timestamp",
    "beta": "Numero progressivo;Codice prodotto;Qualità prodotto;Temperatura aria (°C);Temperatura processo (°C);"
    "Velocità di rotazione (giri/min);Coppia (Nm);Usura utensile (min);Guasto macchina;Macchina;Data e ora",
    "gamma": "sequence_number\tproduct_id\tproduct_grade\tair_temperature [°F]\tprocess_temperature [°F]\t"
    "rotational_speed [Hz]\ttorque [ft·lbf]\ttool_wear [min]\tmachine_failure\tmachine_id\ttimestamp",
}
POUND_FOOT_NM = 1.3558179483314004
"""One foot-pound force in newton metres. Source: NIST Special Publication 811 (2008), appendix B.8"""


def alfa_cells(number: int, row: Row) -> tuple[object, ...]:
    """English headers, kelvin, ISO times, 0 and 1."""
    when = datetime.fromtimestamp(int(row.time), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        number, f"{row.grade}{40_000 + number}", row.grade, f"{row.air:.1f}", f"{row.process:.1f}",
        f"{row.speed:.0f}", f"{row.torque:.1f}", f"{row.wear:.1f}", int(row.failed), row.machine, when,
    )  # fmt: skip


def beta_cells(number: int, row: Row) -> tuple[object, ...]:
    """Italian headers, degrees Celsius, decimal commas, day first, sì and no."""
    when = datetime.fromtimestamp(int(row.time), UTC).strftime("%d/%m/%Y %H:%M:%S")
    cells = (
        number, f"P{number:06}-{row.grade}", row.grade, f"{row.air - 273.15:.1f}", f"{row.process - 273.15:.1f}",
        f"{row.speed:.0f}", f"{row.torque:.1f}", f"{row.wear:.1f}", "sì" if row.failed else "no", row.machine, when,
    )  # fmt: skip
    return tuple(cell.replace(".", ",") if place in range(3, 8) else cell for place, cell in enumerate(map(str, cells)))


def gamma_cells(number: int, row: Row) -> tuple[object, ...]:
    """Degrees Fahrenheit, turns a second, foot-pounds, epoch seconds, true and false."""
    return (
        number, f"{row.grade}-{700_000 + number}", row.grade, f"{fahrenheit(row.air):.1f}",
        f"{fahrenheit(row.process):.1f}", f"{row.speed / 60:.3f}", f"{row.torque / POUND_FOOT_NM:.2f}",
        f"{row.wear:.1f}", str(row.failed).lower(), row.machine, int(row.time),
    )  # fmt: skip


def fahrenheit(kelvin: float) -> float:
    """The same temperature on Fahrenheit's scale."""
    return (kelvin - 273.15) * 9 / 5 + 32


def as_text(header: str, rows: Iterable[tuple[object, ...]], delimiter: str) -> str:
    """The whole file as text."""
    text = io.StringIO()
    text.write(header + "\n")
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write(folder: Path, rows: int, seed: int) -> list[Path]:
    """The three files, each as its firm would export it."""
    folder.mkdir(parents=True, exist_ok=True)
    alfa, beta, gamma = (list(enumerate(rows_of(firm, rows, seed), start=1)) for firm in FIRMS)
    tabbed = as_text(HEADERS["gamma"], (gamma_cells(*item) for item in gamma), "\t")
    files = {
        "alfa.csv": as_text(HEADERS["alfa"], (alfa_cells(*item) for item in alfa), ",").encode("ascii"),
        "beta.csv": as_text(HEADERS["beta"], (beta_cells(*item) for item in beta), ";").encode("cp1252"),
        # No time of making in the gzip header: the same seed gives the same bytes.
        "gamma.tsv.gz": gzip.compress(tabbed.encode(), mtime=0),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def main() -> None:
    """Read the arguments, write the files, print their names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--rows", type=int, default=4_000, help="rows a firm")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    for path in write(chosen.out, chosen.rows, chosen.seed):
        print(path)


if __name__ == "__main__":
    main()
