"""Settlement into a ledger: each attempt once, in whatever windows, and the hold of a run ends with its job."""

from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from settlement_lines import START, line, stamp

from forgia.errors import ClusterError, UserError
from forgia.grant import Holder, HoldRequest, Kind, Terms
from forgia.paths import HomePaths
from forgia.process import Completed
from forgia.quota import accounting, naive, reconcile, slices, window
from forgia.quota.accounting import FIELDS, Malformed, Queue, Row
from forgia.quota.attribution import key_of_job
from forgia.quota.ledger import Ledger, open_ledger
from forgia.quota.settlement import Batch, Settlement, settle

ACME, BETA = Holder.parse("leonardo/acme"), Holder.parse("leonardo/beta")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
EMPTY = Queue(ids=frozenset(), names=frozenset())
HOUR = 32 * 3600
REQUEUED = [
    *(line(10 + n, "500", "resumed", "REQUEUED", after=n * 4000, seconds=2000 + n) for n in range(4)),
    line(14, "500", "resumed", "COMPLETED", after=16000, seconds=1234),
]
ARRAY = [
    *(line(20 + n, f"{600}_{n}", "sweep", JobIDRaw=str(601 + n), seconds=100 + n) for n in range(3)),
    line(23, "600_3", "sweep", "RUNNING", JobIDRaw="604", seconds=None),
    line(24, "600_[4-9%1]", "sweep", "PENDING", JobIDRaw="600", Start="Unknown", End="Unknown", ElapsedRaw=0),
]
PAIR = [
    line(30, "700+0", "pair", seconds=50, AllocTRES="billing=8,cpu=8,gres/gpu=1,mem=1G,node=1"),
    line(31, "700+1", "pair", JobIDRaw="701", seconds=50, AllocTRES="billing=3,cpu=3,mem=1G,node=1"),
]
FAILED_NODE = [
    line(40, "800", "unlucky", "NODE_FAIL", seconds=300),
    line(41, "800", "unlucky", "COMPLETED", after=1000, seconds=400),
]
LIFE = [
    line(1, "100", "plain"),
    *REQUEUED,
    *ARRAY[:3],
    *PAIR,
    *FAILED_NODE,
    line(50, "900", "never", "CANCELLED by 1001", seconds=0, Start="None", AllocTRES=""),
    line(51, "901", "paused", ElapsedRaw=3000, Suspended="00:10:00"),
    line(52, "902", "second@3", "TIMEOUT"),
    line(53, "100", "again", after=900000),  # an id that came back after a fall of the controller
    line(54, "903", "somebodys-notebook", User="carlo", seconds=77),
    line(55, "904", "odd", "LEVITATING"),
]
RUNS = ("plain", "resumed", "sweep", "pair", "unlucky", "never", "paused", "second", "again", "odd")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with opened(tmp_path / "ledger.db") as ledger:
        yield ledger


def opened(path: Path) -> Ledger:
    """A ledger with a grant and a hold for each of the runs."""
    shutil.copyfile(template(), path)
    return open_ledger(path, now=lambda: NOW)


@cache
def template() -> Path:
    """The file of such a ledger, made once."""
    path = Path(tempfile.mkdtemp(), "ledger.db")
    span = {"valid_from": START - timedelta(days=30), "valid_until": START + timedelta(days=60)}
    with open_ledger(path, now=lambda: NOW) as ledger:
        me = ledger.actor_of()
        ledger.grant(Terms(holder=ACME, amount=10**10, **span), by=me, reason="a test")
        for run in RUNS:
            ledger.hold(request(f"{run}@{3 if run == 'second' else 1}"), by=me)
    return path


def request(key: str, **facts: str) -> HoldRequest:
    return HoldRequest(
        key=key, run_id=key.partition("@")[0], holder=ACME, resource="gpu", rate=32, walltime_s=7200, facts=facts
    )


