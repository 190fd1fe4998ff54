"""A preparation two of whose workers die: ``preparing_program.py ORDER.json MARKS``."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from forgia_jobs.preparation import preparing, preparing_workers

DEADLY = ("arrange-", "measure-1")
"""Tasks that kill the first worker that has done them."""


def deadly(marks: str, task: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Do the task, then kill the worker before it can say so; the second time, do it again and live."""
    found = task(*given, **named)
    name = f"{task.__name__}-{'-'.join(str(item) for item in given if isinstance(item, int))}"
    mark = Path(marks, name)
    if name in DEADLY and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return found


class Deadly:
    """Dask's executor, for tasks that kill."""

    def __init__(self, inner: Executor, marks: str) -> None:
        self.inner, self.marks = inner, marks

    def submit(self, task: Callable[..., Any], *given: Any, **named: Any) -> Any:
        return self.inner.submit(deadly, self.marks, task, given, named)


if __name__ == "__main__":
    order = json.loads(Path(sys.argv[1]).read_text())
    begin, place = preparing.make, sys.argv[2]
    preparing.make = lambda asked, workers, tell: begin(asked, Deadly(workers, place), tell)  # type: ignore[arg-type]
    print(json.dumps(preparing.prepare(order, lambda word: None)))
    assert preparing_workers.TRIES > 2
