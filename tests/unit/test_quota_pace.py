"""Who is ahead yields, who is behind never does, and a local queue starves nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from forgia.grant import Holder, HoldRequest, Terms, Usage
from forgia.quota.ledger import open_ledger
from forgia.quota.pace import (
    MOST_NICE,
    Waiting,
    nice,
    pace_of,
    release_order,
    standing,
    standing_of,
    throttle,
    waiting_order,
)
from forgia.quota.records import GrantState

NOW = datetime(2026, 11, 23, tzinfo=UTC)
RATIOS = st.fractions(min_value=0, max_value=10)


def grant(firm: str, *, amount: int, spent: int, held: int = 0, elapsed: float = 0.5, number: int = 1) -> GrantState:
    begin = NOW - timedelta(days=100 * elapsed)
    holder = Holder(("leonardo", firm))
    terms = Terms(holder=holder, amount=amount, valid_from=begin, valid_until=begin + timedelta(days=100))
    return GrantState(
        id=number,
        terms=terms,
        parent=None,
        frozen=False,
        closed=False,
        free=amount - spent - held,
        held=held,
        spent=spent,
        expired=0,
    )


@given(RATIOS, RATIOS)
def test_nice_grows_with_pace_and_is_nothing_for_who_is_not_ahead(one, other):
    low, high = sorted((one, other))
    assert 0 <= nice(low) <= nice(high) <= MOST_NICE
    assert nice(min(low, Fraction(1))) == 0


@given(RATIOS, st.integers(1, 1000))
def test_an_array_is_throttled_but_never_stopped(relative, tasks):
    at_once = throttle(relative, tasks)
    assert at_once is None or 1 <= at_once <= max(1, tasks // 2)
    assert (at_once is None) == (relative <= 1)


def test_pace_is_the_share_used_or_held_over_the_share_of_time():
    pace = pace_of([grant("acme", amount=1000, spent=300, held=100)], NOW)
    assert pace.value == Fraction(4, 5)


def test_several_grants_count_by_their_size():
    grants = [grant("acme", amount=900, spent=450, elapsed=0.5), grant("acme", amount=100, spent=100, elapsed=0.5)]
    assert pace_of(grants, NOW).value == Fraction(550, 500)


def test_a_job_in_the_first_hour_counts_as_one_of_the_first_day():
    young = grant("acme", amount=1000, spent=10, elapsed=0.0)
    assert pace_of([young], NOW).value == 1


def test_who_has_no_valid_budget_is_neither_ahead_nor_behind():
    over = grant("acme", amount=1000, spent=10, elapsed=1.5)
    assert pace_of([over], NOW).value is None


def beside(grants):
    """Each firm beside the account as a whole."""
    account = pace_of(grants, NOW)
    return [standing(found.terms.holder, grants, account, now=NOW) for found in grants]


def test_only_who_is_ahead_of_the_account_yields():
    found = beside([grant("slow", amount=1000, spent=100), grant("fast", amount=1000, spent=900, number=2)])
    assert [(one.holder.path[1], one.nice > 0) for one in found] == [("slow", False), ("fast", True)]
    assert "fast is ahead (pace 1.80)" in found[1].sentence()
    assert "slow is behind (pace 0.20)" in found[0].sentence()


def test_where_all_are_equally_ahead_nobody_yields_to_other_accounts():
    found = beside([grant("one", amount=100, spent=90), grant("two", amount=100, spent=90, number=2)])
    assert [one.nice for one in found] == [0, 0]


def test_a_submission_is_told_its_nice(tmp_path):
    with open_ledger(tmp_path / "ledger.db", now=lambda: NOW) as ledger:
        me = ledger.actor_of()
        for firm, used in (("slow", 0), ("fast", 800)):
            holder = Holder(("leonardo", firm))
            times = {"valid_from": NOW - timedelta(days=50), "valid_until": NOW + timedelta(days=50)}
            ledger.grant(Terms(holder=holder, amount=1000, **times), by=me, reason="test")
            usage = Usage(
                key=f"c:{firm}", cluster="c", job_id="1", state="COMPLETED", billing_s=used, start=NOW, end=NOW
            )
            ledger.post_usage(usage, by=me, holder=holder)
        assert standing_of(ledger, Holder(("leonardo", "slow", "main", "anna"))).nice == 0
        assert standing_of(ledger, Holder(("leonardo", "fast", "main", "ben"))).nice > 0
        assert standing_of(ledger, Holder(("leonardo", "fast"))).pace.value == Fraction(8, 5)


COSTS = st.lists(st.integers(1, 500), max_size=30)
QUEUES = st.dictionaries(st.sampled_from("abcd"), COSTS, min_size=1)


def queues_of(costs: dict[str, list[int]]) -> dict[str, list[Waiting]]:
    return {
        name: [Waiting(f"{name}{place}", cost) for place, cost in enumerate(found)] for name, found in costs.items()
    }


@settings(deadline=None)
@given(QUEUES, st.lists(st.integers(1, 10**9), min_size=4, max_size=4), st.lists(st.integers(0, 10**6), min_size=4))
def test_everything_is_let_go_once_and_each_queue_keeps_its_order(costs, weights, debts):
    queues = queues_of(costs)
    order = release_order(queues, dict(zip("abcd", weights, strict=True)), debts=dict(zip("abcd", debts, strict=False)))
    for name, queue in queues.items():
        assert [one for one in order if one.name.startswith(name)] == queue
    assert len(order) == sum(map(len, queues.values()))


@settings(deadline=None)
@given(st.lists(st.integers(1, 100), min_size=20, max_size=60), st.integers(1, 9), st.integers(1, 9))
def test_as_long_as_both_wait_the_shares_are_those_of_the_weights(costs, first, second):
    weights = {"a": first, "b": second}
    queues = queues_of({"a": costs, "b": list(reversed(costs))})
    served, waits = {"a": 0, "b": 0}, {name: len(queue) for name, queue in queues.items()}
    bound = Fraction(2 * max(costs), min(first, second))
    for one in release_order(queues, weights):
        if not all(waits.values()):
            break
        served[one.name[0]] += one.cost
        waits[one.name[0]] -= 1
        assert abs(Fraction(served["a"], first) - Fraction(served["b"], second)) <= bound


def test_who_used_its_share_before_its_time_pays_that_back_first():
    queues = queues_of({"a": [10] * 10, "b": [10] * 10})
    order = release_order(queues, {"a": 1, "b": 1}, debts={"a": 50})
    assert [one.name[0] for one in order[:5]] == ["b"] * 5


def test_what_waits_is_put_in_the_order_of_shares(tmp_path):
    with open_ledger(tmp_path / "ledger.db", now=lambda: NOW) as ledger:
        me = ledger.actor_of()
        for firm, amount in (("small", 100_000), ("large", 300_000)):
            span = {"valid_from": NOW - timedelta(days=50), "valid_until": NOW + timedelta(days=50)}
            ledger.grant(Terms(holder=Holder(("leonardo", firm)), amount=amount, **span), by=me, reason="test")
        for number in range(8):
            for firm in ("small", "large"):
                request = HoldRequest(
                    key=f"{firm}-{number}@1",
                    run_id=f"{firm}-{number}",
                    holder=Holder(("leonardo", firm, "main", "anna")),
                    resource="gpu",
                    rate=8,
                    walltime_s=700,
                )
                ledger.hold(request, by=me)
        order = [one.name for _, one in waiting_order(ledger, by=me)]
    assert sorted(order) == sorted(f"{firm}-{number}@1" for firm in ("small", "large") for number in range(8))
    assert [name.startswith("large") for name in order[:8]].count(True) == 6  # three to one
