"""What a submission asks of budgets: the worst case is held before a scheduler hears of it, and given back unused.

The ledger is opened when it is asked, and not before: a laptop without one pays nothing for there being such things.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from forgia import store
from forgia.errors import UserError
from forgia.grant import Actor, Holder, HoldRequest
from forgia.paths import HomePaths, RunPaths
from forgia.run import NOBODY, holder_of

if TYPE_CHECKING:
    from forgia.quota.office import Office
    from forgia.quota.records import Answer, Hold
    from forgia.quota.settlement import Settlement
    from forgia.settings import Settings

ALL_SEEING = Actor(name="reservation", role="staff")
"""Looks whether a site has budgets at all, which is no secret of any firm's."""
EARLIER = timedelta(hours=1)
"""How far before the oldest open hold the accounting is asked: clocks differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """What a job may do on what was held for it."""

    amount: int
    """Billing-seconds."""
    nice: int
    """What the job gives way by, because its firm is ahead of the others."""
    at_once: int | None = None
    """So many tasks of an array may run at once, for the same reason; None: all of them."""


class Budget(Protocol):
    """What submissions know of budgets."""

    def reserve(self, paths: RunPaths, request: Mapping[str, Any], *, key: str, tasks: int = 1) -> Reserved | None:
        """Hold the worst case under a key, once; None: nobody counts what this run uses.

        Raises: QuotaExceeded — with the arithmetic and what would fit. Refused — this person may not hold there.
        """

    def release(self, key: str, *, reason: str) -> None:
        """Give back what is left of a hold whose job will never begin; one that is not there is no error."""


class Uncounted:
    """Nobody counts what runs use."""

    def reserve(self, paths: RunPaths, request: Mapping[str, Any], *, key: str, tasks: int = 1) -> Reserved | None:
        """Nothing is held."""
        return None

    def release(self, key: str, *, reason: str) -> None:
        """There is nothing to give back."""


UNCOUNTED = Uncounted()


class Reservations:
    """Holds in the ledger that the settings name, in the name of whoever runs this command."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def reserve(self, paths: RunPaths, request: Mapping[str, Any], *, key: str, tasks: int = 1) -> Reserved | None:
        """See ``Budget.reserve``."""
        office = self._office(paths)
        if office is None:
            return None
        with office:
            wanted = self._wanted(office, paths, request, key=key, tasks=tasks)
            if wanted is None:
                return None
            from forgia.quota.pace import standing_of, throttle

            hold = office.ledger.hold(wanted, by=office.at(wanted.holder))
            standing = standing_of(office.ledger, wanted.holder)
            return Reserved(amount=hold.held, nice=standing.nice, at_once=throttle(standing.relative, tasks))

    def release(self, key: str, *, reason: str) -> None:
        """See ``Budget.release``."""
        office = self._office(None)
        if office is None:
            return
        with office:
            found = office.ledger.find_hold(key, by=office.actor)
            if found is not None and found.open:
                office.ledger.release(key, by=office.at(found.holder), reason=reason)

    def preview(self, tariff: Mapping[str, Any], *, tasks: int = 1) -> tuple[HoldRequest, Answer] | None:
        """What ``reserve`` would say to a run of this tariff; nothing is held. None: nobody counts it."""
        office = self._office(None)
        if office is None:
            return None
        with office:
            if not self._counts(office, str(tariff["site"])):
                return None
            wanted = self._request(tariff, key="plan", run_id="plan", tasks=tasks, facts={})
            return wanted, office.ledger.preview(wanted, by=office.at(wanted.holder))

    def settle(self, home: HomePaths) -> Settlement | None:
        """Charge what our own runs of this home have used: one sacct and one squeue for all; None: nothing is open.

        Raises: ClusterError — the accounting does not answer; nothing was charged.
        """
        office = self._office(None)
        if office is None:
            return None
        with office:
            mine = {hold.key: hold for hold in self._open_holds(office, home)}
            unborn = [key for key in mine if never_began(home, key)]
            for key in unborn:
                office.ledger.release(key, by=office.at(mine[key].holder), reason="its job never began")
            left = {key: hold for key, hold in mine.items() if key not in unborn}
            return settle_holds(office, left) if left else None

    def _office(self, paths: RunPaths | None) -> Office | None:
        if paths is not None and not paths.tariff.is_file():
            return None
        if self.settings.ledger is None and not self.settings.home.ledger.is_file():
            return None  # told without importing what a ledger needs
        from forgia.quota.office import open_office

        return open_office(self.settings)

    def _wanted(
        self, office: Office, paths: RunPaths, request: Mapping[str, Any], *, key: str, tasks: int
    ) -> HoldRequest | None:
        from forgia.quota.access import system_user
        from forgia.quota.report import run_facts

        tariff = store.read_json(paths.tariff)
        if not self._counts(office, tariff["site"]):
            return None
        facts = run_facts(request, user=system_user())
        facts |= {"account": tariff["account"], "home": str(paths.root.parent.parent)}
        return self._request(tariff, key=key, run_id=paths.root.name, tasks=tasks, facts=facts)

    def _request(
        self, tariff: Mapping[str, Any], *, key: str, run_id: str, tasks: int, facts: Mapping[str, Any]
    ) -> HoldRequest:
        from forgia.quota.office import holder_of

        holder = holder_of(self.settings, tariff["site"])
        return hold_request(tariff, holder, key=key, run_id=run_id, tasks=tasks, facts=facts)

    def _counts(self, office: Office, site: str) -> bool:
        """The ledger has had a grant for the site: from then on nothing there goes uncounted."""
        return bool(office.ledger.grants(by=ALL_SEEING, holder=Holder((site,)), closed=True))

    def _open_holds(self, office: Office, home: HomePaths) -> Iterator[Hold]:
        """Holds that this person made from this home."""
        from forgia.quota.access import system_user

        user = system_user()
        for actor in office.actors():
            for hold in office.ledger.holds(by=actor):
                if (hold.facts.get("user"), hold.facts.get("home")) == (user, str(home.root)):
                    yield hold