def settled(ledger: Ledger, rows: Sequence[Row | Malformed], queue: Queue | None = EMPTY) -> Settlement:
    return settle(ledger, Batch(rows=rows, queue=queue), by=ledger.actor_of(), now=NOW)


def open_keys(ledger: Ledger) -> set[str]:
    return {hold.key for hold in ledger.holds(by=ledger.actor_of())}


def charged(ledger: Ledger, key: str) -> int:
    hold = ledger.find_hold(key, by=ledger.actor_of())
    assert hold
    return hold.charged


def state(ledger: Ledger) -> object:
    """Everything but the order of the postings and the lines that they keep."""
    me = ledger.actor_of()
    entries = ledger.entries(by=me, kinds=(Kind.CHARGE, Kind.REFUND))
    holds = ledger.holds(by=me, open_only=False)
    return (
        sorted((entry.key, entry.total("spent")) for entry in entries),
        sorted((hold.key, hold.open, hold.held, hold.charged) for hold in holds),
        ledger.balance(ACME, by=me),
    )


def test_a_normal_job_uses_its_hold_and_gives_the_rest_back(ledger: Ledger) -> None:
    held = ledger.balance(ACME, by=ledger.actor_of()).held
    result = settled(ledger, LIFE[:1])
    assert (result.posted, result.charged, result.beyond_hold) == (1, HOUR, 0)
    assert result.released == request("x@1").amount - HOUR
    assert ledger.balance(ACME, by=ledger.actor_of()).held == held - request("x@1").amount
    assert "plain@1" not in open_keys(ledger)


def test_settling_twice_changes_nothing(ledger: Ledger) -> None:
    settled(ledger, LIFE)
    before, entries = state(ledger), len(list(ledger.entries(by=ledger.actor_of())))
    result = settled(ledger, LIFE)
    assert (result.posted, result.charged, result.known) == (0, 0, len(LIFE) - 1)
    assert state(ledger) == before
    assert len(list(ledger.entries(by=ledger.actor_of()))) == entries


def test_every_requeued_attempt_is_charged_and_only_the_last_one_ends_the_hold(ledger: Ledger) -> None:
    settled(ledger, REQUEUED[:4], Queue(ids=frozenset({"500"}), names=frozenset({"resumed"})))
    assert "resumed@1" in open_keys(ledger)
    settled(ledger, REQUEUED)
    assert charged(ledger, "resumed@1") == 32 * (4 * 2000 + 6 + 1234)
    assert "resumed@1" not in open_keys(ledger)


def test_a_failed_node_is_paid_back_and_the_hold_serves_the_next_attempt(ledger: Ledger) -> None:
    first = settled(ledger, FAILED_NODE[:1], Queue(ids=frozenset({"800"}), names=frozenset({"unlucky"})))
    assert (first.charged, first.refunded) == (32 * 300, 32 * 300)
    assert "unlucky@1" in open_keys(ledger)
    settled(ledger, FAILED_NODE)
    assert charged(ledger, "unlucky@1") == 32 * 400
    assert "unlucky@1" not in open_keys(ledger)


@pytest.mark.parametrize("word", ["NODE_FAIL", "PREEMPTED"])
def test_an_attempt_that_will_not_come_back_ends_its_hold(ledger: Ledger, tmp_path: Path, word: str) -> None:
    gone = [line(1, "100", "plain", word)]
    settled(ledger, gone, queue=None)
    assert "plain@1" in open_keys(ledger)  # it may be in the queue
    with opened(tmp_path / "other.db") as other:
        settled(other, gone, EMPTY)
        assert "plain@1" not in open_keys(other)


def test_an_array_ends_with_its_last_task_not_with_its_first(ledger: Ledger) -> None:
    result = settled(ledger, ARRAY, Queue(ids=frozenset({"600", "604"}), names=frozenset({"sweep"})))
    assert [usage.state for usage in result.running] == ["RUNNING", "PENDING"]
    assert result.accrued == 32 * 600
    assert result.charged == 32 * 303
    assert "sweep@1" in open_keys(ledger)
    rest = [line(23, "600_3", "sweep", "COMPLETED", JobIDRaw="604", seconds=900)]
    settled(ledger, [*ARRAY[:3], *rest])
    assert charged(ledger, "sweep@1") == 32 * (303 + 900)
    assert "sweep@1" not in open_keys(ledger)


