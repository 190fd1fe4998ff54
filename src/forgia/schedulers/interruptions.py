"""Interruptions on purpose: what a cluster does to a job now and then, at set times, on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from forgia.errors import UserError, nearest
from forgia.paths import RunPaths
from forgia.store import read_json, write_json

WARN, PREEMPT, KILL = "limit", "preempt", "kill"
WORDS = {WARN: "TIMEOUT", PREEMPT: "PREEMPTED", KILL: "NODE_FAIL"}
"""Kind → SLURM's name for the end of an attempt that is interrupted so. ``limit`` is the notice before a time limit,
``preempt`` is asked to go at once and killed some seconds later, ``kill`` is a node without power."""
EXAMPLE = "write it as 30s,70s or 30s:preempt,70s:kill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """When a job is interrupted, and how."""

    at_s: float
    """After its start; held back until the attempt that it falls into has begun."""
    kind: str = WARN

    @property
    def word(self) -> str:
        """SLURM's name for the end of the attempt."""
        return WORDS[self.kind]


def parse(text: str) -> tuple[Interruption, ...]:
    """Read ``30s,70s:kill``. Raises: UserError — a time or a kind is none, with every one that is wrong."""
    from forgia.fields import parse_duration  # pydantic is slow to import

    found, problems = [], []
    for part in text.split(","):
        when, _, kind = part.strip().partition(":")
        if kind and kind not in WORDS:
            close = nearest(kind, WORDS)
            problems.append(f"{part!r}: {kind!r} is none of {', '.join(WORDS)}" + (f" ({close[0]}?)" if close else ""))
            continue
        try:
            found.append(Interruption(at_s=parse_duration(when), kind=kind or WARN))
        except ValueError as error:
            problems.append(f"{part!r}: {error}")
    if problems:
        raise UserError(f"--interrupt-at {text}: {'; '.join(problems)}", hint=EXAMPLE)
    return tuple(sorted(found, key=lambda item: item.at_s))


def arrange(paths: RunPaths, wanted: Sequence[Interruption]) -> None:
    """Leave them where the run's controller looks."""
    write_json(paths.interruptions, [asdict(item) for item in wanted])


class Agenda:
    """The interruptions of one job: each comes once, and no attempt has two."""

    def __init__(self, paths: RunPaths) -> None:
        self.paths, self._begun = paths, time.monotonic()
        self._interrupted: list[int] = []

    def due(self, attempt: int) -> Interruption | None:
        """The next one, once its time has come."""
        if attempt in self._interrupted or not self.paths.interruptions.exists():
            return None
        listed = [Interruption(**item) for item in read_json(self.paths.interruptions)]
        left = listed[len(self._interrupted) :]
        return left[0] if left and time.monotonic() - self._begun >= left[0].at_s else None

    def tick_off(self, attempt: int) -> None:
        """It has come, and this attempt will have no other."""
        self._interrupted.append(attempt)

    def close(self) -> None:
        """Forget what is left: a retry of the run is not interrupted again."""
        self.paths.interruptions.unlink(missing_ok=True)