def never_began(home: HomePaths, key: str) -> bool:
    """Every job is barred from the attempt that a hold was made for, so nothing will ever be charged to it."""
    run_id, _, attempt = key.rpartition("@")
    paths = home.run(run_id)
    return paths.request.is_file() and attempt.isdecimal() and holder_of(paths, int(attempt)) == NOBODY


def settle_holds(office: Office, holds: Mapping[str, Hold]) -> Settlement:
    """Ask the accounting once about the jobs of these holds, then the queue, and charge what is final."""
    from forgia.quota import accounting, attribution
    from forgia.quota.settlement import Batch, settle

    accounts = sorted({str(hold.facts["account"]) for hold in holds.values() if hold.facts.get("account")})
    since = min(hold.opened for hold in holds.values()) - EARLIER
    rows = [
        row
        for row in accounting.ask(accounts, since=since)
        if isinstance(row, accounting.Row) and attribution.key_of_job(row["JobName"]) in holds
    ]
    queue = accounting.queued(accounts)
    first = next(iter(holds.values()))
    return settle(office.ledger, Batch(rows=rows, queue=queue), by=office.at(first.holder), now=office.ledger.now())


def hold_request(
    tariff: Mapping[str, Any],
    holder: Holder,
    *,
    key: str,
    run_id: str,
    tasks: int = 1,
    facts: Mapping[str, Any] | None = None,
) -> HoldRequest:
    """The worst case of a job with this tariff (see ``forgia.fit.Tariff``).

    Raises: UserError — the profile does not say how its site bills.
    """
    if tariff["rate"] is None:
        message = f"site {tariff['site']} has budgets, but the profile does not say how it bills"
        raise UserError(message, hint="add billing to the profile: forgia profile probe writes what SLURM says")
    return HoldRequest(
        key=key,
        run_id=run_id,
        holder=holder,
        resource=tariff["resource"],
        rate=tariff["rate"],
        walltime_s=tariff["walltime_s"],
        attempts=tariff["attempts"],
        tasks=tasks,
        gpus=tariff["gpus"] * tasks,
        facts=facts or {},
    )


def hold_key(name: str, attempt: int) -> str:
    """The key of the hold for the job that a run's attempt, or a sweep's array, is submitted as."""
    return f"{name}@{attempt}"
