"""The calendar: Easter, Italian holidays, and what the clocks on the wall show when they change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia import calendars

EASTERS = [
    *(date(1818, 3, 22), date(1943, 4, 25), date(1954, 4, 18), date(2000, 4, 23), date(2008, 3, 23)),
    *(date(2024, 3, 31), date(2025, 4, 20), date(2026, 4, 5), date(2027, 3, 28), date(2038, 4, 25)),
]
"""The earliest and the latest there can be, and years that everyone remembers."""


def shown(*moments: datetime, time_zone: str = "Europe/Rome", holidays: str = "italy") -> list[dict[str, float]]:
    times = np.array([int(moment.timestamp() * 1_000_000) for moment in moments])
    found = calendars.of(times, time_zone=time_zone, holidays=holidays)
    return [dict(zip(calendars.NAMES, row, strict=True)) for row in found.tolist()]


@pytest.mark.parametrize("day", EASTERS, ids=str)
def test_easter_falls_where_the_church_puts_it(day: date) -> None:
    assert calendars.easter(day.year) == day


@given(st.integers(1583, 4000))
def test_easter_is_a_sunday_between_22_march_and_25_april(year: int) -> None:
    found = calendars.easter(year)
    assert found.weekday() == 6
    assert date(year, 3, 22) <= found <= date(year, 4, 25)


@given(st.integers(1583, 3000))
def test_easter_follows_the_full_moon_of_the_tables_by_at_most_a_week(year: int) -> None:
    century = year // 100
    sun, moon = century - century // 4, (8 * century + 13) // 25
    epact = (19 * (year % 19) + sun - moon + 15) % 30
    epact -= epact == 29 or (epact == 28 and year % 19 > 10)
    full = date(year, 3, 21) + timedelta(days=epact)
    assert timedelta(0) < calendars.easter(year) - full <= timedelta(days=7)


def test_italy_rests_on_easter_monday_and_on_saint_francis_again_from_2026_on() -> None:
    assert date(2025, 4, 21) in calendars.italy(2025)
    assert date(2025, 10, 4) not in calendars.italy(2025)
    assert date(2026, 10, 4) in calendars.italy(2026)
    assert len(calendars.italy(2025)) == 12
    assert len(calendars.italy(2026)) == 13


def test_a_wall_clock_shows_the_hour_of_its_own_place() -> None:
    moment = datetime(2025, 7, 14, 10, 30, tzinfo=UTC)
    (rome,), (london,) = shown(moment), shown(moment, time_zone="Europe/London")
    assert (rome["hour"], rome["weekday"], rome["day_of_year"]) == (12.5, 0, 195)
    assert london["hour"] == 11.5


def test_in_autumn_an_hour_is_shown_twice_and_in_spring_one_is_not_shown() -> None:
    autumn = [datetime(2025, 10, 26, hour, tzinfo=UTC) for hour in range(3)]
    spring = [datetime(2025, 3, 30, hour, tzinfo=UTC) for hour in range(3)]
    assert [one["hour"] for one in shown(*autumn)] == [2, 2, 3]
    assert [one["hour"] for one in shown(*spring)] == [1, 3, 4]


def test_a_holiday_begins_and_ends_at_local_midnight() -> None:
    before, first = datetime(2025, 4, 24, 21, 59, tzinfo=UTC), datetime(2025, 4, 24, 22, 0, tzinfo=UTC)
    assert [one["holiday"] for one in shown(before, first)] == [0, 1]
    assert [one["holiday"] for one in shown(first, holidays="none")] == [0]


def test_no_moments_give_no_rows() -> None:
    assert calendars.of(np.zeros(0, dtype=np.int64), time_zone="UTC", holidays="italy").shape == (0, 4)
