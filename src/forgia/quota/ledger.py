"""The ledger: every verb of it, each one transaction. Opened by ``open_ledger``; SQLite or PostgreSQL alike.

    with open_ledger(HomePaths(home).ledger) as ledger:
        me = ledger.actor_of()
        ledger.grant(terms, by=me, reason="EHPC-AIF-2026PG01-042")
        ledger.hold(request, by=me)

Verbs that change something take ``by`` (who) and, but for those a job makes, ``reason`` (why); reads take ``by`` as
well, and show a member its own organisation only. Amounts are billing-seconds, times are aware.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from forgia.grant import Actor, Balance, Holder, HoldRequest, Kind, Terms, Usage
from forgia.quota import access, changes, charges, holds, reading, requests
from forgia.quota.book import Book
from forgia.quota.changes import Change
from forgia.quota.engine import Database, open_database
from forgia.quota.records import (
    Answer,
    Ceiling,
    Entry,
    Finding,
    GrantState,
    Hold,
    HolderBalance,
    HolderUse,
    HoldMark,
    Member,
    Posted,
    Quarantined,
    Request,
)


def utc_now() -> datetime:
    """The clock of this machine."""
    return datetime.now(UTC)


def open_ledger(place: str | Path, *, now: Callable[[], datetime] = utc_now) -> Ledger:
    """Open a ledger, make it where there is none, and bring its tables up to date; safe in many processes at once.

    Args: place — a file, or ``postgresql://host/database``, without a password (libpq reads PGPASSFILE, PGSERVICE).
    Whoever makes a ledger is its first staff.
    Raises: UserError — not a ledger, made by a newer forgia, or a password in the URL. ClusterError — out of reach.
    """
    return Ledger(open_database(place, now=now), now=now)


class Ledger:
    """An append-only double-entry ledger of billing-seconds. Raises Refused for what an actor may not do."""

    def __init__(self, database: Database, *, now: Callable[[], datetime]) -> None:
        self.database = database
        self.now = now

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close_connections()

    def close_connections(self) -> None:
        """Give the connections to the database back."""
        self.database.dispose()

    @contextmanager
    def _writing(self, by: Actor, reason: str = "") -> Iterator[Book]:
        with self.database.writing() as connection:
            book = Book(connection, now=self.now(), actor=by, reason=reason)
            book.lock()
            yield book
            book.flush()

    # what a job needs

    def hold(self, request: HoldRequest, *, by: Actor, allow_cross: bool = False, overdraft_reason: str = "") -> Hold:
        """Reserve the worst case; with a key that has a hold already, that hold.

        Args: allow_cross — a grant may end before the job does. overdraft_reason — staff only: go below zero.
        Raises: QuotaExceeded — its message is the arithmetic, what is free where, and what would fit.
        """
        with self._writing(by, overdraft_reason) as book:
            return holds.hold(book, request, allow_cross=allow_cross, overdraft=bool(overdraft_reason))

    def preview(self, request: HoldRequest, *, by: Actor, allow_cross: bool = False) -> Answer:
        """What ``hold`` would say, without writing anything; ``answer.refusal(...)`` is the text of a refusal."""
        with self.database.reading() as connection:
            book = Book(connection, now=self.now(), actor=by, reason="")
            return holds.preview(book, request, allow_cross=allow_cross)

    def resize_hold(self, key: str, amount: int, *, by: Actor, reason: str, allow_cross: bool = False) -> Hold:
        """Make a hold reserve this much from here on, more or less than it does. Raises: QuotaExceeded, NotFound."""
        with self._writing(by, reason) as book:
            return holds.resize(book, key, amount, allow_cross=allow_cross)

    def release(self, key: str, *, by: Actor, reason: str) -> Hold:
        """Give back what is left of a hold and close it; one that is closed stays so. Raises: NotFound."""
        with self._writing(by, reason) as book:
            return holds.release(book, key)

    # what the accounting says

    def post_usage(
        self, usage: Usage, *, by: Actor, hold_key: str | None = None, holder: Holder | None = None
    ) -> Posted:
        """Charge one row of the accounting; posted once, however often it is asked. See ``post_usages``."""
        return self.post_usages([(usage, hold_key, holder)], by=by)[0]

    def post_usages(
        self, usages: Iterable[tuple[Usage, str | None, Holder | None]], *, by: Actor
    ) -> tuple[Posted, ...]:
        """Charge many rows in one transaction, each as (usage, key of its hold, holder where there is no hold).

        A charge uses its hold, and beyond that the same grants, below zero if it must (recorded as an overdraft);
        without a hold the first grant that the holder could have used then; with neither, the bucket of unmanaged use
        (setting ``unmanaged``). The order of the rows makes no difference to any balance. What cannot be charged is
        quarantined and stops nothing.
        """
        with self._writing(by) as book:
            return charges.post_usages(book, usages)

    def resolve_quarantined(self, key: str, *, by: Actor, reason: str) -> None:
        """Close a quarantined row without a charge; a usage with its key that can be judged closes it by itself."""
        with self._writing(by, reason) as book:
            charges.resolve(book, key)

    # what staff does

    def do(self, change: Change, *, by: Actor, reason: str, key: str = "") -> int:
        """Make a change (see ``forgia.quota.changes``) and return the number of its posting.

        Args: key — asked again with the same key, nothing happens and the number is that of the first time.
        Raises: Refused — the actor may not, or the ledger wants four eyes for it (``request``, ``approve``).
        """
        with self._writing(by, reason) as book:
            return requests.do(book, change, key=key)

    def grant(self, terms: Terms, *, by: Actor, reason: str, key: str = "") -> int:
        """Budget from outside, to a holder; returns the grant's id."""
        return self.do(changes.grant(terms), by=by, reason=reason, key=key)

    def sub_grant(self, parent: int, terms: Terms, *, by: Actor, reason: str, key: str = "") -> int:
        """Move a part of a grant to a new grant of a holder below; returns the new grant's id."""
        return self.do(changes.sub_grant(parent, terms), by=by, reason=reason, key=key)

    def extend(
        self, grant: int, *, by: Actor, reason: str, until: datetime | None = None, amount: int = 0, key: str = ""
    ) -> int:
        """Make a grant last longer, or larger (from where it came from), or both."""
        return self.do(changes.extend(grant, until=until, amount=amount), by=by, reason=reason, key=key)

    def transfer(self, source: int, target: int, amount: int, *, by: Actor, reason: str, key: str = "") -> int:
        """Move what is free from one grant to another."""
        return self.do(changes.transfer(source, target, amount), by=by, reason=reason, key=key)

    def freeze(self, grant: int, *, by: Actor, reason: str) -> int:
        """Give no new holds on a grant; what is held, runs on."""
        return self.do(changes.freeze(grant), by=by, reason=reason)

    def unfreeze(self, grant: int, *, by: Actor, reason: str) -> int:
        """Give holds again."""
        return self.do(changes.unfreeze(grant), by=by, reason=reason)

    def close(self, grant: int, *, by: Actor, reason: str) -> int:
        """End a grant that holds nothing; what is free goes back to where it came from."""
        return self.do(changes.close(grant), by=by, reason=reason)

    def adjust(self, grant: int, amount: int, *, by: Actor, reason: str, key: str = "") -> int:
        """Correct what was charged to a grant, towards the site's count: more is positive, less is negative."""
        return self.do(changes.adjust(grant, amount), by=by, reason=reason, key=key)

    def reverse(self, seq: int, *, by: Actor, reason: str) -> int:
        """Post the opposite of a posting; once."""
        return self.do(changes.reverse(seq), by=by, reason=reason)

    def set_ceiling(self, holder: Holder, kind: str, value: int | None, *, by: Actor, reason: str) -> int:
        """Cap a holder and all below (``forgia.grant.CEILINGS``); None: no cap any more."""
        return self.do(changes.ceiling(holder, kind, value), by=by, reason=reason)

    def set_setting(self, name: str, value: Any, *, by: Actor, reason: str) -> int:
        """Change a setting of the ledger (``forgia.quota.changes.SETTINGS``)."""
        return self.do(changes.setting(name, value), by=by, reason=reason)

    def assign(self, user: str, role: str, holder: Holder | None, *, by: Actor, reason: str) -> int:
        """Give a user of the operating system a role; None as a holder: everywhere."""
        return self.do(changes.assign(user, role, holder), by=by, reason=reason)

    def revoke(self, name: str, holder: Holder | None, *, by: Actor, reason: str) -> int:
        """Take a role from a user, or make a token worthless, by its name."""
        return self.do(changes.revoke(name, holder), by=by, reason=reason)

    def issue_token(self, label: str, role: str, holder: Holder | None, *, by: Actor, reason: str) -> str:
        """A random token for a service; it is told this once, and the ledger keeps only its digest."""
        token = access.new_token()
        self.do(changes.token(label, access.token_digest(token), role, holder), by=by, reason=reason)
        return token

    def expire(self, *, by: Actor) -> int:
        """Post what is left on grants whose validity is over; returns how many postings that took. Safe to repeat."""
        with self._writing(by, "validity over") as book:
            return changes.expire(book)

    # four eyes

    def request(self, change: Change, *, by: Actor, reason: str) -> int:
        """Ask for a change that another person approves; returns the request's id."""
        with self._writing(by, reason) as book:
            return requests.request(book, change)

    def approve(self, request: int, *, by: Actor, reason: str) -> int:
        """Approve what another person asked for: it happens, in the same transaction. Returns the posting of it."""
        with self._writing(by, reason) as book:
            return requests.approve(book, request)

    def place_of_request(self, request: int) -> Holder | None:
        """Whose budget a request is about; None: the ledger as a whole. Raises: NotFound."""
        with self.database.reading() as connection:
            return reading.place_of_request(connection, request)

    def reject(self, request: int, *, by: Actor, reason: str) -> None:
        """Turn a request down."""
        with self._writing(by, reason) as book:
            requests.reject(book, request)

    def requests(self, *, by: Actor, open_only: bool = True) -> tuple[Request, ...]:
        """Requests that the actor may see."""
        with self.database.reading() as connection:
            return reading.requests(connection, by=by, open_only=open_only)

    # who

    def actor_of(self, *, user: str | None = None, token: str | None = None, holder: Holder | None = None) -> Actor:
        """Who somebody is to this ledger: by token (``access.token_from``), else by the operating system's user.

        Args: holder — where several roles are to be chosen from, the strongest that reaches this place.
        Raises: Refused — nobody here.
        """
        with self.database.reading() as connection:
            return access.actor_of(connection, user=user, token=token, holder=holder)

    def members(self, *, by: Actor) -> tuple[Member, ...]:
        """Roles that the actor may see."""
        with self.database.reading() as connection:
            return reading.members(connection, by=by)

    # reads

    def entries(
        self,
        *,
        by: Actor,
        holder: Holder | None = None,
        kinds: Sequence[Kind] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        run_id: str = "",
        hold_key: str = "",
        after: int = 0,
        before: int | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> Iterator[Entry]:
        """Postings in the order of their numbers, or against it.

        Args: holder — it and all below. since, until — by ``Entry.at``, the end not included.
        after, before — only those with a higher, or a lower, number.
        """
        wanted = reading.Filter(
            holder=reading.sight(by, holder),
            kinds=tuple(kinds),
            since=since,
            until=until,
            run_id=run_id,
            hold_key=hold_key,
            after=after,
            before=before,
            newest_first=newest_first,
        )
        left = limit
        while left is None or left > 0:
            with self.database.reading() as connection:
                page = reading.entries(connection, wanted, limit=min(reading.PAGE, left or reading.PAGE))
            yield from page
            if len(page) < reading.PAGE:
                return
            last = page[-1].seq
            wanted = replace(wanted, before=last) if newest_first else replace(wanted, after=last)
            left = None if left is None else left - len(page)

    def grants(
        self, *, by: Actor, holder: Holder | None = None, below: bool = True, closed: bool = False
    ) -> tuple[GrantState, ...]:
        """Grants of a holder (None: all), with those of holders below unless not wanted, in the order of their ids."""
        with self.database.reading() as connection:
            return reading.grants(connection, by=by, holder=holder, below=below, closed=closed)

    def holds(self, *, by: Actor, holder: Holder | None = None, open_only: bool = True) -> tuple[Hold, ...]:
        """Holds of a holder (None: all) and of all below."""
        with self.database.reading() as connection:
            return reading.holds(connection, by=by, holder=holder, open_only=open_only)

    def open_marks(self, *, by: Actor) -> Mapping[str, HoldMark]:
        """Open holds by their keys, without amounts: what a settlement asks of every one of them."""
        with self.database.reading() as connection:
            return reading.marks(connection, by=by)

    def find_hold(self, key: str, *, by: Actor) -> Hold | None:
        """One hold; None where there is none of that key."""
        with self.database.reading() as connection:
            return reading.find_hold(connection, key, by=by)

    def balance(self, of: int | Holder, *, by: Actor) -> Balance:
        """What stands on a grant, or on a holder and all below. Raises: NotFound — no such grant."""
        with self.database.reading() as connection:
            return reading.balance(connection, of, by=by)

    def balances(
        self, *, by: Actor, holder: Holder | None = None, level: str = "organisation"
    ) -> tuple[HolderBalance, ...]:
        """One roll-up for every holder of this level that has a grant at or below it (``forgia.grant.LEVELS``)."""
        with self.database.reading() as connection:
            return reading.balances(connection, by=by, holder=holder, level=level)

    def use(self, *, by: Actor, holder: Holder | None = None) -> tuple[HolderUse, ...]:
        """What each holder itself holds and used, whoever's grant bears it: who in a project used how much."""
        with self.database.reading() as connection:
            return reading.use(connection, by=by, holder=holder)

    def ceilings(self, *, by: Actor, holder: Holder | None = None) -> tuple[Ceiling, ...]:
        """Caps on a holder, on those above it and on those below (None: all)."""
        with self.database.reading() as connection:
            return reading.ceilings(connection, by=by, holder=holder)

    def settings(self) -> Mapping[str, Any]:
        """Every setting with its value."""
        with self.database.reading() as connection:
            return reading.settings(connection)

    def quarantined(self, *, by: Actor, open_only: bool = True) -> tuple[Quarantined, ...]:
        """Rows of the accounting that were not charged. Staff only."""
        with self.database.reading() as connection:
            return reading.quarantined(connection, by=by, open_only=open_only)

    def known_usages(self, keys: Iterable[str]) -> frozenset[str]:
        """Which of these usage keys have been charged."""
        with self.database.reading() as connection:
            return reading.known_usages(connection, list(keys))

    def verify(self) -> tuple[Finding, ...]:
        """Hash chain, sums, balances by replay, overdrafts; nothing wrong: nothing returned."""
        from forgia.quota.verify import verify

        return tuple(verify(self.database))