def test_the_pending_rest_of_an_array_that_the_accounting_does_not_show_is_seen_in_the_queue(ledger: Ledger) -> None:
    settled(ledger, ARRAY[:3], Queue(ids=frozenset({"600"}), names=frozenset({"sweep"})))
    assert "sweep@1" in open_keys(ledger)
    result = settled(ledger, ARRAY[:3], EMPTY)  # the rest was cancelled before it began: no row says so
    assert result.let_go == ("sweep@1",)
    assert "sweep@1" not in open_keys(ledger)


def test_both_components_of_a_heterogeneous_job_are_charged_to_one_hold(ledger: Ledger) -> None:
    settled(ledger, PAIR)
    assert charged(ledger, "pair@1") == 50 * 11
    assert "pair@1" not in open_keys(ledger)


def test_a_job_cancelled_before_it_began_costs_nothing_and_gives_its_hold_back(ledger: Ledger) -> None:
    rows = [row for row in LIFE if row["JobName"] == "never"]
    assert settled(ledger, rows).charged == 0
    assert "never@1" not in open_keys(ledger)


def test_two_jobs_of_one_id_are_two_jobs(ledger: Ledger) -> None:
    settled(ledger, [row for row in LIFE if row["JobIDRaw"] == "100"])
    assert (charged(ledger, "plain@1"), charged(ledger, "again@1")) == (HOUR, HOUR)


def test_a_later_submission_of_a_run_has_a_hold_of_its_own(ledger: Ledger) -> None:
    settled(ledger, [row for row in LIFE if row["JobName"] == "second@3"])
    assert charged(ledger, "second@3") == HOUR


def test_what_nobody_can_judge_stops_nothing_and_is_charged_once_somebody_can(ledger: Ledger) -> None:
    broken = Malformed(raw="lab|1", why="2 fields where 27 were asked for")
    result = settled(ledger, [broken, *LIFE])
    assert [note.job_id for note in result.quarantined] == ["", "904"]
    assert "LEVITATING" in result.quarantined[1].what
    assert result.posted == len(LIFE) - 1
    assert "odd@1" in open_keys(ledger)
    settled(ledger, [line(55, "904", "odd", "COMPLETED")])
    assert charged(ledger, "odd@1") == HOUR
    assert not [row for row in ledger.quarantined(by=ledger.actor_of()) if row.key == "leonardo:55"]


def test_jobs_of_nobodys_go_to_the_bucket_or_to_whom_the_account_belongs(ledger: Ledger, tmp_path: Path) -> None:
    stray = [row for row in LIFE if row["User"] == "carlo"]
    result = settled(ledger, stray)
    assert (result.unmanaged, result.unmanaged_charged) == (1, 32 * 77)
    assert ledger.balance(ACME, by=ledger.actor_of()).charged == 0
    with opened(tmp_path / "other.db") as other:
        me = other.actor_of()
        settle(other, Batch(rows=stray), by=me, now=NOW, owners={"AIFAC_P02_001": ACME})
        assert other.balance(ACME, by=me).charged == 32 * 77


def test_another_users_job_does_not_pay_with_a_run_whose_name_it_took(ledger: Ledger) -> None:
    ledger.hold(request("precious@1", user="anna"), by=ledger.actor_of())
    result = settled(ledger, [line(99, "999", "precious", User="mallory")])
    assert (charged(ledger, "precious@1"), result.unmanaged) == (0, 1)
    assert "mallory" in result.remarks[0].what
    assert "precious@1" in open_keys(ledger)


