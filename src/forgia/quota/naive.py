"""What three simpler ways to charge would have charged, on the same records: why the settlement is as it is.

Each is found in a program that sites use: the resources that were asked for in place of those given, ``sacct`` without
``-D``, and runs that were requeued taken for runs that go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from forgia.quota.accounting import Row
from forgia.quota.usage import Verdict, judge

OURS = "every attempt, what was allocated"


def ours(rows: Sequence[Row], now: datetime) -> int:
    """Billing-seconds of every attempt that is over, by what it was given."""
    judged = (judge(row, now=now) for row in rows)
    return sum(item.usage.billing_s for item in judged if item.verdict is Verdict.FINAL)


def requested(rows: Sequence[Row], now: datetime) -> int:
    """By what was asked for."""
    return ours([Row(values={**row.values, "AllocTRES": row["ReqTRES"]}, raw=row.raw) for row in rows], now)


def without_duplicates(rows: Sequence[Row], now: datetime) -> int:
    """Of each job id only the last attempt, as sacct shows it without ``-D``."""
    last: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: (row["Submit"], int(row["DBIndex"] or 0))):
        last[row["JobIDRaw"]] = row
    return ours(list(last.values()), now)


def without_requeued(rows: Sequence[Row], now: datetime) -> int:
    """Without runs that are called requeued."""
    return ours([row for row in rows if row["State"] != "REQUEUED"], now)


def without_suspended(rows: Sequence[Row], now: datetime) -> int:
    """Without the time in which a job was suspended and kept its GPUs."""
    return ours([Row(values={**row.values, "Suspended": ""}, raw=row.raw) for row in rows], now)


RULES: Mapping[str, Callable[[Sequence[Row], datetime], int]] = {
    OURS: ours,
    "what was requested, not allocated": requested,
    "the last attempt only (no -D)": without_duplicates,
    "requeued attempts skipped": without_requeued,
    "time suspended not counted": without_suspended,
}
"""Name → billing-seconds of some rows."""


def charges(rows: Iterable[Row], *, now: datetime) -> dict[str, int]:
    """What each rule would charge for these rows."""
    some = list(rows)
    return {name: rule(some, now) for name, rule in RULES.items()}


def table(rows: Iterable[Row], *, now: datetime, slurmdbd: int | None = None) -> list[str]:
    """The rules beside ours, and beside what slurmdbd's own roll-up (sreport) counted where that is known."""
    found = charges(rows, now=now)
    if slurmdbd is not None:
        found["slurmdbd's roll-up (sreport)"] = slurmdbd
    whole = found[OURS]
    lines = [f"{'rule':36} {'billing-s':>14} {'of ours':>8}"]
    for name, amount in found.items():
        share = f"{amount * 1000 // whole / 10:.1f} %" if whole else "–"
        lines.append(f"{name:36} {amount:>14,} {share:>8}")
    return lines
