"""What the next step wants, read while this one computes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

import torch

from forgia_jobs import devices

CPU = torch.device("cpu")
T = TypeVar("T")


class Feed(Generic[T]):
    """Reads by number, in one thread and one number ahead, where reading takes long enough to pay for it.

    What is read depends on the number alone, so that nothing changes but the time.
    """

    def __init__(self, read: Callable[[int], T], *, is_ahead: bool, device: torch.device = CPU) -> None:
        """Args: is_ahead — False: nothing is read before it is asked for; device — where what is read goes."""
        self._read = read
        self._reader = devices.thread(device, name="forgia-feed") if is_ahead else None
        self._coming: Future[T] | None = None
        self._number = -1
        """Of what is coming."""

    def take(self, number: int, *, last: int) -> T:
        """What belongs to a number; the one after it is begun, unless this is the last. Raises: as ``read``."""
        coming, is_coming = self._coming, self._number == number
        self._coming = None
        if coming is not None and not is_coming:
            self._abandon(coming)
        found = coming.result() if coming is not None and is_coming else self._read(number)
        if self._reader is not None and number < last:
            self._number, self._coming = number + 1, self._reader.submit(self._read, number + 1)
        return found

    def close(self) -> None:
        """Wait for what is being read, and end the thread."""
        if self._reader is not None:
            self._reader.shutdown(wait=True, cancel_futures=True)

    def _abandon(self, coming: Future[T]) -> None:
        """Nobody wants it any more; what it reads from must not change while it does."""
        if not coming.cancel():
            coming.exception()
