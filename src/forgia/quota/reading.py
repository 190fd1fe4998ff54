"""Questions to a ledger: what stands where, and what was posted. Whoever asks sees its own organisation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from forgia.errors import NotFound
from forgia.grant import LEVELS, Actor, Balance, Holder, Kind
from forgia.quota import access, rows, tree
from forgia.quota.book import CHUNK, within
from forgia.quota.moments import moment, spelled
from forgia.quota.records import (
    Ceiling,
    Entry,
    GrantState,
    Hold,
    HolderBalance,
    HolderUse,
    HoldMark,
    Member,
    Quarantined,
    Request,
)
from forgia.quota.schema import (
    CEILING,
    GRANT,
    HOLD,
    HOLDER,
    LINE,
    MEMBER,
    PART,
    POSTING,
    QUARANTINE,
    REQUEST,
    SETTING,
)

PAGE = 5000
"""Postings read in one go; between two, writers get their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which postings are wanted; see ``Ledger.entries``."""

    holder: Holder | None = None
    kinds: tuple[Kind, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    run_id: str = ""
    hold_key: str = ""
    after: int = 0
    before: int | None = None
    newest_first: bool = False

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """What must be true of a posting."""
        columns = POSTING.c
        yield columns.seq > self.after
        if self.before is not None:
            yield columns.seq < self.before
        if self.holder:
            yield within(columns.holder, self.holder)
        if self.kinds:
            yield columns.kind.in_([str(kind) for kind in self.kinds])
        if self.since:
            yield columns.at >= spelled(self.since)
        if self.until:
            yield columns.at < spelled(self.until)
        if self.run_id:
            yield columns.run_id == self.run_id
        if self.hold_key:
            yield columns.hold_key == self.hold_key


def entries(connection: sa.Connection, wanted: Filter, *, limit: int) -> list[Entry]:
    """The first postings that are wanted, or the last ones."""
    order = POSTING.c.seq.desc() if wanted.newest_first else POSTING.c.seq
    query = sa.select(POSTING).where(*wanted.conditions()).order_by(order).limit(limit)
    found = connection.execute(query).mappings().all()
    if not found:
        return []
    lines = lines_of(connection, sorted(row["seq"] for row in found))
    return [rows.entry(row, lines.get(row["seq"], ())) for row in found]


def lines_of(connection: sa.Connection, seqs: Sequence[int]) -> dict[int, list[tuple[str, int]]]:
    """Posting → its lines; of neighbours in one statement."""
    lines: dict[int, list[tuple[str, int]]] = {}
    dense = seqs[-1] - seqs[0] < 4 * len(seqs)
    starts = range(0, len(seqs), len(seqs) if dense else CHUNK)
    for start in starts:
        some = seqs[start:] if dense else seqs[start : start + CHUNK]
        condition = LINE.c.seq.between(some[0], some[-1]) if dense else LINE.c.seq.in_(some)
        query = sa.select(LINE.c.seq, LINE.c.account, LINE.c.amount).where(condition)
        for seq, account, amount in connection.execute(query.order_by(LINE.c.seq, LINE.c.account)):
            lines.setdefault(seq, []).append((account, amount))
    return lines


def sight(by: Actor, holder: Holder | None) -> Holder | None:
    """Where to look: the holder that was asked for, or all that the actor sees. Raises: Refused."""
    place = holder or access.scope(by)
    access.check_sight(by, place)
    return place


def _below(table: sa.Table, place: Holder | None) -> list[sa.ColumnElement[bool]]:
    return [within(table.c.holder, place)] if place else []


def grants(
    connection: sa.Connection, *, by: Actor, holder: Holder | None, below: bool = True, closed: bool = True
) -> tuple[GrantState, ...]:
    """See ``Ledger.grants``."""
    place = sight(by, holder)
    conditions = _below(GRANT, place) if below else [GRANT.c.holder == str(place or "")]
    if not closed:
        conditions.append(sa.not_(GRANT.c.closed))
    query = sa.select(GRANT).where(*conditions).order_by(GRANT.c.id)
    return tuple(rows.grant(row) for row in connection.execute(query).mappings())


def holds(connection: sa.Connection, *, by: Actor, holder: Holder | None, open_only: bool) -> tuple[Hold, ...]:
    """See ``Ledger.holds``."""
    conditions = _below(HOLD, sight(by, holder))
    if open_only:
        conditions.append(HOLD.c.open)
    query = sa.select(HOLD).where(*conditions).order_by(HOLD.c.seq)
    return _with_parts(connection, connection.execute(query).mappings().all())


def _with_parts(connection: sa.Connection, found: Sequence[Mapping[Any, Any]]) -> tuple[Hold, ...]:
    parts: dict[str, list[Mapping[Any, Any]]] = {row["key"]: [] for row in found}
    keys = list(parts)
    for start in range(0, len(keys), CHUNK):
        query = sa.select(PART).where(PART.c.hold_key.in_(keys[start : start + CHUNK])).order_by(PART.c.position)
        for row in connection.execute(query).mappings():
            parts[row["hold_key"]].append(row)
    return tuple(rows.hold(row, parts[row["key"]]) for row in found)


def marks(connection: sa.Connection, *, by: Actor) -> dict[str, HoldMark]:
    """See ``Ledger.open_marks``."""
    conditions = [*_below(HOLD, sight(by, None)), HOLD.c.open]
    found = connection.execute(sa.select(HOLD.c.key, HOLD.c.opened, HOLD.c.facts).where(*conditions)).all()
    return {key: HoldMark(key=key, opened=moment(opened), facts=json.loads(facts)) for key, opened, facts in found}


def find_hold(connection: sa.Connection, key: str, *, by: Actor) -> Hold | None:
    """See ``Ledger.find_hold``."""
    found = connection.execute(sa.select(HOLD).where(HOLD.c.key == key)).mappings().all()
    for hold in _with_parts(connection, found):
        access.check_sight(by, hold.holder)
        return hold
    return None


def balance(connection: sa.Connection, of: int | Holder, *, by: Actor) -> Balance:
    """See ``Ledger.balance``."""
    if isinstance(of, Holder):
        return tree.roll_up(of, grants(connection, by=by, holder=of)).balance
    row = connection.execute(sa.select(GRANT).where(GRANT.c.id == of)).mappings().one_or_none()
    if row is None:
        raise NotFound("grant", str(of))
    found = rows.grant(row)
    access.check_sight(by, found.holder)
    return found.balance


def balances(connection: sa.Connection, *, by: Actor, holder: Holder | None, level: str) -> tuple[HolderBalance, ...]:
    """See ``Ledger.balances``; each grant is looked at once."""
    depth = LEVELS.index(level) + 1
    families: dict[Holder, list[GrantState]] = {}
    for grant in grants(connection, by=by, holder=holder):
        if len(grant.holder.path) >= depth:
            families.setdefault(Holder(grant.holder.path[:depth]), []).append(grant)
    return tuple(tree.roll_up(place, families[place]) for place in sorted(families))


def use(connection: sa.Connection, *, by: Actor, holder: Holder | None) -> tuple[HolderUse, ...]:
    """See ``Ledger.use``."""
    query = sa.select(HOLDER).where(*_below(HOLDER, sight(by, holder)))
    return tuple(sorted((rows.use(row) for row in connection.execute(query).mappings()), key=lambda one: one.holder))


def ceilings(connection: sa.Connection, *, by: Actor, holder: Holder | None) -> tuple[Ceiling, ...]:
    """See ``Ledger.ceilings``."""
    place = sight(by, holder)
    query = sa.select(CEILING)
    if place:
        above = [str(one) for one in place.lineage]
        query = query.where(sa.or_(within(CEILING.c.holder, place), CEILING.c.holder.in_(above)))
    found = (rows.ceiling(row) for row in connection.execute(query).mappings())
    return tuple(sorted(found, key=lambda one: (one.holder, one.kind)))


def members(connection: sa.Connection, *, by: Actor) -> tuple[Member, ...]:
    """See ``Ledger.members``."""
    query = sa.select(MEMBER).where(*_below(MEMBER, sight(by, None)))
    found = (rows.member(row) for row in connection.execute(query).mappings())
    return tuple(sorted(found, key=lambda one: (str(one.holder or ""), one.name)))


def requests(connection: sa.Connection, *, by: Actor, open_only: bool) -> tuple[Request, ...]:
    """Staff sees all requests, everybody else its own."""
    access.check_sight(by, access.scope(by))
    query = sa.select(REQUEST).order_by(REQUEST.c.id)
    if open_only:
        query = query.where(REQUEST.c.state == "open")
    if by.holder is not None:
        query = query.where(REQUEST.c.actor == by.name)
    return tuple(rows.request(row) for row in connection.execute(query).mappings())


def place_of_request(connection: sa.Connection, request: int) -> Holder | None:
    """See ``Ledger.place_of_request``."""
    found = connection.execute(sa.select(REQUEST.c.arguments).where(REQUEST.c.id == request)).scalar_one_or_none()
    if found is None:
        raise NotFound("request", str(request))
    given = json.loads(found)
    grant, seq = given.get("grant") or given.get("parent") or given.get("source"), given.get("seq")
    if not grant and given.get("holder"):
        return rows.place(given["holder"])
    of_grant = sa.select(GRANT.c.holder).where(GRANT.c.id == grant)
    of_posting = sa.select(POSTING.c.holder).where(POSTING.c.seq == seq)
    return rows.holder(str(connection.execute(of_grant if grant else of_posting).scalar_one_or_none() or ""))


def quarantined(connection: sa.Connection, *, by: Actor, open_only: bool) -> tuple[Quarantined, ...]:
    """See ``Ledger.quarantined``."""
    access.check_sight(by, None)
    query = sa.select(QUARANTINE).order_by(QUARANTINE.c.seq)
    if open_only:
        query = query.where(QUARANTINE.c.resolved == "")
    return tuple(rows.quarantined(row) for row in connection.execute(query).mappings())


def settings(connection: sa.Connection) -> dict[str, Any]:
    """See ``Ledger.settings``."""
    return {row["name"]: json.loads(row["value"]) for row in connection.execute(sa.select(SETTING)).mappings()}


def known_usages(connection: sa.Connection, keys: Iterable[str]) -> frozenset[str]:
    """See ``Ledger.known_usages``."""
    names = [f"charge:{key}" for key in keys]
    found: set[str] = set()
    for start in range(0, len(names), CHUNK):
        query = sa.select(POSTING.c.key).where(POSTING.c.key.in_(names[start : start + CHUNK]))
        found.update(str(key).removeprefix("charge:") for key in connection.execute(query).scalars())
    return frozenset(found)
