"""What SLURM's limits are to be so that they say what the ledger says, and the commands that make them so. Pure.

One QOS an organisation. ``GrpTRESMins=billing`` bounds all that a QOS ever ran, runs and will run, so the limit is not
what is left but

    what SLURM counted under this QOS and the ledger charged + what is held + what new holds may take

and of the first the smaller of two counts: SLURM's own, and the ledger's charges for attempts that ran under this QOS.
Beyond its count SLURM then lets no more run than the ledger holds or would give: an attempt that ended and is not
charged yet is in SLURM's count and still held, not in both sums; what ran under another QOS, or was adjusted, is in
neither; a count that somebody set to zero makes the limit smaller, not larger. A refund gives budget back and leaves
both counts. Minutes are rounded down, SLURM's count of them as well. While jobs run and are charged the sum stays as
it is, to such a minute.

SLURM's limits are written and compared, never read as budget. No QOS and no association is ever deleted: what is over
is paused, by ``GrpSubmitJobs=0``.
Source: sacctmgr(1), resource_limits.html of SLURM 22.05, https://slurm.schedmd.com/archive/slurm-22.05.8/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from forgia.errors import Problem, UserError
from forgia.grant import Holder, Kind
from forgia.quota import access, tree
from forgia.quota.accounting import FIELDS as SACCT_FIELDS
from forgia.quota.limits import Actual, Limits
from forgia.quota.records import Ceiling, Entry, GrantState, HolderUse

PREFIX = "fg_"
MINUTE_S = 60
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,199}")
"""Names that sacctmgr takes as one word and as nothing else: no comma, blank, bracket, sign or quote."""
PAUSED, UNLIMITED = 0, None
LIVING = {True: "jobs that run keep running", False: "jobs that run are ended once it is reached (no safe)"}
"""What lowering a limit means for them, by whether the cluster is safe."""
OPTIONS = (
    ("minutes", "GrpTRESMins=billing=", "billing-minutes in all"),
    ("gpus", "GrpTRES=gres/gpu=", "GPUs at once"),
    ("jobs", "GrpJobs=", "running jobs"),
    ("submitted", "GrpSubmitJobs=", "jobs in the queue"),
)
"""Field of ``Limits``, how sacctmgr is told, and a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Firm:
    """What the ledger has of an organisation."""

    holder: Holder
    grants: tuple[GrantState, ...]
    charged: int = 0
    """Billing-seconds of attempts that ran under its QOS; what a policy refunded is in it."""
    caps: Mapping[str, int] = field(default_factory=dict)
    """``gpus`` and ``jobs`` at once; ``billing_s``: how much more may be held or charged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an organisation's QOS is to be."""

    holder: Holder
    qos: str
    account: str | None
    """Whose association is to have it; None: it is left to the operator."""
    limits: Limits
    paused: str
    """Why it is; empty where it is not."""
    counted: int
    """Billing-seconds: counted by SLURM and charged by the ledger …"""
    held: int
    free: int
    """… held, and free for new holds. The limit is their sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One command, and what it does."""

    argv: tuple[str, ...]
    sentence: str
    raises: bool = True
    """It lets more run; what lowers a limit goes first, so that a break in between leaves too little, not too much."""


# What the ledger says


def charged_by_qos(entries: Iterable[Entry], *, cluster: str) -> dict[str, int]:
    """QOS → billing-seconds charged for what ran under it on this cluster, by the accounting's own lines."""
    found: dict[str, int] = {}
    for entry in entries:
        usage = entry.facts.get("usage") if entry.kind is Kind.CHARGE else None
        if usage and usage["cluster"] == cluster:
            qos = qos_of(usage["raw"])
            found[qos] = found.get(qos, 0) + usage["billing_s"]
    return found


def qos_of(raw: str) -> str:
    """The QOS of a line of sacct; empty where it tells none.

    Its column is the same in every SLURM that forgia settles: fields that some lack come after it.
    """
    values = raw.split("|")
    column = SACCT_FIELDS.index("QOS")
    return values[column] if len(values) > column else ""


