"""Whatever is done to a ledger, in whatever order and by whom: it stays a ledger."""

from __future__ import annotations

import functools
import itertools
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from forgia.errors import Refused, UserError
from forgia.grant import Actor, Holder, HoldRequest, Terms, Usage
from forgia.quota.ledger import Ledger, open_ledger

START = datetime(2026, 1, 1, tzinfo=UTC)
SITE = Holder(("leonardo",))
ACME, PRESS = Holder((*SITE.path, "acme")), Holder((*SITE.path, "acme", "press"))
HOLDERS = (ACME, PRESS, Holder((*PRESS.path, "anna")), Holder((*ACME.path, "mill")))
WRITERS = (Actor(name="root", role="staff"), Actor(name="eva", role="staff"))
AMOUNTS = st.integers(1, 5_000)


MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where waiting for the disk costs nothing; that it is waited for, other tests see to."""


@functools.cache
def new_ledger() -> bytes:
    """The file of a ledger that was just made: what making one promises, other tests see to."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        open_ledger(Path(folder, "ledger.db"), now=lambda: START).close_connections()
        return Path(folder, "ledger.db").read_bytes()


def copied(folder: str) -> Path:
    """A new ledger in a folder."""
    path = Path(folder, "ledger.db")
    path.write_bytes(new_ledger())
    return path


