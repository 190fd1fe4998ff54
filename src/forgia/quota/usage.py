"""A row of the accounting, judged: what it costs, whether it ends its job, or why nobody may say. Pure.

Source of the states: https://slurm.schedmd.com/job_state_codes.html and squeue(1), SLURM 22.05 to 25.05
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from sys import intern
from typing import TYPE_CHECKING, TypedDict

from forgia.grant import Usage
from forgia.quota import tres
from forgia.quota.accounting import Malformed, Queue, Row

if TYPE_CHECKING:
    from forgia.profile import Billing


class Verdict(enum.StrEnum):
    """What is done with a row."""

    FINAL = "final"
    """It will not change again: charged."""
    OPEN = "open"
    """It waits or runs: shown, not charged."""
    QUARANTINED = "quarantined"
    """Told, not charged, and looked at again in the next settlement."""


class Fate(enum.StrEnum):
    """What a state says of the job behind the attempt."""

    OVER = "over"
    AGAIN = "again"
    """Back to the queue, or on with another allocation."""
    PERHAPS = "perhaps"
    """Back to the queue if it may be requeued."""
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a state is settled."""

    fate: Fate
    is_charged: bool = True
    is_refundable: bool = False
    """The site's fault, by policy given back."""


OVER, AGAIN = Rule(fate=Fate.OVER), Rule(fate=Fate.AGAIN)
LIVE, WAITING = Rule(fate=Fate.OPEN), Rule(fate=Fate.OPEN, is_charged=False)
FAILED_NODE = Rule(fate=Fate.PERHAPS, is_refundable=True)
RULES = {
    **dict.fromkeys(("COMPLETED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED", "DEADLINE"), OVER),
    **dict.fromkeys(("REQUEUED", "RESIZING"), AGAIN),
    # Preemption cancels where the site says so.
    "PREEMPTED": Rule(fate=Fate.PERHAPS),
    **dict.fromkeys(("NODE_FAIL", "BOOT_FAIL"), FAILED_NODE),
    # The job of a federation that another cluster has taken.
    "REVOKED": Rule(fate=Fate.OVER, is_charged=False),
    **dict.fromkeys(("RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "STOPPED"), LIVE),
    **dict.fromkeys(("SIGNALING", "STAGE_OUT"), LIVE),
    **dict.fromkeys(("PENDING", "REQUEUE_HOLD", "SPECIAL_EXIT", "REQUEUE_FED", "RESV_DEL_HOLD"), WAITING),
}
RESIZED = "it was resized: SLURM counts its time before that in this row as well, and so does the site"
"""A resized job's next row is as if submitted then, but begins with the job; slurmdbd's roll-up charges it so.

Source: tried on 22.05.8; sreport of the records in tests/unit/recorded/sacct has the same sum.
"""
NO_TIME = frozenset({"", "Unknown", "None", "N/A"})
NO_NODE = frozenset({"", "None", "None assigned", "Unknown", "N/A", "(null)"})
FAR_LIMIT = frozenset({"", "UNLIMITED", "Partition_Limit"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A row with what is to be done with it."""

    verdict: Verdict
    usage: Usage
    fate: Fate = Fate.OPEN
    job: str = ""
    """What the tasks of an array and the components of a heterogeneous job share: the id that was submitted."""
    submitted: int = 0
    """When the attempt was queued, for the order of a job's attempts; seconds since 1970."""
    flag: str = ""
    """What staff should look at, though it is settled."""


def judge(row: Row | Malformed, *, billing: Billing | None = None, now: datetime, queue: Queue | None = None) -> Judged:
    """The row's usage. ``queue``: what waits or runs; None: not known. Never raises for what a row says."""
    if isinstance(row, Malformed):
        return Judged(verdict=Verdict.QUARANTINED, usage=nameless(row))
    state = intern(row["State"].partition(" by ")[0].rstrip("+"))
    try:
        rule = RULES[state]
    except KeyError:
        return quarantined(row, f"state {state!r} is not known")
    try:
        judged = measured(row, state, rule, billing=billing)
    except ValueError as error:
        return quarantined(row, str(error))
    return accrued(judged, row, now=now, queue=queue) if rule.fate is Fate.OPEN else judged


def measured(row: Row, state: str, rule: Rule, *, billing: Billing | None) -> Judged:
    """What the row says, by the rule of its state. Raises: ValueError — it cannot be charged, and why."""
    held, length = tres.parse(row["AllocTRES"]), seconds_held(row)
    rate = tres.rate(held, billing) if rule.is_charged else 0
    begin, end = moment(row["Start"]), moment(row["End"])
    check(row, rule, length, has_rate=rate is not None, has_times=bool(begin and (end or rule.fate is Fate.OPEN)))
    rate = rate or 0
    billing_s = math.floor(rate * length)
    usage = Usage(
        **named(row),
        state=state,
        billing_s=billing_s,
        refund_s=billing_s
        if rule.is_refundable or (rule.fate is Fate.AGAIN and row["FailedNode"] not in NO_NODE)
        else 0,
        ends_job=rule.fate is Fate.OVER,
        rate=math.floor(rate),
        seconds=length,
        start=begin if length or rule.fate is Fate.OPEN else None,
        end=end,
        resource="gpu" if held.gpus else "cpu",
        gpus=held.gpus,
        nodes=held.nodes,
    )
    queued_at = epoch(row["Submit"])
    return Judged(
        verdict=Verdict.OPEN if rule.fate is Fate.OPEN else Verdict.FINAL,
        usage=usage,
        fate=rule.fate,
        job=submitted_id(row),
        submitted=queued_at,
        flag=RESIZED if begin and begin.timestamp() < queued_at else "",
    )


def seconds_held(row: Row) -> int:
    """How long it held its nodes: sacct leaves out the time suspended, in which GPUs were held all the same.

    Raises: ValueError — no such time.
    """
    if not row["ElapsedRaw"].isdecimal():
        raise ValueError(f"ElapsedRaw is {row['ElapsedRaw']!r}")
    return int(row["ElapsedRaw"]) + (tres.seconds(row["Suspended"]) if row["Suspended"] else 0)


def check(row: Row, rule: Rule, length: int, *, has_rate: bool, has_times: bool) -> None:
    """Raises: ValueError — time passed that nobody can put a price on."""
    if not length or not rule.is_charged:
        return
    if not row["AllocTRES"]:
        raise ValueError(f"it ran for {length} s, and of what it held nothing is known")
    if not has_rate:
        raise ValueError("SLURM counts no billing here, and the profile has no formula")
    if not has_times:
        raise ValueError(f"it ran for {length} s, from {row['Start']!r} to {row['End']!r}")


def accrued(judged: Judged, row: Row, *, now: datetime, queue: Queue | None) -> Judged:
    """A live row with what it will have cost by its time limit, where SLURM has lost sight of the job."""
    usage = judged.usage
    runs = usage.start is not None and usage.end is None
    if queue is None or not runs or {usage.job_id, judged.job} & queue.ids:
        return judged
    limit = usage.seconds if row["TimelimitRaw"] in FAR_LIMIT else int(row["TimelimitRaw"]) * 60
    length = min(limit, max(0, int((now - (usage.start or now)).total_seconds())))
    flag = f"{usage.state} in the accounting and in no queue: a runaway, shown up to its time limit"
    return replace(judged, usage=replace(usage, seconds=length, billing_s=usage.rate * length), flag=flag)


def quarantined(row: Row, why: str) -> Judged:
    """A row that is told and not charged."""
    end = readable_moment(row["End"])
    usage = Usage(**named(row), state=row["State"], billing_s=0, ends_job=False, quarantined=why, end=end)
    return Judged(verdict=Verdict.QUARANTINED, usage=usage, job=submitted_id(row))


class Named(TypedDict):
    """Whose row it is."""

    key: str
    cluster: str
    job_id: str
    account: str
    user: str
    partition: str
    name: str
    raw: str


def named(row: Row) -> Named:
    """Whose row it is, without what it used."""
    return Named(
        key=key(row),
        # The same few words in every row of a month: each is kept once.
        cluster=intern(row["Cluster"]),
        job_id=row["JobIDRaw"],
        account=intern(row["Account"]),
        user=intern(row["User"]),
        partition=intern(row["Partition"]),
        name=row["JobName"],
        raw=row.raw,
    )


def nameless(line: Malformed) -> Usage:
    """What there is to tell of a line that is no row."""
    return Usage(
        key=line.key, cluster="", job_id="", state="", billing_s=0, ends_job=False, raw=line.raw, quarantined=line.why
    )


def key(row: Row) -> str:
    """What names the attempt for ever: job ids come back, database indexes do not."""
    if row["DBIndex"] not in ("", "0"):
        return f"{row['Cluster']}:{row['DBIndex']}"
    return ":".join(row[name] for name in ("Cluster", "JobIDRaw", "Submit", "Start"))


def submitted_id(row: Row) -> str:
    """The id that sbatch gave: of ``123_4``, ``123_[4-9]`` and ``123+1`` it is 123."""
    return row["JobID"].partition("_")[0].partition("+")[0] or row["JobIDRaw"]


def epoch(text: str) -> int:
    """Seconds since 1970; 0 where there is no time. Raises: ValueError — no time at all."""
    if text in NO_TIME:
        return 0
    if text.isdecimal():
        return int(text)
    # A SLURM that does not know the format %s writes its own, by the clock of TZ, which is UTC.
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def moment(text: str) -> datetime | None:
    """A time of the accounting, in UTC; None where there is none. Raises: ValueError — no time at all."""
    since = epoch(text)
    return datetime.fromtimestamp(since, UTC) if since else None


def readable_moment(text: str) -> datetime | None:
    """The same of a row that is in doubt."""
    try:
        return moment(text)
    except ValueError:
        return None
