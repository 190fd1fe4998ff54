"""What the accounting says was used, as charges: to its hold, to the grants of its holder, or to the unmanaged bucket.

Nothing here depends on what is free, nor on what was charged in between: rows of the accounting may be posted in any
order, in any number of goes, and every balance is the same.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from forgia.errors import NotFound, UserError
from forgia.grant import Holder, Kind, Terms, Usage
from forgia.paths import checked_name
from forgia.quota import access, chain, holds, rows, tree
from forgia.quota.book import Book, move
from forgia.quota.moments import spelled
from forgia.quota.postings import Row, Set
from forgia.quota.records import Posted
from forgia.quota.rules import unmanaged_holder

Asked = tuple[Usage, str | None, Holder | None]
Shares = Sequence[tuple[int, int]]

BUCKET = "unmanaged"
"""Below the cluster's name: who bears what nobody on the cluster is known to have asked for."""

EVER = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))


AT_ONCE = 2000
"""Rows of the accounting whose state is in memory at one time."""


def post_usages(book: Book, asked: Iterable[Asked]) -> tuple[Posted, ...]:
    """See ``Ledger.post_usages``; one transaction, written piece by piece."""
    posted: list[Posted] = []
    rest = iter(asked)
    while some := list(itertools.islice(rest, AT_ONCE)):
        _read_ahead(book, some)
        posted += (_post(book, usage, hold_key or "", holder) for usage, hold_key, holder in some)
        book.flush()
    return tuple(posted)


def _read_ahead(book: Book, asked: Sequence[Asked]) -> None:
    """Read in a few statements what the charges will ask for one by one."""
    keys = [key for _, key, _ in asked if key]
    book.load_posted([f"charge:{usage.key}" for usage, _, _ in asked])
    book.load("quarantine", [(usage.key,) for usage, _, _ in asked])
    book.load("hold_state", [(key,) for key in keys])
    book.load_group("hold_part", keys)
    book.load("grant_state", [(part["grant_id"],) for key in dict.fromkeys(keys) for part in book.parts_of(key)])
    without_hold = {holder for _, _, holder in asked if holder}
    book.load_group("grant_state", [str(above) for holder in without_hold for above in holder.lineage])
    holders = [row["holder"] for key in dict.fromkeys(keys) if (row := book.find("hold_state", (key,)))]
    book.load("holder_state", [(place,) for place in (*holders, *map(str, without_hold))])


def _post(book: Book, usage: Usage, hold_key: str, holder: Holder | None) -> Posted:
    hold = book.find("hold_state", (hold_key,)) if hold_key else None
    user = rows.place(hold["holder"]) if hold else holder
    access.check(book.actor, "settle", user)
    if book.posted(f"charge:{usage.key}"):
        return Posted(key=usage.key, outcome="known", holder=user)
    if reason := _unfit(usage):
        return _quarantine(book, usage, reason, holder=user)
    if hold and (parts := book.parts_of(hold_key)):
        return _charge_hold(book, usage, hold, parts)
    return _charge_holder(book, usage, user)


def _unfit(usage: Usage) -> str:
    """Why a usage cannot be charged; empty where it can."""
    times = [time for time in (usage.start, usage.end) if time]
    rules = (
        (usage.quarantined, usage.quarantined),
        (usage.billing_s < 0, f"{usage.billing_s} billing-seconds"),
        (usage.billing_s > chain.LARGEST, f"{usage.billing_s} billing-seconds"),
        (not 0 <= usage.refund_s <= max(0, usage.billing_s), f"a refund of {usage.refund_s} of {usage.billing_s}"),
        (usage.billing_s > 0 and usage.end is None, "used, and has no end: what still runs is not charged"),
        (any(time.tzinfo is None for time in times), "a time without its zone"),
    )
    return next((reason for applies, reason in rules if applies), "")


def _quarantine(book: Book, usage: Usage, reason: str, *, holder: Holder | None) -> Posted:
    if not book.find("quarantine", (usage.key,)):
        facts = rows.usage_facts(usage)
        values = {"seq": book.next_seq, "time": spelled(book.now), "reason": reason, "resolved": ""}
        row: Set = ("quarantine", [usage.key], {**values, "usage": chain.canonical(facts)})
        key = f"quarantine:{usage.key}"
        book.post(Kind.QUARANTINE, key=key, holder=holder, sets=[row], facts=_told(usage))
    return Posted(key=usage.key, outcome="quarantined", holder=holder)


def _charge_hold(book: Book, usage: Usage, hold: Row, parts: Sequence[Row]) -> Posted:
    """Charge a hold; what a policy refunds goes back to where it was taken from, so that the hold has it again."""
    refund_s = usage.refund_s if _refunds(book, parts[0]["grant_id"]) else 0
    charged = tree.over_parts(parts, usage.billing_s - refund_s)
    moves, beyond = _taken(parts, charged)
    moves_back, beyond_back = _returned(parts, charged, refund_s)
    holder, place = rows.place(hold["holder"]), {"run_id": hold["run_id"], "hold_key": hold["key"]}
    _post_charge(book, usage, [*moves, *moves_back], holder=holder, beyond=beyond + beyond_back, **place)
    if refund_s:
        _post_refund(book, usage, moves_back, holder=holder, **place)
    released = 0
    if usage.ends_job and hold["open"]:
        released = holds.let_go(book, hold, key=f"release:{usage.key}")
    return Posted(
        key=usage.key,
        outcome="charged",
        charged=usage.billing_s,
        refunded=refund_s,
        released=released,
        beyond_hold=beyond,
        holder=holder,
    )