def test_a_hold_without_any_job_is_told_after_an_hour(ledger: Ledger) -> None:
    later = NOW + timedelta(hours=2)
    queue = Queue(ids=frozenset({"5"}), names=frozenset({"paused"}))
    result = settle(ledger, Batch(rows=LIFE[:1], queue=queue), by=ledger.actor_of(), now=later)
    assert set(result.idle) == {f"{run}@1" for run in RUNS} - {"plain@1", "paused@1", "second@1"} | {"second@3"}
    assert settled(ledger, []).idle == ()  # held a moment ago


def test_a_runaway_is_flagged_and_not_charged(ledger: Ledger) -> None:
    result = settled(ledger, [line(1, "100", "plain", "RUNNING", seconds=None)])
    assert (result.posted, result.accrued) == (0, 32 * 7200)
    assert "runaway" in result.remarks[0].what
    assert "plain@1" in open_keys(ledger)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("run-1", "run-1@1"),
        ("run-1@2", "run-1@2"),
        ("run-1@10", "run-1@10"),
        ("run-1@0", None),
        ("run-1@02", None),
        ("run-1@x", None),
        ("a@2@3", None),
        ("Notebook of Anna", None),
        ("", None),
        ("../../etc", None),
    ],
)
def test_a_jobs_name_is_its_runs_with_the_attempt_that_was_submitted(name: str, key: str | None) -> None:
    assert key_of_job(name) == key


@cache
def settled_once() -> object:
    """How the ledger is after a single settlement of everything."""
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder, "ledger.db")) as ledger:
        settled(ledger, LIFE)
        return state(ledger)


@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_windows_in_any_order_with_any_overlap_give_the_same_ledger(data: st.DataObject) -> None:
    """Each row is in some window; windows are settled in any order, some twice."""
    indexes = list(range(len(LIFE)))
    windows = data.draw(st.lists(st.sets(st.sampled_from(indexes), min_size=1), max_size=3))
    rest = set(indexes).difference(*windows) if windows else set(indexes)
    order = data.draw(st.permutations([*windows, rest, set(indexes)]))
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder, "ledger.db")) as often:
        for some in order:
            settled(often, data.draw(st.permutations([LIFE[index] for index in sorted(some)])))
        assert state(often) == settled_once()
        assert not often.verify()


def settle_in_a_process(path: str, start: multiprocessing.synchronize.Barrier) -> None:
    with open_ledger(path, now=lambda: NOW) as ledger:
        start.wait(30)
        settled(ledger, LIFE)


def test_two_at_once_charge_what_one_would(tmp_path: Path) -> None:
    with opened(tmp_path / "one.db") as one, opened(tmp_path / "two.db") as two:
        settled(one, LIFE)
        context = multiprocessing.get_context("fork")
        barrier = context.Barrier(2)
        path = str(tmp_path / "two.db")
        both = [context.Process(target=settle_in_a_process, args=(path, barrier)) for _ in range(2)]
        for process in both:
            process.start()
        for process in both:
            process.join(60)
        assert [process.exitcode for process in both] == [0, 0]
        assert state(one) == state(two)
        assert not two.verify()


def answers(rows: Sequence[Row], calls: list[list[str]]) -> object:
    """In place of the cluster's commands."""

    def run(argv: Sequence[str], **_: object) -> Completed:
        calls.append(list(argv))
        said = {"sacct": "\n".join(row.raw for row in rows), "squeue": ""}[argv[0]]
        said = " ".join(FIELDS) if "--helpformat" in argv else said
        return Completed(argv=tuple(argv), returncode=0, stdout=said, stderr="")

    return run


