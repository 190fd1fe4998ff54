"""The tables of a ledger.

``posting`` and ``posting_line`` are the ledger: rows are only ever added, which triggers enforce. Everything else is
derived from them, is kept so that a question needs no replay, and is proven by one (``forgia.quota.verify``).
The migrations make the tables; where they make an index of some rows only, it is named here without saying which:
saying it would import every dialect.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, MetaData, Table, Text

METADATA = MetaData()


def _text(name: str, *, key: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=key, nullable=False)


def _number(name: str, *, key: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=key, nullable=False, autoincrement=False)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


HEAD = Table("head", METADATA, _number("id", key=True), _number("seq"), _text("hash"))
"""One row: the end of the chain. Who writes locks it first, which is what puts all postings in one order."""

POSTING = Table(
    "posting",
    METADATA,
    _number("seq", key=True),
    *(_text(name) for name in ("time", "at", "kind", "actor", "role", "reason", "key", "holder", "run_id")),
    *(_text(name) for name in ("hold_key", "facts", "prev_hash", "hash")),
    Index("posting_key", "key", unique=True),
    Index("posting_at", "at"),
    Index("posting_run", "run_id"),
    Index("posting_hold", "hold_key"),
)

LINE = Table(
    "posting_line",
    METADATA,
    _number("seq", key=True),
    _text("account", key=True),
    _number("amount"),
    sqlite_with_rowid=False,
)

GRANT = Table(
    "grant_state",
    METADATA,
    _number("id", key=True),
    _text("holder"),
    Column("parent", BigInteger, nullable=True),
    *(_number(name) for name in ("amount", "priority", "overdraft", "free", "held", "spent", "expired")),
    *(_text(name) for name in ("valid_from", "valid_until", "resource", "strategy", "title")),
    *(_flag(name) for name in ("refund_node_fail", "frozen", "closed")),
    Index("grant_holder", "holder"),
)

HOLD = Table(
    "hold_state",
    METADATA,
    _text("key", key=True),
    *(_text(name) for name in ("run_id", "holder", "resource", "opened", "facts")),
    *(_number(name) for name in ("rate", "walltime_s", "attempts", "tasks", "gpus", "asked", "seq")),
    _flag("open"),
    Index("hold_open", "holder"),
)

PART = Table(
    "hold_part",
    METADATA,
    _text("hold_key", key=True),
    _number("grant_id", key=True),
    *(_number(name) for name in ("position", "amount", "held", "charged")),
)

HOLDER = Table("holder_state", METADATA, _text("holder", key=True), _number("held"), _number("charged"))

CEILING = Table("ceiling", METADATA, _text("holder", key=True), _text("kind", key=True), _number("value"))

SETTING = Table("setting", METADATA, _text("name", key=True), _text("value"))

MEMBER = Table("member", METADATA, _text("subject", key=True), _text("holder", key=True), _text("role"), _text("label"))

REQUEST = Table(
    "request",
    METADATA,
    _number("id", key=True),
    *(_text(name) for name in ("verb", "arguments", "reason", "actor", "time", "state", "decided_by")),
)

QUARANTINE = Table(
    "quarantine",
    METADATA,
    _text("key", key=True),
    _number("seq"),
    *(_text(name) for name in ("time", "reason", "usage", "resolved")),
)

DERIVED = (GRANT, HOLD, PART, HOLDER, CEILING, SETTING, MEMBER, REQUEST, QUARANTINE)
"""What replaying the postings makes again."""
