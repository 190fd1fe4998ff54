"""From a posting to the state it makes: the one place that knows, for the writer and for the replay that proves it.

A posting moves amounts (its lines) and puts values into rows (``facts["sets"]``: table, key, values; no values: the
row goes). Nothing else changes a derived table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from forgia.grant import Kind
from forgia.quota.records import grant_and_pot
from forgia.quota.schema import DERIVED

KEYS = {table.name: tuple(column.name for column in table.primary_key) for table in DERIVED}
"""Derived table → the columns of its key, in order."""

Key = tuple[Any, ...]
Row = dict[str, Any]
Set = tuple[str, Sequence[Any], Mapping[str, Any] | None]


class Rows(Protocol):
    """Derived rows, wherever they are kept."""

    def find(self, table: str, key: Key) -> Row | None:
        """The row; None where there is none. To change it, ``put`` it."""

    def put(self, table: str, key: Key, row: Row | None) -> None:
        """Make the row this; None: there is none any more."""


class MemoryRows:
    """Derived rows in memory, for a replay."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Key, Row]] = {name: {} for name in KEYS}

    def find(self, table: str, key: Key) -> Row | None:
        """See ``Rows``."""
        return self.tables[table].get(key)

    def put(self, table: str, key: Key, row: Row | None) -> None:
        """See ``Rows``."""
        if row is None:
            self.tables[table].pop(key, None)
        else:
            self.tables[table][key] = row


def apply(rows: Rows, posting: Mapping[str, Any], lines: Iterable[tuple[str, int]], sets: Iterable[Set]) -> None:
    """Bring the derived rows from before a posting to after it."""
    for table, names, values in sets:
        key = tuple(names)
        old = rows.find(table, key) or dict(zip(KEYS[table], key, strict=True))
        rows.put(table, key, None if values is None else {**old, **values})
    moved = [(place, amount) for name, amount in lines if (place := grant_and_pot(name))]
    for (grant, pot), amount in moved:
        _add(rows, "grant_state", (grant,), pot, amount)
    _to_holder(rows, posting["holder"], moved)
    if posting["hold_key"]:
        _to_parts(rows, posting, moved)


def _add(rows: Rows, table: str, key: Key, column: str, amount: int) -> None:
    row = rows.find(table, key)
    if row is None:
        raise LookupError(f"{table} {key}: no such row")
    rows.put(table, key, {**row, column: row[column] + amount})


def _to_holder(rows: Rows, holder: str, moved: Sequence[tuple[tuple[int, str], int]]) -> None:
    """What somebody itself holds and used, whichever grants bear it."""
    held = sum([amount for (_, pot), amount in moved if pot == "held"])
    charged = sum([amount for (_, pot), amount in moved if pot == "spent"])
    if holder and (held or charged):
        row = rows.find("holder_state", (holder,)) or {"holder": holder, "held": 0, "charged": 0}
        changed = {"held": row["held"] + held, "charged": row["charged"] + charged}
        rows.put("holder_state", (holder,), {**row, **changed})


def _to_parts(rows: Rows, posting: Mapping[str, Any], moved: Sequence[tuple[tuple[int, str], int]]) -> None:
    """A hold's share in each grant; what it reserves over its life changes when it is made or resized, not by use."""
    resizes = posting["kind"] == Kind.HOLD
    for (grant, pot), amount in moved:
        key = (posting["hold_key"], grant)
        row = rows.find("hold_part", key)
        if row is None or pot not in ("held", "spent"):
            continue
        if pot == "spent":
            changed = {"charged": row["charged"] + amount}
        else:
            changed = {"held": row["held"] + amount, "amount": row["amount"] + (amount if resizes else 0)}
        rows.put("hold_part", key, {**row, **changed})
