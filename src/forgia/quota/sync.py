"""The ledger projected into SLURM, by operators: look, tell what differs, and make it so, one command after another.

    planned = plan(office, accounts={"": "aifac_p02_042"})
    apply(office, planned)

What the limits are to be and why is in ``forgia.quota.projection``. SLURM keeps a log of its own as well
(``sacctmgr show transactions``); a break between a command and the note of it in the ledger leaves it there only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from forgia import cluster, process
from forgia.errors import ClusterError, NotFound, Refused, UserError
from forgia.grant import Holder, Kind
from forgia.quota import changes, limits, projection
from forgia.quota.limits import Actual
from forgia.quota.office import Made, Office
from forgia.quota.projection import PREFIX, Change, Firm, Wanted
from forgia.quota.records import GrantState

TIMEOUT_S = 60.0
CONFIG = ("scontrol", "show", "config")
QOS = ("sacctmgr", "-nP", "show", "qos", f"format={limits.QOS_FORMAT}")
USE = ("scontrol", "-o", "show", "assoc_mgr", "flags=qos")
EVERYONE = ""
"""In ``accounts``: the organisations that have no account of their own."""
RECORD = "slurm-limits"
"""The setting of the ledger whose postings are the record of what was applied."""
REASON = "the ledger's budgets as SLURM's limits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What SLURM's limits are to be, and what has to be done for that."""

    site: Holder
    cluster: str
    """SLURM's name of it."""
    wanted: tuple[Wanted, ...]
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    """What an operator should know and forgia does not change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was done."""

    changes: tuple[Change, ...]
    record: Made | None
    """The posting of it in the ledger, or where that wants four eyes the request for one; None: nothing was done."""


def plan(office: Office, *, accounts: Mapping[str, str], site: str | None = None, prefix: str = PREFIX) -> Plan:
    """Compare the ledger with SLURM; changes nothing.

    Args: accounts — organisation → SLURM account, ``EVERYONE`` for all others. site — needed where there are several.
    Raises: Refused — the actor is not staff. UserError — a name that sacctmgr could misread. NotFound — an
    organisation or an account. ClusterError — SLURM does not answer.
    """
    _check_staff(office)
    every = office.grants()
    place = _site(every, site)
    holders = [holder for holder in projection.families(every) if holder.is_within(place)]
    names = projection.qos_names(holders, prefix=prefix, accounts=accounts.values())
    _check_known(accounts, holders)
    config = cluster.config_values(cluster.answer(CONFIG))
    actual = look(config, accounts.values())
    wanted = tuple(
        projection.wanted(
            firm,
            actual,
            now=office.ledger.now(),
            qos=names[firm.holder],
            account=accounts.get(firm.holder.path[-1], accounts.get(EVERYONE)),
        )
        for firm in firms(office, place, names, cluster_name=actual.cluster)
    )
    return Plan(
        site=place,
        cluster=actual.cluster,
        wanted=wanted,
        changes=projection.changes(wanted, actual),
        notes=(*limits.enforcement(config), *_notes(wanted, actual, prefix=prefix)),
    )


def look(config: Mapping[str, str], accounts: Iterable[str]) -> Actual:
    """What SLURM has. Raises: NotFound — an account is not there. ClusterError — SLURM does not answer."""
    cluster_name, names = config.get("ClusterName", ""), sorted(set(accounts))
    # root is on every cluster: an empty answer means that sacctmgr is closed to this user
    where = ("where", f"account={','.join(['root', *names])}", f"cluster={cluster_name}")
    argv = ("sacctmgr", "-nP", "show", "assoc", *where, f"format={limits.ASSOCIATION_FORMAT}")
    associations = limits.associations_of(cluster.answer(argv))
    known = [account for account, user in associations if not user]
    for name in names:
        if name not in known:
            hint = f"sacctmgr show account shows those of {cluster_name}; forgia makes and deletes none"
            raise NotFound("SLURM account", name, hint=hint)
    return Actual(
        cluster=cluster_name,
        qos=limits.limits_of(cluster.answer(QOS)),
        used=limits.used_of(cluster.answer(USE)),
        associations=associations,
        is_safe="safe" in limits.enforced(config),
    )


