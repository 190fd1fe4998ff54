"""Between rows (and the JSON inside them) and the nouns they are of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

from forgia.grant import Holder, Kind, Terms, Usage
from forgia.quota.moments import moment, spelled
from forgia.quota.records import Ceiling, Entry, GrantState, Hold, HolderUse, HoldPart, Member, Quarantined, Request

RowMapping = Mapping[Any, Any]

TERMS = ("amount", "resource", "priority", "strategy", "overdraft", "refund_node_fail", "title")
"""Fields of the terms that are columns as they are."""

USAGE = tuple(field.name for field in fields(Usage))
"""Fields of a usage, all of which a posting keeps."""

USAGE_TIMES = ("start", "end")
"""Those of them that are moments."""

place = lru_cache(maxsize=4096)(Holder.parse)
"""A holder by its path; the same few stand in most rows."""


def terms_row(terms: Terms) -> dict[str, Any]:
    """Terms as columns, which are JSON values too."""
    times = {"valid_from": spelled(terms.valid_from), "valid_until": spelled(terms.valid_until)}
    return {**{name: getattr(terms, name) for name in TERMS}, **times, "holder": str(terms.holder)}


def terms(row: RowMapping) -> Terms:
    """The opposite of ``terms_row``; other columns are passed over."""
    times: dict[str, Any] = {name: moment(row[name]) for name in ("valid_from", "valid_until")}
    return Terms(holder=place(row["holder"]), **times, **{name: row[name] for name in TERMS})


def grant(row: RowMapping) -> GrantState:
    """A grant."""
    names = ("id", "parent", "frozen", "closed", "free", "held", "spent", "expired")
    return GrantState(terms=terms(row), **{name: row[name] for name in names})


def hold(row: RowMapping, parts: Iterable[RowMapping]) -> Hold:
    """A hold with its parts, in the order they are given."""
    names = ("key", "run_id", "resource", "rate", "walltime_s", "attempts", "tasks", "gpus", "asked", "open")
    shares = (
        HoldPart(grant=part["grant_id"], amount=part["amount"], held=part["held"], charged=part["charged"])
        for part in parts
    )
    return Hold(
        holder=place(row["holder"]),
        opened=moment(row["opened"]),
        parts=tuple(shares),
        facts=json.loads(row["facts"]),
        **{name: row[name] for name in names},
    )


def entry(row: RowMapping, lines: Iterable[tuple[str, int]]) -> Entry:
    """A posting with its lines."""
    names = ("seq", "actor", "role", "reason", "key", "run_id", "hold_key", "prev_hash", "hash")
    return Entry(
        time=moment(row["time"]),
        at=moment(row["at"]),
        kind=Kind(row["kind"]),
        holder=holder(row["holder"]),
        facts=json.loads(row["facts"]),
        lines=tuple(lines),
        **{name: row[name] for name in names},
    )


def holder(text: str) -> Holder | None:
    """A holder; None where the column is empty."""
    return place(text) if text else None


def usage_facts(usage: Usage) -> dict[str, Any]:
    """A usage as JSON; times as the ledger spells them."""
    facts = {name: getattr(usage, name) for name in USAGE}
    return facts | {name: spelled(facts[name]) for name in USAGE_TIMES if facts[name]}


def usage(facts: Mapping[str, Any]) -> Usage:
    """The opposite of ``usage_facts``: what an entry's ``facts["usage"]`` tells."""
    times: dict[str, Any] = {name: moment(facts[name]) if facts[name] else None for name in USAGE_TIMES}
    return Usage(**times, **{name: facts[name] for name in USAGE if name not in times})


def use(row: RowMapping) -> HolderUse:
    """What one holder itself holds and used."""
    return HolderUse(holder=place(row["holder"]), held=row["held"], charged=row["charged"])


def ceiling(row: RowMapping) -> Ceiling:
    """A cap."""
    return Ceiling(holder=place(row["holder"]), kind=row["kind"], value=row["value"])


def member(row: RowMapping) -> Member:
    """A role."""
    is_token = row["subject"].startswith("token:")
    return Member(name=row["label"], role=row["role"], holder=holder(row["holder"]), token=is_token)


def request(row: RowMapping) -> Request:
    """A request."""
    names = ("id", "verb", "reason", "actor", "state", "decided_by")
    arguments = json.loads(row["arguments"])
    return Request(arguments=arguments, time=moment(row["time"]), **{name: row[name] for name in names})


def quarantined(row: RowMapping) -> Quarantined:
    """A row of the accounting that waits."""
    names = ("key", "seq", "reason", "resolved")
    return Quarantined(time=moment(row["time"]), usage=json.loads(row["usage"]), **{name: row[name] for name in names})


def opened(terms: Terms, *, parent: int | None) -> dict[str, Any]:
    """The row of a grant that was just opened, before any amount is on it."""
    pots = dict.fromkeys(("free", "held", "spent", "expired"), 0)
    return {**terms_row(terms), **pots, "parent": parent, "frozen": False, "closed": False}
