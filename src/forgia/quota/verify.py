"""Proof of a ledger: the chain, the sums, and every derived row made anew from the postings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from forgia.quota import chain, postings
from forgia.quota.engine import Database
from forgia.quota.postings import KEYS, MemoryRows
from forgia.quota.reading import PAGE, lines_of
from forgia.quota.records import Finding, grant_and_pot
from forgia.quota.schema import DERIVED, HEAD, LINE, POSTING

Line = tuple[str, int]

MOST = 1000
"""Findings after which looking further tells nothing more."""


class Replay:
    """Postings one after the other, what is wrong with them, and the rows they make."""

    def __init__(self) -> None:
        self.rows = MemoryRows()
        self.seq = 0
        self.hash = ""
        self.lines = 0
        self.findings: list[Finding] = []

    def page(self, connection: sa.Connection) -> bool:
        """Take the next postings; False where there were none."""
        query = sa.select(POSTING).where(POSTING.c.seq > self.seq).order_by(POSTING.c.seq).limit(PAGE)
        found = connection.execute(query).mappings().all()
        if not found:
            return False
        lines = lines_of(connection, [row["seq"] for row in found])
        for row in found:
            self._take(row, lines.get(row["seq"], []))
        return True

    def _take(self, row: Mapping[Any, Any], lines: Sequence[Line]) -> None:
        seq = row["seq"]
        for applies, what in self._rules(row, lines):
            if applies:
                self.findings.append(Finding(seq=seq, what=what))
        self.seq, self.hash = seq, row["hash"]
        self.lines += len(lines)
        try:
            facts = json.loads(row["facts"])
            postings.apply(self.rows, row, lines, facts.get("sets", ()))
            self.findings += (Finding(seq=seq, what=what) for what in self._below_zero(lines, facts))
        except (KeyError, LookupError, TypeError, ValueError) as error:
            self.findings.append(Finding(seq=seq, what=f"cannot be replayed: {type(error).__name__}: {error}"))

    def _rules(self, row: Mapping[Any, Any], lines: Sequence[Line]) -> Iterator[tuple[bool, str]]:
        yield row["seq"] != self.seq + 1, f"follows posting {self.seq}: some are missing"
        yield row["prev_hash"] != self.hash, "does not follow from the posting before it"
        yield row["hash"] != chain.hash_of(row, lines), "is not what its hash says: it was changed"
        total = sum(amount for _, amount in lines)
        yield total != 0, f"its lines sum to {total}, not to zero"

    def _below_zero(self, lines: Sequence[Line], facts: Mapping[str, Any]) -> Iterator[str]:
        """Pots that a posting took below zero: what is free may be, if the posting says so; nothing else may."""
        for name, amount in lines:
            place = grant_and_pot(name)
            row = self.rows.find("grant_state", (place[0],)) if place else None
            if place is None or row is None or amount >= 0 or row[place[1]] >= 0:
                continue
            if place[1] != "free" or facts.get("overdraft", {}).get(str(place[0])) != row["free"]:
                yield f"{name} is at {row[place[1]]:,}, and the posting says nothing of an overdraft"

    def compare(self, connection: sa.Connection) -> Iterator[Finding]:
        """What differs between the rows of the ledger and those of the replay."""
        if (head := tuple(connection.execute(sa.select(HEAD.c.seq, HEAD.c.hash)).one())) != (self.seq, self.hash):
            yield Finding(seq=0, what=f"the chain ends at posting {self.seq}, and should end at {head[0]}")
        if (count := connection.execute(sa.select(sa.func.count()).select_from(LINE)).scalar_one()) != self.lines:
            yield Finding(seq=0, what=f"{count - self.lines} lines belong to no posting")
        for table in DERIVED:
            yield from _differences(connection, table, self.rows.tables[table.name])


def _differences(
    connection: sa.Connection, table: sa.Table, expected: Mapping[postings.Key, postings.Row]
) -> Iterator[Finding]:
    seen = 0
    for row in connection.execute(sa.select(table)).mappings():
        key = tuple(row[name] for name in KEYS[table.name])
        made = expected.get(key)
        seen += made is not None
        if made is None:
            yield Finding(seq=0, what=f"{table.name} {_named(key)}: no posting made it")
        elif made != dict(row):
            wrong = [f"{name} is {row[name]!r}, by replay {made[name]!r}" for name in row if row[name] != made[name]]
            yield Finding(seq=0, what=f"{table.name} {_named(key)}: {', '.join(wrong)}")
    if seen != len(expected):
        yield Finding(seq=0, what=f"{table.name}: {len(expected) - seen} rows are missing")


def _named(key: postings.Key) -> str:
    return " ".join(str(part) for part in key)


def verify(database: Database) -> list[Finding]:
    """See ``Ledger.verify``. Pages are read one by one, so that writers wait for the end of it only."""
    replay = Replay()
    while len(replay.findings) < MOST:
        with database.reading() as connection:
            if not replay.page(connection):
                return [*replay.findings, *replay.compare(connection)][:MOST]
    return replay.findings[:MOST]
