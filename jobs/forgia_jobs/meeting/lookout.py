"""An end for a rank that hangs while another has failed or died: nobody else ends it in time.

SLURM waits for the last task of a step, since those that end well do not end together.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator

from forgia.paths import RunPaths
from forgia_jobs.meeting.lifeline import Lifelines
from forgia_jobs.meeting.rendezvous import PeerLost, World

LOOK_EVERY_S = 5.0
RANKS_A_SECOND = 10
"""That look at a shared folder, at most."""
LAST_WORD_S = 1.0
"""After the end of a rank its reason shows, and this one may be at its own end."""
GRACE_S = 30.0
"""For a rank that is on its way out by itself."""


@contextlib.contextmanager
def watching(paths: RunPaths, attempt: int, world: World, *, tell: Callable[[Exception], None]) -> Iterator[None]:
    """Within it, and after it where it failed, this process ends soon after a rank has died or left a reason.

    Collective. ``tell`` leaves this rank's own reason, where it was the first to see one die. The places where its
    threads stand go to its log: they say where it hangs.
    """
    if world.size == 1:
        yield
        return
    is_over, lines = threading.Event(), Lifelines(world)
    every_s = max(LOOK_EVERY_S, world.size / RANKS_A_SECOND)

    def look() -> None:
        while not is_over.is_set() and not paths.reasons(attempt):
            rank = lines.lost(every_s)
            if rank is not None and not is_over.wait(LAST_WORD_S) and not paths.reasons(attempt):
                tell(PeerLost(rank))
        if not is_over.wait(GRACE_S):
            end()
        lines.close()

    thread = threading.Thread(target=look, name="lookout", daemon=True)
    thread.start()
    yield
    is_over.set()
    lines.wake()
    thread.join(LAST_WORD_S)


def end() -> None:
    """End this process, whatever it waits for."""
    print(f"a rank failed, and this one still hangs after {GRACE_S:.0f} s; it stands at:", file=sys.stderr)
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    sys.stderr.flush()
    os._exit(1)
