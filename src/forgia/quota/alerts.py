"""What staff should know today: budgets nearly used up, or hardly used, about to end, frozen, or in doubt.

Told once until it changes: each alert has a name and a state, and the state that was told is remembered. A day has one
digest; after it only what is critical is told before the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from forgia import store
from forgia.quota import slices
from forgia.quota.pace import is_live, pace_of, percent

if TYPE_CHECKING:
    from pathlib import Path

    from forgia.quota.reconcile import Drift
    from forgia.quota.records import GrantState, Quarantined

LEVELS = ("info", "warning", "critical")
"""How grave an alert is, the gravest last."""
USED = ((100, "critical"), (90, "warning"), (80, "warning"), (50, "info"))
"""Percent used or held, from which on; the first that holds is told."""
ENDS = ((1, "critical"), (7, "warning"), (30, "info"))
"""Days until a grant ends, up to which."""
IDLE = Fraction(1, 2)
"""A pace below this: what is left over is reported back to EuroHPC, and the next application is measured by it."""
FIRST_WEEK = timedelta(days=7)
"""Within which nobody is idle yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing to know."""

    kind: str
    """used, slice, ends, idle, frozen, drift or quarantine."""
    level: str
    """Of ``LEVELS``."""
    state: str
    """What has to change for it to be told again, such as the threshold that was passed."""
    text: str
    holder: str = ""
    grant: int = 0
    """0: of no grant."""
    subject: str = ""
    """What it is about where that is neither: an account."""

    @property
    def name(self) -> str:
        """The same for the same thing, whatever its state."""
        return f"{self.kind}:{self.subject or self.grant}"

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What alerts are made of."""

    grants: Sequence[GrantState]
    now: datetime
    used: Mapping[int, Mapping[str, int]]
    """Grant with monthly slices → calendar month → what was used in it."""
    quarantined: Sequence[Quarantined] = ()
    drifts: Sequence[Drift] = ()
    zone: str = slices.ZONE


def alerts(facts: Facts) -> list[Alert]:
    """Everything that is to be known, the gravest first."""
    open_grants = [grant for grant in facts.grants if not grant.closed and grant.balance.granted > 0]
    live = [grant for grant in open_grants if is_live(grant, facts.now)]
    found = [alert for grant in live for rule in RULES for alert in rule(grant, facts)]
    found += [drifted(drift) for drift in facts.drifts if drift.alarms]
    if facts.quarantined:
        found.append(in_quarantine(facts.quarantined))
    return sorted(found, key=lambda one: (-LEVELS.index(one.level), one.holder, one.grant, one.kind))


def used_up(grant: GrantState, _facts: Facts) -> Iterator[Alert]:
    """How much is used or held."""
    balance = grant.balance
    share = Fraction((balance.charged + balance.held) * 100, balance.granted)
    for limit, level in USED:
        if share >= limit:
            held = f", of it {percent(Fraction(balance.held, balance.granted))} held" if balance.held else ""
            yield of(grant, "used", level, state=str(limit), text=f"{percent(share / 100)} is used{held}")
            return


def slice_used_up(grant: GrantState, facts: Facts) -> Iterator[Alert]:
    """This month's share is used up."""
    if grant.id not in facts.used:
        return
    month = slices.month_name(facts.now, facts.zone)
    standing = slices.standing(grant.terms, facts.used[grant.id], month, facts.zone)
    if standing.left <= 0 and standing.total:
        level = "critical" if standing.consequence == "refuse" else "warning"
        follows = {"deprioritise": ": jobs go on at lower priority", "refuse": ": the site takes no more jobs"}
        text = f"the slice of {month} is used up{follows.get(standing.consequence, '')}"
        yield of(grant, "slice", level, state=f"{month} {standing.consequence}".strip(), text=text)


def ends_soon(grant: GrantState, facts: Facts) -> Iterator[Alert]:
    """The end is near."""
    left = grant.terms.valid_until - facts.now
    for days, level in ENDS:
        if left <= timedelta(days=days):
            lost = percent(Fraction(max(grant.free, 0), grant.balance.granted))
            text = (
                f"ends {grant.terms.valid_until:%Y-%m-%d %H:%M} UTC, in {span(left)}; {lost} is neither used nor held"
            )
            yield of(grant, "ends", level, state=f"{days} {grant.terms.valid_until:%Y-%m-%d}", text=text)
            return


