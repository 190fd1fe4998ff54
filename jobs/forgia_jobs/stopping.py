"""A clean stop: a signal sets a flag, the loop sees it at the next step on every rank at once."""

from __future__ import annotations

import signal
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
"""What schedulers, launchers and people send before they kill; SIGUSR2 is submitit's notice of the time limit."""


class StopRequest:
    """Whether this process was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal_name: str | None = None

    def listen(self) -> None:
        """Replace the handlers of the process; only from its main thread."""
        for number in SIGNALS:
            signal.signal(number, self._remember)

    @property
    def is_set(self) -> bool:
        """Asked to stop."""
        return self.signal_name is not None

    @property
    def is_time_limit(self) -> bool:
        """The scheduler gave notice that time runs out; a stop by anyone else is not followed by another attempt."""
        return self.signal_name == signal.SIGUSR2.name

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.signal_name = signal.Signals(number).name
