"""Months of a grant: which second belongs to which, what a month gets, and what follows from using more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia.errors import NotFound
from forgia.grant import Holder, Terms
from forgia.quota import slices

ROME = ZoneInfo("Europe/Rome")
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)


def terms(strategy: str, amount: int = 1200, begin: str = "2026-01-01", end: str = "2027-01-01") -> Terms:
    day = {name: datetime.fromisoformat(text).replace(tzinfo=ROME) for name, text in (("a", begin), ("b", end))}
    return Terms(
        holder=Holder(("leonardo",)), amount=amount, valid_from=day["a"], valid_until=day["b"], strategy=strategy
    )


@pytest.mark.parametrize(("total", "days", "month"), [(2_000_000, 365, 164_383), (39_000, 170, 6_882)])
def test_a_months_total_is_what_saldo_prints(total: int, days: int, month: int) -> None:
    assert slices.thirty_days_share(total, days) == month


def test_the_whole_grant_of_the_saldo_sample_has_that_month_and_none_outside_its_validity() -> None:
    grant = terms("cineca", 2_000_000, "2026-01-07", "2027-01-07")
    assert slices.slice_of(grant, "2026-09") == 164_383
    assert slices.slice_of(grant, "2027-02") == slices.slice_of(grant, "2025-12") == 0


@pytest.mark.parametrize(
    ("night", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-05-10", 24)], ids=["spring", "autumn", "any"]
)
def test_a_night_in_which_the_clock_is_changed_is_as_long_as_it_is(night: str, hours: int) -> None:
    begin = datetime.fromisoformat(night).replace(tzinfo=ROME)
    end = (begin + timedelta(days=1)).replace(tzinfo=ROME)
    assert slices.whole_seconds(begin, end) == hours * 3600
    assert slices.by_month(begin, end, 32 * hours * 3600) == {night[:7]: 32 * hours * 3600}


def test_a_month_begins_at_midnight_of_the_sites_clock_not_of_greenwichs() -> None:
    begin = datetime(2026, 6, 30, 21, 59, 59, tzinfo=UTC)
    assert slices.by_month(begin, begin + timedelta(seconds=2), 64) == {"2026-06": 32, "2026-07": 32}
    assert slices.by_month(begin, begin + timedelta(seconds=2), 64, "UTC") == {"2026-06": 64}
    assert slices.by_month(begin, begin + timedelta(seconds=2), 64, "Europe/Helsinki") == {"2026-07": 64}


def test_a_job_across_two_month_ends_is_cut_to_the_second() -> None:
    begin = datetime(2026, 1, 31, 23, 0, tzinfo=ROME)
    end = datetime(2026, 3, 1, 0, 30, tzinfo=ROME)
    assert slices.by_month(begin, end, 8 * slices.whole_seconds(begin, end)) == {
        "2026-01": 8 * 3600,
        "2026-02": 8 * 28 * 86400,
        "2026-03": 8 * 1800,
    }


def test_a_job_across_the_end_of_its_grant_is_cut_there_to_the_second() -> None:
    end_of_grant = datetime(2026, 6, 11, tzinfo=ROME)
    begin, end = end_of_grant - timedelta(seconds=90), end_of_grant + timedelta(seconds=10)
    assert slices.before_and_after(begin, end, 3200, end_of_grant) == (2880, 320)
    assert slices.before_and_after(begin, end_of_grant, 2880, end_of_grant) == (2880, 0)
    assert slices.before_and_after(end_of_grant, end, 320, end_of_grant) == (0, 320)


@given(begin=MOMENTS, seconds=st.integers(0, 5 * 365 * 86400), rate=st.integers(0, 10**6))
def test_a_rate_is_cut_exactly(begin: datetime, seconds: int, rate: int) -> None:
    end = begin + timedelta(seconds=seconds)
    parts = slices.by_month(begin, end, rate * seconds)
    assert sum(parts.values()) == rate * seconds
    for month in slices.months(begin, end):
        assert parts[month.name] == rate * slices.whole_seconds(month.begin, month.end)


@given(
    begin=MOMENTS,
    seconds=st.integers(0, 10**7),
    amount=st.integers(-(10**12), 10**12),
    cuts=st.lists(st.integers(-100, 10**7), max_size=6),
)
def test_no_unit_is_lost_by_a_cut(begin: datetime, seconds: int, amount: int, cuts: list[int]) -> None:
    parts = slices.split(
        begin, begin + timedelta(seconds=seconds), amount, [begin + timedelta(seconds=cut) for cut in cuts]
    )
    assert sum(part for _, part in parts) == amount
    assert [at for at, _ in parts] == sorted({at for at, _ in parts})


@given(begin=MOMENTS, seconds=st.integers(1, 5 * 365 * 86400))
def test_months_touch_each_other_and_leave_nothing_out(begin: datetime, seconds: int) -> None:
    end = begin + timedelta(seconds=seconds)
    found = slices.months(begin, end)
    assert (found[0].begin, found[-1].end) == (begin, end)
    assert all(first.end == second.begin for first, second in pairwise(found))
    assert len({month.name for month in found}) == len(found)


def test_jsc_months_add_up_to_the_grant() -> None:
    grant = terms("jsc", 1000, "2026-01-01", "2026-08-01")
    assert sum(slices.slice_of(grant, f"2026-{month:02}") for month in range(1, 13)) == 1000


def test_at_jsc_a_month_has_what_the_last_one_left_and_no_older_rest() -> None:
    grant = terms("jsc")  # 100 a month
    found = slices.standing(grant, {"2026-01": 0, "2026-02": 30}, "2026-03")
    assert (found.total, found.carried, found.borrowable) == (100, 100, 100)  # 270 were left, 100 are kept
    assert slices.standing(grant, {"2026-01": 40}, "2026-02").carried == 60


@pytest.mark.parametrize(("used", "consequence"), [(100, ""), (200, ""), (201, "deprioritise")])
def test_at_jsc_a_month_may_use_the_next_one_and_then_goes_to_the_end_of_the_queue(used: int, consequence: str) -> None:
    assert slices.standing(terms("jsc"), {"2026-01": used}, "2026-01").consequence == consequence


def test_at_jsc_what_was_borrowed_is_missing_next_month_and_the_last_month_cannot_borrow() -> None:
    grant = terms("jsc")
    assert slices.standing(grant, {"2026-01": 170}, "2026-02").carried == -70
    used = {f"2026-{month:02}": 100 for month in range(1, 12)}
    last = slices.standing(grant, {**used, "2026-12": 101}, "2026-12")
    assert (last.borrowable, last.consequence, last.left) == (0, "deprioritise", -1)


def test_at_cineca_more_than_the_month_means_a_lower_priority_and_nothing_is_carried() -> None:
    grant = terms("cineca", 39_000, "2026-03-01", "2026-08-18")
    found = slices.standing(grant, {"2026-04": 20_624}, "2026-04")
    assert (found.total, found.left, found.consequence) == (6_882, 6_882 - 20_624, "deprioritise")
    assert slices.standing(grant, {"2026-04": 20_624}, "2026-05").consequence == ""


@pytest.mark.parametrize(("used", "consequence"), [(1200, ""), (1800, "deprioritise"), (1801, "refuse")])
def test_at_it4i_half_as_much_again_runs_at_low_priority(used: int, consequence: str) -> None:
    assert slices.standing(terms("it4i"), {"2026-01": used - 7, "2026-02": 7}, "2026-02").consequence == consequence


def test_a_plain_pot_is_full_or_empty() -> None:
    assert slices.standing(terms("none"), {"2026-01": 1200}, "2026-05").consequence == ""
    assert slices.standing(terms("none"), {"2026-01": 1201}, "2026-05").consequence == "refuse"


def test_charges_are_added_up_by_month() -> None:
    edge = datetime(2026, 4, 1, tzinfo=ROME)
    spells = [(edge - timedelta(seconds=5), edge + timedelta(seconds=5), 10), (edge, edge + timedelta(seconds=1), 7)]
    assert slices.consumed(spells) == {"2026-03": 5, "2026-04": 12}


def test_a_strategy_that_no_site_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(NotFound, match="cineca"):
        slices.policy("cinecca")
