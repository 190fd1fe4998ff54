"""Forecasts: which windows of a grid can be foretold from, what a network sees of them, and how its answers are named.

Needs numpy and pyarrow only, so that a forecast is made the same way with and without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgia import calendars, series, splitting, windows
from forgia.errors import UserError
from forgia.features import FeatureSpec
from forgia.series import Grid
from forgia.splitting import Split

Inputs = Mapping[str, npt.NDArray[Any]]
Run = Callable[[Inputs], npt.NDArray[np.float32]]
"""What a model answers to windows. Shapes: numeric (windows, length, features), categorical (windows, features), level
(windows, 2) and known (windows, length + horizon, what is known in advance) to (windows, horizon, quantiles)."""
MEMORY_US = 8 * 7 * 24 * series.HOUR_US
"""How far back the level of a series is taken from: longer than a plant is closed in summer."""
SEEN = 0.75
"""Share of a window's history in which the target must be known; the rest a network sees as missing."""
STEP = "step"
"""Column of a forecast: how many steps ahead of the last reading, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What a forecast is made of, as ``FeatureSpec.samples`` keeps it."""

    length: int
    """Rows of history."""
    horizon: int
    """Rows ahead."""
    step_us: int
    time_zone: str
    holidays: str
    time: str
    """Column of the moments."""
    group: str | None
    """Column that tells the series apart."""
    ahead: tuple[str, ...]
    """Numeric features known in advance."""

    @classmethod
    def of(cls, spec: FeatureSpec) -> Frame:
        """The frame of a model that gives forecasts."""
        known = {name: spec.samples[name] for name in cls.__dataclass_fields__}
        return cls(**{**known, "ahead": tuple(known["ahead"])})

    def span(self, ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows of the windows with these last rows of history, and of their horizons. (windows, length + horizon)."""
        return ends[:, None] + np.arange(1 - self.length, self.horizon + 1)

    @property
    def seasons(self) -> tuple[int, ...]:
        """Rows of a week and of a day, as far as the history reaches; 1 where it is shorter than a day. After so many
        rows the load is much the same."""
        day = 24 * series.HOUR_US // self.step_us
        return tuple(rows for rows in (7 * day, day) if 0 < rows <= self.length) or (1,)

    def rows_before(self, season: int) -> list[int]:
        """For each step ahead the row of the history that lies whole seasons before it, the latest there is."""
        return [self.length - season + step % season for step in range(self.horizon)]


def window_ends(
    grid: Grid, is_known: npt.NDArray[np.bool_], *, length: int, horizon: int, stride: int = 1
) -> npt.NDArray[np.int64]:
    """Last rows of history of the windows to learn from: all of the horizon is known, and most of the history.

    Args: is_known — whether each row of the grid has a target.
    """
    ends = windows.last_rows(grid.series, length=length, stride=stride, horizon=horizon)
    before = np.concatenate([[0], np.cumsum(is_known)])
    seen = before[ends + 1] - before[ends + 1 - length]
    answered = before[ends + 1 + horizon] - before[ends + 1]
    found: npt.NDArray[np.int64] = ends[(seen >= SEEN * length) & (answered == horizon)]
    return found


def learnable_ends(
    grid: Grid, is_known: npt.NDArray[np.bool_], *, kind: Mapping[str, Any], target: str, role: str
) -> npt.NDArray[np.int64]:
    """As ``window_ends``. Args: kind — the samples of the request. Raises: UserError — there is no such window."""
    length, horizon = int(kind["length"]), int(kind["horizon"])
    ends = window_ends(grid, is_known, length=length, horizon=horizon, stride=int(kind.get("stride", 1)))
    if len(ends):
        return ends
    longest = int(np.unique(grid.series, return_counts=True)[1].max(initial=0))
    raise UserError(
        f"no series has {length} steps, {SEEN:.0%} of them with a value of {target}, and then {horizon} without a gap;"
        f" the longest one has {longest:,} steps, gaps included",
        hint=f"bind longer series, or make data.{role}.contract.samples.length smaller",
    )


def split_windows(
    grid: Grid, ends: npt.NDArray[np.int64], *, horizon: int, fractions: tuple[float, float, float], role: str
) -> Split:
    """The earliest windows train, the latest test; a window goes whose horizon reaches beyond the start of the part
    after its own, so that no moment is an answer in two parts, and none that was learnt is asked for.

    Raises: UserError — too few moments, or a part is left empty.
    """
    now = grid.times[ends]
    found = splitting.split_by_time(now, fractions=fractions)
    last = now + horizon * grid.step_us
    train = found.train[last[found.train] <= now[found.validation].min()]
    validation = found.validation[last[found.validation] <= now[found.test].min()]
    if not len(train) or not len(validation):
        raise UserError(
            f"the series are too short: no window of a part ends {horizon} steps before the next part begins",
            hint=f"bind longer series, or make data.{role}.contract.samples.horizon smaller",
        )
    return Split(train=train, validation=validation, test=found.test)


def encode(spec: FeatureSpec, grid: Grid) -> dict[str, npt.NDArray[Any]]:
    """The matrices over the rows of a grid that windows are cut from.

    Shapes: ``numeric`` (rows, features), the target first; ``categorical`` (rows, features); ``level`` (rows, 2);
    ``known`` (rows, len(known_names(spec))).
    """
    frame, found = Frame.of(spec), spec.encode(grid.table)
    place = {feature.name: number for number, feature in enumerate(spec.numeric)}
    clock = calendars.of(grid.times, time_zone=frame.time_zone, holidays=frame.holidays)
    plans = found["numeric"][:, [place[name] for name in frame.ahead]]
    level = levels(grid, found["numeric"][:, place[spec.target]])
    return {**found, "level": level, "known": np.concatenate([clock, plans], axis=1)}


def levels(grid: Grid, target: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mean and standard deviation of what is known of the target in the eight weeks up to each row, or as far back as
    the series goes: the scale of a line that has been closed lately. Shapes: (rows,) to (rows, 2)."""
    rows = np.arange(len(target))
    starts = np.maximum.accumulate(np.where(np.append(True, grid.series[1:] != grid.series[:-1]), rows, 0))
    first = np.maximum(rows + 1 - MEMORY_US // grid.step_us, starts)
    known, values = ~np.isnan(target), np.nan_to_num(target.astype(np.float64))
    sums = [np.concatenate([[0.0], np.cumsum(part)]) for part in (known, values, values**2)]
    count, total, squares = (part[rows + 1] - part[first] for part in sums)
    mean = total / np.maximum(count, 1)
    variance = np.maximum(squares / np.maximum(count, 1) - mean**2, 0.0)
    return np.stack([mean, np.sqrt(variance)], axis=1).astype(np.float32)


def known_names(spec: FeatureSpec) -> tuple[str, ...]:
    """Columns of ``known``: the calendar, then what is known in advance."""
    return (*calendars.NAMES, *Frame.of(spec).ahead)


def needed(spec: FeatureSpec) -> tuple[str, ...]:
    """Columns that a table of readings must have; what else the model knows may be missing as a whole."""
    frame = Frame.of(spec)
    return tuple(name for name in (frame.time, frame.group, spec.target) if name)


def quantile_names(spec: FeatureSpec) -> tuple[str, ...]:
    """Columns of a forecast: ``quantile_0.5`` is the value that half of the outcomes stay below."""
    return tuple(f"quantile_{share:g}" for share in spec.quantiles)


def forecast(spec: FeatureSpec, table: pa.Table, run: Run) -> pa.Table:
    """The next ``horizon`` steps of every series of a table of readings, from its last known target on.

    Rows after it may tell what is known in advance, with an empty target. Columns: the group, the moment, how many
    steps ahead it is, and a column a quantile.
    Raises: UserError — readings are not regular, or no series has enough history.
    """
    frame, grid = Frame.of(spec), _grid(spec, table)
    ends = latest_ends(grid, series.is_known(grid.table, spec.target), length=frame.length)
    if not len(ends):
        raise UserError(
            f"no series has {frame.length} steps of history and a value of {spec.target} in {SEEN:.0%} of them",
            hint="give more of the past: a forecast needs the whole window that the model was trained with",
        )
    matrices, rows = encode(spec, grid), frame.span(ends)
    answers = run(
        {
            "numeric": matrices["numeric"][rows[:, : frame.length]],
            "categorical": matrices["categorical"][ends],
            "level": matrices["level"][ends],
            "known": matrices["known"][rows],
        }
    )
    return _told(spec, grid, rows[:, frame.length :].reshape(-1), answers.reshape(-1, len(spec.quantiles)))


def _grid(spec: FeatureSpec, table: pa.Table) -> Grid:
    """Readings and plans on the model's grid, extended by the horizon. Raises: UserError."""
    frame, table = Frame.of(spec), _completed(spec, table)
    return series.regular(
        table,
        _labels(table, frame.group),
        time=frame.time,
        constant=[frame.group] if frame.group else [],
        extend=frame.horizon,
        step_us=frame.step_us,
    )


def remarks(spec: FeatureSpec, table: pa.Table) -> Iterator[str]:
    """What a person should know of readings that a forecast is made from: moments that came more than once, and what
    the model knows ahead where the table does not tell it. Raises: UserError — as ``forecast``."""
    frame, grid = Frame.of(spec), _grid(spec, table)
    yield from series.repeated_sentences(grid, name=frame.group or "the input")
    ends = latest_ends(grid, series.is_known(grid.table, spec.target), length=frame.length)
    coming = frame.span(ends)[:, frame.length :]
    for name in frame.ahead:
        lacking = int((~series.is_known(grid.table, name)[coming].all(axis=1)).sum())
        if lacking:
            yield (
                f"the model learnt from {name} ahead, but {lacking:,} of {len(ends):,} series have no value of it for "
                f"some or all of the next {frame.horizon} steps; give rows for them with an empty {spec.target}"
            )


def _completed(spec: FeatureSpec, table: pa.Table) -> pa.Table:
    """The table with what is known of no row as empty columns. Raises: UserError — a column is not there."""
    names = table.column_names
    if lacking := [name for name in needed(spec) if name not in names]:
        raise UserError(f"a forecast needs a column {', '.join(lacking)}; the table has {', '.join(names)}")
    for name in spec.columns:
        if name not in names:
            table = table.append_column(name, pa.nulls(table.num_rows, pa.float64()))
    return table


def latest_ends(grid: Grid, is_known: npt.NDArray[np.bool_], *, length: int) -> npt.NDArray[np.int64]:
    """The last row with a target of each series that has enough history before it."""
    starts = np.flatnonzero(np.append(True, grid.series[1:] != grid.series[:-1]))
    before = np.concatenate([[0], np.cumsum(is_known)])
    found = []
    for start, stop in zip(starts, np.append(starts[1:], len(grid.series)), strict=True):
        known = np.flatnonzero(is_known[start:stop])
        end = start + known[-1] if known.size else -1
        if end - start + 1 >= length and before[end + 1] - before[end + 1 - length] >= SEEN * length:
            found.append(end)
    return np.asarray(found, dtype=np.int64)


def _labels(table: pa.Table, group: str | None) -> npt.NDArray[np.int64]:
    """A number a series; a missing name is a name of its own."""
    if group is None:
        return np.zeros(table.num_rows, dtype=np.int64)
    codes = table.column(group).combine_chunks().dictionary_encode(null_encoding="encode").indices
    return np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int64)


def _told(spec: FeatureSpec, grid: Grid, rows: npt.NDArray[np.int64], answers: npt.NDArray[np.float32]) -> pa.Table:
    """Shapes: rows (windows * horizon,), answers (windows * horizon, quantiles)."""
    frame = Frame.of(spec)
    named = grid.table.select([*([frame.group] if frame.group else []), frame.time]).take(pa.array(rows))
    steps = np.tile(np.arange(1, frame.horizon + 1), len(rows) // frame.horizon)
    told = named.append_column(STEP, pa.array(steps, pa.int32()))
    for number, name in enumerate(quantile_names(spec)):
        told = told.append_column(name, pa.array(answers[:, number], pa.float32()))
    return told
