"""One transaction's view of a ledger: rows read as they are needed, postings gathered, everything written at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from forgia.errors import UserError
from forgia.grant import Actor, Holder, Kind
from forgia.quota import chain, postings
from forgia.quota.moments import spelled
from forgia.quota.postings import KEYS, Key, Row, Set
from forgia.quota.records import account
from forgia.quota.schema import DERIVED, HEAD, HOLD, LINE, POSTING

CHUNK = 500
"""Keys asked for in one statement."""

TABLES = {table.name: table for table in DERIVED}

GROUPS = {"grant_state": "holder", "hold_part": "hold_key"}
"""Tables whose rows are asked for by another column as well."""

MOST_REASON = 2000
"""Characters of a reason; longer ones are documents, which belong elsewhere."""


class Book:
    """Reads through to the database, keeps what it read and what changed, and writes the changes once."""

    def __init__(self, connection: sa.Connection, *, now: datetime, actor: Actor, reason: str) -> None:
        self.connection = connection
        self.now = now
        self.actor = actor
        self.reason = _printable("reason", reason)
        self._time = spelled(now)
        self.told: dict[str, Any] = {}
        """What every posting of this transaction says in its facts: the change that is made, the request for it."""
        self._head: tuple[int, str] | None = None
        self._forget()

    def _forget(self) -> None:
        """Have nothing in hand: no rows that were read, nothing to write."""
        self._rows: dict[str, dict[Key, Row | None]] = {name: {} for name in KEYS}
        self._stored: dict[str, set[Key]] = {name: set() for name in KEYS}
        self._changed: dict[str, dict[Key, Row | None]] = {name: {} for name in KEYS}
        """Key of a row that was put → the row as it was before that."""
        self._groups: dict[str, dict[str, dict[Key, None]]] = {name: {} for name in GROUPS}
        self._loaded: dict[str, set[str]] = {name: set() for name in GROUPS}
        self._postings: list[Row] = []
        self._lines: list[Row] = []
        self._known: dict[str, int] = {}

    # reading

    def find(self, table: str, key: Key) -> Row | None:
        """See ``postings.Rows``."""
        rows = self._rows[table]
        if key not in rows:
            self.load(table, [key])
        return rows[key]

    def put(self, table: str, key: Key, row: Row | None) -> None:
        """See ``postings.Rows``."""
        rows, changed = self._rows[table], self._changed[table]
        if key not in changed:
            changed[key] = rows.get(key)
        rows[key] = row
        self._to_group(table, key, row)

    def load(self, table: str, keys: Sequence[Key]) -> None:
        """Read rows that will be asked for, many at a time."""
        rows = self._rows[table]
        if not (missing := [key for key in dict.fromkeys(keys) if key not in rows]):
            return
        columns = [TABLES[table].c[name] for name in KEYS[table]]
        for some in _chunks(missing):
            rows.update(dict.fromkeys(some))
            single = len(columns) == 1
            condition = columns[0].in_([key[0] for key in some]) if single else sa.tuple_(*columns).in_(some)
            self._keep(table, condition)

    def _keep(self, table: str, condition: sa.ColumnElement[bool]) -> list[Row]:
        """Read rows as this transaction sees them: what it has in hand already is not read over."""
        rows, names, stored, changed = self._rows[table], KEYS[table], self._stored[table], self._changed[table]
        found = self.connection.execute(sa.select(TABLES[table]).where(condition))
        columns, kept = tuple(found.keys()), []
        for values in found.all():
            row = dict(zip(columns, values, strict=True))
            key = tuple([row[name] for name in names])
            stored.add(key)
            if rows.get(key) is None and key not in changed:
                rows[key] = row
                self._to_group(table, key, row)
            if present := rows[key]:
                kept.append(present)
        return kept

    def _to_group(self, table: str, key: Key, row: Row | None) -> None:
        if row is not None and table in GROUPS:
            self._groups[table].setdefault(row[GROUPS[table]], {})[key] = None

    def load_group(self, table: str, values: Iterable[str]) -> None:
        """Read the rows of these holds or holders, many at a time, once."""
        loaded, groups = self._loaded[table], self._groups[table]
        if not (missing := [value for value in dict.fromkeys(values) if value not in loaded]):
            return
        column = TABLES[table].c[GROUPS[table]]
        for some in _chunks(missing):
            self._keep(table, column.in_(some))
        loaded.update(missing)
        for value in missing:
            groups.setdefault(value, {})

    def _group(self, table: str, value: str) -> list[Row]:
        self.load_group(table, [value])
        rows = self._rows[table]
        return [row for key in self._groups[table][value] if (row := rows[key])]

    def grants_of(self, holder: Holder) -> list[Row]:
        """Grants that this holder itself has, closed ones too."""
        return self._group("grant_state", str(holder))

    def parts_of(self, hold_key: str) -> list[Row]:
        """Shares of a hold, in the order of use."""
        return sorted(self._group("hold_part", hold_key), key=lambda row: int(row["position"]))

    def select(self, table: str, condition: sa.ColumnElement[bool]) -> list[Row]:
        """Rows for which something is true in the database, as they stand before this transaction's own changes."""
        return self._keep(table, condition)

    def posted(self, key: str) -> int:
        """The number of the posting of this key; 0: none yet."""
        if key not in self._known:
            self.load_posted([key])
        return self._known[key]

    def load_posted(self, keys: Sequence[str]) -> None:
        """Read which keys are posted, many at a time."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._known]
        self._known.update(dict.fromkeys(missing, 0))
        for some in _chunks(missing):
            query = sa.select(POSTING.c.key, POSTING.c.seq).where(POSTING.c.key.in_(some))
            self._known.update((str(key), int(seq)) for key, seq in self.connection.execute(query))

    # writing

    def lock(self) -> None:
        """Wait for the other writers; what is read from here on, stays so until this transaction ends."""
        self._end()

    @property
    def next_seq(self) -> int:
        """The number of the next posting."""
        return self._end()[0] + 1

    def _end(self) -> tuple[int, str]:
        if self._head is None:
            seq, digest = self.connection.execute(sa.select(HEAD.c.seq, HEAD.c.hash).with_for_update()).one()
            self._head = (int(seq), str(digest))
        return self._head

    def post(
        self,
        kind: Kind,
        *,
        key: str = "",
        moves: Iterable[tuple[str, int]] = (),
        sets: Sequence[Set] = (),
        facts: Mapping[str, Any] | None = None,
        holder: Holder | str | None = None,
        run_id: str = "",
        hold_key: str = "",
        at: datetime | None = None,
    ) -> int:
        """Add a posting and bring the rows to after it; returns its number."""
        seq, prev_hash = self.next_seq, self._end()[1]
        lines = _coalesced(moves)
        for_posting = {**self.told, **(facts or {})}
        if sets:
            for_posting["sets"] = [[table, list(names), values] for table, names, values in sets]
        posting: Row = {
            "seq": seq,
            "time": self._time,
            "at": spelled(at) if at else self._time,
            "kind": str(kind),
            "actor": self.actor.name,
            "role": self.actor.role,
            "reason": self.reason,
            "key": key or f"{kind}#{seq}",
            "holder": str(holder or ""),
            "run_id": run_id,
            "hold_key": hold_key,
            "facts": chain.canonical(for_posting),
            "prev_hash": prev_hash,
        }
        postings.apply(self, posting, lines, sets)
        if overdrawn := self._overdrawn(lines):
            posting["facts"] = chain.canonical({**for_posting, "overdraft": overdrawn})
        self._add(posting, lines)
        return seq

    def _overdrawn(self, lines: Sequence[tuple[str, int]]) -> dict[str, int]:
        """Grants that these lines leave below zero, or further below: said in the posting, for whoever verifies."""
        taken = [name.split(":")[1] for name, amount in lines if amount < 0 and name.endswith(":free")]
        rows = {grant: self.find("grant_state", (int(grant),)) for grant in taken}
        return {grant: row["free"] for grant, row in rows.items() if row and row["free"] < 0}

    def _add(self, posting: Row, lines: Sequence[tuple[str, int]]) -> None:
        posting["hash"] = chain.hash_of(posting, lines)
        self._head = (posting["seq"], posting["hash"])
        self._known[posting["key"]] = posting["seq"]
        self._postings.append(posting)
        self._lines.extend({"seq": posting["seq"], "account": name, "amount": amount} for name, amount in lines)

    def flush(self) -> None:
        """Write what was gathered, if anything was posted, and start anew, so that a long transaction stays small."""
        if not self._postings:
            self._forget()
            return
        seq, digest = self._end()
        self._insert(POSTING, self._postings)
        self._insert(LINE, self._lines)
        for name in KEYS:
            self._flush_table(name)
        self.connection.execute(HEAD.update().values(seq=seq, hash=digest))
        self._forget()

    def _flush_table(self, name: str) -> None:
        table, rows, stored, changed = TABLES[name], self._rows[name], self._stored[name], self._changed[name]
        fresh = [row for key in changed if (row := rows[key]) is not None and key not in stored]
        self._insert(table, fresh)
        alike: dict[tuple[str, ...], list[Row]] = defaultdict(list)
        for key, before in changed.items():
            row = rows[key]
            if row is None and key in stored:
                self.connection.execute(table.delete().where(_is(table, key)))
            elif row is not None and key in stored:
                old = before or {}
                alike[tuple(name for name, value in row.items() if name not in old or value != old[name])].append(row)
        for names, some in alike.items():
            if names:
                self._run(_update_text(table.name, names, KEYS[table.name], self._style), some)

    def _insert(self, table: sa.Table, rows: Sequence[Row]) -> None:
        if rows:
            self._run(_insert_text(table.name, tuple(column.name for column in table.columns), self._style), rows)

    @property
    def _style(self) -> str:
        return STYLES[self.connection.dialect.name]

    def _run(self, statement: str, rows: Sequence[Row]) -> None:
        """Hand rows to the driver as they are: what SQLAlchemy does to each takes longer than writing it."""
        self.connection.exec_driver_sql(statement, list(rows))


STYLES = {"sqlite": ":{0}", "postgresql": "%({0})s"}
"""Dialect → how its driver spells the value of a name."""


@lru_cache
def _insert_text(table: str, columns: Sequence[str], style: str) -> str:
    names, values = (", ".join(f'"{name}"' for name in columns), ", ".join(style.format(name) for name in columns))
    return f"INSERT INTO {table} ({names}) VALUES ({values})"  # noqa: S608 -- names of the schema only


@lru_cache
def _update_text(table: str, columns: Sequence[str], keys: Sequence[str], style: str) -> str:
    values, conditions = ([f'"{name}" = {style.format(name)}' for name in names] for names in (columns, keys))
    return f"UPDATE {table} SET {', '.join(values)} WHERE {' AND '.join(conditions)}"  # noqa: S608 -- as above


def _is(table: sa.Table, key: Key) -> sa.ColumnElement[bool]:
    return sa.and_(*(table.c[name] == value for name, value in zip(KEYS[table.name], key, strict=True)))


def _coalesced(moves: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """One line an account, in the order of accounts. Raises: UserError — too large for every reader of it."""
    totals: dict[str, int] = defaultdict(int)
    for name, amount in moves:
        totals[name] += amount
    lines = sorted((name, amount) for name, amount in totals.items() if amount)
    if sum(amount for _, amount in lines):
        raise ValueError(f"lines do not sum to zero: {lines}")
    for name, amount in lines:
        if abs(amount) > chain.LARGEST:
            raise UserError(f"{name}: {amount} billing-seconds is more than a ledger can hold")
    return lines


def move(grant: int, source: str, target: str, amount: int) -> list[tuple[str, int]]:
    """Lines that move an amount between two pots of one grant."""
    return [(account(grant, source), -amount), (account(grant, target), amount)]


def _printable(what: str, text: str) -> str:
    if len(text) > MOST_REASON or not text.isprintable():
        raise UserError(f"{what}: write at most {MOST_REASON} characters on one line")
    return text


def _chunks(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]


def open_holds(book: Book, holder: Holder) -> list[Row]:
    """Open holds of a holder and of all below it."""
    return book.select("hold_state", sa.and_(HOLD.c.open, within(HOLD.c.holder, holder)))


def within(column: sa.Column[str], holder: Holder) -> sa.ColumnElement[bool]:
    """The holder that a column names is this one, or below it."""
    return sa.or_(column == str(holder), column.startswith(f"{holder}/", autoescape=True))
