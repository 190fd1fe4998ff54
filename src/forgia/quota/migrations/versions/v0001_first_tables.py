"""The first tables: postings that can only be added to, and the state derived from them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None

TEXTS_OF_POSTING = ("time", "at", "kind", "actor", "role", "reason", "key", "holder", "run_id", "hold_key", "facts")

SQLITE_GUARD = """
CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, 'a ledger is only added to'); END
"""

POSTGRESQL_GUARD = """
CREATE FUNCTION forgia_only_add() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'a ledger is only added to'; END $$
"""


def upgrade() -> None:
    """Make every table of the first release."""
    _postings()
    _budgets()
    _rules()
    _guards()
    op.execute("INSERT INTO head (id, seq, hash) VALUES (1, 0, '')")


def _text(name: str, *, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=key, nullable=False)


def _number(name: str, *, key: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, primary_key=key, nullable=False, autoincrement=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)


def _index(name: str, table: str, column: str, where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, [column], sqlite_where=condition, postgresql_where=condition)


def _postings() -> None:
    op.create_table("head", _number("id", key=True), _number("seq"), _text("hash"))
    texts = [_text(name) for name in (*TEXTS_OF_POSTING, "prev_hash", "hash")]
    op.create_table("posting", _number("seq", key=True), *texts)
    op.create_index("posting_key", "posting", ["key"], unique=True)
    op.create_index("posting_at", "posting", ["at"])
    _index("posting_run", "posting", "run_id", "run_id <> ''")
    _index("posting_hold", "posting", "hold_key", "hold_key <> ''")
    columns = (_number("seq", key=True), _text("account", key=True), _number("amount"))
    op.create_table("posting_line", *columns, sqlite_with_rowid=False)


def _budgets() -> None:
    numbers = [_number(name) for name in ("amount", "priority", "overdraft", "free", "held", "spent", "expired")]
    texts = [_text(name) for name in ("valid_from", "valid_until", "resource", "strategy", "title")]
    flags = [_flag(name) for name in ("refund_node_fail", "frozen", "closed")]
    parent = sa.Column("parent", sa.BigInteger, nullable=True)
    op.create_table("grant_state", _number("id", key=True), _text("holder"), parent, *numbers, *texts, *flags)
    op.create_index("grant_holder", "grant_state", ["holder"])
    texts = [_text(name) for name in ("run_id", "holder", "resource", "opened", "facts")]
    numbers = [_number(name) for name in ("rate", "walltime_s", "attempts", "tasks", "gpus", "asked", "seq")]
    op.create_table("hold_state", _text("key", key=True), *texts, *numbers, _flag("open"))
    _index("hold_open", "hold_state", "holder", "open")
    numbers = [_number(name) for name in ("position", "amount", "held", "charged")]
    op.create_table("hold_part", _text("hold_key", key=True), _number("grant_id", key=True), *numbers)
    op.create_table("holder_state", _text("holder", key=True), _number("held"), _number("charged"))


def _rules() -> None:
    op.create_table("ceiling", _text("holder", key=True), _text("kind", key=True), _number("value"))
    op.create_table("setting", _text("name", key=True), _text("value"))
    op.create_table("member", _text("subject", key=True), _text("holder", key=True), _text("role"), _text("label"))
    texts = [_text(name) for name in ("verb", "arguments", "reason", "actor", "time", "state", "decided_by")]
    op.create_table("request", _number("id", key=True), *texts)
    texts = [_text(name) for name in ("time", "reason", "usage", "resolved")]
    op.create_table("quarantine", _text("key", key=True), _number("seq"), *texts)


def _guards() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    if postgresql:
        op.execute(POSTGRESQL_GUARD)
    for table in ("posting", "posting_line"):
        if postgresql:
            when = f"BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            op.execute(f"CREATE TRIGGER {table}_guard {when} FOR EACH STATEMENT EXECUTE FUNCTION forgia_only_add()")
            continue
        for verb in ("UPDATE", "DELETE"):
            op.execute(SQLITE_GUARD.format(table=table, verb=verb))