def caps_on(holder: Holder, ceilings: Iterable[Ceiling], use: Iterable[HolderUse]) -> dict[str, int]:
    """The tightest cap of each kind on an organisation and on its site; of ``billing_s``, what it leaves."""
    uses = tuple(use)
    found: dict[str, int] = {}
    for one in ceilings:
        if holder.is_within(one.holder):
            spent = sum(other.held + other.charged for other in uses if other.holder.is_within(one.holder))
            value = max(0, one.value - spent) if one.kind == "billing_s" else one.value
            found[one.kind] = min(value, found.get(one.kind, value))
    return found


def families(grants: Iterable[GrantState]) -> dict[Holder, tuple[GrantState, ...]]:
    """Organisation → its grants and those below; a site's own, and buckets that never had budget, are left out."""
    found: dict[Holder, list[GrantState]] = {}
    for grant in grants:
        if len(grant.holder.path) >= access.ORGANISATION_DEPTH and grant.terms.amount:
            found.setdefault(access.organisation(grant.holder), []).append(grant)
    return {holder: tuple(found[holder]) for holder in sorted(found)}


# What is to be


def qos_names(holders: Iterable[Holder], *, prefix: str, accounts: Iterable[str] = ()) -> dict[Holder, str]:
    """Organisation → its QOS. Raises: UserError — with every name, accounts too, that sacctmgr could misread."""
    # No name of the ledger has two signs beside each other, so that no two organisations meet in one QOS.
    names = {holder: prefix + holder.path[-1].replace(".", "__") for holder in holders}
    asked = [("--prefix", prefix), *(("--account", account) for account in accounts)]
    asked += [(f"QOS of {holder}", name) for holder, name in names.items()]
    problems = [Problem("sync", None, what, f"{name!r}") for what, name in asked if not NAME.fullmatch(name)]
    if problems:
        hint = "lower-case letters, digits, - and _ are safe, after a letter or a digit; others mean something to it"
        raise UserError("sync: names that sacctmgr could misread; nothing was done", problems=problems, hint=hint)
    return names


def wanted(firm: Firm, actual: Actual, *, now: datetime, qos: str, account: str | None = None) -> Wanted:
    """What the QOS of an organisation is to be; how it is reckoned stands above."""
    held = sum(grant.held for grant in firm.grants)
    lasting = [grant for grant in firm.grants if not grant.closed and grant.terms.valid_until > now]
    free = sum(tree.usable(grant) for grant in lasting if not grant.frozen and grant.terms.valid_from <= now)
    free = min(free, firm.caps.get("billing_s", free))
    counted = min(firm.charged, actual.used.get(qos, 0) * MINUTE_S)
    paused = _paused(lasting, left=held + free, now=now)
    limits = Limits(
        minutes=(counted + held + free) // MINUTE_S,
        gpus=firm.caps.get("gpus"),
        jobs=firm.caps.get("jobs"),
        submitted=PAUSED if paused else UNLIMITED,
    )
    amounts = {"counted": counted, "held": held, "free": free}
    return Wanted(holder=firm.holder, qos=qos, account=account, limits=limits, paused=paused, **amounts)


def _paused(lasting: Sequence[GrantState], *, left: int, now: datetime) -> str:
    """Why no new job may come; empty where one may. A hold whose job is on its way to SLURM keeps the door open."""
    rules = (
        (not lasting, "its grants are over"),
        (all(grant.frozen for grant in lasting), "frozen"),
        (all(grant.frozen or grant.terms.valid_from > now for grant in lasting), "not valid yet"),
        (not left, "nothing is left"),
    )
    return next((reason for holds, reason in rules if holds), "")


def changes(every: Iterable[Wanted], actual: Actual) -> tuple[Change, ...]:
    """What has to be done, in order: limits that are lowered, those that are raised or new, then associations."""
    every = tuple(every)
    limits = [change for one in every if (change := _limit_change(one, actual))]
    return (*sorted(limits, key=lambda change: change.raises), *_attachments(every, actual))