def firms(office: Office, site: Holder, names: Mapping[Holder, str], *, cluster_name: str) -> Iterator[Firm]:
    """What the ledger has of each organisation of a site."""
    ledger, by = office.ledger, office.actor
    # The charges before the grants: an attempt that is charged in between is then in neither, else it were in both.
    charged = projection.charged_by_qos(ledger.entries(by=by, kinds=(Kind.CHARGE,)), cluster=cluster_name)
    ceilings, use = ledger.ceilings(by=by, holder=site), ledger.use(by=by, holder=site)
    for holder, grants in projection.families(office.grants()).items():
        if holder in names:
            yield Firm(
                holder=holder,
                grants=grants,
                charged=charged.get(names[holder], 0),
                caps=projection.caps_on(holder, ceilings, use),
            )


def apply(office: Office, planned: Plan, *, reason: str = REASON) -> Applied:
    """Make the changes one after another, and note them in the ledger; the first that fails ends it.

    Raises: Refused — the actor is not staff. ClusterError — with what failed, what was done before, and what was not.
    """
    _check_staff(office)
    done: list[Change] = []
    try:
        for change in planned.changes:
            run(change)
            done.append(change)
    except ClusterError as error:
        record = _record(office, planned, done, reason)
        raise ClusterError(
            _broken_off(error.message, planned.changes, done=len(done), record=record),
            transient=error.transient,
            hint="forgia quota sync --plan shows what is left; what was done stays, and is not done twice",
        ) from error
    return Applied(changes=tuple(done), record=_record(office, planned, done, reason))


def run(change: Change) -> None:
    """One command. Raises: ClusterError — it failed, with its own words."""
    done = process.run(change.argv, timeout_s=TIMEOUT_S)
    if done.returncode:
        words = " ".join((done.stderr.strip() or done.stdout).split()) or f"exit code {done.returncode}"
        raise ClusterError(f"{' '.join(change.argv)}: {words}", transient=False)


def _record(office: Office, planned: Plan, done: Sequence[Change], reason: str) -> Made | None:
    """Post what was done, as a rule without an amount; nothing is ever decided by what it says."""
    if not done:
        return None
    commands = [" ".join(change.argv) for change in done]
    value = {"site": str(planned.site), "cluster": planned.cluster, "commands": commands}
    return office.make(changes.setting(RECORD, value), reason=reason)


def _broken_off(message: str, every: Sequence[Change], *, done: int, record: Made | None) -> str:
    lines = [
        message,
        f"  {done} of {len(every)} changes were made before it:" if done else "  nothing was changed before it",
    ]
    lines += [f"    {change.sentence}" for change in every[:done]]
    lines += [f"  noted in the ledger: {told(record)}"] if record else []
    return "\n".join([*lines, "  not made:", *(f"    {change.sentence}" for change in every[done:])])


def told(record: Made) -> str:
    """Where the ledger has the note."""
    return (
        f"posting {record.posting}" if record.posting else f"request {record.request}, which waits for a second person"
    )


def _check_staff(office: Office) -> None:
    actor = office.actor
    if actor.role != "staff":
        raise Refused(f"{actor.name} ({actor.role}) may not write SLURM's limits: that takes the role staff")


def _site(grants: Sequence[GrantState], name: str | None) -> Holder:
    """The site that was named, or the only one. Raises: NotFound, UserError."""
    sites = sorted({grant.holder.path[0] for grant in grants})
    if name in sites:
        return Holder((name,))
    if name is not None:
        raise NotFound("site", name, known=sites, hint="forgia quota show lists the budgets")
    if len(sites) != 1:
        there = f"there are {', '.join(sites)}" if sites else "the ledger has no budgets"
        raise UserError(f"say of which site: {there}", hint="forgia quota sync SITE")
    return Holder((sites[0],))


def _check_known(accounts: Mapping[str, str], holders: Sequence[Holder]) -> None:
    known = [holder.path[-1] for holder in holders]
    for name in accounts:
        if name != EVERYONE and name not in known:
            raise NotFound("organisation", name, known=known, hint="write --account ORGANISATION=ACCOUNT")


def _notes(every: Sequence[Wanted], actual: Actual, *, prefix: str) -> Iterator[str]:
    if names := projection.strangers(every, actual, prefix=prefix):
        yield f"left alone, of no organisation with a budget: QOS {', '.join(names)}"
    if names := [one.qos for one in every if one.account is None]:
        yield f"no account was named for {', '.join(names)} (--account): who may use them is left as it is"
    if names := projection.left_out(every, actual):
        yield f"with lists of QOS of their own, which are left as they are: {'; '.join(names)}"
    if names := sorted(one.qos for one in every if one.qos in actual.qos and one.qos not in actual.used):
        yield f"the controller tells no use of {', '.join(names)}; reckoned as none, which is the smaller limit"
