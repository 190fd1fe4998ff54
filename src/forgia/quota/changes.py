"""What staff does to budgets: each change as plain data, so that one person can ask for it and another approve it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from forgia.errors import NotFound, Problem, Refused, UserError
from forgia.grant import Holder, Kind, QuotaExceeded, Terms
from forgia.quota import access, reversal, rows, rules
from forgia.quota.book import Book, move
from forgia.quota.moments import moment, spelled
from forgia.quota.postings import Set
from forgia.quota.records import OUTSIDE, GrantState, account
from forgia.quota.schema import GRANT, POSTING

RESOURCES = ("any", "gpu", "cpu")
STRATEGIES = ("none", "cineca", "jsc", "it4i")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of a ledger that is not made yet."""

    verb: str
    """Of ``VERBS``."""
    arguments: Mapping[str, Any]
    """JSON."""


def grant(terms: Terms) -> Change:
    """Budget from outside."""
    return Change(verb="grant", arguments=rows.terms_row(_checked(terms)))


def sub_grant(parent: int, terms: Terms) -> Change:
    """A part of a grant, to a holder below."""
    return Change(verb="sub_grant", arguments={"parent": parent, **rows.terms_row(_checked(terms))})


def extend(grant: int, *, until: datetime | None = None, amount: int = 0) -> Change:
    """Longer, or larger, or both."""
    if amount < 0 or (until is None and not amount):
        raise UserError(f"grant {grant}: say until when, or by how much more than nothing")
    text = spelled(_aware("until", until)) if until else None
    return Change(verb="extend", arguments={"grant": grant, "until": text, "amount": amount})


def transfer(source: int, target: int, amount: int) -> Change:
    """What is free, from one grant to another."""
    if amount <= 0 or source == target:
        raise UserError(f"transfer {amount} from grant {source} to {target}: more than nothing, to another grant")
    return Change(verb="transfer", arguments={"source": source, "target": target, "amount": amount})


def freeze(grant: int) -> Change:
    """No new holds."""
    return Change(verb="freeze", arguments={"grant": grant})


def unfreeze(grant: int) -> Change:
    """Holds again."""
    return Change(verb="unfreeze", arguments={"grant": grant})


def close(grant: int) -> Change:
    """The end of a grant."""
    return Change(verb="close", arguments={"grant": grant})


def adjust(grant: int, amount: int) -> Change:
    """More charged, or less."""
    if not amount:
        raise UserError(f"grant {grant}: an adjustment of nothing")
    return Change(verb="adjust", arguments={"grant": grant, "amount": amount})


def reverse(seq: int) -> Change:
    """The opposite of a posting."""
    return Change(verb="reverse", arguments={"seq": seq})


def ceiling(holder: Holder, kind: str, value: int | None) -> Change:
    """A cap, or none."""
    return Change(verb="ceiling", arguments={"holder": str(holder), "kind": kind, "value": value})


def setting(name: str, value: Any) -> Change:
    """A setting."""
    return Change(verb="setting", arguments={"name": name, "value": value})


def assign(user: str, role: str, holder: Holder | None) -> Change:
    """A role for a user."""
    return Change(verb="assign", arguments={"name": user, "role": role, "holder": str(holder or "")})


def token(label: str, digest: str, role: str, holder: Holder | None) -> Change:
    """A role for a token."""
    arguments = {"name": label, "digest": digest, "role": role, "holder": str(holder or "")}
    return Change(verb="token", arguments=arguments)


def revoke(name: str, holder: Holder | None) -> Change:
    """No role any more."""
    return Change(verb="revoke", arguments={"name": name, "holder": str(holder or "")})


