"""Four eyes: what one person asks for, another approves; and which changes want it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from forgia.errors import NotFound, Refused, UserError
from forgia.grant import Holder, Kind
from forgia.quota import access, chain, rules
from forgia.quota.book import Book
from forgia.quota.changes import VERBS, Change, perform
from forgia.quota.moments import spelled
from forgia.quota.postings import Row, Set
from forgia.quota.schema import POSTING


def do(book: Book, change: Change, *, key: str) -> int:
    """See ``Ledger.do``."""
    name = f"do:{key}" if key else ""
    if name and (seq := book.posted(name)):
        return _same(book, change, seq)
    if change.verb in _four_eyes(book):
        verb = change.verb.replace("_", " ")
        hint = "ask for it (quota request), and let somebody else approve it (quota approve)"
        raise Refused(f"this ledger wants four eyes for: {verb}", hint=hint)
    return perform(book, change, key=name)


def _four_eyes(book: Book) -> set[str]:
    """Verbs that want two people; where there are any, so does making oneself a second one."""
    return access.two_people(rules.setting(book, "four_eyes") or ())


def _same(book: Book, change: Change, seq: int) -> int:
    """The posting of the first time. Raises: Refused — its key was used for another change."""
    facts = json.loads(book.connection.execute(sa.select(POSTING.c.facts).where(POSTING.c.seq == seq)).scalar_one())
    if (facts.get("verb"), facts.get("arguments")) == (change.verb, dict(change.arguments)):
        return seq
    raise Refused(f"posting {seq} has this key already, and is another change", hint="every change needs its own key")


def request(book: Book, change: Change) -> int:
    """See ``Ledger.request``."""
    access.check(book.actor, "request", book.actor.holder)
    if change.verb not in VERBS:
        raise UserError(f"{change.verb!r} is not a change that forgia knows; there are {', '.join(VERBS)}")
    if not book.reason.strip():
        raise UserError("a request without a reason: say why; the reason stays in the ledger")
    values: Row = {"verb": change.verb, "arguments": chain.canonical(dict(change.arguments)), "reason": book.reason}
    values |= {"actor": book.actor.name, "time": spelled(book.now), "state": "open", "decided_by": ""}
    row: Set = ("request", [book.next_seq], values)
    return book.post(Kind.RULE, holder=book.actor.holder, sets=[row], facts={"verb": "request"})


def approve(book: Book, request: int) -> int:
    """See ``Ledger.approve``."""
    row = _open_request(book, request)
    if row["actor"] == book.actor.name:
        raise Refused(f"{book.actor.name} asked for request {request}; somebody else has to approve it")
    book.told = {"request": request, "requested_by": row["actor"]}
    seq = perform(book, Change(verb=row["verb"], arguments=json.loads(row["arguments"])), key=f"request:{request}")
    _decide(book, request, "approved")
    return seq


def reject(book: Book, request: int) -> None:
    """See ``Ledger.reject``; who asked may take the request back."""
    row = _open_request(book, request)
    if row["actor"] != book.actor.name:
        for place in _places(book, json.loads(row["arguments"])):
            access.check(book.actor, row["verb"], place)
    _decide(book, request, "rejected")


def _places(book: Book, arguments: Mapping[str, Any]) -> set[Holder | None]:
    """Whose budgets a change touches; None: the ledger as a whole, which is staff's."""
    numbers = {arguments[name] for name in ("grant", "parent", "source", "target") if arguments.get(name)}
    found = [row for number in numbers if (row := book.find("grant_state", (number,)))]
    texts = [str(arguments.get("holder") or ""), *(str(row["holder"]) for row in found)]
    return {Holder.parse(text) for text in texts if text} or {None}


def _open_request(book: Book, request: int) -> Row:
    row = book.find("request", (request,))
    if row is None or not _is_in_sight(book, row):
        raise NotFound("request", str(request))
    if row["state"] != "open":
        raise Refused(f"request {request} was {row['state']} by {row['decided_by']}")
    return row


def _is_in_sight(book: Book, row: Row) -> bool:
    """One's own, or all of it in one's own organisation; of others a firm does not learn that they asked."""
    if book.actor.holder is None or row["actor"] == book.actor.name:
        return True
    places = _places(book, json.loads(row["arguments"]))
    return all(place and access.reaches(book.actor, place, whole_organisation=True) for place in places)


def _decide(book: Book, request: int, state: str) -> None:
    row: Set = ("request", [request], {"state": state, "decided_by": book.actor.name})
    book.told = {}
    book.post(Kind.RULE, key=f"decide:{request}", sets=[row], facts={"verb": state})
