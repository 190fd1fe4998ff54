"""Reversals: the opposite of a posting, as a posting of its own; the ledger's only way to take something back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from forgia.errors import NotFound, Refused
from forgia.grant import Kind
from forgia.quota import access, rows
from forgia.quota.book import Book
from forgia.quota.postings import Set
from forgia.quota.records import Entry, account, grant_and_pot
from forgia.quota.schema import LINE, POSTING

BUDGET = (Kind.GRANT, Kind.SUBGRANT, Kind.EXPIRE, Kind.TRANSFER)
"""Reversed only as long as what they gave is still free."""

USE = (Kind.CHARGE, Kind.REFUND, Kind.ADJUST)
"""Reversed always: what was used was used, whatever is free."""


def reverse(book: Book, arguments: Mapping[str, Any]) -> int:
    """Post the opposite of a posting; what it took out of a hold goes to what is free, for the hold may be closed."""
    seq = arguments["seq"]
    entry = _entry(book, seq)
    access.check(book.actor, "reverse", entry.holder)
    if entry.kind not in (*BUDGET, *USE):
        hint = "release or resize a hold; set a rule anew"
        raise Refused(f"posting {seq} is a {entry.kind}, which is not reversed", hint=hint)
    if first := book.posted(f"reverse:{seq}"):
        raise Refused(f"posting {seq} was reversed by posting {first}")
    moves = [(_freed(name), -amount) for name, amount in entry.lines]
    sets = _sets(book, entry)
    _check_left(book, entry, moves)
    return book.post(
        Kind.ADJUST,
        key=f"reverse:{seq}",
        holder=entry.holder,
        run_id=entry.run_id,
        moves=moves,
        sets=sets,
        facts={"reverses": seq},
    )


def _entry(book: Book, seq: int) -> Entry:
    row = book.connection.execute(sa.select(POSTING).where(POSTING.c.seq == seq)).mappings().one_or_none()
    if row is None:
        raise NotFound("posting", str(seq))
    lines = book.connection.execute(sa.select(LINE.c.account, LINE.c.amount).where(LINE.c.seq == seq))
    return rows.entry(row, [(name, amount) for name, amount in lines])


def _freed(name: str) -> str:
    place = grant_and_pot(name)
    return account(place[0], "free") if place and place[1] == "held" else name


def _sets(book: Book, entry: Entry) -> list[Set]:
    """A grant that was opened or enlarged by the posting was given less, and is closed if it is nothing now.

    A grant that the posting closed is open again, else nobody could use what comes back.
    """
    if entry.facts.get("verb") == "close":
        return [("grant_state", [entry.facts["arguments"]["grant"]], {"closed": False})]
    if entry.kind not in (Kind.GRANT, Kind.SUBGRANT):
        return []
    given = {grant: amount for grant, amount in entry.by_grant("free").items() if amount > 0}
    found = {grant: row for grant in given if (row := book.find("grant_state", (grant,)))}
    return [
        ("grant_state", [grant], {"amount": row["amount"] - given[grant], "closed": grant == entry.seq})
        for grant, row in found.items()
    ]


def _check_left(book: Book, entry: Entry, moves: list[tuple[str, int]]) -> None:
    """Raises: Refused — a pot would be below zero that must not be."""
    totals: dict[tuple[int, str], int] = {}
    for name, amount in moves:
        if place := grant_and_pot(name):
            totals[place] = totals.get(place, 0) + amount
    for (grant, pot), amount in totals.items():
        row = book.find("grant_state", (grant,))
        left = (row[pot] if row else 0) + amount
        if amount < 0 and left < 0 and not (pot == "free" and entry.kind in USE):
            message = f"posting {entry.seq} cannot be reversed: grant {grant} would have {left:,} billing-s {pot}"
            raise Refused(message, hint="take back first what was done with it")
