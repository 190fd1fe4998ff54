"""What a calendar says of a moment: the hour on the wall, the day of the week and of the year, public holidays.

Needs numpy and pyarrow only, so that a forecast is made the same way with and without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

NAMES = ("hour", "weekday", "day_of_year", "holiday")
"""Columns of ``of``: 0 to 24 with the minutes as a part; Monday is 0; 1 January is 1; 1 on a public holiday, 0 else."""
ITALY_FIXED = ((1, 1), (1, 6), (4, 25), (5, 1), (6, 2), (8, 15), (11, 1), (12, 8), (12, 25), (12, 26))
"""Month and day of Italy's holidays that have one.

Source: legge 27 maggio 1949, n. 260, articles 1 and 2, as amended by legge 5 marzo 1977, n. 54, D.P.R. 28 dicembre
1985, n. 792 (6 January) and legge 20 novembre 2000, n. 336 (2 June).
"""
ITALY_SAINT_FRANCIS = ((10, 4), 2026)
"""A holiday again from that year on. Source: legge 8 ottobre 2025, n. 151, article 1, in force from 1 January 2026."""


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar.

    Source: "A New York correspondent", Nature 13 (20 April 1876), page 487, as given by J. Meeus, Astronomical
    Algorithms, 2nd edition (1998), chapter 8; every year from 1583 on.
    """
    golden = year % 19
    century, rest = divmod(year, 100)
    leap, odd = divmod(century, 4)
    shift = (century - (century + 8) // 25 + 1) // 3
    moon = (19 * golden + century - leap - shift + 15) % 30
    quarter, extra = divmod(rest, 4)
    week = (32 + 2 * odd + 2 * quarter - moon - extra) % 7
    late = (golden + 11 * moon + 22 * week) // 451
    month, day = divmod(moon + week - 7 * late + 114, 31)
    return date(year, month, day + 1)


def italy(year: int) -> set[date]:
    """National holidays of a year; a town's own is not among them. Sundays are not listed, but for Easter."""
    sunday = easter(year)
    saint, since = ITALY_SAINT_FRANCIS
    fixed = [*ITALY_FIXED, *([saint] if year >= since else [])]
    return {sunday, sunday + timedelta(days=1), *(date(year, month, day) for month, day in fixed)}


HOLIDAYS: Mapping[str, Callable[[int], Iterable[date]]] = {"none": lambda _: (), "italy": italy}
"""Name → the holidays of a year."""


def of(times: npt.NDArray[np.int64], *, time_zone: str, holidays: str) -> npt.NDArray[np.float32]:
    """What the clocks and calendars of a place show at these moments.

    Args: times — microseconds since 1970, UTC; holidays — a key of HOLIDAYS.
    Shapes: (rows,) to (rows, len(NAMES)).
    """
    local = pc.local_timestamp(pa.array(times, pa.timestamp("us", "UTC")).cast(pa.timestamp("us", time_zone)))
    days = local.cast(pa.date32())
    hour = _numbers(pc.hour(local)) + _numbers(pc.minute(local)) / 60 + _numbers(pc.second(local)) / 3600
    columns = [hour, _numbers(pc.day_of_week(local)), _numbers(pc.day_of_year(local)), _is_holiday(days, holidays)]
    return np.stack(columns, axis=1).astype(np.float32)


def _is_holiday(days: pa.Array, holidays: str) -> npt.NDArray[np.float64]:
    if not len(days):
        return np.zeros(0)
    years = pc.min_max(pc.year(days)).as_py()
    found = [day for year in range(years["min"], years["max"] + 1) for day in HOLIDAYS[holidays](year)]
    return _numbers(pc.is_in(days, value_set=pa.array(found, pa.date32())))


def _numbers(values: Any) -> npt.NDArray[np.float64]:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
