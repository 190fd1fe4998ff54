"""A month of the ledger as rows: one for each charged attempt, one for each adjustment; they add up to its postings.

An attempt belongs to the month, by the clock of the site, in which it ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from forgia import store
from forgia.errors import UserError
from forgia.grant import Actor, Holder, Kind
from forgia.quota.daily import grant_of, seen, whole_month
from forgia.quota.moments import spelled
from forgia.quota.rates import HOUR_S, RateCard
from forgia.quota.schema import HOLD, LINE, POSTING
from forgia.quota.slices import ZONE, Month

if TYPE_CHECKING:
    from forgia.paths import HomePaths
    from forgia.quota.ledger import Ledger

MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
SECOND = 19
"""Characters of a moment down to its second."""
ROWS_AT_ONCE = 2000
USAGE_TEXTS = ("user", "account", "cluster", "partition", "job_id", "key")


class Row(NamedTuple):
    """One charged attempt, or one adjustment. What is not known is None."""

    month: str
    kind: str
    """charge, refund (of an attempt of another month) or adjust."""
    seq: int
    """The posting in the ledger."""
    site: str
    organisation: str
    project: str
    person: str
    user: str
    """Of the operating system."""
    account: str
    """SLURM's."""
    cluster: str
    partition: str
    job: str
    key: str
    """Names the attempt for ever: cluster and DBIndex."""
    run: str
    recipe: str
    recipe_digest: str
    datasets: str
    """References, blanks between."""
    profile: str
    model: str
    start: str | None
    """UTC."""
    end: str | None
    state: str
    seconds: int
    gpus: int
    nodes: int
    gpu_s: int
    gpu_h: float
    node_h: float
    billing_s: int
    """Charged; of an adjustment, what it adds."""
    refund_s: int
    net_s: int
    """Charged less refunded: what the postings move."""
    units: float
    """Net, in the site's own unit."""
    unit: str
    rate_card: str
    """The profile whose prices these are."""
    cost_eur: float | None
    """Net; None: no price is known."""
    energy_j: int | None
    energy_valid: bool
    """The energy is the job's alone: measured, on nodes of its own."""
    grants: str
    """``<grant>=<billing-seconds>``, blanks between."""
    reason: str
    """Of an adjustment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a report takes from elsewhere."""

    card: Callable[[str], RateCard]
    """Site → what its units are."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Run → the version of the model that it became in the registry."""


def parse_month(text: str, zone: str = ZONE) -> Month:
    """``2026-11``, by the site's clock. Raises: UserError — no month."""
    if not (match := MONTH.fullmatch(text)) or not 1 <= int(match[1]) <= 9998:
        raise UserError(f"month {text!r}: write it as 2026-11")
    return whole_month(text, zone)


def rows(ledger: Ledger, span: Month, *, by: Actor, sources: Sources, holder: Holder | None = None) -> Iterator[Row]:
    """The rows of a month in the order of their ends, all of one moment's ledger; writers wait while they are taken.

    Args: holder — it and all below; None: all that the actor may see.
    """
    wanted = [POSTING.c.at >= spelled(span.begin), POSTING.c.at < spelled(span.end), *seen(by, holder)]
    with ledger.database.reading() as connection:
        refunds = {refunded(posting): (posting, spent) for posting, spent in postings(connection, wanted, Kind.REFUND)}
        for posting, spent in postings(connection, wanted, Kind.CHARGE, Kind.ADJUST):
            usage = json.loads(posting.facts).get("usage") or {}
            _, given_back = refunds.pop(str(usage.get("key")), (None, ()))
            yield row(span.name, posting, usage, charged=spent, refunded=given_back, sources=sources)
        for posting, given_back in refunds.values():
            yield row(span.name, posting, {}, charged=(), refunded=given_back, sources=sources)


Spent = Sequence[tuple[int, int]]
"""Grants, and what went into what was spent of each."""


class Posting(NamedTuple):
    """What a row is made of."""

    seq: int
    at: str
    kind: str
    reason: str
    holder: str
    run_id: str
    facts: str
    told: str | None
    """The facts of its hold."""