def perform(book: Book, change: Change, *, key: str) -> int:
    """Carry a change out; returns the number of its posting. Raises: UserError — no such verb."""
    if change.verb not in VERBS:
        raise UserError(f"{change.verb!r} is not a change that forgia knows; there are {', '.join(VERBS)}")
    if not book.reason.strip():
        raise UserError(f"{change.verb.replace('_', ' ')}: say why; the reason stays in the ledger")
    book.told |= {"verb": change.verb, "arguments": dict(change.arguments)}
    return VERBS[change.verb](book, change.arguments, key)


def expire(book: Book) -> int:
    """See ``Ledger.expire``. A charge that came after the end takes back what had expired."""
    over = sa.and_(GRANT.c.valid_until <= spelled(book.now), GRANT.c.free != 0)
    posted = 0
    for row in sorted(book.select("grant_state", over), key=lambda row: int(row["id"])):
        holder = Holder.parse(row["holder"])
        access.check(book.actor, "settle", holder)
        if amount := max(row["free"], -row["expired"]):
            at = moment(row["valid_until"])
            book.post(Kind.EXPIRE, holder=holder, at=at, moves=move(row["id"], "free", "expired", amount))
            posted += 1
    return posted


def _grant(book: Book, arguments: Mapping[str, Any], key: str) -> int:
    terms = _checked(rows.terms(arguments))
    access.check(book.actor, "grant", terms.holder)
    return _open(book, terms, key, parent=None, source=OUTSIDE)


def _sub_grant(book: Book, arguments: Mapping[str, Any], key: str) -> int:
    terms, parent = _checked(rows.terms(arguments)), alive(book, arguments["parent"])
    access.check(book.actor, "sub_grant", parent.holder)
    if terms.holder == parent.holder or not terms.holder.is_within(parent.holder):
        raise UserError(f"grant {parent.id} is of {parent.holder}; {terms.holder} is not below it")
    if terms.overdraft and book.actor.role != "staff":
        raise Refused("an overdraft is granted by staff alone")
    _check_not_frozen(book, parent)
    _check_fits_into(parent, terms.valid_from, terms.valid_until)
    _check_resource(parent, terms.resource)
    _check_free(parent, terms.amount)
    return _open(book, terms, key, parent=parent.id, source=account(parent.id, "free"))


def _open(book: Book, terms: Terms, key: str, *, parent: int | None, source: str) -> int:
    seq = book.next_seq
    row: Set = ("grant_state", [seq], rows.opened(terms, parent=parent))
    return book.post(
        Kind.GRANT if parent is None else Kind.SUBGRANT,
        key=key,
        holder=terms.holder,
        moves=[(source, -terms.amount), (account(seq, "free"), terms.amount)],
        sets=[row],
    )


def _extend(book: Book, arguments: Mapping[str, Any], key: str) -> int:
    old, amount = alive(book, arguments["grant"]), arguments["amount"]
    until = moment(arguments["until"]) if arguments["until"] else old.terms.valid_until
    access.check(book.actor, "extend", old.holder)
    if until < old.terms.valid_until:
        raise UserError(f"grant {old.id} lasts until {old.terms.valid_until:%Y-%m-%d}; extending is not shortening")
    source = OUTSIDE
    if old.parent is not None:
        parent = alive(book, old.parent)
        _check_fits_into(parent, old.terms.valid_from, until)
        _check_free(parent, amount)
        source = account(parent.id, "free")
    revived = old.expired if until > book.now else 0
    came_in = Kind.GRANT if old.parent is None else Kind.SUBGRANT
    changed = {"valid_until": spelled(until), "amount": old.terms.amount + amount}
    return book.post(
        came_in if amount else Kind.EXPIRE if revived else Kind.RULE,
        key=key,
        holder=old.holder,
        moves=[
            *((source, -amount), (account(old.id, "free"), amount)),
            *move(old.id, "expired", "free", revived),
        ],
        sets=[("grant_state", [old.id], changed)],
    )


