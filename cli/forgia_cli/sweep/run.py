"""``forgia sweep run``, which is what ``forgia sweep RECIPE`` means."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.wish import Wish, wish_options


@click.command()
@wish_options
@click.option(
    "--over",
    multiple=True,
    metavar="NAME=VALUES",
    help="What varies: width=32,64 or learning_rate=1e-4..1e-2:5:log (range, how many, scale), or width alone: "
    "as the recipe declares it.",
)
@click.option("--points", type=click.IntRange(1), help="So many points all over the space; default: every combination.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the points.")
@click.option("--parallel", type=click.IntRange(1), help="So many at once; default: 1 here, all on a cluster.")
@click.option(
    "--collect",
    "collecting",
    type=click.Choice(["best", "all"]),
    default="best",
    show_default=True,
    help="What is registered.",
)
@click.option(
    "--with",
    "means",
    type=click.Choice(["array", "ray"]),
    default="array",
    show_default=True,
    help="A job a point, or one job for all that gives up poor points early.",
)
@click.option("--detach", is_flag=True, help="Send, and come back at once.")
@click.pass_obj
def run(
    app: App,
    *,
    wish: Wish,
    over: tuple[str, ...],
    points: int | None,
    seed: int,
    parallel: int | None,
    collecting: str,
    means: str,
    detach: bool,
) -> None:
    """Run a recipe at many points, as an array or in one job; register the best, by the recipe's primary metric on
    the validation part.

    A point that has run before is not run again. Ctrl-C leaves the sweep going; the same command comes back to it.

    \b
    forgia sweep mill-failures --over learning_rate=1e-3,3e-4 --over width=64..256 --points 20 --parallel 8
    """
    from forgia_cli.sweep.following import conclude, follow, planned, send

    asked = {"points": points, "seed": seed, "parallel": parallel, "with_ray": means == "ray"}
    plan = planned(app, wish, over=over, collects_all=collecting == "all", **asked)
    sweep = send(app, plan)
    if detach:
        app.out(sweep.id)
        app.say(f"next: forgia sweep show {sweep.id}")
        return
    follow(app, sweep)
    conclude(app, sweep)
