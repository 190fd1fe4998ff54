"""The overview that lists stand on, made without loading more than it needs."""

from __future__ import annotations

from dataclasses import dataclass

from forgia.errors import ClusterError
from forgia.run import SETTLED, RunStatus, State, settle_ended, statuses
from forgia.sweep import unregistered
from forgia_cli.app import App


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Every run, and the schedulers that did not answer."""

    statuses: tuple[RunStatus, ...]
    unanswered: tuple[str, ...] = ()
    silent_s: int = 0
    """For how long the most silent of the open runs has said nothing; told with states that could not be asked for."""

    def raise_if_unanswered(self) -> None:
        """Raises: ClusterError — after the last known states were shown."""
        if self.unanswered:
            from forgia.fields import format_duration

            hint = f"the states shown are the last known ones, up to {format_duration(self.silent_s)} old"
            raise ClusterError("; ".join(self.unanswered), transient=True, hint=hint)


def overview(app: App) -> View:
    """Where all runs stand; finished releases are collected on the way, and only then is the whole library loaded."""
    found = tuple(statuses(app.home))
    others = [status for status in found if status.state not in SETTLED]
    kept = unregistered(app.home) if others else set()
    if all(is_kept(status, kept) for status in others):
        settle_ended(app.home, found)
        return View(statuses=found)
    from forgia import status as engine
    from forgia.schedulers import open_scheduler

    asked = engine.overview(app.home, lambda name: open_scheduler(name, home=app.home), known=found)
    if not any(status.state is State.SUCCEEDED and status.run_id not in kept for status in asked.statuses):
        settle_ended(app.home, asked.statuses)
        return view(app, asked.statuses, asked.unanswered)
    _, complaints = app.client.collect_finished(asked)
    told = {status.run_id: status for status in asked.statuses if status.state is not State.SUCCEEDED}
    return view(app, tuple(told.get(status.run_id, status) for status in statuses(app.home)), tuple(complaints))


def is_kept(status: RunStatus, kept: set[str]) -> bool:
    """A sweep's member whose release stays where it is."""
    return status.state is State.SUCCEEDED and status.run_id in kept


def view(app: App, found: tuple[RunStatus, ...], complaints: tuple[str, ...]) -> View:
    """The view, with the age of what could not be asked."""
    from forgia.status import age_of, is_open

    ages = [age_of(app.home.run(status.run_id)) for status in found if complaints and is_open(status)]
    silent_s = max((int(age.total_seconds()) for age in ages), default=0)
    return View(statuses=found, unanswered=complaints, silent_s=silent_s)
