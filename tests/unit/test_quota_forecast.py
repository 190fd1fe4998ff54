"""Forecasts are honest: in order, never beyond the end of the budget, and silent where too little is known."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from forgia.quota.forecast import LEAST_DAYS, Tranche, ewma, forecast

TODAY = date(2026, 11, 23)
AMOUNTS = st.integers(min_value=0, max_value=10**9)
HISTORIES = st.lists(AMOUNTS, min_size=LEAST_DAYS, max_size=60)
FUTURES = st.lists(st.tuples(AMOUNTS, st.integers(-40, 60), st.integers(1, 120)), min_size=1, max_size=3)


def tranches(found: list[tuple[int, int, int]]) -> list[Tranche]:
    return [
        Tranche(free=free, begin=TODAY + timedelta(days=begin), end=TODAY + timedelta(days=begin + length))
        for free, begin, length in found
    ]


def one(free: int, days: int) -> list[Tranche]:
    return [Tranche(free=free, begin=TODAY - timedelta(days=60), end=TODAY + timedelta(days=days))]


@settings(max_examples=60, deadline=None)
@given(HISTORIES, FUTURES)
def test_the_dates_are_in_order_and_never_beyond_the_end(daily, found):
    made = forecast(daily, tranches(found), today=TODAY)
    dates = [when or date.max for when in made.exhausted.values()]
    assert dates == sorted(dates)
    assert all(when == date.max or TODAY <= when <= made.end for when in dates)
    assert made.days_left is not None
    assert 0 <= made.days_left <= made.days_to_end


@settings(max_examples=30, deadline=None)
@given(HISTORIES, FUTURES)
def test_the_same_history_gives_the_same_forecast(daily, found):
    assert forecast(daily, tranches(found), today=TODAY) == forecast(daily, tranches(found), today=TODAY)


@settings(max_examples=30, deadline=None)
@given(HISTORIES, AMOUNTS, AMOUNTS, st.integers(1, 90))
def test_more_budget_never_ends_earlier(daily, free, more, days):
    less, plenty = (forecast(daily, one(amount, days), today=TODAY).exhausted for amount in (free, free + more))
    assert all((less[chance] or date.max) <= (plenty[chance] or date.max) for chance in less)


@settings(max_examples=60, deadline=None)
@given(AMOUNTS, st.integers(1, 400))
def test_what_is_recommended_a_day_lands_on_all_of_it(free, days):
    made = forecast([], one(free, days), today=TODAY)
    assert made.recommended * days <= free < (made.recommended + 1) * days


@given(st.integers(1, 10**6), st.integers(1, 29))
@settings(max_examples=30, deadline=None)
def test_an_even_use_ends_on_the_day_that_arithmetic_says(amount, days):
    made = forecast([amount] * 30, one(amount * days, 30), today=TODAY)
    assert set(made.exhausted.values()) == {TODAY + timedelta(days=days)}
    assert made.days_left == days
    assert made.level == amount


def test_what_a_grant_has_left_at_its_end_is_lost():
    first = Tranche(free=1000, begin=TODAY, end=TODAY + timedelta(days=5))
    second = Tranche(free=100, begin=TODAY, end=TODAY + timedelta(days=60))
    made = forecast([10] * 30, [second, first], today=TODAY)
    assert made.exhausted[50] == TODAY + timedelta(days=15)


def test_a_gap_between_two_grants_is_an_end():
    later = Tranche(free=1000, begin=TODAY + timedelta(days=10), end=TODAY + timedelta(days=20))
    made = forecast([10] * 30, [*one(1000, 5), later], today=TODAY)
    assert made.exhausted[90] == TODAY + timedelta(days=5)


def test_too_few_days_are_said_and_give_no_date():
    made = forecast([5] * (LEAST_DAYS - 1), one(100, 30), today=TODAY)
    assert "only 6 of the 7 days" in made.remark
    assert made.days_left is None
    assert set(made.exhausted.values()) == {None}


def test_no_use_at_all_lasts_until_the_end():
    made = forecast([0] * 20, one(100, 30), today=TODAY)
    assert (made.days_left, made.remark) == (30, "")


def test_nothing_free_is_used_up_today_however_little_is_known():
    made = forecast([], one(-5, 30), today=TODAY)
    assert made.exhausted[10] == made.exhausted[90] == TODAY
    assert made.days_left == 0


@given(st.lists(AMOUNTS, min_size=1, max_size=50))
def test_the_level_lies_between_the_least_and_the_most(daily):
    assert min(daily) - 1e-3 <= ewma(daily) <= max(daily) + 1e-3


def test_the_latest_days_count_most():
    assert ewma([0] * 20 + [100] * 7) > 49
    assert ewma([100] * 7 + [0] * 20) < 15