def _transfer(book: Book, arguments: Mapping[str, Any], key: str) -> int:
    source, target = alive(book, arguments["source"]), alive(book, arguments["target"])
    for grant in (source, target):
        access.check(book.actor, "transfer", grant.holder)
    _check_same_site(source, target)
    _check_not_frozen(book, source)
    _check_resource(source, target.terms.resource)
    if book.now >= target.terms.valid_until:
        raise Refused(f"grant {target.id} is over since {target.terms.valid_until:%Y-%m-%d}; it would be lost there")
    if book.now >= source.terms.valid_until:
        raise Refused(f"grant {source.id} is over since {source.terms.valid_until:%Y-%m-%d}; nothing of it moves")
    if book.actor.role != "staff" and target.terms.valid_until > source.terms.valid_until:
        raise Refused(f"grant {target.id} lasts longer than grant {source.id}", hint="ask staff to transfer")
    amount = arguments["amount"]
    _check_free(source, amount)
    moves = [(account(source.id, "free"), -amount), (account(target.id, "free"), amount)]
    return book.post(Kind.TRANSFER, key=key, holder=target.holder, moves=moves)


def _freeze(book: Book, arguments: Mapping[str, Any], key: str, *, frozen: bool = True) -> int:
    grant, verb = alive(book, arguments["grant"]), "freeze" if frozen else "unfreeze"
    access.check(book.actor, verb, grant.holder)
    if not frozen and book.actor.role != "staff" and _frozen_by_staff(book, grant):
        raise Refused(f"grant {grant.id} was frozen by staff", hint="ask staff to unfreeze it")
    row: Set = ("grant_state", [grant.id], {"frozen": frozen})
    return book.post(Kind.RULE, key=key, holder=grant.holder, sets=[row])


def _frozen_by_staff(book: Book, grant: GrantState) -> bool:
    """Staff has frozen it since it was last open: a firm does not lift what staff decided."""
    ours = sa.and_(POSTING.c.kind == str(Kind.RULE), POSTING.c.holder == str(grant.holder))
    query = sa.select(POSTING.c.role, POSTING.c.facts).where(ours).order_by(POSTING.c.seq.desc())
    for role, text in book.connection.execute(query):
        facts = json.loads(text)
        if (facts.get("arguments") or {}).get("grant") == grant.id and facts.get("verb") in ("freeze", "unfreeze"):
            if facts["verb"] == "unfreeze":
                return False
            if role == "staff":
                return True
    return False


def _unfreeze(book: Book, arguments: Mapping[str, Any], key: str) -> int:
    return _freeze(book, arguments, key, frozen=False)


def _close(book: Book, arguments: Mapping[str, Any], key: str) -> int:
    grant = alive(book, arguments["grant"])
    access.check(book.actor, "close", grant.holder)
    if grant.held:
        hint = "freeze it, and close it when its jobs are settled"
        raise Refused(f"grant {grant.id} holds {grant.held:,} billing-s for jobs that may run", hint=hint)
    parent = find(book, grant.parent) if grant.parent is not None else None
    home = OUTSIDE if parent is None or parent.closed else account(parent.id, "free")
    back = max(0, grant.free)
    return book.post(
        Kind.TRANSFER,
        key=key,
        holder=grant.holder,
        moves=[(account(grant.id, "free"), -back), (home, back)],
        sets=[("grant_state", [grant.id], {"closed": True})],
    )


def _adjust(book: Book, arguments: Mapping[str, Any], key: str) -> int:
    grant, amount = find(book, arguments["grant"]), arguments["amount"]
    access.check(book.actor, "adjust", grant.holder)
    if grant.spent + amount < 0:
        raise Refused(f"grant {grant.id} was charged {grant.spent:,} billing-s; {-amount:,} cannot be taken off that")
    moves = move(grant.id, "free", "spent", amount)
    return book.post(Kind.ADJUST, key=key, holder=grant.holder, moves=moves)


def find(book: Book, grant: int) -> GrantState:
    """A grant as it stands. Raises: NotFound."""
    row = book.find("grant_state", (grant,))
    if row is None:
        raise NotFound("grant", str(grant))
    return rows.grant(row)