def _limit_change(one: Wanted, actual: Actual) -> Change | None:
    """Make the QOS, or change what differs; None where nothing does."""
    old, new = actual.qos.get(one.qos), one.limits
    before = old or Limits(flags=frozenset())
    differing = [option for option in OPTIONS if getattr(before, option[0]) != getattr(new, option[0])]
    flags = sorted(new.flags - before.flags)
    if not differing and not flags:
        return None
    place = ("add", "qos", one.qos) if old is None else ("modify", "qos", "where", f"name={one.qos}", "set")
    sign = "=" if old is None else "+="
    terms = [f"{option}{_written(getattr(new, name))}" for name, option, _ in differing]
    return Change(
        argv=("sacctmgr", "--immediate", *place, *([f"Flags{sign}{','.join(flags)}"] if flags else []), *terms),
        sentence="; ".join(_clauses(one, old, flags=flags, is_safe=actual.is_safe)),
        raises=old is None or any(_is_more(getattr(new, name), getattr(old, name)) for name, _, _ in differing),
    )


def _clauses(one: Wanted, old: Limits | None, *, flags: Sequence[str], is_safe: bool) -> Iterator[str]:
    """What a change of limits does, and what it means for who has jobs there."""
    before, new = old or Limits(), one.limits
    moves = [
        _told(value, words) + (f" (was {_told(was)})" if old else "")
        for name, _, words in OPTIONS
        if (was := getattr(before, name)) != (value := getattr(new, name))
    ]
    moves += [f"flags {', '.join(flags)}"] if flags else []
    yield f"{'QOS' if old else 'make the QOS'} {one.qos} of {one.holder}: {', '.join(moves)}"
    if one.paused:
        yield f"paused, {one.paused}: new jobs are refused"
    if old and any(_is_more(getattr(old, name), getattr(new, name)) for name, _, _ in OPTIONS):
        yield LIVING[is_safe]


def _written(limit: int | None) -> str:
    """How sacctmgr is told; -1 takes a limit away."""
    return "-1" if limit is None else str(limit)


def _told(limit: int | None, words: str = "") -> str:
    """``at most 8 GPUs at once``."""
    if limit is None:
        return f"no limit of {words}" if words else "no limit"
    return f"at most {limit:,} {words}" if words else f"{limit:,}"


def _is_more(one: int | None, other: int | None) -> bool:
    return other is not None and (one is None or one > other)


def _attachments(every: Iterable[Wanted], actual: Actual) -> Iterator[Change]:
    """Give each account what it lacks, in one command; what it has besides stays."""
    lacking: dict[str, list[str]] = {}
    for one in every:
        if one.account and one.qos not in actual.associations.get((one.account, ""), frozenset()):
            lacking.setdefault(one.account, []).append(one.qos)
    for account, names in lacking.items():
        place = ("modify", "account", "where", f"name={account}", f"cluster={actual.cluster}")
        yield Change(
            argv=("sacctmgr", "--immediate", *place, "set", f"qos+={','.join(names)}"),
            sentence=f"account {account} on {actual.cluster} may use {', '.join(names)} too; what it may use stays",
        )


def strangers(every: Iterable[Wanted], actual: Actual, *, prefix: str) -> list[str]:
    """QOS that are named as forgia's and are of no organisation that the ledger knows; they are left alone."""
    known = {one.qos for one in every}
    return sorted(name for name in actual.qos if name.startswith(prefix) and name not in known)


def left_out(every: Iterable[Wanted], actual: Actual) -> list[str]:
    """Users who do not have a QOS that their account has: their association has a list of its own."""
    wanting = {(one.account, one.qos) for one in every if one.account}
    has = actual.associations
    return sorted(
        f"{user} of account {account}: {qos}"
        for account, qos in wanting
        for (place, user), names in has.items()
        if user and place == account and qos in has.get((account, ""), frozenset()) and qos not in names
    )