def postings(
    connection: sa.Connection, wanted: Sequence[sa.ColumnElement[bool]], *kinds: Kind
) -> Iterator[tuple[Posting, Spent]]:
    """Postings, with what the facts of their hold say, and what each grant spent by them."""
    names = Posting._fields[:-1]
    spent = sa.and_(LINE.c.seq == POSTING.c.seq, LINE.c.account.like("grant:%:spent"))
    query = (
        sa.select(*(POSTING.c[name] for name in names), HOLD.c.facts.label("told"), LINE.c.account, LINE.c.amount)
        .select_from(POSTING.outerjoin(LINE, spent).outerjoin(HOLD, HOLD.c.key == POSTING.c.hold_key))
        .where(POSTING.c.kind.in_([str(kind) for kind in kinds]), *wanted)
        .order_by(POSTING.c.at, POSTING.c.seq, LINE.c.account)
    )
    found = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(query)
    for _, group in groupby(found, key=itemgetter(0)):
        lines = [tuple(line) for line in group]
        *posting, _, _ = lines[0]
        yield Posting._make(posting), [(grant_of(line[-2]), line[-1]) for line in lines if line[-2]]


def refunded(posting: Posting) -> str:
    """The usage that a refund gives back of."""
    return str(json.loads(posting.facts).get("usage_key", ""))


def row(
    month: str, posting: Posting, usage: Mapping[str, Any], *, charged: Spent, refunded: Spent, sources: Sources
) -> Row:
    """One posting as a row."""
    names = [*posting.holder.split("/"), "", "", ""]
    run, card = told(posting.told or "{}"), sources.card(names[0])
    billing_s, refund_s = sum(amount for _, amount in charged), -sum(amount for _, amount in refunded)
    net_s, version, used = billing_s - refund_s, sources.versions.get(posting.run_id), usage.get
    seconds, gpus, nodes = used("seconds", 0), used("gpus", 0), used("nodes", 0)
    cells = (
        month,
        posting.kind,
        posting.seq,
        *names[:4],
        *(used(name, "") for name in USAGE_TEXTS),
        posting.run_id,
        *run,
        f"{run[0].partition('@')[0]}@{version}" if version else "",
        shorter(used("start")),
        shorter(posting.at),
        used("state", ""),
        *(seconds, gpus, nodes, gpus * seconds, gpus * seconds / HOUR_S, nodes * seconds / HOUR_S),
        *(billing_s, refund_s, net_s, net_s / HOUR_S, card.unit, card.profile),
        None if card.eur is None else net_s * card.eur.numerator / (card.eur.denominator * HOUR_S),
        None,  # the accounting is not asked for energy: it is a job's alone only on nodes of its own
        False,
        " ".join([f"{grant}={amount}" for grant, amount in [*charged, *refunded]]),
        posting.reason,
    )
    return Row._make(cells)


def shorter(moment: str | None) -> str | None:
    """A moment of the ledger down to its second."""
    return f"{moment[:SECOND]}Z" if moment else None


@lru_cache(maxsize=1024)
def told(facts: str) -> tuple[str, str, str, str]:
    """Recipe, its digest, datasets and profile, from the facts of a run's hold."""
    found = json.loads(facts)
    listed = found.get("datasets")
    datasets = " ".join(map(str, listed)) if isinstance(listed, list) else str(listed or "")
    recipe, recipe_digest, profile = (str(found.get(name) or "") for name in ("recipe", "recipe_digest", "profile"))
    return recipe, recipe_digest, datasets, profile


def run_facts(request: Mapping[str, Any], *, user: str) -> dict[str, Any]:
    """What a hold should keep of a resolved request, so that a report can say it: ``HoldRequest.facts``."""
    recipe = request["recipe"]
    listed = [item for role in request["data"].values() for item in role["datasets"]]
    return {
        "recipe": f"{recipe['name']}@{recipe['version']}",
        "recipe_digest": recipe["digest"],
        "datasets": [f"{item['name']}@{item['version']}" for item in listed],
        "profile": request["profile"]["name"],
        "user": user,
    }


def registered_versions(home: HomePaths) -> dict[str, str]:
    """Run → the version of the model that it became, for runs of this home that are in the registry."""
    lines = store.read_lines(home.settled_runs)
    return {str(line["run_id"]): str(line["version"]) for line in lines if line.get("version") and "run_id" in line}
