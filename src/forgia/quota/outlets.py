"""Budgets for other people's dashboards: a file for Prometheus, a file for Open OnDemand.

Sources: Prometheus' text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/) and naming
(https://prometheus.io/docs/practices/naming/); Open OnDemand's balance file, version 1, as
apps/dashboard/app/models/balance.rb of OSC/ondemand reads it, at 1f4388222245b0a5d5f42de73b3b438108d4805b.
"""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgia import store
from forgia.errors import UserError

if TYPE_CHECKING:
    from forgia.quota.alerts import Alert
    from forgia.quota.outlook import Outlook
    from forgia.quota.records import Member

DAY_S = 86_400
METRICS: Mapping[str, str] = {
    "forgia_quota_granted_billing_seconds": "Billing-seconds of the grants that are not over.",
    "forgia_quota_held_billing_seconds": "Billing-seconds reserved for jobs.",
    "forgia_quota_charged_billing_seconds": "Billing-seconds charged, less refunds.",
    "forgia_quota_free_billing_seconds": "Billing-seconds that new jobs may reserve.",
    "forgia_quota_burn_billing_seconds_per_day": "Billing-seconds used a day, of late.",
    "forgia_quota_pace_ratio": "Share used or held over share of the time that has passed.",
    "forgia_quota_remaining_seconds": "Time until half of the futures have used it up, or its end.",
    "forgia_quota_end_timestamp_seconds": "When the last of the grants is over.",
    "forgia_quota_alert": "1 for each thing that staff should know.",
    "forgia_quota_written_timestamp_seconds": "When this file was written.",
}
"""Every metric, all of them gauges: name → help. A charge may be refunded, so that none is a counter."""
PROJECT_TYPE = "grant"
UNIT = "day"


def prometheus(outlooks: Sequence[Outlook], alerts: Iterable[Alert], *, now: datetime) -> str:
    """The text of a .prom file; metrics of which nothing is known have no line."""
    samples: dict[str, list[str]] = {name: [] for name in METRICS}
    for one in outlooks:
        for name, value in measures(one):
            samples[name].append(sample(name, {"holder": str(one.holder)}, value))
    for alert in alerts:
        labels = {"kind": alert.kind, "level": alert.level, "holder": alert.holder, "grant": str(alert.grant or "")}
        labels["subject"] = alert.subject
        samples["forgia_quota_alert"].append(sample("forgia_quota_alert", labels, 1))
    written = "forgia_quota_written_timestamp_seconds"
    samples[written].append(sample(written, {}, int(now.timestamp())))
    blocks = (
        [f"# HELP {name} {METRICS[name]}", f"# TYPE {name} gauge", *lines] for name, lines in samples.items() if lines
    )
    return "".join(f"{line}\n" for block in blocks for line in block)


def measures(one: Outlook) -> Iterator[tuple[str, float | int]]:
    """Name and value of each metric of a holder."""
    yield "forgia_quota_granted_billing_seconds", one.granted
    yield "forgia_quota_held_billing_seconds", one.held
    yield "forgia_quota_charged_billing_seconds", one.charged
    yield "forgia_quota_free_billing_seconds", sum(grant.free for grant in one.grants)
    yield "forgia_quota_burn_billing_seconds_per_day", one.forecast.level
    if one.pace.value is not None:
        yield "forgia_quota_pace_ratio", float(one.pace.value)
    if one.forecast.days_left is not None:
        yield "forgia_quota_remaining_seconds", one.forecast.days_left * DAY_S
    last = max(grant.terms.valid_until for grant in one.grants)
    yield "forgia_quota_end_timestamp_seconds", int(last.timestamp())


def sample(name: str, labels: Mapping[str, str], value: float | int) -> str:
    """One line."""
    inside = ",".join(f'{label}="{escaped(text)}"' for label, text in labels.items() if text)
    return f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def escaped(text: str) -> str:
    """A label's value as the format wants it."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def ood(outlooks: Sequence[Outlook], members: Sequence[Member], *, now: datetime) -> dict[str, Any]:
    """The content of balance.json: for each person of a budget the days that it is estimated to last.

    Where nothing can be foretold, the days until its end: it lasts no longer, and may end sooner.
    """
    balances = [
        {"user": member.name, "project": str(one.holder), "value": days(one)}
        for one in outlooks
        for member in members
        if member.holder
        and not member.token
        and (one.holder.is_within(member.holder) or member.holder.is_within(one.holder))
    ]
    balances.sort(key=lambda balance: (str(balance["user"]), str(balance["project"])))
    config = {"unit": UNIT, "project_type": PROJECT_TYPE}
    return {"version": 1, "timestamp": int(now.timestamp()), "config": config, "balances": balances}


def days(one: Outlook) -> int:
    """How long it is estimated to last."""
    left = one.forecast.days_left
    return one.forecast.days_to_end if left is None else left


def publish(path: Path, text: str) -> None:
    """Replace a file that another program reads, whole or not at all; who may read it stays as it was.

    A new one is private, as all of forgia's: ``chmod 644`` it once, and it stays so.
    Raises: UserError — there is no such folder.
    """
    if not path.parent.is_dir():
        raise UserError(f"{path}: no such folder", hint=f"mkdir {path.parent}")
    mode = None
    with contextlib.suppress(FileNotFoundError):
        mode = stat.S_IMODE(path.stat().st_mode)
    store.write_atomic(path, text)
    if mode is not None:
        path.chmod(mode)


def publish_json(path: Path, value: Mapping[str, Any]) -> None:
    """See ``publish``."""
    publish(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
