"""Which part of the accounting to ask for: from the last settlement on, and some days before it.

What was settled until when is a note beside the ledger, of this home. Losing it costs a longer window, never a charge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from forgia import store
from forgia.grant import Actor, Holder
from forgia.paths import HomePaths
from forgia.quota import accounting
from forgia.quota.settlement import Batch, Settlement, settle

if TYPE_CHECKING:
    from forgia.profile import Billing
    from forgia.quota.ledger import Ledger

LONGEST = timedelta(days=366)
"""No window reaches back further; accounting of a year is a lot to ask."""
UNRESOLVED = timedelta(days=60)
"""How long a row in quarantine holds the next windows open."""


def settle_accounts(
    ledger: Ledger,
    accounts: Sequence[str],
    *,
    home: HomePaths,
    by: Actor,
    now: datetime,
    cluster: str | None = None,
    formulas: Mapping[str, Billing] | None = None,
    owners: Mapping[str, Holder] | None = None,
) -> Settlement:
    """Ask the accounting once, then the queue, settle, and note until when.

    Raises: ClusterError — one of them does not answer; nothing was charged then.
    """
    names = scopes(accounts, cluster)
    since = begin(noted(home), names, now=now, first=earliest(ledger, by=by, now=now))
    rows = list(accounting.ask(accounts, since=since, cluster=cluster))
    batch = Batch(rows=rows, queue=accounting.queued(accounts, cluster=cluster), formulas=formulas or {})
    result = settle(ledger, batch, by=by, now=now, owners=owners)
    note(home, names, watermark(result))
    return result


def scopes(accounts: Sequence[str], cluster: str | None) -> tuple[str, ...]:
    """``<cluster>/<account>`` of each; an empty account stands for all that may be seen."""
    return tuple(f"{cluster or ''}/{account.casefold()}" for account in sorted(accounts) or [""])


def begin(until: Mapping[str, datetime], names: Sequence[str], *, now: datetime, first: datetime) -> datetime:
    """Where the window begins: the overlap before the oldest of the notes, or before ``first`` where one is missing."""
    return max(min(until.get(name, first) for name in names) - accounting.OVERLAP, now - LONGEST)


def earliest(ledger: Ledger, *, by: Actor, now: datetime) -> datetime:
    """When the first grant began: nothing before it can be charged to one."""
    return min((grant.terms.valid_from for grant in ledger.grants(by=by, closed=True)), default=now)


def watermark(result: Settlement) -> datetime:
    """Until when it is settled; a row in quarantine holds it back, for some weeks."""
    doubtful = result.unsettled_since or result.at
    return min(result.at, max(doubtful, result.at - UNRESOLVED))


def noted(home: HomePaths) -> dict[str, datetime]:
    """The notes of earlier settlements."""
    if not home.settled_until.exists():
        return {}
    found: dict[str, Any] = store.read_json(home.settled_until)
    return {name: datetime.fromisoformat(text) for name, text in found.items()}


def note(home: HomePaths, names: Sequence[str], until: datetime) -> None:
    """Keep until when these are settled."""
    path = home.settled_until
    with store.locked(path.with_suffix(".lock")):
        text = until.astimezone(UTC).isoformat()
        kept = {name: moment.isoformat() for name, moment in noted(home).items()}
        store.write_json(path, {**kept, **dict.fromkeys(names, text)})
