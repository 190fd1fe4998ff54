"""Access modes of the AI Factories: how much each gives, and for how long."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from forgia.quota.slices import ZONE


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessMode:
    """What an application under a mode can be given."""

    title: str
    most_gpu_h: int | None
    """None: no limit. What the mode gives where nothing else is said."""
    months: tuple[int, ...]
    """How long it may last; the last is taken where nothing else is said."""
    least_gpu_h: int = 0
    """More than this."""

    def problems(self, gpu_h: float | None, months: int | None) -> list[str]:
        """What of a wish is not this mode's."""
        found = []
        if months is not None and months not in self.months:
            found.append(f"{self.title} lasts {', '.join(map(str, self.months))} months, not {months}")
        if gpu_h is None and self.most_gpu_h is None:
            found.append(f"{self.title} has no fixed size: say --gpu-h, more than {self.least_gpu_h:,}")
        if gpu_h is not None and self.most_gpu_h is not None and gpu_h > self.most_gpu_h:
            found.append(f"{self.title} gives at most {self.most_gpu_h:,} GPU-h, not {gpu_h:,.0f}")
        if gpu_h is not None and gpu_h <= self.least_gpu_h:
            found.append(f"{self.title} is for more than {self.least_gpu_h:,} GPU-h, not {gpu_h:,.0f}")
        return found


MODES: Mapping[str, AccessMode] = {
    "playground": AccessMode(title="Playground", most_gpu_h=5_000, months=(1, 2, 3)),
    "fast-lane": AccessMode(title="Fast Lane", most_gpu_h=50_000, months=(1, 2, 3)),
    "large-scale": AccessMode(title="Large Scale", most_gpu_h=None, months=(3, 6, 12), least_gpu_h=50_000),
}
"""Source: EuroHPC JU's pages on AI Factories access for industrial innovation (eurohpc-ju.europa.eu), as quoted by
https://github.com/Limes-Labs/compute-access-notes at 327512a; a real Playground account showed 40,000 local h on
Leonardo, which are 5,000 GPU-h, for three months."""


def months_later(begin: datetime, months: int, zone: str = ZONE) -> datetime:
    """The same day and time of the site's clock so many months on; the last of the month where it has no such day."""
    local = begin.astimezone(ZoneInfo(zone))
    year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    day = min(local.day, calendar.monthrange(year, month + 1)[1])
    return local.replace(year=year, month=month + 1, day=day)