def alive(book: Book, grant: int) -> GrantState:
    """A grant that is not closed. Raises: NotFound, Refused."""
    found = find(book, grant)
    if found.closed:
        raise Refused(f"grant {grant} is closed")
    return found


def _check_free(grant: GrantState, amount: int) -> None:
    if amount > grant.free:
        message = f"grant {grant.id} of {grant.holder} has {grant.free:,} billing-s free, {amount:,} are wanted"
        raise QuotaExceeded(message, wanted=amount, free=grant.free, hint="less, or another grant")


def _check_fits_into(parent: GrantState, start: datetime, end: datetime) -> None:
    if start < parent.terms.valid_from or end > parent.terms.valid_until:
        times = f"{parent.terms.valid_from:%Y-%m-%d} to {parent.terms.valid_until:%Y-%m-%d}"
        raise UserError(f"grant {parent.id} is valid from {times}; a part of it cannot be valid outside that")


def _check_resource(source: GrantState, resource: str) -> None:
    if source.terms.resource not in ("any", resource):
        raise UserError(f"grant {source.id} is for {source.terms.resource}; nothing of it can be for {resource}")


def _check_not_frozen(book: Book, grant: GrantState) -> None:
    """A firm gives nothing of what staff froze on to where its jobs could use it."""
    if grant.frozen and book.actor.role != "staff" and _frozen_by_staff(book, grant):
        raise Refused(f"grant {grant.id} was frozen by staff; nothing of it moves", hint="ask staff to unfreeze it")


def _check_same_site(source: GrantState, target: GrantState) -> None:
    """A billing-second of one site is not one of another."""
    here, there = source.holder.path[0], target.holder.path[0]
    if here != there:
        hint = f"a new grant of {there}, in its own unit, is what can be given"
        raise Refused(f"grant {source.id} is of {here} and grant {target.id} of {there}, which bill apart", hint=hint)


def _aware(name: str, time: datetime) -> datetime:
    if time.tzinfo is None:
        raise UserError(f"{name} {time:%Y-%m-%d %H:%M}: say in which time zone")
    return time


def _checked(terms: Terms) -> Terms:
    """Raises: UserError — with everything that makes no sense."""
    rules_of_terms = (
        ("amount", terms.amount > 0, "must be more than 0 billing-seconds"),
        ("valid_until", terms.valid_from < terms.valid_until, "must be after valid_from"),
        ("resource", terms.resource in RESOURCES, f"must be one of {', '.join(RESOURCES)}"),
        ("strategy", terms.strategy in STRATEGIES, f"must be one of {', '.join(STRATEGIES)}"),
        ("overdraft", terms.overdraft >= 0, "must not be less than 0"),
        ("title", terms.title.isprintable(), "must be one printable line"),
    )
    for name in ("valid_from", "valid_until"):
        _aware(name, getattr(terms, name))
    problems = [Problem("grant", None, name, message) for name, holds, message in rules_of_terms if not holds]
    if problems:
        raise UserError(f"a grant for {terms.holder} cannot be", problems=problems)
    return terms


VERBS: dict[str, Callable[[Book, Mapping[str, Any], str], int]] = {
    "grant": _grant,
    "sub_grant": _sub_grant,
    "extend": _extend,
    "transfer": _transfer,
    "freeze": _freeze,
    "unfreeze": _unfreeze,
    "close": _close,
    "adjust": _adjust,
    "reverse": lambda book, arguments, _key: reversal.reverse(book, arguments),
    "ceiling": rules.set_ceiling,
    "setting": lambda book, arguments, key: rules.set_setting(book, arguments, key, verbs=tuple(VERBS)),
    "assign": rules.assign,
    "token": rules.token,
    "revoke": rules.revoke,
}
"""Every change there is: how it is carried out."""
