"""From what a person wrote to the change of the ledger that it means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forgia_cli.app import App
from forgia_cli.quota.asking import Asked, Complaints, Wish, terms, written

if TYPE_CHECKING:
    from forgia.grant import Holder, Terms
    from forgia.quota.changes import Change
    from forgia.quota.office import Office


def wished(
    app: App, office: Office, holder: str, *, parent: int | None, asked: Asked, wish: Wish
) -> tuple[Change, Holder, Terms]:
    """A new grant: the change, the place whose role it takes, its terms. Raises: UserError — every problem at once."""
    from forgia.grant import Holder
    from forgia.quota import changes

    complaints = Complaints("grant")
    place = complaints.take("HOLDER", lambda: Holder.parse(holder))
    if place and len(place.path) == 1 and parent:
        complaints.add("HOLDER", f"{place} is a site, above every grant: a part goes to a holder below")
    found = terms(app, complaints, place, asked=asked, wish=wish)
    if parent is None:
        return changes.grant(found), found.holder, found
    return changes.sub_grant(parent, found), office.grant(parent).holder, found


def extended(app: App, office: Office, number: int, *, asked: Asked, until: str | None) -> tuple[Change, str]:
    """A longer or larger grant: the change, and it in words. Raises: UserError — every problem at once."""
    from forgia.quota import changes
    from forgia_cli.quota.rendering import day

    grant = office.grant(number)
    complaints = Complaints("extend")
    end = written(complaints, "--until", until)
    amount = complaints.take("amount", lambda: asked.billing_s(app, grant.holder.path[0])) if asked.words else 0
    if not (until or asked.words):
        complaints.add("--until", "say until when, or how much more, or both")
    if end and end < grant.terms.valid_until:
        complaints.add("--until", f"{day(end)} is before {day(grant.terms.valid_until)}, when it ends already")
    complaints.raise_any()
    words = [f"until {day(end)} (was {day(grant.terms.valid_until)})"] if end else []
    words += [f"larger by {' '.join(f'{text} {unit}' for unit, text in asked.words.items())}"] if amount else []
    return changes.extend(number, until=end, amount=amount or 0), f"grant {number}: {', '.join(words)}"