class LedgerMachine(RuleBasedStateMachine):
    """Two writers with connections of their own, a clock that only goes forward, and every verb."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="forgia-ledger-", dir=MEMORY))
        self.time = START
        self.numbers = itertools.count(1)
        self.ledgers: list[Ledger] = []
        self.grants: list[int] = []
        self.holds: list[str] = []
        self.usages: list[tuple[Usage, str | None, Holder | None]] = []

    def teardown(self) -> None:
        try:
            if self.ledgers:
                assert self.ledgers[0].verify() == ()
                self.replayed_usages_change_nothing()
        finally:
            for ledger in self.ledgers:
                ledger.close_connections()
            shutil.rmtree(self.folder)

    def replayed_usages_change_nothing(self) -> None:
        before = self.ledgers[0].grants(by=WRITERS[0], closed=True)
        self.ledgers[1].post_usages(reversed(self.usages), by=WRITERS[1])
        assert self.ledgers[0].grants(by=WRITERS[0], closed=True) == before

    @initialize()
    def make(self) -> None:
        path = copied(str(self.folder))
        self.ledgers = [open_ledger(path, now=lambda: self.time) for _ in WRITERS]

    def attempt(self, writer: int, verb: Callable[[Ledger, Actor], int]) -> int | None:
        """A verb may be refused; then nothing has happened, which the invariants see."""
        try:
            return verb(self.ledgers[writer], WRITERS[writer])
        except (Refused, UserError):
            return None

    def terms(self, holder: Holder, amount: int, days: int, *, overdraft: int = 0) -> Terms:
        end = self.time + timedelta(days=days)
        return Terms(holder=holder, amount=amount, valid_from=self.time, valid_until=end, overdraft=overdraft)

    @rule(writer=st.integers(0, 1), amount=AMOUNTS, days=st.integers(1, 30), overdraft=st.sampled_from([0, 0, 500]))
    def grant(self, writer: int, amount: int, days: int, overdraft: int) -> None:
        terms = self.terms(ACME, amount, days, overdraft=overdraft)
        self.grants.append(self.ledgers[writer].grant(terms, by=WRITERS[writer], reason="test"))

    @precondition(lambda self: self.grants)
    @rule(data=st.data(), writer=st.integers(0, 1), amount=AMOUNTS, holder=st.sampled_from(HOLDERS))
    def sub_grant(self, data: st.DataObject, writer: int, amount: int, holder: Holder) -> None:
        parent, terms = data.draw(st.sampled_from(self.grants)), self.terms(holder, amount, 1)
        made = self.attempt(writer, lambda ledger, by: ledger.sub_grant(parent, terms, by=by, reason="test"))
        self.grants += [made] if made else []

    @rule(writer=st.integers(0, 1), holder=st.sampled_from(HOLDERS), rate=st.integers(0, 4), seconds=AMOUNTS)
    def hold(self, writer: int, holder: Holder, rate: int, seconds: int) -> None:
        key = f"run-{next(self.numbers)}@1"
        request = HoldRequest(key=key, run_id="run", holder=holder, resource="gpu", rate=rate, walltime_s=seconds)
        answer = self.ledgers[writer].preview(request, by=WRITERS[writer])
        try:
            self.ledgers[writer].hold(request, by=WRITERS[writer])
        except Refused:
            assert not answer.fits
            if answer.largest_walltime_s:
                assert (
                    self.ledgers[0].preview(replace(request, walltime_s=answer.largest_walltime_s), by=WRITERS[0]).fits
                )
        else:
            assert answer.fits
            self.holds.append(key)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), writer=st.integers(0, 1), amount=AMOUNTS)
    def resize(self, data: st.DataObject, writer: int, amount: int) -> None:
        key = data.draw(st.sampled_from(self.holds))
        self.attempt(writer, lambda ledger, by: ledger.resize_hold(key, amount, by=by, reason="test").held)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), writer=st.integers(0, 1))
    def release(self, data: st.DataObject, writer: int) -> None:
        key = data.draw(st.sampled_from(self.holds))
        assert self.ledgers[writer].release(key, by=WRITERS[writer], reason="test").held == 0

    @rule(
        data=st.data(), writer=st.integers(0, 1), amount=st.integers(0, 5_000), refund=st.booleans(), last=st.booleans()
    )
    def use(self, data: st.DataObject, writer: int, amount: int, refund: bool, last: bool) -> None:
        key = data.draw(st.sampled_from([None, *self.holds]))
        holder = data.draw(st.sampled_from([None, *HOLDERS])) if key is None else None
        number = next(self.numbers)
        usage = Usage(
            key=f"leonardo:{number}",
            cluster="leonardo",
            job_id=str(number),
            state="COMPLETED",
            billing_s=amount,
            refund_s=amount // 2 if refund else 0,
            ends_job=last,
            start=self.time,
            end=self.time,
        )
        self.usages.append((usage, key, holder))
        self.ledgers[writer].post_usage(usage, by=WRITERS[writer], hold_key=key, holder=holder)

    @precondition(lambda self: len(self.grants) > 1)
    @rule(data=st.data(), writer=st.integers(0, 1), amount=AMOUNTS)
    def transfer(self, data: st.DataObject, writer: int, amount: int) -> None:
        source, target = data.draw(st.permutations(self.grants))[:2]
        self.attempt(writer, lambda ledger, by: ledger.transfer(source, target, amount, by=by, reason="test"))

    @precondition(lambda self: self.grants)
    @rule(data=st.data(), writer=st.integers(0, 1), verb=st.sampled_from(["freeze", "unfreeze", "close"]))
    def govern(self, data: st.DataObject, writer: int, verb: str) -> None:
        grant = data.draw(st.sampled_from(self.grants))
        self.attempt(writer, lambda ledger, by: getattr(ledger, verb)(grant, by=by, reason="test"))

    @precondition(lambda self: self.grants)
    @rule(data=st.data(), writer=st.integers(0, 1), amount=st.integers(-3_000, 3_000))
    def adjust(self, data: st.DataObject, writer: int, amount: int) -> None:
        grant = data.draw(st.sampled_from(self.grants))
        self.attempt(writer, lambda ledger, by: ledger.adjust(grant, amount, by=by, reason="test"))

    @precondition(lambda self: self.grants)
    @rule(data=st.data(), writer=st.integers(0, 1), days=st.integers(0, 20), amount=st.integers(0, 900))
    def extend(self, data: st.DataObject, writer: int, days: int, amount: int) -> None:
        grant, until = data.draw(st.sampled_from(self.grants)), self.time + timedelta(days=days)
        self.attempt(writer, lambda ledger, by: ledger.extend(grant, until=until, amount=amount, by=by, reason="test"))

    @rule(data=st.data(), writer=st.integers(0, 1))
    def reverse(self, data: st.DataObject, writer: int) -> None:
        seq = data.draw(st.integers(1, 2 * next(self.numbers)))
        self.attempt(writer, lambda ledger, by: _reverse(ledger, seq, by))

    @rule(writer=st.integers(0, 1), hours=st.integers(1, 200))
    def later(self, writer: int, hours: int) -> None:
        self.time += timedelta(hours=hours)
        self.ledgers[writer].expire(by=WRITERS[writer])
        assert self.ledgers[writer].expire(by=WRITERS[writer]) == 0

    @invariant()
    def nothing_is_lost_and_nothing_is_below_zero_unsaid(self) -> None:
        if not self.ledgers:
            return
        grants = self.ledgers[0].grants(by=WRITERS[0], closed=True)
        entries = list(self.ledgers[0].entries(by=WRITERS[0]))
        outside = sum(amount for entry in entries for name, amount in entry.lines if name == "outside")
        assert sum(grant.balance.granted for grant in grants) == -outside
        assert all(min(grant.held, grant.spent, grant.expired) >= 0 for grant in grants)
        held = sum(part.held for hold in self.ledgers[0].holds(by=WRITERS[0]) for part in hold.parts)
        assert held == sum(grant.held for grant in grants)
        told = {grant for entry in entries for grant in entry.facts.get("overdraft", {})}
        assert {str(grant.id) for grant in grants if grant.free < 0} <= told


def _reverse(ledger: Ledger, seq: int, by: Actor) -> int:
    from forgia.errors import NotFound

    try:
        return ledger.reverse(seq, by=by, reason="test")
    except NotFound:
        return 0


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


@given(
    charges=st.lists(
        st.tuples(
            st.integers(0, 9_000), st.booleans(), st.booleans(), st.sampled_from(["run-0@1", "run-1@1", None, "anna"])
        ),
        min_size=2,
        max_size=8,
    ),
    data=st.data(),
)
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_accountings_rows_makes_no_difference(
    charges: list[tuple[int, bool, bool, str | None]], data: st.DataObject
) -> None:
    rows = [_row(number, *charge) for number, charge in enumerate(charges)]
    shuffled = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    assert _after([rows]) == _after([shuffled[:cut], shuffled[cut // 2 :], shuffled])


def _row(number: int, amount: int, refund: bool, last: bool, to: str | None) -> tuple[Usage, str | None, Holder | None]:
    usage = Usage(
        key=f"leonardo:{number}",
        cluster="leonardo",
        job_id="7",
        state="COMPLETED",
        billing_s=amount,
        refund_s=amount if refund else 0,
        ends_job=last,
        start=START,
        end=START,
    )
    return usage, (to if to and "@" in to else None), (HOLDERS[2] if to == "anna" else None)


def _after(goes: list[list[tuple[Usage, str | None, Holder | None]]]) -> list[object]:
    """What stands on the grants after these goes of settlement, when all holds are closed."""
    by = WRITERS[0]
    end = START + timedelta(days=30)
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, open_ledger(copied(folder), now=lambda: START) as ledger:
        for holder, amount in ((ACME, 9_000), (HOLDERS[2], 1_500), (SITE, 100_000)):
            ledger.grant(Terms(holder=holder, amount=amount, valid_from=START, valid_until=end), by=by, reason="test")
        for number in (0, 1):
            key = f"run-{number}@1"
            ledger.hold(
                HoldRequest(key=key, run_id="run", holder=HOLDERS[2], resource="gpu", rate=2, walltime_s=1_000), by=by
            )
        for rows in goes:
            ledger.post_usages(rows, by=by)
        for number in (0, 1):
            ledger.release(f"run-{number}@1", by=by, reason="over")
        assert ledger.verify() == ()
        return [grant.balance for grant in ledger.grants(by=by)]
