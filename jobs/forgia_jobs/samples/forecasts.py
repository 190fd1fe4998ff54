"""A sample is a window of a series on a regular grid, and what follows it: the past, the calendar, the plan ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from forgia import calendars, features, forecasting, series, windows
from forgia import groups as grouping
from forgia.dataset.dataset import Dataset
from forgia.errors import UserError
from forgia.forecasting import Frame
from forgia.series import Grid
from forgia_jobs.request import Role
from forgia_jobs.samples import Flat, Positions, data
from forgia_jobs.samples.data import Data

Matrix = npt.NDArray[Any]
NUMBERS_AT_ONCE = 1 << 22
"""Numbers in the windows that are predicted at once: 16 MB of float32."""
HOLIDAY = calendars.NAMES.index("holiday")
"""Columns of ``known`` from this on change from one season to the next: the holiday and the plans."""
WEEK_US = 7 * 24 * series.HOUR_US
LEAST_LEVEL = 1e-6
"""A mean load below counts as this one where something is divided by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastSource:
    """Matrices over the rows of all series, and the last row of history of each window."""

    numeric: Tensor
    """(rows, features) float32 in the spec's units, NaN where missing; the target first."""
    categorical: Tensor
    """(rows, features) int64."""
    level: Tensor
    """(rows, 2) float32: mean and standard deviation of the target in the weeks before."""
    known: Tensor
    """(rows, calendar and plans) float32, NaN where missing."""
    ends: Tensor
    """(windows,) int64."""
    frame: Frame

    @property
    def rows_at_once(self) -> int:
        """As many windows as hold some millions of numbers."""
        width = self.frame.length * (self.numeric.shape[1] + self.known.shape[1])
        return max(NUMBERS_AT_ONCE // max(width, 1), 1)

    def to(self, device: torch.device) -> ForecastSource:
        """The same there; where it is already, the very same memory."""
        moved = {name: getattr(self, name).to(device) for name in ("numeric", "categorical", "level", "known", "ends")}
        return replace(self, **moved)

    def inputs(self, chosen: Tensor) -> dict[str, Tensor]:
        """``numeric`` (batch, length, features), oldest row first; ``categorical`` (batch, features) and ``level``
        (batch, 2) of the last row; ``known`` (batch, length + horizon, calendar and plans)."""
        ends, length = self.ends.index_select(0, chosen), self.frame.length
        first = ends + (1 - length)
        return {
            "numeric": overlapping(self.numeric, length).index_select(0, first),
            "categorical": self.categorical.index_select(0, ends),
            "level": self.level.index_select(0, ends),
            "known": overlapping(self.known, length + self.frame.horizon).index_select(0, first),
        }

    def flat(self, chosen: Positions) -> Flat:
        """A row a step ahead, a window's steps side by side; what is of the target is a share of the first column, the
        mean load of the weeks before."""
        found = []
        for start in range(0, len(chosen), self.rows_at_once):
            part = self.inputs(torch.from_numpy(chosen[start : start + self.rows_at_once]))
            found.append(_flattened({name: tensor.numpy() for name, tensor in part.items()}, self.frame))
        matrix = np.concatenate(found)
        codes = self.categorical.shape[1]
        return Flat(matrix=matrix, is_category=(*[False] * (matrix.shape[1] - codes), *[True] * codes))


def overlapping(rows: Tensor, length: int) -> Tensor:
    """Every window that could be, by its first row, over the memory of the rows.

    Shapes: (rows, columns) to (.., length, columns).
    """
    count, width = rows.shape
    return rows.as_strided((max(count - length + 1, 0), length, width), (width, width, 1))


def scale(level: Matrix) -> Matrix:
    """The mean load of the weeks before, never quite zero. Shapes: (windows, 2) to (windows,)."""
    return np.maximum(np.abs(level[:, 0].astype(np.float64)), LEAST_LEVEL)


def _flattened(part: dict[str, Matrix], frame: Frame) -> Matrix:
    """Shapes: the inputs of some windows to (windows * horizon, columns)."""
    length, horizon = frame.length, frame.horizon
    past, known = part["numeric"], part["known"]
    mean = scale(part["level"])
    shares = past[:, :, 0] / mean[:, None]
    before = [frame.rows_before(season) for season in frame.seasons]
    recent = np.stack([shares[:, -1], _mean(shares[:, -frame.seasons[-1] :]), _mean(shares)], axis=1)
    of_window = np.concatenate([recent, past[:, -1, 1:]], axis=1)
    columns = [
        _each(mean[:, None], horizon),
        *(shares[:, rows, None] for rows in before),
        *(known[:, rows, HOLIDAY:] for rows in before),
        known[:, length:],
        _each(of_window, horizon),
        np.broadcast_to(np.arange(1.0, horizon + 1)[None, :, None], (len(past), horizon, 1)),
        _each(part["categorical"], horizon),
    ]
    return np.concatenate(columns, axis=2).reshape(len(past) * horizon, -1).astype(np.float64)


def _each(values: Matrix, horizon: int) -> Matrix:
    """The same for each step ahead. Shapes: (windows, columns) to (windows, horizon, columns)."""
    return np.repeat(values[:, None, :], horizon, axis=1)


def _mean(values: Matrix) -> Matrix:
    """The mean of what is known; NaN where nothing is. Shapes: (windows, rows) to (windows,)."""
    known = ~np.isnan(values)
    counts = known.sum(axis=1)
    sums = np.where(known, values, 0.0).sum(axis=1, dtype=np.float64)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def load(role: Role, datasets: Sequence[Dataset]) -> Data:
    """Read, pool, lay on a grid, split, and fit the features on the rows that training windows show.

    Raises: UserError — readings are not regular, no series is long enough, or the data cannot be split.
    """
    kind, columns = role.samples, role.columns
    length, horizon = int(kind["length"]), int(kind["horizon"])
    grid = _grid(role, data.pool(datasets, columns))
    target = features.targets(grid.table, columns.target)
    ends = forecasting.learnable_ends(grid, ~np.isnan(target), kind=kind, target=columns.target, role=role.name)
    split = forecasting.split_windows(grid, ends, horizon=horizon, fractions=role.split.fractions, role=role.name)
    shown = windows.covered(ends[split.train], rows=len(grid.series), length=length, horizon=horizon)
    spec = features.fit(
        grid.table.take(pa.array(np.flatnonzero(shown))),
        numeric=(columns.target, *columns.numeric),
        categorical=columns.categorical,
        target=columns.target,
        derived=columns.derived,
        units=role.units,
        output=role.output,
    )
    frame = {"step_us": grid.step_us, "time": columns.time, "group": columns.group, "ahead": list(columns.ahead)}
    spec = replace(spec, samples={**kind, **frame}, quantiles=role.quantiles)
    matrices = {name: torch.from_numpy(matrix) for name, matrix in forecasting.encode(spec, grid).items()}
    weeks = grid.times[ends] // WEEK_US
    return Data(
        spec=spec,
        split=split,
        groups=np.unique(np.stack([grid.series[ends], weeks]), axis=1, return_inverse=True)[1],
        owners=grid.table.column(data.OWNER).to_numpy()[ends],
        source=ForecastSource(**matrices, ends=torch.from_numpy(ends), frame=Frame.of(spec)),
        target=target[ends[:, None] + np.arange(1, horizon + 1)],
        left_out=0,
        notes=(_note(grid, target, columns.target), *_repeated(grid, columns.group)),
    )


def _note(grid: Grid, target: Matrix, name: str) -> str:
    """What the card says of the grid."""
    missing, count = int(np.isnan(target).sum()), len(np.unique(grid.series))
    return (
        f"{count} series of {len(target):,} moments in all, one every {grid.step_us / series.SECOND_US:g} s; "
        f"{missing:,} of them ({missing / len(target):.1%}) have no `{name}`. Windows whose horizon has a gap are in "
        f"no part, nor are those with less than {forecasting.SEEN:.0%} of their past."
    )


def _repeated(grid: Grid, group: str | None) -> list[str]:
    return [f"{text}." for text in series.repeated_sentences(grid, name=group or "dataset")]


def _grid(role: Role, table: pa.Table) -> Grid:
    """The pooled readings on their grid. Raises: UserError."""
    columns = role.columns
    if columns.time is None:
        raise UserError("a forecast needs times, but the data binds no time column")
    labels = data.group_rows(table, columns) if columns.group else data.dataset_rows(table)
    known = (data.DATASET, data.OWNER, grouping.FILES_OF, columns.group)
    constant = [name for name in known if name and name in table.column_names]
    return series.regular(table, labels, time=columns.time, constant=constant)