def _returned(parts: Sequence[Row], charged: Shares, refund_s: int) -> tuple[list[tuple[str, int]], int]:
    """Lines that charge what is refunded, after the rest was; and how much of it was not held."""
    if not refund_s:
        return [], 0
    after = _charged(parts, charged)
    return _taken(after, tree.over_parts(after, refund_s))


def _charged(parts: Sequence[Row], charged: Shares) -> list[Row]:
    """The parts as they are after a charge."""
    more = dict(charged)
    return [
        {
            **part,
            "charged": part["charged"] + more.get(part["grant_id"], 0),
            "held": part["held"] - min(part["held"], more.get(part["grant_id"], 0)),
        }
        for part in parts
    ]


def _taken(parts: Sequence[Row], shares: Shares) -> tuple[list[tuple[str, int]], int]:
    """Lines of a charge, from what is held and then from what is free; and how much was not held."""
    held = {part["grant_id"]: part["held"] for part in parts}
    moves, beyond = [], 0
    for grant, some in shares:
        from_hold = min(some, held[grant])
        moves += move(grant, "held", "spent", from_hold) + move(grant, "free", "spent", some - from_hold)
        beyond += some - from_hold
    return moves, beyond


def _charge_holder(book: Book, usage: Usage, holder: Holder | None) -> Posted:
    """Charge what nothing was reserved for, to one grant of the holder, else to the bucket of unmanaged use."""
    user = holder or _bucket(book, usage)
    grant = _bearer(book, usage, user)
    moves = move(grant, "free", "spent", usage.billing_s)
    _post_charge(book, usage, moves, holder=user, beyond=usage.billing_s)
    refund_s = usage.refund_s if _refunds(book, grant) else 0
    if refund_s:
        _post_refund(book, usage, move(grant, "free", "spent", refund_s), holder=user)
    charged = usage.billing_s
    return Posted(
        key=usage.key, outcome="charged", charged=charged, refunded=refund_s, beyond_hold=charged, holder=user
    )


def _bearer(book: Book, usage: Usage, user: Holder) -> int:
    """The grant that bears a use without a hold; where nobody has one, an empty one of the bucket."""
    when = usage.start or usage.end or book.now
    for holder in dict.fromkeys((user, _bucket(book, usage))):
        if grant := tree.bearer(holds.lineage_grants(book, holder), usage.resource, when):
            return grant.id
    return _open_bucket(book, _bucket(book, usage))


def _open_bucket(book: Book, holder: Holder) -> int:
    terms = Terms(holder=holder, amount=0, valid_from=EVER[0], valid_until=EVER[1], title=BUCKET)
    row: Set = ("grant_state", [book.next_seq], rows.opened(terms, parent=None))
    return book.post(Kind.GRANT, holder=holder, sets=[row], facts={"verb": "open_bucket"})


def _bucket(book: Book, usage: Usage) -> Holder:
    """Who bears unmanaged use: by the setting, else ``<cluster>/unmanaged``."""
    if holder := unmanaged_holder(book, usage.cluster):
        return holder
    try:
        return Holder((checked_name("cluster", usage.cluster.lower()), BUCKET))
    except UserError:  # a cluster may be named as no holder can
        return Holder(("cluster", BUCKET))


def _refunds(book: Book, grant: int) -> bool:
    row = book.find("grant_state", (grant,))
    return bool(row and row["refund_node_fail"])


def _post_charge(
    book: Book,
    usage: Usage,
    moves: Sequence[tuple[str, int]],
    *,
    holder: Holder,
    beyond: int,
    run_id: str = "",
    hold_key: str = "",
) -> None:
    waits = book.find("quarantine", (usage.key,))
    sets: list[Set] = [("quarantine", [usage.key], {"resolved": "charged"})] if waits else []
    book.post(
        Kind.CHARGE,
        key=f"charge:{usage.key}",
        moves=moves,
        sets=sets,
        facts={**_told(usage), "beyond_hold": beyond},
        holder=holder,
        run_id=run_id,
        hold_key=hold_key,
        at=usage.end,
    )


def _post_refund(
    book: Book, usage: Usage, taken: Sequence[tuple[str, int]], *, holder: Holder, run_id: str = "", hold_key: str = ""
) -> None:
    book.post(
        Kind.REFUND,
        key=f"refund:{usage.key}",
        moves=[(name, -amount) for name, amount in taken],
        facts={"usage_key": usage.key, "state": usage.state},
        holder=holder,
        run_id=run_id,
        hold_key=hold_key,
        at=usage.end,
    )


def _told(usage: Usage) -> dict[str, Any]:
    """The usage as the posting keeps it: the accounting is purged one day, the ledger is not."""
    digest = hashlib.sha256(usage.raw.encode(errors="surrogatepass")).hexdigest()
    return {"usage": {**rows.usage_facts(usage), "raw_sha256": digest}}


def resolve(book: Book, key: str) -> None:
    """See ``Ledger.resolve_quarantined``."""
    access.check(book.actor, "resolve", None)
    row = book.find("quarantine", (key,))
    if row is None:
        raise NotFound("quarantined usage", key)
    if not row["resolved"]:
        sets: list[Set] = [("quarantine", [key], {"resolved": book.reason})]
        book.post(Kind.RULE, key=f"resolve:{key}", sets=sets, facts={"verb": "resolve", "usage_key": key})
