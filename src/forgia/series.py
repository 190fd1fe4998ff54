"""Series on a regular grid of moments, whatever a logger has left out, written twice or folded in autumn.

Needs numpy and pyarrow only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forgia.errors import UserError

Labels = npt.NDArray[np.int64]
Times = npt.NDArray[np.int64]
SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
REGULAR = 0.9
"""Share of the differences between two moments that must be the step."""
ON_GRID = 0.99
"""Share of rows that must lie on the grid; the others count for the moment before them."""
LARGEST_SPAN = 20
"""Moments of a grid for each row it is made of, beyond which a timestamp is taken for a mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """Moments that have several readings, which became one."""

    moments: int = 0
    series: int = 0
    """Series that have such moments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Every moment of every series once, series after series, in the order of time."""

    table: pa.Table
    """Rows that no reading was found for have nulls."""
    series: Labels
    """A label a row, equal labels side by side."""
    times: Times
    """Microseconds since 1970, UTC."""
    step_us: int
    repeated: Repeated = Repeated()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sorted:
    """Readings in order of series and moment."""

    rows: npt.NDArray[np.int64]
    """Their rows in the table they come from."""
    series: Labels
    moments: npt.NDArray[np.int64]
    """Steps since the phase of the grid."""


def regular(
    table: pa.Table, series: Labels, *, time: str, constant: Sequence[str], extend: int = 0, step_us: int | None = None
) -> Grid:
    """Lay readings on a grid.

    Readings of one moment are one: the mean of their numbers, the first of what is no number. Where stamps come twice
    and the same number of stamps is missing right after them, within an hour, the second readings go there: so an end
    of summer time looks that was written without its offset.
    Args: series — a label a row. constant — columns that have one value in a series. extend — further moments after the
    last of each series. step_us — None: found in the data.
    Raises: UserError — there is no regular step, or it is another than ``step_us``.
    """
    times = microseconds(table, time)
    order = np.lexsort((times, series))
    step = step_of(times[order], series[order])
    if step_us is not None and step != step_us:
        raise UserError(
            f"the readings come every {step / SECOND_US:g} s; the model knows readings every {step_us / SECOND_US:g} s"
        )
    phase = _phase(times, step)
    moments = (times[order] - phase) // step
    found = _unfolded(_Sorted(rows=order, series=series[order], moments=moments), most=max(HOUR_US // step, 1))
    return _laid(table, found, time=time, constant=constant, extend=extend, scale=(step, phase))


def microseconds(table: pa.Table, time: str) -> Times:
    """A column of times as microseconds since 1970. Raises: UserError — it is no column of times, or has nulls."""
    column = table.column(time)
    if not pa.types.is_timestamp(column.type):
        raise UserError(f"{time} is {column.type}; a series needs a column of times")
    if column.null_count:
        raise UserError(f"{column.null_count} row(s) have no {time}; a series needs one in each")
    return np.asarray(column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64()).to_numpy())


def step_of(times: Times, series: Labels) -> int:
    """Microseconds from one moment to the next, the same in all series. Shapes: (rows,), sorted by series and time.

    Raises: UserError — the differences are too uneven, or the series have different steps.
    """
    differences = np.diff(times)
    inside = (series[1:] == series[:-1]) & (differences > 0)
    if not inside.any():
        raise UserError("no series has readings at two different moments")
    found, counts = np.unique(differences[inside], return_counts=True)
    step = int(found[np.argmax(counts)])
    share = float(counts.max() / counts.sum())
    if share < REGULAR:
        most = ", ".join(f"{found[place] / SECOND_US:g} s" for place in np.argsort(-counts)[:3])
        raise UserError(
            f"the readings have no regular step: the most frequent one, {step / SECOND_US:g} s, makes only {share:.0%}"
            f" of all (most frequent: {most})",
            hint="bring all series to one step first, such as sums of a quarter of an hour or of an hour",
        )
    return step


def _phase(times: Times, step: int) -> int:
    """Where the grid lies between two multiples of the step. Raises: UserError — too many readings lie elsewhere."""
    found, counts = np.unique(times % step, return_counts=True)
    share = float(counts.max() / counts.sum())
    if share < ON_GRID:
        raise UserError(
            f"{1 - share:.0%} of the readings lie between the moments of a grid of {step / SECOND_US:g} s",
            hint="round the times to the step of the series, or bring all series to one grid",
        )
    return int(found[np.argmax(counts)])


def _unfolded(found: _Sorted, *, most: int) -> _Sorted:
    """Second readings of doubled stamps put into the hole of the same length after them. Args: most — in moments."""
    starts = np.flatnonzero(_changes(found.series) | _changes(found.moments))
    counts = np.diff(np.append(starts, len(found.rows)))
    series, moments = found.series[starts], found.moments[starts]
    doubled = counts == 2
    shift = np.zeros(len(found.rows), dtype=np.int64)
    begins = np.flatnonzero(
        doubled & ~np.append(False, doubled[:-1] & (np.diff(moments) == 1) & (np.diff(series) == 0))
    )
    for begin in begins:
        end = begin + 1
        while (
            end < len(moments)
            and doubled[end]
            and series[end] == series[begin]
            and moments[end] == moments[end - 1] + 1
        ):
            end += 1
        length = end - begin
        has_hole = end < len(moments) and series[end] == series[begin] and moments[end] - moments[end - 1] > length
        if has_hole and length <= most:
            shift[starts[begin:end] + 1] = length
    moved = found.moments + shift
    order = np.lexsort((moved, found.series))
    return _Sorted(rows=found.rows[order], series=found.series[order], moments=moved[order])


def _changes(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether a value differs from the one before it; the first does."""
    return np.append(True, values[1:] != values[:-1])


def _laid(
    table: pa.Table, found: _Sorted, *, time: str, constant: Sequence[str], extend: int, scale: tuple[int, int]
) -> Grid:
    """The readings on their grid. Args: scale — step and phase."""
    begins = np.flatnonzero(_changes(found.series))
    ends = np.append(begins[1:], len(found.rows))
    lengths = found.moments[ends - 1] - found.moments[begins] + 1 + extend
    if lengths.sum() > LARGEST_SPAN * (len(table) + extend * len(begins)):
        raise UserError(
            f"{len(table):,} readings are spread over {int(lengths.sum()):,} moments; some times must be wrong",
            hint="look at the first and the last time of each series",
        )
    offsets = np.cumsum(lengths) - lengths
    number = np.repeat(np.arange(len(begins)), ends - begins)
    place = offsets[number] + found.moments - found.moments[begins][number]
    rows = int(lengths.sum())
    first = np.full(rows, -1, dtype=np.int64)
    first[place[::-1]] = found.rows[::-1]
    of_row = np.repeat(np.arange(len(begins)), lengths)
    step, phase = scale
    moments = np.arange(rows) - offsets[of_row] + found.moments[begins][of_row]
    times = moments * step + phase
    laid = _taken(table, first, constant=constant, series_rows=found.rows[begins][of_row])
    laid = _averaged(laid, table, rows=found.rows, place=place, skip=constant)
    stamps = pa.array(times, pa.timestamp("us")).cast(table.schema.field(time).type)
    laid = laid.set_column(laid.column_names.index(time), time, stamps)
    is_again = np.bincount(place, minlength=rows) > 1
    repeated = Repeated(moments=int(is_again.sum()), series=len(np.unique(of_row[is_again])))
    return Grid(table=laid, series=found.series[begins][of_row], times=times, step_us=step, repeated=repeated)


def repeated_sentences(grid: Grid, *, name: str) -> Iterator[str]:
    """How many moments had several readings, where any had. Args: name — of what tells the series apart."""
    if grid.repeated.moments:
        yield (
            f"{grid.repeated.moments:,} moment(s) of {grid.repeated.series:,} series ({name}) came more than once; "
            "the mean of their readings is used"
        )


def _taken(table: pa.Table, first: npt.NDArray[np.int64], *, constant: Sequence[str], series_rows: Labels) -> pa.Table:
    """The first reading of each moment, nulls where there is none; what is constant is that of the series' first."""
    rows, of_series = pa.array(first, mask=first < 0), pa.array(series_rows)
    columns = {name: table.column(name).take(of_series if name in constant else rows) for name in table.column_names}
    return pa.table(columns)


def _averaged(
    laid: pa.Table, table: pa.Table, *, rows: npt.NDArray[np.int64], place: npt.NDArray[np.int64], skip: Sequence[str]
) -> pa.Table:
    """Numbers of moments that have several readings replaced by their mean, as float64."""
    counts = np.bincount(place, minlength=len(laid))
    if counts.max(initial=0) < 2:
        return laid
    for name in table.column_names:
        column = table.column(name)
        if name in skip or not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            continue
        values = column.cast(pa.float64()).to_numpy()[rows]
        known = np.isfinite(values)
        sums = np.bincount(place[known], weights=values[known], minlength=len(laid))
        number = np.bincount(place[known], minlength=len(laid))
        means = pa.array(sums / np.maximum(number, 1), mask=number == 0)
        laid = laid.set_column(laid.column_names.index(name), name, means)
    return laid


def is_known(table: pa.Table, name: str) -> npt.NDArray[np.bool_]:
    """Whether each row has a value in a column."""
    column = table.column(name).cast(pa.float64())
    return np.asarray(pc.fill_null(pc.is_finite(column), False).to_numpy(), dtype=bool)
