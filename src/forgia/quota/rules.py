"""Rules of a ledger: its settings, the ceilings on holders, and who has which role."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from forgia.errors import NotFound, Refused, UserError, nearest
from forgia.grant import CEILINGS, ROLES, Holder, Kind
from forgia.paths import checked_name
from forgia.quota import access, chain
from forgia.quota.book import Book
from forgia.quota.postings import Row, Set
from forgia.quota.schema import MEMBER

LONGEST_SETTING = 10_000
"""Characters of a value, as JSON."""


def setting(book: Book, name: str) -> Any:
    """The value of a setting; None where it has none."""
    row = book.find("setting", (name,))
    return json.loads(row["value"]) if row else None


def unmanaged_holder(book: Book, cluster: str) -> Holder | None:
    """Who the ledger was told to charge for what nobody asked for on a cluster."""
    found = (setting(book, "unmanaged") or {}).get(cluster)
    return Holder.parse(found) if found else None


def set_setting(book: Book, arguments: Mapping[str, Any], key: str, *, verbs: Collection[str]) -> int:
    """Change a setting; those that the ledger itself reads are checked. ``verbs``: every change there is."""
    name, value = arguments["name"], arguments["value"]
    access.check(book.actor, "setting", None)
    checked_name("setting", name)
    if name not in CHECKS and (near := nearest(name, CHECKS)):
        raise UserError(f"no setting is named {name!r}, and nothing would read it; did you mean {' or '.join(near)}?")
    if len(chain.canonical(value)) > LONGEST_SETTING:
        raise UserError(f"setting {name}: write at most {LONGEST_SETTING:,} characters")
    if check := CHECKS.get(name):
        check(value, verbs)
    row: Set = ("setting", [name], {"value": chain.canonical(value)})
    return book.post(Kind.RULE, key=key, sets=[row])


def _check_four_eyes(value: Any, verbs: Collection[str]) -> None:
    if not isinstance(value, list) or not all(isinstance(verb, str) for verb in value):
        raise UserError("setting four_eyes: write a list of verbs")
    if unknown := sorted(set(value) - set(verbs)):
        raise UserError(f"setting four_eyes: {', '.join(unknown)}: no such verb; there are {', '.join(verbs)}")


def _check_unmanaged(value: Any, _verbs: Collection[str]) -> None:
    if not isinstance(value, dict):
        raise UserError("setting unmanaged: write a table from cluster to holder")
    for holder in value.values():
        Holder.parse(str(holder))


CHECKS: dict[str, Callable[[Any, Collection[str]], None]] = {
    "four_eyes": _check_four_eyes,
    "unmanaged": _check_unmanaged,
}
"""Settings that the ledger itself reads. Others are kept for who reads them: rate cards, addresses."""


def set_ceiling(book: Book, arguments: Mapping[str, Any], key: str) -> int:
    """Cap a holder, or lift the cap. An admin caps what is below its place, not its place."""
    holder, kind, value = Holder.parse(arguments["holder"]), arguments["kind"], arguments["value"]
    access.check(book.actor, "ceiling", holder)
    if book.actor.role == "admin" and holder == book.actor.holder:
        raise Refused(f"the ceilings of {holder} are set by staff; an admin sets those below it")
    if kind not in CEILINGS:
        raise UserError(f"ceiling {kind!r}: choose one of {', '.join(CEILINGS)}")
    if value is not None and not 0 <= value <= chain.LARGEST:
        raise UserError(f"ceiling {kind} of {holder}: {value} is less than nothing, or more than anybody counts")
    row: Set = ("ceiling", [str(holder), kind], None if value is None else {"value": value})
    return book.post(Kind.RULE, key=key, holder=holder, sets=[row])


def assign(book: Book, arguments: Mapping[str, Any], key: str) -> int:
    """Give a user a role."""
    return _assign(book, arguments, key, subject=access.user_subject(arguments["name"]), verb="assign")


def token(book: Book, arguments: Mapping[str, Any], key: str) -> int:
    """Give a token a role; its label must be new, because it is how the token is taken back."""
    if _named(book, arguments["name"]):
        raise Refused(f"the name {arguments['name']!r} is taken", hint="give the token another label")
    return _assign(book, arguments, key, subject=access.token_subject(arguments["digest"]), verb="token")


def _assign(book: Book, arguments: Mapping[str, Any], key: str, *, subject: str, verb: str) -> int:
    name, role = arguments["name"], arguments["role"]
    holder = Holder.parse(arguments["holder"]) if arguments["holder"] else None
    access.check(book.actor, verb, holder)
    if not (name.strip() and name.isprintable()):
        raise UserError(f"{name!r} is the name of nobody: write it on one line, without control characters")
    if role not in ROLES:
        raise UserError(f"role {role!r} for {name!r}: choose one of {', '.join(ROLES)}")
    if (role == "staff") != (holder is None):
        raise UserError(f"{role} for {name}: staff is staff everywhere, every other role has its place in the tree")
    row = access.member_set(subject, holder, role=role, label=name)
    return book.post(Kind.RULE, key=key, holder=holder, sets=[row])


def revoke(book: Book, arguments: Mapping[str, Any], key: str) -> int:
    """Take a role back, by name and place. Raises: Refused — nobody would be staff any more."""
    name = arguments["name"]
    holder = Holder.parse(arguments["holder"]) if arguments["holder"] else None
    access.check(book.actor, "revoke", holder)
    found = [row for row in _named(book, name) if row["holder"] == str(holder or "")]
    if not found:
        raise NotFound("member", name)
    if holder is None and len(book.select("member", MEMBER.c.role == "staff")) <= len(found):
        raise Refused(f"{name} is the last of the staff", hint="make somebody else staff first")
    gone: list[Set] = [("member", [row["subject"], row["holder"]], None) for row in found]
    return book.post(Kind.RULE, key=key, holder=holder, sets=gone)


def _named(book: Book, name: str) -> list[Row]:
    return book.select("member", MEMBER.c.label == name)
