"""``forgia bench scaling``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option
from forgia_cli.wish import Wish, wish_options

SHOWN = ("data_wait_share", "collective_share", "flop_utilisation", "gpu_memory_mb", "host_memory_mb")
"""Figures of the meter beside the speed."""


@click.command()
@wish_options
@click.option("--at", "sizes", multiple=True, metavar="NODESxPROCESSES", help="A size; default: 1x1, 1x2 and 1x4.")
@click.option("--steps", type=click.IntRange(min=10), default=100, show_default=True, help="Optimizer steps of each.")
@click.option("--weak", is_flag=True, help="Let the batch grow with the processes.")
@json_option
@click.pass_obj
def scaling(app: App, *, wish: Wish, sizes: tuple[str, ...], steps: int, weak: bool, as_json: bool) -> None:
    """Train some steps of a recipe at several sizes and show how its speed grows; the releases stay with the runs.

    \b
    forgia bench scaling mill-failures --profile leonardo-booster --at 1x1 --at 1x4 --at 2x4
    """
    from forgia import scaling as measuring

    client = app.client
    chosen = measuring.parse(sizes or measuring.SIZES)
    profile = client.open_profile(wish.profile, account=wish.account)
    plans = client.plan_scaling(
        wish.recipe, sizes=chosen, steps=steps, is_weak=weak, profile=profile, sets=wish.sets, test=wish.test
    )
    found = client.measure_scaling(plans, chosen, tell=app.say)
    if as_json:
        app.show_json({"steps": steps, "weak": weak, "points": [point.to_json() for point in found]})
        return
    headers = ("size", "samples/s", "speed-up", "efficiency", *(name.replace("_", " ") for name in SHOWN), "state")
    rows = [
        (
            str(point.size),
            *map(number, (point.samples_per_s, point.speedup, point.efficiency)),
            *(number(point.figures.get(name)) for name in SHOWN),
            f"{point.state}: {point.reason}" if point.reason else str(point.state),
        )
        for point in found
    ]
    app.table(headers, rows)


def number(value: float | None) -> str:
    """Three digits that count; what is not known is empty."""
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
