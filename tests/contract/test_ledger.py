"""What every ledger promises, whatever database it is in: SQLite, and a real PostgreSQL (``conftest.py``)."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import sqlalchemy as sa

from forgia.errors import ClusterError, Refused, UserError
from forgia.grant import Actor, Balance, Holder, HoldRequest, Kind, QuotaExceeded, Terms, Usage
from forgia.quota import migrations, schema
from forgia.quota.ledger import Ledger, open_ledger

KILLS = int(os.environ.get("FORGIA_KILLS", "20"))
"""Writers killed for each database; 100 by hand."""

START = datetime(2026, 11, 1, 8, tzinfo=UTC)
STAFF = Actor(name="root", role="staff")
ACME = Holder(("leonardo", "acme"))
PRESS = Holder(("leonardo", "acme", "press-shop"))
ANNA = Holder(("leonardo", "acme", "press-shop", "anna"))

FORK = multiprocessing.get_context("fork")
"""Children that need not import everything anew; each opens connections of its own."""


@pytest.fixture
def ledger(place: str) -> Iterator[Ledger]:
    with open_at(place) as opened:
        yield opened
        assert opened.verify() == ()


def open_at(place: str, moment: datetime = START) -> Ledger:
    return open_ledger(place, now=lambda: moment)


def terms(holder: Holder = ACME, amount: int = 1_000_000, **more: object) -> Terms:
    whole = {"valid_from": START - timedelta(days=1), "valid_until": START + timedelta(days=90), **more}
    return Terms(holder=holder, amount=amount, **whole)  # type: ignore[arg-type]


def asked(key: str = "r-1@1", *, rate: int = 10, walltime_s: int = 700, **more: object) -> HoldRequest:
    """10 × (700 + 300) = 10,000 billing-seconds."""
    whole = {"run_id": key.partition("@")[0], "holder": ANNA, "resource": "gpu", **more}
    return HoldRequest(key=key, rate=rate, walltime_s=walltime_s, **whole)  # type: ignore[arg-type]


def used(key: str = "leonardo:1", billing_s: int = 4_000, **more: object) -> Usage:
    whole = {"state": "COMPLETED", "start": START, "end": START + timedelta(hours=1), "raw": f"{key}|…", **more}
    return Usage(key=key, cluster="leonardo", job_id="1", billing_s=billing_s, **whole)  # type: ignore[arg-type]


def test_a_hold_is_charged_by_the_accounting_and_the_rest_goes_back(ledger: Ledger) -> None:
    grant = ledger.grant(terms(), by=STAFF, reason="agreement 42")
    hold = ledger.hold(asked(), by=STAFF)
    assert (hold.held, [part.grant for part in hold.parts]) == (10_000, [grant])
    assert ledger.balance(grant, by=STAFF) == Balance(granted=1_000_000, held=10_000, charged=0)

    posted = ledger.post_usage(used(), by=STAFF, hold_key=hold.key)

    assert (posted.charged, posted.released, posted.beyond_hold) == (4_000, 6_000, 0)
    assert ledger.balance(ACME, by=STAFF) == Balance(granted=1_000_000, held=0, charged=4_000)
    assert ledger.holds(by=STAFF) == ()
    kinds = [entry.kind for entry in ledger.entries(by=STAFF, run_id="r-1")]
    assert kinds == [Kind.HOLD, Kind.CHARGE, Kind.RELEASE]


def test_what_is_asked_twice_happens_once(ledger: Ledger) -> None:
    first = ledger.grant(terms(), by=STAFF, reason="x", key="import-1")
    assert ledger.grant(terms(), by=STAFF, reason="x", key="import-1") == first
    hold = ledger.hold(asked(), by=STAFF)
    assert ledger.hold(asked(), by=STAFF) == hold
    ledger.post_usage(used(ends_job=False), by=STAFF, hold_key=hold.key)
    assert ledger.post_usage(used(ends_job=False), by=STAFF, hold_key=hold.key).outcome == "known"
    assert ledger.release(hold.key, by=STAFF, reason="cancelled") == ledger.release(hold.key, by=STAFF, reason="again")
    assert ledger.balance(first, by=STAFF) == Balance(granted=1_000_000, held=0, charged=4_000)
    assert ledger.known_usages(["leonardo:1", "leonardo:2"]) == {"leonardo:1"}


def test_a_key_that_names_another_hold_or_change_is_refused(ledger: Ledger) -> None:
    ledger.grant(terms(), by=STAFF, reason="x", key="import-1")
    ledger.hold(asked(), by=STAFF)
    with pytest.raises(Refused, match="exists already"):
        ledger.hold(asked(rate=11), by=STAFF)
    with pytest.raises(Refused, match="another change"):
        ledger.grant(terms(amount=5), by=STAFF, reason="x", key="import-1")


def test_a_refused_hold_prints_the_arithmetic_and_what_would_fit(ledger: Ledger) -> None:
    ledger.grant(terms(amount=50_000), by=STAFF, reason="x")
    request = asked(rate=10, walltime_s=2_700, attempts=2, tasks=3)
    with pytest.raises(QuotaExceeded) as refused:
        ledger.hold(request, by=STAFF)
    text = str(refused.value)
    assert "10 billing × (2,700 s + 300 s) × 2 attempts × 3 tasks = 180,000 billing-s" in text
    assert "grant 2 of leonardo/acme, until 2027-01-30: 50,000 billing-s free" in text
    assert (refused.value.wanted, refused.value.free) == (180_000, 50_000)
    answer = ledger.preview(request, by=STAFF)
    assert (answer.largest_walltime_s, answer.largest_attempts, answer.largest_tasks) == (533, 0, 0)
    ledger.hold(replace(request, walltime_s=answer.largest_walltime_s), by=STAFF)


def test_a_hold_may_be_split_and_uses_what_is_nearest_and_ends_first(ledger: Ledger) -> None:
    late = ledger.grant(terms(amount=6_000), by=STAFF, reason="x")
    early = ledger.grant(terms(amount=6_000, valid_until=START + timedelta(days=9)), by=STAFF, reason="x")
    mine = ledger.sub_grant(late, terms(PRESS, 1_000), by=STAFF, reason="x")
    hold = ledger.hold(asked(), by=STAFF)
    assert [(part.grant, part.held) for part in hold.parts] == [(mine, 1_000), (early, 6_000), (late, 3_000)]
    smaller = ledger.resize_hold(hold.key, 6_500, by=STAFF, reason="an attempt less")
    assert [part.held for part in smaller.parts] == [1_000, 5_500, 0]
    assert ledger.resize_hold(hold.key, 12_000, by=STAFF, reason="longer").held == 12_000
    with pytest.raises(QuotaExceeded, match="1 billing-s"):
        ledger.resize_hold(hold.key, 12_001, by=STAFF, reason="longer still")


def test_what_exceeds_its_hold_is_charged_all_the_same_and_recorded(ledger: Ledger) -> None:
    grant = ledger.grant(terms(amount=10_000), by=STAFF, reason="x")
    hold = ledger.hold(asked(), by=STAFF)
    posted = ledger.post_usage(used(billing_s=12_500), by=STAFF, hold_key=hold.key)
    assert (posted.charged, posted.beyond_hold) == (12_500, 2_500)
    assert ledger.balance(grant, by=STAFF).free == -2_500
    charge = next(ledger.entries(by=STAFF, kinds=[Kind.CHARGE]))
    assert charge.facts["overdraft"] == {str(grant): -2_500}


def test_a_childs_overrun_is_its_own_and_locks_no_sibling(ledger: Ledger) -> None:
    pot = ledger.grant(terms(amount=30_000), by=STAFF, reason="x")
    child = ledger.sub_grant(pot, terms(PRESS, 10_000), by=STAFF, reason="x")
    ledger.freeze(pot, by=STAFF, reason="only what was given on")
    ledger.post_usage(used(billing_s=15_000), by=STAFF, holder=ANNA)
    ledger.unfreeze(pot, by=STAFF, reason="go on")
    assert ledger.balance(child, by=STAFF).free == -5_000
    rolled = ledger.balances(by=STAFF, level="organisation")[0]
    assert (rolled.balance.free, rolled.overrun) == (20_000, 5_000)
    sibling = Holder(("leonardo", "acme", "mill"))
    assert ledger.hold(asked(holder=sibling, rate=20), by=STAFF).held == 20_000


def test_a_failed_nodes_cost_goes_back_into_the_hold(ledger: Ledger) -> None:
    grant = ledger.grant(terms(), by=STAFF, reason="x")
    hold = ledger.hold(asked(), by=STAFF)
    failed = used("leonardo:1", 3_000, state="NODE_FAIL", refund_s=3_000, ends_job=False)
    posted = ledger.post_usage(failed, by=STAFF, hold_key=hold.key)
    assert (posted.charged, posted.refunded) == (3_000, 3_000)
    assert ledger.balance(grant, by=STAFF) == Balance(granted=1_000_000, held=10_000, charged=0)
    assert [e.kind for e in ledger.entries(by=STAFF, hold_key=hold.key)] == [Kind.HOLD, Kind.CHARGE, Kind.REFUND]


def test_unmanaged_use_has_a_bucket_and_what_nobody_understands_is_kept(ledger: Ledger) -> None:
    strange = used("leonardo:3", quarantined="state 'LAUNCH_FAILED' is not known")
    posted = ledger.post_usages([(used("leonardo:2", 700), None, None), (strange, None, None)], by=STAFF)
    assert [one.outcome for one in posted] == ["charged", "quarantined"]
    assert ledger.balance(Holder(("leonardo", "unmanaged")), by=STAFF).charged == 700
    assert [row.key for row in ledger.quarantined(by=STAFF)] == ["leonardo:3"]
    ledger.post_usage(replace(strange, quarantined=""), by=STAFF)
    assert ledger.quarantined(by=STAFF) == ()


def test_what_is_left_expires_once_and_a_late_charge_takes_it_back(place: str) -> None:
    with open_at(place) as ledger:
        grant = ledger.grant(terms(amount=20_000), by=STAFF, reason="x")
        ledger.hold(asked(), by=STAFF)
    with open_at(place, START + timedelta(days=91)) as later:
        assert (later.expire(by=STAFF), later.expire(by=STAFF)) == (1, 0)
        assert later.balance(grant, by=STAFF) == Balance(granted=20_000, held=10_000, charged=0, expired=10_000)
        later.post_usage(used(billing_s=13_000), by=STAFF, hold_key="r-1@1")
        assert (later.expire(by=STAFF), later.balance(grant, by=STAFF).expired) == (1, 7_000)
        later.extend(grant, until=START + timedelta(days=99), by=STAFF, reason="prolonged")
        assert later.balance(grant, by=STAFF).free == 7_000
        assert later.verify() == ()


def test_a_posting_is_reversed_and_never_changed(ledger: Ledger) -> None:
    grant = ledger.grant(terms(), by=STAFF, reason="x")
    ledger.post_usage(used(), by=STAFF, holder=ANNA)
    charge = next(ledger.entries(by=STAFF, kinds=[Kind.CHARGE]))
    ledger.reverse(charge.seq, by=STAFF, reason="double counted by the site")
    assert ledger.balance(grant, by=STAFF).charged == 0
    with pytest.raises(Refused, match="was reversed by posting"):
        ledger.reverse(charge.seq, by=STAFF, reason="again")
    for statement in (
        "UPDATE posting SET reason = 'x'",
        "DELETE FROM posting_line",
        "UPDATE posting_line SET amount=0",
    ):
        with pytest.raises(ClusterError, match="only added to"), ledger.database.writing() as connection:
            connection.execute(sa.text(statement))


TAMPERING = {
    "amount": ("UPDATE posting_line SET amount = amount * 2 WHERE seq = 2", "was changed"),
    "reason": ("UPDATE posting SET reason = 'friends' WHERE seq = 2", "was changed"),
    "order": ("UPDATE posting SET prev_hash = '' WHERE seq = 3", "does not follow"),
    "gap": ("DELETE FROM posting WHERE seq = 2", "some are missing"),
    "end": ("DELETE FROM posting WHERE seq = 3", "should end at 3"),
    "cache": ("UPDATE grant_state SET free = free + 1", "by replay"),
    "role": ("INSERT INTO member VALUES ('user:eve', '', 'staff', 'eve')", "no posting made it"),
    "lost": ("DELETE FROM hold_state", "missing"),
}


@pytest.mark.parametrize("what", sorted(TAMPERING))
def test_whatever_is_changed_behind_the_ledgers_back_is_found(place: str, what: str) -> None:
    statement, finding = TAMPERING[what]
    with open_at(place) as ledger:
        ledger.grant(terms(), by=STAFF, reason="agreement 42")
        ledger.hold(asked(), by=STAFF)
        with ledger.database.writing() as connection:
            for table in ("posting", "posting_line"):
                postgresql = connection.dialect.name == "postgresql"
                names = [f"{table}_guard ON {table}"] if postgresql else [f"{table}_UPDATE", f"{table}_DELETE"]
                for name in names:
                    connection.execute(sa.text(f"DROP TRIGGER {name}"))
            connection.execute(sa.text(statement))
        assert finding in " ".join(found.what for found in ledger.verify())


def test_a_ledger_of_a_newer_forgia_is_not_touched(place: str) -> None:
    with open_at(place) as ledger, ledger.database.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'v9999'"))
    with pytest.raises(UserError, match="a newer forgia made its tables"):
        open_at(place)


def test_the_tables_are_those_that_the_migrations_make(ledger: Ledger) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with ledger.database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.METADATA) == []
    folder = Path(schema.__file__).parent / "migrations"
    revisions = [script.revision for script in ScriptDirectory(str(folder)).walk_revisions()]
    assert tuple(reversed(revisions)) == migrations.REVISIONS


def test_rows_of_the_accounting_may_come_in_any_order_and_in_any_number_of_goes(place: str) -> None:
    def rows() -> list[tuple[Usage, str | None, Holder | None]]:
        found: list[tuple[Usage, str | None, Holder | None]] = [(used("leonardo:9", 900), None, None)]
        for number in range(4):
            failed = {"refund_s": 1_000, "state": "NODE_FAIL"} if number == 1 else {}
            last = number == 3
            found.append((used(f"leonardo:{number}", 4_000, ends_job=last, **failed), "r-1@1", None))
        return [*found, (used("leonardo:7", 800), None, ANNA)]

    seen = set()
    with open_at(place) as ledger:
        for turn in range(6):
            near = Holder(("leonardo", "acme", f"p{turn}"))
            parent = ledger.grant(terms(near, 9_000), by=STAFF, reason="x")
            person = Holder((*near.path, "anna"))
            own = ledger.sub_grant(parent, terms(person, 4_500), by=STAFF, reason="x")
            ledger.hold(asked(f"r-{turn}@1", holder=person, run_id="r-1", rate=9), by=STAFF)
            mine = [
                (replace(usage, key=f"{turn}:{usage.key}"), key and f"r-{turn}@1", holder and person)
                for usage, key, holder in rows()
            ]
            random.Random(turn).shuffle(mine)
            cut = turn % len(mine)
            for some in (mine[:cut], mine[cut // 2 :]):
                ledger.post_usages(some, by=STAFF)
            seen.add((ledger.balance(parent, by=STAFF), ledger.balance(own, by=STAFF)))
        assert len(seen) == 1
        assert ledger.verify() == ()


def in_child(work: Callable[[Connection], None]) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    ours, theirs = FORK.Pipe(duplex=False)

    def run() -> None:
        ours.close()
        work(theirs)

    child = FORK.Process(target=run)
    child.start()
    theirs.close()
    return child, ours


def test_many_processes_may_make_a_ledger_at_once(place: str) -> None:
    def make(pipe: Connection) -> None:
        with open_at(place) as ledger:
            pipe.send(len(list(ledger.entries(by=STAFF))))

    children = [in_child(make) for _ in range(8)]
    assert [pipe.recv() for _, pipe in children] == [1] * 8
    for child, pipe in children:
        child.join()
        pipe.close()


def test_of_64_concurrent_submitters_exactly_as_many_get_a_hold_as_fit(place: str) -> None:
    with open_at(place) as ledger:
        ledger.grant(terms(amount=100 * 10_000), by=STAFF, reason="fits 100 holds")

    def submit(number: int, pipe: Connection) -> None:
        accepted = []
        with open_at(place) as ledger:
            for turn in (1, 2):
                try:
                    accepted.append(ledger.hold(asked(f"r-{number}@{turn}"), by=STAFF).key)
                except QuotaExceeded:
                    continue
        pipe.send(accepted)

    children = [in_child(lambda pipe, number=number: submit(number, pipe)) for number in range(64)]
    accepted = [key for _, pipe in children for key in pipe.recv()]
    for child, pipe in children:
        child.join()
        pipe.close()
    with open_at(place) as ledger:
        assert len(accepted) == 100
        assert {hold.key for hold in ledger.holds(by=STAFF)} == set(accepted)
        assert ledger.balance(ACME, by=STAFF).free == 0
        assert ledger.verify() == ()


def test_a_writer_killed_at_any_point_loses_and_doubles_nothing(place: str) -> None:
    with open_at(place) as ledger:
        ledger.grant(terms(amount=10**12), by=STAFF, reason="x")

    def write(kill: int, pipe: Connection) -> None:
        with open_at(place) as ledger:
            for number in range(10**6):
                key = f"k{kill}-{number}@1"
                pipe.send(key)
                ledger.hold(asked(key), by=STAFF)
                usage = used(f"leonardo:{kill}-{number}")
                ledger.post_usage(usage, by=STAFF, hold_key=key)

    moments = random.Random(64)
    started: list[str] = []
    for kill in range(KILLS):
        child, pipe = in_child(lambda pipe, kill=kill: write(kill, pipe))
        started.append(pipe.recv())
        deadline = time.monotonic() + moments.uniform(0, 0.08)
        while time.monotonic() < deadline:
            if pipe.poll(max(0.0, deadline - time.monotonic())):
                started.append(pipe.recv())
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        while pipe.poll():
            try:
                started.append(pipe.recv())
            except EOFError:
                break
        pipe.close()
    with open_at(place) as ledger:
        assert ledger.verify() == ()
        finished = {entry.hold_key for entry in ledger.entries(by=STAFF, kinds=[Kind.RELEASE])}
        unfinished = [key for key in started if key not in finished]
        assert len(unfinished) <= KILLS  # each kill can only have met the last thing its writer began
        for key in started:  # whoever comes after asks again for everything
            ledger.hold(asked(key), by=STAFF)
            ledger.post_usage(used(f"leonardo:{key[1:].partition('@')[0]}"), by=STAFF, hold_key=key)
        assert ledger.balance(ACME, by=STAFF) == Balance(granted=10**12, held=0, charged=4_000 * len(started))
        assert ledger.verify() == ()
