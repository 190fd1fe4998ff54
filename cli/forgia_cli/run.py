"""``forgia run``: submit, wait, collect."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.wish import Wish, again_option, go_on_option, wish_options


@click.command()
@wish_options
@again_option
@go_on_option
@click.option(
    "--interrupt-at",
    default="",
    metavar="TIMES",
    help="Interrupt the run after these times, as a cluster would: 30s,70s or 30s:preempt,70s:kill (laptop only).",
)
@click.pass_obj
def run(app: App, *, wish: Wish, again: bool, goes_on_from: str, interrupt_at: str) -> None:
    """Train, evaluate and register: from a recipe to a versioned model.

    Ctrl-C leaves the run going; the last line says how to come back.

    \b
    forgia run mill-failures --set train.seed=1
    forgia run mill-failures --interrupt-at 30s,70s:kill
    forgia run mill-failures --go-on-from last --set train.strategy=fsdp --set resources.tasks_per_node=4
    """
    from forgia_cli.following import collected, follow
    from forgia_cli.planning import planned

    wanted = planned(app, wish, is_told_unbuilt=False, goes_on_from=goes_on_from)
    app.client.build_environment(wanted, tell=app.say)
    started = app.client.start(wanted, again=again, interrupt_at=interrupt_at)
    app.say(following_sentence(started.run_id, str(started.status.state), is_new=started.is_new))
    follow(app, started.run_id)
    collected(app, started.run_id)


def following_sentence(run_id: str, state: str, *, is_new: bool) -> str:
    """What became of the request."""
    if is_new:
        return f"run {run_id}: submitted"
    return f"run {run_id}: this very request has been asked before; now {state} (--again asks for a fresh run)"
