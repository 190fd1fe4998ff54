"""Readings on a regular grid: gaps, doubled stamps, the hour that comes twice in autumn, and what is no series."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgia import series
from forgia.errors import UserError
from forgia.series import Grid

START = datetime(2025, 10, 25, 0, 0, tzinfo=UTC)
STEP = timedelta(minutes=15)


def table(moments: Sequence[datetime], values: Sequence[float | None], lines: Sequence[str] | None = None) -> pa.Table:
    return pa.table(
        {
            "timestamp": pa.array(moments, pa.timestamp("us", "UTC")),
            "line_id": pa.array(lines or ["a"] * len(moments)),
            "energy": pa.array(values, pa.float64()),
            "product": pa.array([f"p{number}" for number in range(len(moments))]),
        }
    )


def laid(given: pa.Table, *, extend: int = 0, step_us: int | None = None) -> Grid:
    labels = np.unique(given.column("line_id").to_pylist(), return_inverse=True)[1]
    return series.regular(given, labels, time="timestamp", constant=["line_id"], extend=extend, step_us=step_us)


def energies(grid: Grid) -> list[float | None]:
    found: list[float | None] = grid.table.column("energy").to_pylist()
    return found


def steps(*numbers: int, step: timedelta = STEP) -> list[datetime]:
    return [START + number * step for number in numbers]


def test_missing_moments_become_rows_without_values_that_still_know_their_series() -> None:
    grid = laid(table(steps(0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14, 15, 16), [float(n) for n in range(14)]))
    assert energies(grid)[5:10] == [5.0, None, None, None, 6.0]
    assert set(grid.table.column("line_id").to_pylist()) == {"a"}
    assert np.diff(grid.times).tolist() == [15 * 60 * 1_000_000] * 16
    assert pc.equal(grid.table.column("timestamp").cast(pa.int64()), pa.array(grid.times)).to_pylist() == [True] * 17


def test_readings_of_one_moment_are_one_with_the_mean_of_their_numbers_and_the_first_of_the_rest() -> None:
    grid = laid(table(steps(*range(10), 3, 3), [*map(float, range(10)), 9.0, 9.0]))
    assert energies(grid)[2:5] == [2.0, (3 + 9 + 9) / 3, 4.0]
    assert grid.table.column("product")[3].as_py() == "p3"


def test_a_missing_value_of_a_doubled_moment_does_not_count() -> None:
    assert energies(laid(table(steps(*range(10), 3), [*map(float, range(10)), None])))[3] == 3.0


def test_the_hour_that_was_written_twice_fills_the_hour_that_is_missing_after_it() -> None:
    true = steps(*range(20))
    written = [moment - 4 * STEP if 8 <= number < 12 else moment for number, moment in enumerate(true)]
    grid = laid(table(written, [float(number) for number in range(20)]))
    assert energies(grid) == [float(number) for number in range(20)]


def test_a_whole_day_written_twice_before_a_gap_is_a_double_and_no_folded_hour() -> None:
    day = steps(*range(24), step=timedelta(hours=1))
    rest = steps(*range(48, 480), step=timedelta(hours=1))
    grid = laid(table([*day, *day, *rest], [1.0] * 24 + [3.0] * 24 + [5.0] * len(rest)))
    assert energies(grid)[:24] == [2.0] * 24
    assert energies(grid)[24:48] == [None] * 24


def test_series_are_laid_one_after_the_other_each_over_its_own_span() -> None:
    one, other = steps(*range(0, 20)), steps(*range(5, 25))
    mixed = [moment for pair in zip(one, other, strict=True) for moment in pair]
    grid = laid(table(mixed, [1.0, 2.0] * 20, ["b", "a"] * 20))
    assert energies(grid) == [2.0] * 20 + [1.0] * 20
    assert grid.series.tolist() == [0] * 20 + [1] * 20


def test_a_grid_is_extended_after_the_end_of_each_series() -> None:
    grid = laid(table(steps(*range(10)) * 2, [1.0] * 20, ["a"] * 10 + ["b"] * 10), extend=3)
    assert energies(grid) == [*[1.0] * 10, None, None, None] * 2
    assert grid.table.column("line_id").to_pylist() == ["a"] * 13 + ["b"] * 13


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 400), min_size=60, max_size=200),
    st.sampled_from([1, 15, 60, 1440]),
    st.integers(0, 59),
)
def test_every_reading_stands_at_its_own_moment_whatever_the_order_of_the_rows(
    numbers: list[int], minutes: int, phase_s: int
) -> None:
    chosen = sorted({*numbers, *range(1000, 1100 + 10 * len(numbers))})
    step = timedelta(minutes=minutes)
    moments = [START + timedelta(seconds=phase_s) + number * step for number in chosen]
    order = np.random.default_rng(len(numbers)).permutation(len(chosen))
    grid = laid(table([moments[n] for n in order], [float(chosen[n]) for n in order]))
    known = [(number, value) for number, value in enumerate(energies(grid)) if value is not None]
    assert [value for _, value in known] == [float(number) for number in chosen]
    assert [number + chosen[0] for number, _ in known] == chosen


def test_readings_without_a_regular_step_are_refused_with_the_steps_that_were_found() -> None:
    with pytest.raises(UserError, match=r"no regular step.*900 s"):
        laid(table(steps(0, 1, 3, 6, 10, 15, 16, 18, 21, 25, 30), [1.0] * 11))


def test_readings_off_the_grid_are_refused() -> None:
    moments = steps(*range(20)) + [moment + timedelta(minutes=7) for moment in steps(*range(40, 60))]
    with pytest.raises(UserError, match="lie between the moments"):
        laid(table(moments, [1.0] * 40))


def test_a_timestamp_of_another_century_is_refused_instead_of_filling_the_memory() -> None:
    moments = [datetime(1970, 1, 1, tzinfo=UTC), *steps(*range(500))]
    with pytest.raises(UserError, match="some times must be wrong"):
        laid(table(moments, [1.0] * 501))


def test_another_step_than_that_of_the_model_is_refused() -> None:
    with pytest.raises(UserError, match="every 900 s; the model knows readings every 3600 s"):
        laid(table(steps(*range(20)), [1.0] * 20), step_us=series.HOUR_US)


def test_a_series_needs_times_in_all_rows_and_more_than_one_of_them() -> None:
    with pytest.raises(UserError, match="two different moments"):
        laid(table(steps(0, 0), [1.0, 2.0]))
    rows = table(steps(0, 1), [1.0, 2.0])
    holes = rows.set_column(0, "timestamp", pa.array([START, None], pa.timestamp("us", "UTC")))
    with pytest.raises(UserError, match="1 row\\(s\\) have no timestamp"):
        laid(holes)
    words = rows.set_column(0, "timestamp", pa.array(["a", "b"]))
    with pytest.raises(UserError, match="needs a column of times"):
        laid(words)
