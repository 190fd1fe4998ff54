"""How postings are shown: the audit trail of a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forgia_cli.quota.rendering import Views, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forgia.quota.records import Entry, GrantState

LONGEST = 60


def entry_json(entry: Entry) -> dict[str, Any]:
    """A posting for a program; amounts in billing-seconds."""
    names = ("seq", "time", "at", "kind", "actor", "role", "reason", "key", "run_id", "hold_key", "facts", "hash")
    lines = [{"account": name, "billing_s": amount} for name, amount in entry.lines]
    holder = str(entry.holder) if entry.holder else None
    return {**{name: plain(getattr(entry, name)) for name in names}, "holder": holder, "lines": lines}


def entry_row(entry: Entry, grants: Sequence[GrantState], views: Views) -> tuple[Any, ...]:
    """A posting in one line."""
    sites = {grant.id: grant.holder.path[0] for grant in grants}
    return (
        entry.seq,
        f"{entry.time:%Y-%m-%d %H:%M:%S}",
        str(entry.kind),
        f"{entry.actor} ({entry.role})",
        str(entry.holder) if entry.holder else None,
        moved(entry, sites, views),
        what(entry),
    )


def moved(entry: Entry, sites: dict[int, str], views: Views) -> str | None:
    """What the posting did to each grant: what is left on it, held or used."""
    words = {"free": "left", "held": "held", "spent": "used", "expired": "expired"}
    told = [
        f"grant {number} {word} {'+' if amount > 0 else '−'}{views.of(sites[number]).text(abs(amount))}"
        for pot, word in words.items()
        for number, amount in entry.by_grant(pot).items()
        if number in sites
    ]
    return ", ".join(told) or None


def what(entry: Entry) -> str | None:
    """The reason, or for what a job made, the run."""
    verb = str(entry.facts.get("verb", "")).replace("_", " ")
    text = ": ".join(filter(None, (verb, entry.reason or entry.run_id)))
    return (text[: LONGEST - 1] + "…" if len(text) > LONGEST else text) or None
