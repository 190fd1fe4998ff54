"""Who may what: roles by the operating system's user or by token, and what each may change and see.

The door is ``actor_of``: the library trusts an actor that it is given, as it trusts whoever can open the database.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from forgia.errors import Refused, UserError
from forgia.grant import ROLES, Actor, Holder, Kind

if TYPE_CHECKING:
    import sqlalchemy as sa

    from forgia.quota.postings import Set

TOKEN = "FORGIA_LEDGER_TOKEN"  # noqa: S105 -- the name of a variable
"""Environment variable with a token …"""

TOKEN_FILE = "FORGIA_LEDGER_TOKEN_FILE"  # noqa: S105 -- the name of a variable
"""… or with the name of the file that has it; never an argument, which every process of the machine could read."""

ORGANISATION_DEPTH = 2
"""Names of a holder's path that make the organisation: what a member sees."""

MAY = {
    "hold": "member",
    "settle": "member",
    "request": "member",
    "sub_grant": "admin",
    "transfer": "admin",
    "freeze": "admin",
    "unfreeze": "admin",
    "close": "admin",
    "ceiling": "admin",
    "assign": "admin",
    "revoke": "admin",
}
"""The weakest role that may; whatever is not named here, staff alone may."""

ALWAYS_TWO = ("setting", "assign", "token")
"""Where anything wants two people, so do these: else one person could lift the rule, or be both."""


def system_user() -> str:
    """The user that this process runs as, as the operating system says it, whatever the environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"


def new_token() -> str:
    """A secret of 256 bits."""
    return "fgl_" + secrets.token_urlsafe(32)


def token_digest(token: str) -> str:
    """What the ledger keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_from(environment: Mapping[str, str]) -> str | None:
    """The token that the environment has, or names the file of. Raises: UserError — a file that others can read."""
    if token := environment.get(TOKEN):
        return token
    if not (name := environment.get(TOKEN_FILE)):
        return None
    path = Path(name)
    try:
        if path.stat().st_mode & 0o077:
            raise UserError(f"{path}: others can read this token", hint=f"chmod 600 {path}")
        return path.read_text().strip()
    except OSError as error:
        raise UserError(f"{path}: the token cannot be read: {error.strerror}") from error


def organisation(holder: Holder) -> Holder:
    """The organisation that a holder belongs to; the site, for the site."""
    return Holder(holder.path[:ORGANISATION_DEPTH])


def reaches(actor: Actor, holder: Holder, *, whole_organisation: bool) -> bool:
    """The actor's place covers this holder; for what it may see, its place is the whole organisation."""
    if actor.holder is None:
        return True
    return holder.is_within(organisation(actor.holder) if whole_organisation else actor.holder)


def scope(actor: Actor) -> Holder | None:
    """Where an actor may look; None: everywhere."""
    return None if actor.holder is None else organisation(actor.holder)


def check(actor: Actor, verb: str, holder: Holder | None) -> None:
    """Raises: Refused — the actor may not do this to this holder; None as a holder: to the ledger as a whole."""
    needed = MAY.get(verb, "staff")
    if actor.role not in ROLES or ROLES.index(actor.role) < ROLES.index(needed):
        raise Refused(f"{actor.name} ({actor.role}) may not {verb.replace('_', ' ')}: that takes the role {needed}")
    whole = actor.role == "member"
    if actor.holder is not None and (holder is None or not reaches(actor, holder, whole_organisation=whole)):
        place = "the whole ledger" if holder is None else str(holder)
        what = verb.replace("_", " ")
        raise Refused(f"{actor.name} is {actor.role} of {actor.holder}, and may not {what} on {place}")


def check_sight(actor: Actor, holder: Holder | None) -> None:
    """Raises: Refused — not for this actor's eyes; None as a holder: what belongs to nobody, which staff sees."""
    if actor.role not in ROLES:
        raise Refused(f"{actor.name}: {actor.role!r} is not a role of a ledger")
    if actor.holder is None or (holder is not None and reaches(actor, holder, whole_organisation=True)):
        return
    place = "the whole ledger" if holder is None else str(holder)
    raise Refused(f"{actor.name} is {actor.role} of {actor.holder} and does not see {place}")


def member_set(subject: str, holder: Holder | None, *, role: str, label: str) -> Set:
    """The row of a role."""
    return ("member", [subject, str(holder or "")], {"role": role, "label": label})


def user_subject(user: str) -> str:
    """How a user is named in the table of roles."""
    return f"user:{user}"


def token_subject(digest: str) -> str:
    """How a token is named in the table of roles."""
    return f"token:{digest}"


def two_people(verbs: Iterable[str]) -> set[str]:
    """Every change that takes two people, where the setting says these."""
    wanted = set(verbs)
    return wanted | set(ALWAYS_TWO) if wanted else wanted


def first_posting(connection: sa.Connection, *, now: datetime) -> None:
    """Open a ledger: its maker is staff."""
    from forgia.quota.book import Book

    user = system_user()
    book = Book(connection, now=now, actor=Actor(name=user, role="staff"), reason="made this ledger")
    maker = member_set(user_subject(user), None, role="staff", label=user)
    book.post(Kind.RULE, key="ledger", sets=[maker], facts={"verb": "open"})
    book.flush()


def subject_of(*, token: str | None, user: str | None = None) -> str:
    """How somebody is named in the table of roles: by token, else by user, else by this process's user."""
    return token_subject(token_digest(token)) if token else user_subject(user or system_user())


def actor_of(connection: sa.Connection, *, user: str | None, token: str | None, holder: Holder | None) -> Actor:
    """See ``Ledger.actor_of``."""
    import sqlalchemy as sa

    from forgia.quota.schema import MEMBER

    columns = (MEMBER.c.label, MEMBER.c.role, MEMBER.c.holder)
    subject = subject_of(user=user, token=token)
    roles = actors(connection.execute(sa.select(*columns).where(MEMBER.c.subject == subject)).all())
    if not roles:
        who = "this token" if token else f"the user {user or system_user()!r}"
        hint = "ask staff for a role: forgia quota role USER member SITE/FIRM --reason TEXT"
        raise Refused(f"{who} has no role in this ledger", hint=hint)
    return strongest(roles, holder)


def actors(roles: Iterable[Iterable[str]]) -> list[Actor]:
    """Somebody's roles, of rows of label, role and holder."""
    return [Actor(name=label, role=role, holder=Holder.parse(place) if place else None) for label, role, place in roles]


def strongest(roles: Iterable[Actor], holder: Holder | None) -> Actor:
    """Of somebody's roles the one to act in at this place: one that covers it, else one that sees it."""
    return max(roles, key=lambda actor: _strength(actor, holder))


def sights(roles: Sequence[Actor], *, is_token: bool) -> Sequence[Holder | None]:
    """Where somebody with these roles may look; None: everywhere. A token looks where its strongest role does."""
    first = strongest(roles, None)
    if first.holder is None or is_token:
        return [scope(first)]
    return sorted({organisation(actor.holder) for actor in roles if actor.holder})


def _strength(actor: Actor, holder: Holder | None) -> tuple[bool, bool, int]:
    sees = holder is None or reaches(actor, holder, whole_organisation=True)
    covers = holder is None or reaches(actor, holder, whole_organisation=actor.role in ("viewer", "member"))
    return covers, sees, ROLES.index(actor.role)
