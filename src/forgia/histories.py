"""Answers to every row of a table of series, each from the window that ends with it; as in training.

Needs numpy and pyarrow only, so that a prediction is made the same way with and without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forgia import windows
from forgia.errors import UserError
from forgia.features import FeatureSpec

Inputs = Mapping[str, npt.NDArray[Any]]
Run = Callable[[Inputs], npt.NDArray[np.float32]]
"""What a model answers to windows. Shapes: numeric (windows, length, features) and categorical (windows, features) to
(windows,)."""
NUMBERS_AT_ONCE = 1 << 22
"""Numbers in the windows that are answered at once: 16 MB of float32."""


def is_meant(spec: FeatureSpec) -> bool:
    """Whether a model answers to windows, one answer each."""
    return spec.samples.get("kind") == "windows" and spec.output != "quantiles"


def answers(spec: FeatureSpec, table: pa.Table, run: Run) -> pa.Array:
    """An answer a row, in the order of the table; null where no whole window ends, if the model knows no lead-in.

    A table without the column of the series is one series; without the column of time it is in order already.
    Raises: UserError — columns are missing or not as the model needs them, or rows have no time.
    """
    series, order = ordered(spec, table)
    length = int(spec.samples["length"])
    if spec.samples.get("lead_in"):
        taken = windows.led_in(series, length=length, is_mirrored=bool(spec.samples.get("beginning")))
        series, order = series[taken], order[taken]
    matrices = spec.encode(table.take(pa.array(order)))
    numeric = spec.standardise(matrices["numeric"], windows.first_rows(series))
    ends = windows.last_rows(series, length=length)
    found = np.full(table.num_rows, np.nan, dtype=np.float32)
    for part in parts(ends, at_once=max(NUMBERS_AT_ONCE // (length * max(numeric.shape[1], 1)), 1)):
        seen = numeric[part[:, None] + np.arange(1 - length, 1)]
        found[order[part]] = run({"numeric": seen, "categorical": matrices["categorical"][part]}).reshape(-1)
    is_answered = np.zeros(table.num_rows, dtype=bool)
    is_answered[order[ends]] = True
    return pa.array(found, pa.float32(), mask=~is_answered)


def parts(ends: npt.NDArray[np.int64], *, at_once: int) -> Iterator[npt.NDArray[np.int64]]:
    """So many at a time, in order."""
    for start in range(0, len(ends), at_once):
        yield ends[start : start + at_once]


def ordered(spec: FeatureSpec, table: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The series of each row, by series and time, and which rows those are. Raises: UserError — rows without a time."""
    group, time = spec.samples.get("group"), spec.samples.get("time")
    series = np.zeros(table.num_rows, dtype=np.int64)
    if group in table.column_names:
        series = _codes(table.column(group))
    times = np.arange(table.num_rows)
    if time in table.column_names:
        if missing := table.column(time).null_count:
            raise UserError(f"{missing} row(s) have no {time}, by which the rows of a series are ordered")
        times = table.column(time).to_numpy()
    order = np.lexsort((times, series))
    return series[order], order


def remarks(spec: FeatureSpec, names: list[str]) -> Iterator[str]:
    """What is taken for granted of a table with only these columns, a sentence each."""
    group, time = spec.samples.get("group"), spec.samples.get("time")
    if group and group not in names:
        yield f"the input has no {group}: its rows are read as one history"
    if time and time not in names:
        yield f"the input has no {time}: its rows are read as being in the order of time"


def short(spec: FeatureSpec, table: pa.Table) -> tuple[int, int]:
    """How many series have fewer rows than tell their normal level, and how many there are."""
    series, _ = ordered(spec, table)
    lengths = np.unique(series, return_counts=True)[1]
    return int((lengths < (spec.beginning.rows if spec.beginning else 0)).sum()), len(lengths)


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    found = column.combine_chunks().dictionary_encode(null_encoding="encode").indices
    return np.asarray(pc.cast(found, pa.int64()).to_numpy(zero_copy_only=False))
