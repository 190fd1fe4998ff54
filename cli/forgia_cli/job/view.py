"""The overview that lists stand on, made without loading more than it needs."""

from __future__ import annotations

from dataclasses import dataclass

from forgia.errors import ClusterError
from forgia.run import SETTLED, RunStatus, settle_ended, statuses
from forgia_cli.app import App


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Every run, and the schedulers that did not answer."""

    statuses: tuple[RunStatus, ...]
    unanswered: tuple[str, ...] = ()

    def raise_if_unanswered(self) -> None:
        """Raises: ClusterError — after the last known states were shown."""
        if self.unanswered:
            raise ClusterError(
                "; ".join(self.unanswered), transient=True, hint="the states shown are the last known ones"
            )


def overview(app: App) -> View:
    """Where all runs stand; finished releases are collected on the way."""
    found = tuple(statuses(app.home))
    if all(status.state in SETTLED for status in found):
        settle_ended(app.home, found)
        return View(statuses=found)
    _, complaints = app.client.collect_finished()
    return View(statuses=tuple(statuses(app.home)), unanswered=tuple(complaints))
