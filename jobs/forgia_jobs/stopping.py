"""A clean stop: a signal or the clock sets a flag, the loop sees it at the next step on every rank at once."""

from __future__ import annotations

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
"""What schedulers, launchers and people send before they kill; SIGUSR2 is submitit's notice of the time limit."""
CLOCK = "CLOCK"
"""In place of a signal's name: nobody gave notice, and what is left of the time is needed for the checkpoint."""


class StopRequest:
    """Whether this process was asked to stop, and by which signal, or has to by the clock."""

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self.deadline: float | None = None
        """When the time is up, in seconds since 1970; None: nobody has said."""
        self.needed_s = 0.0
        """What a checkpoint, and the step before it, may take."""

    def listen(self) -> None:
        """Replace the handlers of the process; only from its main thread."""
        for number in SIGNALS:
            signal.signal(number, self._remember)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # who started this process may have held them back

    @property
    def is_set(self) -> bool:
        """Asked to stop, or too late to go on."""
        if self.signal_name is None and self.deadline is not None and self.remaining_s() <= self.needed_s:
            self.signal_name = CLOCK
        return self.signal_name is not None

    @property
    def is_time_limit(self) -> bool:
        """Time runs out, as the scheduler has said or the clock; a stop by anyone else asks for no other attempt."""
        return self.signal_name in (signal.SIGUSR2.name, CLOCK)

    def remaining_s(self) -> float:
        """Until the deadline; infinite where there is none."""
        return float("inf") if self.deadline is None else self.deadline - time.time()

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.signal_name = signal.Signals(number).name
