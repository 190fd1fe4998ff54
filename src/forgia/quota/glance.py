"""The grants in sight of a person, read through the driver alone: importing SQLAlchemy takes longer than the answer.

Only the plain case is answered: a ledger of this code's revision, and a person with a role in it. Of anything else
nothing is told here; ``forgia.quota.office`` opens it in full, and knows what to say.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from forgia.grant import Holder
from forgia.quota import access, rows
from forgia.quota.migrations import REVISIONS
from forgia.quota.records import GrantState

FLAGS = ("refund_node_fail", "frozen", "closed")
"""Columns that SQLite keeps as numbers."""

BUSY_TIMEOUT_S = 60
"""As ``forgia.quota.engine`` waits for writers."""

Ask = Callable[[str, Sequence[str]], Iterable[Mapping[str, Any]]]


def glance(place: Path | str, *, token: str | None) -> tuple[GrantState, ...] | None:
    """What ``Office.grants`` gives; None: this ledger, or this person, is no plain case."""
    return _in_file(place, token) if isinstance(place, Path) else _on_server(place, token)


def _in_file(path: Path, token: str | None) -> tuple[GrantState, ...] | None:
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)) as file:
            file.row_factory = sqlite3.Row
            file.execute("BEGIN")  # all questions of the same moment
            return _seen(lambda query, given: map(dict, file.execute(query.replace("%s", "?"), given)), token)
    except sqlite3.Error:
        return None


def _on_server(address: str, token: str | None) -> tuple[GrantState, ...] | None:
    try:
        import psycopg
        from psycopg.rows import dict_row
    except ImportError:
        return None
    if not _is_plain(address):
        return None
    try:
        with psycopg.connect(address, row_factory=dict_row) as server:
            server.read_only, server.isolation_level = True, psycopg.IsolationLevel.REPEATABLE_READ
            return _seen(lambda query, given: server.execute(query.encode(), given or None), token)
    except psycopg.Error:
        return None


def _is_plain(address: str) -> bool:
    """libpq's own kind of address, without a password, which is refused elsewhere."""
    parts = urlsplit(address)
    has_password = parts.password is not None or "password" in parse_qs(parts.query)
    return parts.scheme in ("postgresql", "postgres") and not has_password


def _seen(ask: Ask, token: str | None) -> tuple[GrantState, ...] | None:
    if [row["version_num"] for row in ask("SELECT version_num FROM alembic_version", ())] != [REVISIONS[-1]]:
        return None
    found = ask("SELECT label, role, holder FROM member WHERE subject = %s", [access.subject_of(token=token)])
    roles = access.actors((row["label"], row["role"], row["holder"]) for row in found)
    if not roles:
        return None
    places = access.sights(roles, is_token=bool(token))
    grants = (rows.grant(_as_row(row)) for row in ask("SELECT * FROM grant_state ORDER BY id", ()))
    return tuple(grant for grant in grants if _is_in(grant.holder, places))


def _as_row(found: Mapping[str, Any]) -> dict[str, Any]:
    return {**found, **{name: bool(found[name]) for name in FLAGS}}


def _is_in(holder: Holder, places: Sequence[Holder | None]) -> bool:
    return any(place is None or holder.is_within(place) for place in places)