def test_the_window_begins_where_the_last_settlement_ended_and_a_week_before(
    ledger: Ledger, home: HomePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(accounting.process, "run", answers(LIFE[:-1], calls))
    asked = {"home": home, "by": ledger.actor_of(), "cluster": "leonardo"}
    window.settle_accounts(ledger, ["AIFAC_P02_001"], now=NOW, **asked)
    later = NOW + timedelta(hours=1)
    window.settle_accounts(ledger, ["aifac_p02_001"], now=later, **asked)
    begins = [call[call.index("-S") + 1] for call in calls if "-S" in call]
    first = (START - timedelta(days=37)).strftime("%Y-%m-%dT%H:%M:%S")  # the grant's begin, and a week
    assert begins == [first, "2026-11-16T12:00:00"]
    assert sum(call[0] == "sacct" and "-S" in call for call in calls) == 2


def test_a_row_in_quarantine_keeps_the_window_open(
    ledger: Ledger, home: HomePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(accounting.process, "run", answers(LIFE, calls))
    for days in (0, 30, 120):
        at = NOW + timedelta(days=days)
        window.settle_accounts(ledger, [], home=home, by=ledger.actor_of(), now=at)
    begins = [call[call.index("-S") + 1][:10] for call in calls if "-S" in call]
    assert begins[1:] == ["2026-11-13", "2026-11-13"]  # a week before the end of the row that nobody can judge
    assert window.noted(home)["/"] == NOW + timedelta(days=60)


def test_an_accounting_that_does_not_answer_charges_nothing_and_moves_no_window(
    ledger: Ledger, home: HomePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(argv: Sequence[str], **_: object) -> Completed:
        return Completed(
            argv=tuple(argv), returncode=1, stdout="", stderr="sacct: error: Problem talking to the database"
        )

    monkeypatch.setattr(accounting.process, "run", run)
    before = state(ledger)
    with pytest.raises(ClusterError, match="Problem talking"):
        window.settle_accounts(ledger, [], home=home, by=ledger.actor_of(), now=NOW)
    assert state(ledger) == before
    assert not home.settled_until.exists()


def test_a_correction_towards_the_sites_count_is_a_posting_of_its_own_and_is_made_once(ledger: Ledger) -> None:
    settled(ledger, LIFE)
    me = ledger.actor_of()
    ours = reconcile.charged_by_account(ledger, by=me)["aifac_p02_001"]
    assert ours == naive.charges(LIFE, now=NOW)[naive.OURS]  # what was refunded included
    hours = Fraction(ours, 3600) + 40
    count = reconcile.SiteCount(account="aifac_p02_001", used_h=hours, unit="local h")
    (drift,) = reconcile.compare([count], reconcile.charged_by_account(ledger, by=me))
    assert (drift.difference, drift.alarms) == (40 * 3600, True)
    (grant,) = ledger.grants(by=me, holder=ACME)
    first = reconcile.correct(ledger, drift, grant=grant.id, by=me, reason="saldo of 23 November")
    assert reconcile.correct(ledger, drift, grant=grant.id, by=me, reason="saldo of 23 November") == first
    (after,) = reconcile.compare([count], reconcile.charged_by_account(ledger, by=me))
    assert after.difference == 0
    with pytest.raises(UserError):
        reconcile.correct(ledger, after, grant=grant.id, by=me, reason="nothing to correct")
    assert not ledger.verify()


def test_months_of_what_was_charged_add_up_to_it(ledger: Ledger) -> None:
    settled(ledger, LIFE)
    for entry in ledger.entries(by=ledger.actor_of(), kinds=(Kind.CHARGE,)):
        usage = entry.facts["usage"]
        if usage["start"]:
            begin, end = (datetime.fromisoformat(usage[name]) for name in ("start", "end"))
            assert sum(slices.by_month(begin, end, usage["billing_s"]).values()) == entry.total("spent")


def test_simpler_rules_charge_less_on_the_same_records() -> None:
    alone = line(60, "910", "alone", ReqTRES="billing=1,cpu=1,mem=1G,node=1")
    found = naive.charges([*LIFE, alone], now=NOW)
    ours = found.pop(naive.OURS)
    assert ours - found["what was requested, not allocated"] == 31 * 3600 + 50 * (32 * 2 - 11) * -1
    assert all(amount < ours for amount in list(found.values())[1:])
    assert ours - found["time suspended not counted"] == 32 * 600
    assert ours - found["requeued attempts skipped"] == 32 * (8000 + 6)
    assert stamp(START).isdecimal()