def idle(grant: GrantState, facts: Facts) -> Iterator[Alert]:
    """Hardly used."""
    pace = pace_of([grant], facts.now)
    is_young = facts.now - grant.terms.valid_from < FIRST_WEEK
    if pace.value is not None and pace.value < IDLE and not is_young:
        shares = f"{percent(pace.used_share)} is used after {percent(pace.elapsed_share)} of the time"
        text = f"hardly used (pace {float(pace.value):.2f}): {shares}; what is left over is reported back to EuroHPC"
        yield of(grant, "idle", "warning", state="idle", text=text)


def frozen(grant: GrantState, _facts: Facts) -> Iterator[Alert]:
    """Nothing can be submitted."""
    if grant.frozen:
        yield of(grant, "frozen", "warning", state="frozen", text="frozen: it gives no new holds")


RULES = (used_up, slice_used_up, ends_soon, idle, frozen)
"""What is asked of each grant that is valid."""


def of(grant: GrantState, kind: str, level: str, *, state: str, text: str) -> Alert:
    """An alert on a grant."""
    title = f" ({grant.terms.title})" if grant.terms.title else ""
    sentence = f"grant {grant.id} of {grant.holder}{title}: {text}"
    return Alert(kind=kind, level=level, state=state, text=sentence, holder=str(grant.holder), grant=grant.id)


def span(left: timedelta) -> str:
    """A length of time until something, for a person."""
    return f"{left.days} days" if left >= timedelta(days=2) else f"{max(left // timedelta(hours=1), 0)} hours"


def drifted(drift: Drift) -> Alert:
    """The site counts something else."""
    more = "more" if drift.difference > 0 else "less"
    text = f"account {drift.account}: the site counts {float(drift.share * 100):.1f} % {more} than the ledger"
    state = f"{'+' if drift.difference > 0 else '-'}{int(drift.share * 100)}"
    return Alert(kind="drift", level="warning", state=state, text=text, subject=drift.account)


def in_quarantine(rows: Sequence[Quarantined]) -> Alert:
    """Rows of the accounting that were not charged."""
    reasons = sorted({row.reason for row in rows})
    text = f"{len(rows)} rows of the accounting wait for a person and are not charged: {'; '.join(reasons[:3])}"
    newest = max(row.seq for row in rows)
    return Alert(kind="quarantine", level="warning", state=f"{len(rows)} {newest}", text=text, subject="rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What is told now, and what will have been told."""

    told: tuple[Alert, ...]
    waiting: int
    """Of what is new, how many wait for tomorrow's digest."""
    memory: Mapping[str, Any]


def digest(found: Iterable[Alert], memory: Mapping[str, Any], *, today: date) -> Digest:
    """Of these alerts the new ones: all of them once a day, and after that only what is critical. Pure.

    An alert that went away is forgotten, and told again should it come back.
    """
    every = list(found)
    before = dict(memory.get("told", {}))
    fresh = [alert for alert in every if before.get(alert.name) != alert.state]
    is_first = memory.get("day") != today.isoformat()
    told = [alert for alert in fresh if is_first or alert.level == "critical"]
    names = {alert.name for alert in every}
    after = {name: state for name, state in before.items() if name in names}
    after.update((alert.name, alert.state) for alert in told)
    day = today.isoformat() if told or not is_first else memory.get("day")
    return Digest(told=tuple(told), waiting=len(fresh) - len(told), memory={"day": day, "told": after})


def tell(found: Iterable[Alert], memory_file: Path, *, ledger: str, today: date) -> Digest:
    """The digest of a ledger's alerts, remembered in a file that several ledgers share; two at once tell it once."""
    store.private_directory(memory_file.parent)
    with store.locked(memory_file.with_name(f"{memory_file.name}.lock")):
        known = store.read_json(memory_file) if memory_file.is_file() else {}
        made = digest(found, known.get(ledger, {}), today=today)
        store.write_json(memory_file, {**known, ledger: made.memory})
    return made


def worst(found: Iterable[Alert]) -> str:
    """The level of the gravest; empty where there is none."""
    return max((alert.level for alert in found), key=LEVELS.index, default="")
