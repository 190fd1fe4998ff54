from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forgia import windows

SERIES = st.lists(st.integers(min_value=1, max_value=12), max_size=6)


def labels(lengths: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(lengths)), lengths)


@given(lengths=SERIES, length=st.integers(1, 6), stride=st.integers(1, 4), horizon=st.integers(0, 4))
def test_a_window_and_its_horizon_lie_in_one_series(lengths: list[int], length: int, stride: int, horizon: int) -> None:
    series = labels(lengths)
    ends = windows.last_rows(series, length=length, stride=stride, horizon=horizon)
    assert (np.diff(ends) > 0).all()
    for end in ends:
        assert len(set(series[end - length + 1 : end + horizon + 1])) == 1
        assert end - length + 1 >= 0
        assert end + horizon < len(series)


@given(lengths=SERIES, length=st.integers(1, 6), stride=st.integers(1, 4), horizon=st.integers(0, 4))
def test_every_series_that_is_long_enough_has_its_newest_window_and_as_many_as_fit(
    lengths: list[int], length: int, stride: int, horizon: int
) -> None:
    ends = windows.last_rows(labels(lengths), length=length, stride=stride, horizon=horizon)
    fitting = [max(count - length - horizon + 1, 0) for count in lengths]
    assert len(ends) == sum(-(-count // stride) for count in fitting)
    stops = np.cumsum(lengths)
    newest = {int(stop) - 1 - horizon for stop, count in zip(stops, fitting, strict=True) if count}
    assert newest <= set(ends.tolist())


@given(lengths=SERIES, length=st.integers(1, 6), stride=st.integers(1, 4), horizon=st.integers(0, 4))
def test_the_rows_that_are_covered_are_those_of_the_windows_and_their_horizons(
    lengths: list[int], length: int, stride: int, horizon: int
) -> None:
    series = labels(lengths)
    ends = windows.last_rows(series, length=length, stride=stride, horizon=horizon)
    found = windows.covered(ends, rows=len(series), length=length, horizon=horizon)
    expected = {row for end in ends for row in range(end - length + 1, end + horizon + 1)}
    assert set(np.flatnonzero(found).tolist()) == expected


@given(lengths=SERIES, length=st.integers(1, 6))
def test_with_a_lead_in_every_row_ends_one_window_of_its_own_series(lengths: list[int], length: int) -> None:
    series = labels(lengths)
    taken = windows.led_in(series, length=length)
    ends = windows.last_rows(series[taken], length=length)
    assert taken[ends].tolist() == list(range(len(series)))
    firsts = set(windows.first_rows(series).tolist())
    for end in ends:
        rows = taken[end - length + 1 : end + 1]
        steps = np.diff(rows)
        assert len(set(series[rows])) == 1
        assert ((steps == 1) | ((steps == 0) & np.isin(rows[1:], list(firsts)))).all()


@given(lengths=SERIES, length=st.integers(1, 6))
def test_a_lead_in_may_be_the_beginning_in_a_mirror(lengths: list[int], length: int) -> None:
    series = labels(lengths)
    taken = windows.led_in(series, length=length, is_mirrored=True)
    ends = windows.last_rows(series[taken], length=length)
    assert taken[ends].tolist() == list(range(len(series)))
    for first, end, count in zip(firsts := windows.first_rows(series), ends[firsts], lengths, strict=True):
        expected = [first + min(back, count - 1) for back in range(length - 1, 0, -1)]
        assert taken[end - length + 1 : end].tolist() == expected
