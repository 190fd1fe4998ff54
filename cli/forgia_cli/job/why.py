"""``forgia job why``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from forgia.errors import ClusterError
from forgia_cli.app import App, json_option

if TYPE_CHECKING:
    from forgia.causes import Explanation


@click.command()
@click.argument("run", default="last")
@json_option
@click.pass_obj
def why(app: App, *, run: str, as_json: bool) -> None:
    """Say why a run stands where it stands: the cause, who failed first, the evidence, the next command.

    RUN: an id, its beginning, or last.

    \b
    forgia job why last
    """
    from forgia import causes
    from forgia.run import open_run

    found = causes.explain(app.home, open_run(app.home, run).root.name, app.client.scheduler)
    if as_json:
        app.show_json({"explanation": found.to_json()})
    else:
        app.out("\n".join(told(found)))
    if found.unanswered:
        hint = "what is said above stands on the run's files alone"
        raise ClusterError(found.unanswered, transient=True, hint=hint)


def told(found: Explanation) -> Iterator[str]:
    """The answer, line by line."""
    attempt = f", attempt {found.attempt}" if found.attempt > 1 else ""
    job = f", job {found.job_id}" if found.job_id else ""
    yield f"run {found.run_id} ({found.state}{attempt}{job}): {found.sentence}"
    if found.rank is not None or (found.node and found.node not in found.sentence):
        yield f"  {'first to fail' if found.rank is not None else 'where'}: {found.first}"
    yield from (f"  evidence: {line}" for line in found.evidence)
    if found.exit_code:
        yield f"  exit code: {found.exit_code}"
    if found.tail:
        yield from ("  last lines:", *(f"    {line}" for line in found.tail))
    if found.next:
        yield f"  next: {found.next}"
