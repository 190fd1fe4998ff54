"""The ledger that the settings name, opened with who this person is to it. The one door for commands and submissions.

if office := open_office(settings):
    with office:
        office.ledger.hold(request, by=office.at(request.holder))
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from forgia import digest
from forgia.errors import NotFound, Refused, UserError
from forgia.grant import Actor, Holder
from forgia.paths import NAME
from forgia.quota import access

if TYPE_CHECKING:
    from forgia.quota.changes import Change
    from forgia.quota.ledger import Ledger
    from forgia.quota.records import GrantState
    from forgia.settings import Settings

MAKE = "forgia quota init"
LONGEST_NAME = 64
"""Of a part of a holder's path. Source: ``forgia.paths.checked_name``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What became of a change: it was posted, or it was asked for and waits for another person."""

    by: Actor
    posting: int = 0
    request: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """An open ledger and somebody who has a role in it."""

    ledger: Ledger
    actor: Actor
    """The strongest of this person's roles."""
    token: str | None = field(default=None, repr=False)

    def __enter__(self) -> Office:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ledger.close_connections()

    def at(self, holder: Holder | None) -> Actor:
        """Who this person is at a place of the tree, where it has several roles."""
        return self.ledger.actor_of(token=self.token, holder=holder)

    def grant(self, number: int) -> GrantState:
        """A grant that this person may see. Raises: NotFound — with those it sees."""
        grants = {grant.id: grant for grant in self.grants()}
        if number not in grants:
            known = [str(grant.id) for grant in grants.values() if not grant.closed]
            raise NotFound("grant", str(number), known=known, hint="forgia quota show HOLDER lists the grants")
        return grants[number]

    def grants(self) -> tuple[GrantState, ...]:
        """Every grant in sight of any of this person's roles, closed ones too."""
        found = {grant.id: grant for actor in self.actors() for grant in self.ledger.grants(by=actor, closed=True)}
        return tuple(found[number] for number in sorted(found))

    def actors(self) -> tuple[Actor, ...]:
        """This person in each organisation that it has a role in; once, where the role is for everywhere."""
        if self.actor.holder is None or self.token:
            return (self.actor,)
        members = self.ledger.members(by=Actor(name=self.actor.name, role="staff"))  # sees all roles, to find its own
        mine = (one.holder for one in members if one.holder and not one.token and one.name == self.actor.name)
        return tuple(self.at(place) for place in sorted({access.organisation(place) for place in mine}))

    def make(self, change: Change, *, reason: str, holder: Holder | None = None) -> Made:
        """Make a change, or where the ledger wants four eyes for it, ask for it.

        Args: holder — the place that it is for, which chooses among this person's roles.
        """
        by = self.at(holder)
        if self.wants_four_eyes(change.verb):
            return Made(by=by, request=self.ledger.request(change, by=by, reason=reason))
        return Made(by=by, posting=self.ledger.do(change, by=by, reason=reason))

    def approve(self, request: int, *, reason: str) -> Made:
        """Approve what another person asked for, as who this person is at the place that it is for."""
        by = self.at(self.ledger.place_of_request(request))
        return Made(by=by, posting=self.ledger.approve(request, by=by, reason=reason))

    def reject(self, request: int, *, reason: str) -> Made:
        """Turn a request down, as who this person is at the place that it is for."""
        by = self.at(self.ledger.place_of_request(request))
        self.ledger.reject(request, by=by, reason=reason)
        return Made(by=by, request=request)

    def wants_four_eyes(self, verb: str) -> bool:
        """Another person has to approve it; where anything wants that, so does making oneself a second one."""
        return verb in access.two_people(self.ledger.settings().get("four_eyes") or ())


def place_of(settings: Settings) -> Path | str:
    """Where the ledger is, or would be."""
    return settings.ledger or settings.home.ledger


def open_office(settings: Settings) -> Office | None:
    """The ledger with this person's role in it; None: there is none, and none was asked for. Makes none.

    Raises: NotFound — the settings name a ledger, and it is not there: going on without would be spending unseen.
    Refused — this person has no role in it. ClusterError — it is out of reach.
    """
    place = place_of(settings)
    if not exists(place):
        if settings.ledger is None:
            _refuse_emptied(settings.home.ledger)
            return None
        hint = f"mend the setting ledger (from {settings.origin.get('ledger', 'a program')}), or make it: {MAKE}"
        raise NotFound("ledger", str(place), hint=hint)
    return _enter(place)


def _refuse_emptied(path: Path) -> None:
    """Raises: UserError — an empty file is no ledger, and where one was, going on would be spending unseen."""
    if path.is_file():
        hint = f"put a backup there, or where there never was a ledger, make it: {MAKE}"
        raise UserError(f"ledger {path}: the file is empty", hint=hint)


def found_office(settings: Settings) -> Office:
    """Make the ledger that the settings name; whoever does, is its first staff. Raises: Refused — there is one."""
    place = place_of(settings)
    if exists(place):
        raise Refused(f"ledger {place} is there already; a ledger is never made anew", hint="forgia quota show")
    return _enter(place)


def _enter(place: Path | str) -> Office:
    from forgia.quota.ledger import open_ledger

    ledger = open_ledger(place)
    try:
        token = access.token_from(os.environ)
        return Office(ledger=ledger, actor=ledger.actor_of(token=token), token=token)
    except BaseException:
        ledger.close_connections()
        raise


def exists(place: Path | str) -> bool:
    """There is a ledger; looking makes none."""
    if isinstance(place, Path):
        return place.is_file() and place.stat().st_size > 0
    from forgia.quota.engine import has_ledger

    return has_ledger(place)


def holder_of(settings: Settings, site: str) -> Holder:
    """Who pays for what this person submits: site, organisation, project, user of the operating system."""
    names = (site, settings.organisation, settings.project, access.system_user())
    return Holder(tuple(safe_name(name) for name in names))


def safe_name(name: str) -> str:
    """The name as a part of a holder's path; one that had to be changed bears a digest, so that no two meet."""
    if NAME.fullmatch(name) and len(name) <= LONGEST_NAME:
        return name
    mark = digest.of_bytes(name.encode()).removeprefix("sha256:")[:8]
    plain = re.sub(r"[^a-z0-9]+", "-", name.casefold())[: LONGEST_NAME - len(mark) - 1].strip("-")
    return f"{plain}-{mark}" if plain else f"x-{mark}"
