"""Draws photographs of machined parts, whole and defective, of two firms: ``python generate.py --out DIR``.

Stands alone: numpy and the standard library. What is drawn is told in the README beside this file.
"""

from __future__ import annotations

import argparse
import csv
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

SIZE = 64
"""Pixels of an edge."""
START = datetime(2026, 3, 2, 6, tzinfo=UTC)
PHOTOGRAPHS = 2
"""Of each part, one a camera."""
DEFECTIVE = 0.25
DEFECTS = ("scratch", "dent", "stain")
Picture = npt.NDArray[np.float64]
"""Brightness, 0 black and 1 white; (SIZE, SIZE)."""
ROWS, COLUMNS = np.mgrid[0:SIZE, 0:SIZE] - (SIZE - 1) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Firm:
    """How a firm's parts look and what it calls the columns of its list."""

    name: str
    surface: Callable[[np.random.Generator], Picture]
    header: tuple[str, ...]
    delimiter: str
    moment: str
    """How it writes times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """One picture and what the list says of it."""

    file: str
    label: str
    part: str
    camera: str
    moment: datetime
    picture: Picture


def turned(random: np.random.Generator) -> Picture:
    """A turned face: rings of the feed around a centre near the middle, and the tool's slow change of height."""
    row, column = random.normal(0, 5, 2)
    radius = np.hypot(ROWS - row, COLUMNS - column)
    feed = random.uniform(3.2, 4.4)
    rings = 0.07 * np.sin(2 * np.pi * radius / feed + random.uniform(0, 6.3))
    return 0.55 + rings + 0.04 * np.sin(radius / random.uniform(7, 11))


def milled(random: np.random.Generator) -> Picture:
    """A milled face: the arcs that the teeth of a wide cutter leave side by side."""
    angle = random.uniform(0, 2 * np.pi)
    row, column = 90 * np.sin(angle), 90 * np.cos(angle)
    arcs = np.hypot(ROWS - row, COLUMNS - column)
    feed = random.uniform(4.0, 6.0)
    return 0.5 + 0.08 * np.sin(2 * np.pi * arcs / feed) + 0.03 * np.sin(2 * np.pi * arcs / (2.9 * feed))


def scratch(random: np.random.Generator) -> Picture:
    """A thin line, bright or dark, a little bent."""
    angle, row, column = random.uniform(0, np.pi), *random.uniform(-18, 18, 2)
    along = (COLUMNS - column) * np.cos(angle) + (ROWS - row) * np.sin(angle)
    across = (ROWS - row) * np.cos(angle) - (COLUMNS - column) * np.sin(angle)
    across = across + random.normal(0, 0.006) * along**2
    length, width = random.uniform(9, 20), random.uniform(0.6, 1.0)
    strength = random.choice([-1, 1]) * random.uniform(0.12, 0.34)
    return strength * np.exp(-((across / width) ** 2)) * (np.abs(along) < length)


def dent(random: np.random.Generator) -> Picture:
    """A hollow: dark where it turns away from the lamp, bright on the other side."""
    row, column = random.uniform(-20, 20, 2)
    radius, light = random.uniform(3.0, 5.5), random.uniform(0, 2 * np.pi)
    away = ((ROWS - row) * np.sin(light) + (COLUMNS - column) * np.cos(light)) / radius
    near = np.exp(-((np.hypot(ROWS - row, COLUMNS - column) / radius) ** 2))
    return random.uniform(0.2, 0.7) * away * near


def stain(random: np.random.Generator) -> Picture:
    """Coolant that dried: darker, with an edge that is neither round nor sharp."""
    row, column = random.uniform(-16, 16, 2)
    around = np.arctan2(ROWS - row, COLUMNS - column)
    lobes, turn = random.integers(2, 5), random.uniform(0, 6.3)
    radius = random.uniform(6, 11) * (1 + 0.25 * np.sin(lobes * around + turn))
    inside = 1 / (1 + np.exp((np.hypot(ROWS - row, COLUMNS - column) - radius) / 0.8))
    return -random.uniform(0.05, 0.2) * inside


DRAWN = {"scratch": scratch, "dent": dent, "stain": stain}


def seen(part: Picture, camera: int, random: np.random.Generator) -> Picture:
    """The part as a camera sees it: turned a quarter for each camera, lit from one side, with noise."""
    towards = random.uniform(0, 2 * np.pi)
    slope = (ROWS * np.sin(towards) + COLUMNS * np.cos(towards)) / SIZE
    lit = np.rot90(part, camera) * (1 + random.normal(0, 0.06)) + random.uniform(0.02, 0.14) * slope
    return (lit + random.normal(0, 0.03, lit.shape)).clip(0, 1)


FIRMS = (
    Firm(
        name="alfa",
        surface=turned,
        header=("File", "Label", "Part ID", "Camera", "Timestamp"),
        delimiter=",",
        moment="%Y-%m-%dT%H:%M:%SZ",
    ),
    Firm(
        name="beta",
        surface=milled,
        header=("Immagine", "Etichetta", "Pezzo", "Telecamera", "Data e ora"),
        delimiter=";",
        moment="%d/%m/%Y %H:%M:%S",
    ),
)


def photographs(firm: Firm, parts: int, seed: int) -> Iterator[Photograph]:
    """Every part of a firm, from each camera in turn."""
    random = np.random.default_rng([seed, FIRMS.index(firm)])
    moment = START
    for number in range(1, parts + 1):
        moment += timedelta(seconds=float(random.uniform(40, 90)))
        label = str(random.choice(DEFECTS)) if random.random() < DEFECTIVE else "good"
        part = firm.surface(random)
        if label != "good":
            part = part + DRAWN[label](random)
        for camera in range(PHOTOGRAPHS):
            yield Photograph(
                file=f"{number:04}-{camera + 1}.png",
                label=label,
                part=f"{firm.name[0].upper()}{number:04}",
                camera=f"cam{camera + 1}",
                moment=moment + timedelta(seconds=camera),
                picture=seen(part, camera, random),
            )


def png(picture: Picture) -> bytes:
    """A grey PNG of 8 bits. Source: PNG specification, 3rd edition (2025), §5.3 and §11.2"""
    grey = (picture * 255).round().astype(np.uint8)
    lines = b"".join(b"\0" + line.tobytes() for line in grey)
    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def write(folder: Path, parts: int, seed: int) -> list[Path]:
    """One folder a firm: the photographs, and a list of what they show."""
    for firm in FIRMS:
        place = folder / firm.name
        place.mkdir(parents=True, exist_ok=True)
        text = io.StringIO()
        lines = csv.writer(text, delimiter=firm.delimiter, lineterminator="\n")
        lines.writerow(firm.header)
        for shot in photographs(firm, parts, seed):
            (place / shot.file).write_bytes(png(shot.picture))
            lines.writerow((shot.file, shot.label, shot.part, shot.camera, shot.moment.strftime(firm.moment)))
        (place / "list.csv").write_text(text.getvalue(), encoding="utf-8")
    return [folder / firm.name for firm in FIRMS]


def main() -> None:
    """Read the arguments, write the folders, print their names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--parts", type=int, default=150, help="parts a firm")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    for path in write(chosen.out, chosen.parts, chosen.seed):
        print(path)


if __name__ == "__main__":
    main()
