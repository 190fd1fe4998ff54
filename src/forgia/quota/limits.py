"""The limits that SLURM has, in its own words: QOS, their use, and which associations may use them. Pure.

Source: sacctmgr(1), scontrol(1), slurm.conf(5) of SLURM 22.05, https://slurm.schedmd.com/archive/slurm-22.05.8/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from forgia.cluster import NOTHING, split_pair

FLAGS = ("DenyOnLimit", "NoDecay")
"""Refuse at submission what can never start; count without forgetting. Other flags of a QOS are left as they are."""
QOS_FORMAT = "Name,Flags,GrpTRESMins,GrpTRES,GrpJobs,GrpSubmitJobs"
ASSOCIATION_FORMAT = "Account,User,QOS"
USE = re.compile(r"^QOS=(\S+)\(\d+\)\s.*?\bGrpTRESMins=\S*?\bbilling=[^(\s]*\((\d+)\)")
"""Of a line of ``scontrol -o show assoc_mgr flags=qos``: the name, and the billing-minutes that it counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of a QOS, those that forgia sets; None: no limit."""

    minutes: int | None = None
    """Billing-minutes in all the life of the QOS."""
    gpus: int | None = None
    """At once."""
    jobs: int | None = None
    """That run at once."""
    submitted: int | None = None
    """That wait or run; 0 is a pause: new ones are refused, and those there are stay."""
    flags: frozenset[str] = frozenset(FLAGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actual:
    """What SLURM has."""

    cluster: str
    qos: Mapping[str, Limits] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    """QOS → billing-minutes that the controller counted under it."""
    associations: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """Account and user → the QOS of the association on this cluster; an empty user: the account itself."""
    is_safe: bool = True
    """A job that runs is let run when a limit in minutes is reached."""


def limits_of(text: str) -> dict[str, Limits]:
    """QOS → limits, of ``sacctmgr -nP show qos format=`` with ``QOS_FORMAT``."""
    rows = (line.split("|") for line in text.splitlines() if line.count("|") == QOS_FORMAT.count(","))
    return {row[0]: _limits(row) for row in rows}


def _limits(row: Sequence[str]) -> Limits:
    _, flags, minutes, tres, jobs, submitted = row
    return Limits(
        minutes=_count(_value(minutes, "billing")),
        gpus=_count(_value(tres, "gres/gpu")),
        jobs=_count(jobs),
        submitted=_count(submitted),
        flags=frozenset(flags.split(",")) - {""},
    )


def _value(tres: str, name: str) -> str:
    """One of ``billing=10,gres/gpu=4``."""
    return dict(filter(None, map(split_pair, tres.split(",")))).get(name, "")


def _count(text: str) -> int | None:
    """A number, 0 as well; None where there is no limit."""
    return None if text in NOTHING or not text.isdecimal() else int(text)


def used_of(text: str) -> dict[str, int]:
    """QOS → billing-minutes, of ``scontrol -o show assoc_mgr flags=qos``."""
    return {found[1]: int(found[2]) for line in text.splitlines() if (found := USE.match(line))}


def associations_of(text: str) -> dict[tuple[str, str], frozenset[str]]:
    """Account and user → QOS, of ``sacctmgr -nP show assoc format=`` with ``ASSOCIATION_FORMAT``."""
    rows = (line.split("|") for line in text.splitlines() if line.count("|") == ASSOCIATION_FORMAT.count(","))
    return {(account, user): frozenset(qos.split(",")) - {""} for account, user, qos in rows}


def enforced(config: Mapping[str, str]) -> frozenset[str]:
    """The words of AccountingStorageEnforce."""
    return frozenset(config.get("AccountingStorageEnforce", "").casefold().split(","))


def enforcement(config: Mapping[str, str]) -> Iterator[str]:
    """What of this cluster's configuration (``scontrol show config``) takes the force from limits."""
    words = enforced(config)
    if lacking := sorted({"limits", "qos"} - words - ({"qos"} if "all" in words else set())):
        yield f"this cluster enforces no such limits: AccountingStorageEnforce has no {' and no '.join(lacking)}"
    if "safe" not in words:
        yield "AccountingStorageEnforce has no safe: SLURM ends jobs that run when a limit is reached"
    if config.get("PriorityType") == "priority/basic":
        yield "PriorityType is priority/basic, which counts no use of a QOS: the limit bounds what runs at once only"
