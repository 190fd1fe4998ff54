"""NASA's C-MAPSS files: the cycles of engines as plain numbers, from which the cycles that are left are worked out.

``train_FD001.txt`` holds engines until their failure, ``test_FD001.txt`` other engines that were cut off before, and
``RUL_FD001.txt`` the cycles those had left; FD002 to FD004 likewise. Engines are counted from 1 in each file.
Source: A. Saxena, K. Goebel: Turbofan Engine Degradation Simulation Data Set, NASA Prognostics Data Repository, 2008,
its readme.txt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgia.dataset.mapping import Entry
from forgia.errors import UserError

FORMAT = "cmapss"
SETTINGS, SENSORS = 3, 21
WIDTH = 2 + SETTINGS + SENSORS
KINDS = ("train", "test", "rul")
_NAME = re.compile(r"^(?P<kind>train|test|rul)_(?P<subset>[A-Za-z0-9]+)\.txt$", re.IGNORECASE)
STATED = {
    "engine": Entry(concept="machine_id"),
    "cycle": Entry(concept="cycle_count"),
    **{f"setting {number}": Entry(concept="operating_setting") for number in range(1, SETTINGS + 1)},
    **{f"sensor {number}": Entry(concept="sensor_reading") for number in range(1, SENSORS + 1)},
    "remaining cycles": Entry(concept="remaining_cycles"),
    "part": Entry(concept="data_part"),
}
"""Column → its concept, in the order of the files; the last two are worked out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One file of engines, read."""

    path: Path
    table: pa.Table
    beside: tuple[Path, ...] = ()
    """The file of the cycles that are left."""


def read(paths: Sequence[Path], *, complete: bool) -> list[Found]:
    """The engines in these files, subset after subset.

    Args: complete — every engine's remaining cycles must be known, and to a file of engines until their failure belong
    those of the same subset that were cut off, where both their files stand beside it.
    Raises: UserError — a file of another name or form, or one without its counterpart.
    """
    named: dict[str, dict[str, Path]] = {}
    for path in paths:
        if path.stem.casefold() == "readme":
            continue
        match = _NAME.match(path.name)
        if not match:
            raise UserError(
                f"{path}: not a C-MAPSS file; those are called train_FD001.txt, test_FD001.txt, RUL_FD001.txt"
            )
        _take(named.setdefault(match["subset"].upper(), {}), match["kind"].casefold(), path)
    found = [one for subset, files in sorted(named.items()) for one in _of_subset(subset, files, complete=complete)]
    if not found:
        raise UserError("no file of engines is named, such as train_FD001.txt")
    return found


def _take(files: dict[str, Path], kind: str, path: Path) -> None:
    if kind in files:
        raise UserError(f"{path}: {files[kind]} is of the same subset; add them as two datasets")
    files[kind] = path


def _of_subset(subset: str, files: dict[str, Path], *, complete: bool) -> Iterable[Found]:
    named = files.get("train") or files.get("test")
    if complete and named:
        near = {kind: path for kind, path in _beside(named, subset) if kind != "train"}
        if "test" in files or {"test", "rul"} <= {*near, *files}:
            files = {**near, **files}
    if complete and "test" in files and "rul" not in files:
        raise UserError(f"{files['test']}: the cycles its engines had left are not told; RUL_{subset}.txt has them")
    if "train" in files:
        yield Found(path=files["train"], table=engines(files["train"], f"{subset}-train", part="train"))
    if "test" in files:
        left = files.get("rul")
        table = engines(files["test"], f"{subset}-test", part="test", left=left)
        yield Found(path=files["test"], table=table, beside=(left,) if left else ())


def _beside(path: Path, subset: str) -> Iterable[tuple[str, Path]]:
    for other in sorted(path.parent.iterdir()):
        match = _NAME.match(other.name)
        if match and match["subset"].upper() == subset and other.is_file():
            yield match["kind"].casefold(), other


def engines(path: Path, prefix: str, *, part: str, left: Path | None = None) -> pa.Table:
    """The rows of a file with the cycles that are left, or without for engines cut off of which nobody says it.

    Args: left — the file that says it, an engine a line.
    Raises: UserError — not of this form, with the line.
    """
    values = numbers(path, width=WIDTH)
    unit, cycle = values[:, 0].astype(np.int64), values[:, 1].astype(np.int64)
    firsts = _checked(path, values)
    lengths = np.diff([*firsts, len(values)])
    ends = np.repeat(cycle[firsts + lengths - 1], lengths)
    columns: dict[str, Any] = {"engine": [f"{prefix}-{number:03}" for number in unit], "cycle": cycle}
    measured = list(STATED)[2 : 2 + SETTINGS + SENSORS]
    columns |= {name: values[:, place] for place, name in enumerate(measured, start=2)}
    if part == "train":
        columns["remaining cycles"] = (ends - cycle).astype(np.float64)
    elif left:
        columns["remaining cycles"] = ends - cycle + np.repeat(_left(left, engines=len(firsts), of=path), lengths)
    columns["part"] = pa.array([part] * len(values), pa.string())
    return pa.table(columns)


def numbers(path: Path, *, width: int) -> npt.NDArray[np.float64]:
    """The numbers of a file, whatever blanks stand between and behind them; empty lines at the end are passed over.

    Raises: UserError — no text, nothing in it, or the first line that has another width or holds no numbers.
    """
    try:
        lines = path.read_text(encoding="ascii").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a C-MAPSS file: {error}") from error
    if not lines:
        raise UserError(f"{path}: the file holds no rows")
    for number, line in enumerate(lines, start=1):
        if (found := len(line.split())) != width:
            raise UserError(f"{path}:{number}: {found} values instead of {width}: not a C-MAPSS file")
    try:
        values = np.array(" ".join(lines).split(), dtype=np.float64).reshape(-1, width)
    except ValueError as error:
        raise UserError(f"{path}: holds what is no number: {error}") from error
    if (wrong := np.flatnonzero(~np.isfinite(values).all(axis=1))).size:
        raise UserError(f"{path}:{wrong[0] + 1}: a value is not finite")
    return values


def _checked(path: Path, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The first row of each engine. Raises: UserError — engines or cycles are not in order, with the line."""
    unit, cycle = values[:, 0], values[:, 1]
    is_first = np.append(True, unit[1:] != unit[:-1])
    firsts = np.flatnonzero(is_first)
    expected_unit = np.cumsum(is_first)
    expected_cycle = np.arange(len(values)) - firsts[expected_unit - 1] + 1
    wrong = np.flatnonzero((unit != expected_unit) | (cycle != expected_cycle))
    if wrong.size:
        row = int(wrong[0])
        raise UserError(
            f"{path}:{row + 1}: engine {unit[row]:g}, cycle {cycle[row]:g} where engine {expected_unit[row]},"
            f" cycle {expected_cycle[row]} was expected"
        )
    return firsts


def _left(path: Path, *, engines: int, of: Path) -> npt.NDArray[np.float64]:
    found = numbers(path, width=1)[:, 0]
    if len(found) != engines:
        raise UserError(f"{path}: says it of {len(found)} engines, {of.name} has {engines}")
    if (wrong := np.flatnonzero((found < 0) | (found != np.round(found)))).size:
        raise UserError(f"{path}:{wrong[0] + 1}: {found[wrong[0]]:g} is no number of cycles")
    return found
