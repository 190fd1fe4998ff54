"""Where jobs go. A scheduler is found by its name and imported only then."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from typing import Any, cast

from forgia.errors import ForgiaError, NotFound
from forgia.paths import HomePaths
from forgia.schedulers.protocol import JobState as JobState
from forgia.schedulers.protocol import JobView as JobView
from forgia.schedulers.protocol import Scheduler as Scheduler

SCHEDULERS = {
    "slurm": "forgia.schedulers.slurm:SlurmScheduler",
    "local": "forgia.schedulers.local:LocalScheduler",
    "fake": "forgia.testing:FakeScheduler",
}
"""Name in a cluster profile → what to import; other packages add theirs by entry points of ``ENTRY_POINTS``."""
ENTRY_POINTS = "forgia.schedulers"


def open_scheduler(name: str, profile: Mapping[str, Any] | None = None, *, home: HomePaths) -> Scheduler:
    """The scheduler of this name, for one cluster profile.

    Raises: NotFound — no such scheduler; ForgiaError — another package offers it and cannot be imported.
    """
    places = dict(SCHEDULERS)
    if name not in places:  # reading every distribution's entry points is slow, and seldom needed
        places |= {point.name: point.value for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    if name not in places:
        raise NotFound("scheduler", name, known=places, hint="see the field 'scheduler' of the cluster profile")
    module, _, attribute = places[name].partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ForgiaError(f"scheduler {name!r}: {places[name]} cannot be imported: {error}") from error
    return cast("Scheduler", made(profile or {}, home=home))
