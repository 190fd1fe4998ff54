"""A month's rows added up while they pass: whatever is shown of a report beside the rows themselves."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from forgia.quota.daily import HOUR, days_of
from forgia.quota.report import Row
from forgia.quota.slices import ZONE

LARGEST = 20
"""So many of the dearest attempts are shown one by one."""
NO_RECIPE = "(no run of forgia's)"


COUNTED = ("attempts", "gpu_s", "billing_s", "refund_s", "adjusted_s", "net_s", "units", "unpriced")
"""What a sum adds up as it is."""


@dataclass(slots=True, kw_only=True)
class Sum:
    """Of some rows."""

    attempts: int = 0
    gpu_s: int = 0
    billing_s: int = 0
    """Charged."""
    refund_s: int = 0
    adjusted_s: int = 0
    net_s: int = 0
    """Charged less refunded, with the adjustments: what the postings of the ledger add up to."""
    units: float = 0.0
    cost_eur: float | None = None
    """Of the rows that have a price; None: none has."""
    unpriced: int = 0
    """Rows without a price."""

    def add(self, row: Row) -> None:
        """Count one more row."""
        is_adjustment = row.kind == "adjust"
        self.attempts += row.kind == "charge"
        self.gpu_s += row.gpu_s
        self.billing_s += 0 if is_adjustment else row.billing_s
        self.refund_s += row.refund_s
        self.adjusted_s += row.billing_s if is_adjustment else 0
        self.net_s += row.net_s
        self.units += row.units
        self.unpriced += row.cost_eur is None
        if row.cost_eur is not None:
            self.cost_eur = (self.cost_eur or 0.0) + row.cost_eur

    def join(self, other: Sum) -> None:
        """Count what the other has counted."""
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.cost_eur is not None:
            self.cost_eur = (self.cost_eur or 0.0) + other.cost_eur

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


@dataclass(slots=True, kw_only=True)
class Tally:
    """Of all rows of a month, and by what staff asks for."""

    month: str
    zone: str = ZONE
    by_organisation: defaultdict[str, Sum] = field(default_factory=lambda: defaultdict(Sum))
    by_recipe: defaultdict[tuple[str, str], Sum] = field(default_factory=lambda: defaultdict(Sum))
    """Project and recipe; adjustments are in none."""
    by_day: dict[date, int] = field(default_factory=dict)
    """Day of the site → net billing-seconds."""
    units: set[str] = field(default_factory=set)
    cards: set[str] = field(default_factory=set)
    """Rate cards that prices were taken from."""
    adjustments: list[Row] = field(default_factory=list)
    _largest: list[tuple[int, int, Row]] = field(default_factory=list)

    def passing(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows, each counted when it is taken."""
        day = days_of(self.zone)
        for row in rows:
            self.count(row, day(str(row.end)[:HOUR]))
            yield row

    def count(self, row: Row, day: date) -> None:
        """One row."""
        self.by_organisation[f"{row.site}/{row.organisation}".rstrip("/")].add(row)
        self.units.add(row.unit)
        self.cards.add(row.rate_card)
        if row.kind == "adjust":
            self.adjustments.append(row)
            return
        self.by_day[day] = self.by_day.get(day, 0) + row.net_s
        self.by_recipe[row.project, row.recipe or NO_RECIPE].add(row)
        if len(self._largest) < LARGEST:
            heapq.heappush(self._largest, (row.net_s, -row.seq, row))
        elif row.net_s >= self._largest[0][0]:
            heapq.heappushpop(self._largest, (row.net_s, -row.seq, row))

    @property
    def total(self) -> Sum:
        """Of all organisations."""
        found = Sum()
        for one in self.by_organisation.values():
            found.join(one)
        return found

    @property
    def largest(self) -> list[Row]:
        """The dearest attempts, the dearest first."""
        return [row for _, _, row in sorted(self._largest, reverse=True)]

    @property
    def unit(self) -> str:
        """The unit of the amounts; of several none, for they cannot be added up."""
        return next(iter(self.units)) if len(self.units) == 1 else ""

    def to_json(self) -> dict[str, Any]:
        """The sums, ready for JSON."""
        return {
            "month": self.month,
            "total": self.total.to_json(),
            "by_organisation": {name: one.to_json() for name, one in sorted(self.by_organisation.items())},
        }
