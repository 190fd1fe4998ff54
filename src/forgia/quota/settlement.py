"""Settlement: what the accounting says is charged to the ledger, each attempt once, whatever windows are asked.

Settled twice, in overlapping windows, in any order or by two at once, the ledger is the same: every attempt has a key
of its own, and the ledger posts a key once. What still runs is shown and not charged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby, islice
from typing import TYPE_CHECKING

from forgia.grant import Actor, Holder, Usage
from forgia.quota import attribution
from forgia.quota.accounting import Malformed, Queue, Row
from forgia.quota.records import Hold, HoldMark, Posted
from forgia.quota.usage import Fate, Judged, Verdict, judge

if TYPE_CHECKING:
    from forgia.profile import Billing
    from forgia.quota.ledger import Ledger

AT_ONCE = 1000
"""Usages in one transaction: no submission waits longer for the ledger than these take."""
PATIENCE = timedelta(hours=1)
"""The accounting lags; a hold without a job is let go, or told, only after this."""
NO_JOB = "its job has left the queue, and the accounting has every attempt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a cluster told: rows of the accounting, then the queue."""

    rows: Iterable[Row | Malformed]
    queue: Queue | None = None
    """None: not known; then a job that may come back keeps its hold."""
    formulas: Mapping[str, Billing] = field(default_factory=dict)
    """Partition → what it charges, for a SLURM that counts no billing; ``""``: any other partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One row that staff should look at."""

    key: str
    job_id: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What a settlement did. Amounts are billing-seconds."""

    at: datetime
    rows: int = 0
    posted: int = 0
    known: int = 0
    """Charged by an earlier settlement, or by another at the same time."""
    charged: int = 0
    refunded: int = 0
    released: int = 0
    beyond_hold: int = 0
    """Of the charges, what no hold had reserved; jobs of nobody's included."""
    unmanaged: int = 0
    """Rows on the accounts that no run of forgia's is behind …"""
    unmanaged_charged: int = 0
    """… and what of the charges was theirs."""
    running: tuple[Usage, ...] = ()
    """What waits or runs, with what it has used until now: shown, not charged."""
    quarantined: tuple[Note, ...] = ()
    remarks: tuple[Note, ...] = ()
    let_go: tuple[str, ...] = ()
    """Holds whose job left the queue without an attempt that said so; what was left of them went back."""
    idle: tuple[str, ...] = ()
    """Open holds that neither the accounting nor the queue has a job for."""
    unsettled_since: datetime | None = None
    """The end of the oldest row in quarantine: the next window has to reach back to it."""

    @property
    def accrued(self) -> int:
        """What will be charged at least for what runs."""
        return sum(usage.billing_s for usage in self.running)


def settle(
    ledger: Ledger, batch: Batch, *, by: Actor, now: datetime, owners: Mapping[str, Holder] | None = None
) -> Settlement:
    """Charge what is final, show what runs, tell what nobody can judge; never stops for a row.

    Args: owners — account → who pays for jobs on it that are no run of forgia's; else the ledger's own bucket.
    """
    judged = [judge_row(row, batch, now=now) for row in batch.rows]
    known = ledger.known_usages([item.usage.key for item in judged if item.verdict is Verdict.FINAL])
    fresh = (item for item in with_endings(judged, batch.queue) if item.usage.key not in known)
    payers = Payers(ledger, by=by, owners=owners or {})
    result = shown(judged, now, known=len(known))
    for some in chunks((item for item in fresh if item.verdict is not Verdict.OPEN), AT_ONCE):
        orders = [payers.order(item) for item in some]
        result = added(result, orders, ledger.post_usages(orders, by=by))
    remarks = [
        *(note(item, item.flag) for item in judged if item.flag and item.usage.key not in known),
        *payers.remarks,
    ]
    result = replace(result, remarks=tuple(remarks))
    return result if batch.queue is None else without_jobs(ledger, result, judged, batch.queue, by=by)


def judge_row(row: Row | Malformed, batch: Batch, *, now: datetime) -> Judged:
    """The row by the formula of its partition."""
    partition = row["Partition"] if isinstance(row, Row) else ""
    billing = batch.formulas.get(partition) or batch.formulas.get("")
    return judge(row, billing=billing, now=now, queue=batch.queue)


def with_endings(judged: Iterable[Judged], queue: Queue | None) -> Iterator[Judged]:
    """The rows, the last attempt of each job marked as its end if nothing of the job still lives.

    The tasks of an array and the components of a heterogeneous job end together: they share one hold.
    """
    for _, group in jobs(judged):
        rows = sorted(group, key=lambda item: (item.submitted, item.usage.key))
        lives = is_alive(rows, queue)
        finals = [item for item in rows if item.verdict is Verdict.FINAL]
        for item in rows:
            may_end = item.fate is Fate.OVER or (item.fate is Fate.PERHAPS and queue is not None)
            ends = bool(finals) and item is finals[-1] and may_end and not lives
            same = item.usage.ends_job is ends
            yield item if same else replace(item, usage=replace(item.usage, ends_job=ends))


