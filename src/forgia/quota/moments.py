"""How a moment is spelled in the tables of a ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def spelled(moment: datetime) -> str:
    """UTC with microseconds, always as long, so that the order of the texts is that of the moments."""
    in_utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return in_utc.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


@lru_cache(maxsize=4096)
def moment(text: str) -> datetime:
    """The opposite of ``spelled``."""
    return datetime.fromisoformat(text)
