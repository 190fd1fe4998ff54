"""An end for a rank that hangs while another has already said that it failed: nobody else ends it in time.

SLURM waits for the last task of a step, since those that end well do not end together.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
from collections.abc import Iterator

from forgia.paths import RunPaths

LOOK_EVERY_S = 5.0
RANKS_A_SECOND = 10
"""That look at a shared folder, at most."""
GRACE_S = 30.0
"""For a rank that is on its way out by itself."""


@contextlib.contextmanager
def watching(paths: RunPaths, attempt: int, *, world_size: int) -> Iterator[None]:
    """Within it, and after it where it failed, this process ends soon after a rank has left the reason of its failure.

    The places where its threads stand go to its log: they say where it hangs.
    """
    is_over = threading.Event()
    if world_size > 1:
        every_s = max(LOOK_EVERY_S, world_size / RANKS_A_SECOND)
        threading.Thread(target=_look, args=(paths, attempt, is_over, every_s), name="lookout", daemon=True).start()
    yield
    is_over.set()


def _look(paths: RunPaths, attempt: int, is_over: threading.Event, every_s: float) -> None:
    while not is_over.wait(every_s):
        if paths.reasons(attempt):
            break
    if is_over.wait(GRACE_S):
        return
    print(f"a rank failed, and this one still hangs after {GRACE_S:.0f} s; it stands at:", file=sys.stderr)
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    sys.stderr.flush()
    os._exit(1)
