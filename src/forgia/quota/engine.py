"""Databases under a ledger: one writer at a time, tables brought up to date, failures said in forgia's words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from forgia import store
from forgia.errors import ClusterError, UserError
from forgia.quota.migrations import REVISIONS
from forgia.quota.schema import HEAD

BUSY_TIMEOUT_S = 60
"""How long a writer waits for its turn; a settlement of a month takes some seconds of it."""

MIGRATION_LOCK = 0x666F72676961
"""PostgreSQL's advisory lock while tables are made: the letters of forgia."""

PRAGMAS = ("journal_mode=DELETE", "synchronous=FULL", "cache_size=-32768")
"""WAL would need memory shared between machines. 32 MiB of pages: a settlement writes all over the indexes."""

VERSION = sa.text("SELECT version_num FROM alembic_version")

POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")


@dataclass(frozen=True, slots=True)
class Database:
    """An open database."""

    place: str
    """As messages name it; without secrets."""
    engine: sa.Engine

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction that has the ledger to itself; all of it, or nothing."""
        with spoken(self.place), self.engine.connect() as connection:
            connection.execution_options(forgia_writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One view of the ledger, all of the same moment. Short: in SQLite it keeps writers waiting."""
        with spoken(self.place), self.engine.connect() as connection:
            if self.engine.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    def dispose(self) -> None:
        """Close what the pool has."""
        self.engine.dispose()


def open_database(place: str | Path, *, now: Callable[[], datetime]) -> Database:
    """Connect and bring the tables up to date; whoever makes them, is staff of the ledger."""
    text = str(place)
    is_url = isinstance(place, str) and "://" in text
    database = _postgresql(text) if is_url else _sqlite(Path(place))
    try:
        _bring_up(database, now=now)
    except BaseException:
        database.dispose()
        raise
    return database


def _sqlite(path: Path) -> Database:
    store.private_directory(path.parent)
    os.close(store.create(path, 0))
    url = sa.URL.create("sqlite", database=str(path))
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, json_serializer=None)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return Database(str(path), engine)


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # Python's module would begin transactions of its own, too late and too weak
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("forgia_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


CONNECT_TIMEOUT_S = 15
PATIENCE = {"lock_timeout": "60s", "idle_in_transaction_session_timeout": "120s"}
"""A client that hangs in a transaction must not stop the others for ever; SQLite's writers wait as long for a lock.

Source: https://www.postgresql.org/docs/15/runtime-config-client.html
"""


def _postgresql(text: str) -> Database:
    url = _checked_url(text)
    try:
        engine = sa.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": CONNECT_TIMEOUT_S})
    except ImportError as error:
        hint = "pip install 'forgia[postgresql]'"
        raise UserError(f"ledger {text}: PostgreSQL's driver is not installed", hint=hint) from error
    sa.event.listen(engine, "connect", _be_patient)
    return Database(text, engine)


def _be_patient(connection: Any, _record: Any) -> None:
    """Not in the address: what it says of the session must hold beside this."""
    with connection.cursor() as cursor:
        for name, value in PATIENCE.items():
            cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
    connection.commit()


def _checked_url(text: str) -> sa.URL:
    """Raises: UserError — another database, no URL, or a password where every process of the machine reads it."""
    try:
        url = sa.make_url(text)
    except exc.ArgumentError as error:
        raise UserError(f"ledger {text.partition('://')[0]}://…: not a database URL") from error
    if _has_password(url):
        hint = "leave it out, and put it into ~/.pgpass (or the file that PGPASSFILE names), readable by you alone"
        message = f"ledger {_without_password(url)}: a password in a URL is seen by everybody on this machine"
        raise UserError(message, hint=hint)
    if url.drivername not in POSTGRESQL:
        hint = "write a file name, or postgresql://host/database"
        raise UserError(f"ledger {text}: {url.drivername} is not a database that forgia keeps a ledger in", hint=hint)
    return url.set(drivername="postgresql+psycopg")


def has_ledger(place: str) -> bool:
    """There is a ledger at this address; looking makes none. Raises: UserError, ClusterError."""
    database = _postgresql(place)
    try:
        with database.reading() as connection:
            return bool(_revision(connection, place))
    finally:
        database.dispose()


def shown(place: str) -> str:
    """An address as it may be shown, whatever somebody wrote into it: without its password."""
    try:
        url = sa.make_url(place)
    except exc.ArgumentError:
        return f"{place.partition('://')[0]}://…"
    return _without_password(url) if _has_password(url) else place


def _has_password(url: sa.URL) -> bool:
    return url.password is not None or "password" in url.query


def _without_password(url: sa.URL) -> str:
    return url.difference_update_query(["password"]).render_as_string(hide_password=True)


def _bring_up(database: Database, *, now: Callable[[], datetime]) -> None:
    if _is_current(database):
        return
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        found = _revision(connection, database.place)
        if found == REVISIONS[-1]:  # another process was faster
            return
        _upgrade(connection)
        if not found:
            from forgia.quota.access import first_posting

            first_posting(connection, now=now())


def _is_current(database: Database) -> bool:
    """The tables are this code's. Asked first, because it is nearly always so; whatever fails, fails again later."""
    try:
        with database.engine.connect() as connection:
            return connection.execute(VERSION).scalar() == REVISIONS[-1]
    except exc.DatabaseError:
        return False


def _revision(connection: sa.Connection, place: str) -> str:
    """Which revision the tables are at; empty where there are none. Raises: UserError — newer, or someone else's."""
    tables = set(sa.inspect(connection).get_table_names())
    if "alembic_version" not in tables:
        if HEAD.name in tables or "posting" in tables:
            raise UserError(f"ledger {place}: a database of something else, or a ledger that lost its version")
        return ""
    found = str(connection.execute(VERSION).scalar_one_or_none() or "")
    if found and found not in REVISIONS:
        hint = "install the forgia that your colleagues use, or a later one"
        raise UserError(f"ledger {place}: a newer forgia made its tables (revision {found})", hint=hint)
    return found


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "forgia.quota:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, REVISIONS[-1])


@contextmanager
def spoken(place: str) -> Iterator[None]:
    """Turn what a driver raises into forgia's errors."""
    try:
        yield
    except exc.OperationalError as error:
        message = f"ledger {place}: {_first_line(error)}"
        raise ClusterError(message, transient=True, hint="try again; nothing was half written") from error
    except exc.DatabaseError as error:
        if "not a database" in str(error.orig):
            raise UserError(f"ledger {place}: not a SQLite database") from error
        broken = "malformed" in str(error.orig)
        hint = "keep the file as it is, and go back to the last backup that verify finds whole" if broken else None
        raise ClusterError(f"ledger {place}: {_first_line(error)}", transient=False, hint=hint) from error


def _first_line(error: exc.DBAPIError) -> str:
    return str(error.orig).partition("\n")[0]