def jobs(judged: Iterable[Judged]) -> Iterator[tuple[tuple[str, str, str], list[Judged]]]:
    """Rows by cluster, user and name: whatever bears the name of a run's attempt uses the hold of it."""

    def name(item: Judged) -> tuple[str, str, str]:
        return item.usage.cluster, item.usage.user, item.usage.name

    for key, group in groupby(sorted(judged, key=name), key=name):
        yield key, list(group)


def is_alive(rows: Sequence[Judged], queue: Queue | None) -> bool:
    """Something of the job waits, runs, or cannot be judged."""
    if any(item.verdict is not Verdict.FINAL for item in rows):
        return True
    return queue is not None and any({item.usage.job_id, item.job} & queue.ids for item in rows)


def shown(judged: Sequence[Judged], now: datetime, *, known: int) -> Settlement:
    """What is told of the rows without charging any."""
    doubtful = [item.usage for item in judged if item.verdict is Verdict.QUARANTINED]
    return Settlement(
        at=now,
        rows=len(judged),
        known=known,
        running=tuple(item.usage for item in judged if item.verdict is Verdict.OPEN),
        quarantined=tuple(Note(key=usage.key, job_id=usage.job_id, what=usage.quarantined) for usage in doubtful),
        unsettled_since=min((usage.end for usage in doubtful if usage.end), default=None),
    )


Order = tuple[Usage, str | None, Holder | None]


class Payers:
    """Whom the ledger is to charge: the hold that a job's name says, else the owner of the account's other jobs."""

    def __init__(self, ledger: Ledger, *, by: Actor, owners: Mapping[str, Holder]) -> None:
        self.ledger, self.by = ledger, by
        self.owners = {account.casefold(): holder for account, holder in owners.items()}
        self.holds: dict[str, Hold | HoldMark | None] = dict(ledger.open_marks(by=by))
        self.remarks: list[Note] = []

    def order(self, item: Judged) -> Order:
        """One row as the ledger takes it."""
        hold = self.hold(attribution.key_of_job(item.usage.name))
        if hold and (why := attribution.why_not(item.usage, hold)):
            self.remarks.append(note(item, why))
            hold = None
        if hold:
            return item.usage, hold.key, None
        return item.usage, None, self.owners.get(item.usage.account.casefold())

    def hold(self, key: str | None) -> Hold | HoldMark | None:
        """An open hold, or one that is closed: rows may come late."""
        if key is None:
            return None
        if key not in self.holds:
            self.holds[key] = self.ledger.find_hold(key, by=self.by)
        return self.holds[key]


def note(item: Judged, what: str) -> Note:
    """A remark on a row."""
    return Note(key=item.usage.key, job_id=item.usage.job_id, what=what)


def added(result: Settlement, orders: Sequence[Order], posted: Sequence[Posted]) -> Settlement:
    """The result with what the ledger did with some more usages."""
    charged = [(key, post) for (_, key, _), post in zip(orders, posted, strict=True) if post.outcome == "charged"]
    nobodys = [post for key, post in charged if key is None]
    return replace(
        result,
        posted=result.posted + len(charged),
        known=result.known + sum(post.outcome == "known" for post in posted),
        charged=result.charged + sum(post.charged for _, post in charged),
        refunded=result.refunded + sum(post.refunded for _, post in charged),
        released=result.released + sum(post.released for _, post in charged),
        beyond_hold=result.beyond_hold + sum(post.beyond_hold for _, post in charged),
        unmanaged=result.unmanaged + len(nobodys),
        unmanaged_charged=result.unmanaged_charged + sum(post.charged for post in nobodys),
    )


def without_jobs(
    ledger: Ledger, result: Settlement, judged: Iterable[Judged], queue: Queue, *, by: Actor
) -> Settlement:
    """Let go of holds whose job is over by every sign but an attempt that says so, and tell of those without a job.

    What was cancelled in the queue leaves no row, or one that is not the last.
    """
    still = ledger.open_marks(by=by)
    over = list(finished(judged, queue, still, now=result.at))
    for hold in over:
        ledger.release(hold.key, by=by, reason=NO_JOB)
    seen = {attribution.key_of_job(name) for name in queue.names | {item.usage.name for item in judged}}
    idle = (hold.key for hold in still.values() if hold.key not in seen and hold.opened + PATIENCE < result.at)
    return replace(result, let_go=tuple(hold.key for hold in over), idle=tuple(idle))


def finished(
    judged: Iterable[Judged], queue: Queue, holds: Mapping[str, HoldMark], *, now: datetime
) -> Iterator[HoldMark]:
    """Of these holds, those whose every attempt has ended a while ago and is in no queue."""
    for (_, _, name), rows in jobs(judged):
        hold = holds.get(attribution.key_of_job(name) or "")
        ends = [item.usage.end for item in rows if item.usage.end]
        if not hold or not ends or attribution.why_not(rows[0].usage, hold):
            continue
        if max(ends) + PATIENCE < now and not is_alive(rows, queue):
            yield hold


def chunks(items: Iterable[Judged], size: int) -> Iterator[list[Judged]]:
    """The items, some at a time."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
