"""Planning a sweep, watching it until it ends, and what is said when it has."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from forgia import sweep as sweeps
from forgia.errors import JobFailed, UserError
from forgia.run import State
from forgia.sweep import Result, Sweep
from forgia_cli.app import App
from forgia_cli.wish import Wish

if TYPE_CHECKING:
    from forgia.sweeping import SweepPlan

SAY_EVERY_S = 10.0
MOST_REASONS = 5


def planned(app: App, wish: Wish, *, over: Sequence[str], **wanted: Any) -> SweepPlan:
    """The plan of a sweep, with what is to be known before it is sent."""
    from forgia.sweeping import Wanted

    client = app.client
    folder = client.open_recipe(wish.recipe)
    profile = client.open_profile(wish.profile, account=wish.account)
    asked = Wanted(over=over, **wanted)
    plan = client.plan_sweep(folder, wanted=asked, profile=profile, sets=wish.sets, test=wish.test)
    for warning in plan.plans[0].warnings:
        app.say(f"warning: {warning}")
    known = sum(client.home.run(run_id).request.is_file() for run_id in plan.sweep.run_ids)
    before = f", {known} of which ran or run already" if known else ""
    app.say(f"sweep {plan.sweep.id}: {len(plan.sweep.members)} points{before}")
    return plan


def send(app: App, plan: SweepPlan) -> Sweep:
    """Send a sweep; Ctrl-C leaves what was sent, and the same command sends the rest."""
    try:
        return app.client.start_sweep(plan)
    except KeyboardInterrupt:
        sweep_id = plan.sweep.id
        app.say(f"\nsweep {sweep_id} was being sent; the same command goes on, forgia sweep show {sweep_id} looks")
        raise


def follow(app: App, sweep: Sweep) -> None:
    """Show how many stand where until all have ended; Ctrl-C leaves them going."""
    said, said_at, done = "", 0.0, 0
    try:
        with app.progress(sweep.id, total=float(len(sweep.members))) as advance:
            for found in app.client.follow_sweep(sweep):
                over = sum(item.state.is_final for item in found)
                advance(float(over - done))
                done, text = over, standing(item.state for item in found)
                if text != said and time.monotonic() - said_at > SAY_EVERY_S:
                    app.say(f"sweep {sweep.id}: {text}")
                    said, said_at = text, time.monotonic()
    except KeyboardInterrupt:
        back = "the same command comes back to it and registers the best"
        app.say(f"\nsweep {sweep.id} goes on; {back}, forgia sweep show {sweep.id} looks")
        raise


def standing(states: Iterable[State]) -> str:
    """``3 running, 17 succeeded``."""
    return ", ".join(f"{count} {state}" for state, count in sweeps.counts(states).items())


def table(app: App, sweep: Sweep, found: Sequence[Result]) -> None:
    """The points with their figures, on stdout."""
    app.table(sweeps.headers(sweep.axes, sweep.primary), [rounded(row) for row in sweeps.rows(found)])


def rounded(row: Sequence[Any]) -> tuple[Any, ...]:
    """Figures as a person reads them."""
    return tuple(float(f"{cell:.4g}") if isinstance(cell, float) else cell for cell in row)


def conclude(app: App, sweep: Sweep) -> None:
    """The table, the best, what failed. Raises: JobFailed — no member has a release."""
    collected = app.client.finish_sweep(sweep)
    found = sweeps.results(app.home, sweep)
    table(app, sweep, found)
    say_failures(app, sweep, found)
    winner = sweeps.best(found, is_lower_better=sweep.is_lower_better)
    if not winner and any(result.state.is_success for result in found):
        raise UserError(
            f"sweep {sweep.id}: no point knows {sweep.primary} on the validation part, by which the best is chosen",
            hint="bind data that is labelled, or choose by another figure: --set evaluate.primary=false_alarm_rate",
        )
    if not winner or not collected:
        error = JobFailed(sweep.id, state="has no release", reason=standing(result.state for result in found))
        error.hint = f"forgia job why {found[0].run_id}"  # there is no such answer for a sweep
        raise error
    values = ", ".join(f"{name.removeprefix('params.')} = {value}" for name, value in winner.values.items())
    app.say(f"best: {values} ({sweep.primary} {winner.chosen_by:.4g} on the validation part)")
    app.out(f"{collected.name}@{collected.version}  {collected.digest}")


def say_failures(app: App, sweep: Sweep, found: Sequence[Result]) -> None:
    """Each reason once, and how to try again."""
    failed = [result for result in found if not result.state.is_success]
    reasons: dict[str, int] = {}
    for result in failed:
        reason = result.reason.replace(result.run_id, "RUN")  # the folder in it is each member's own
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in list(reasons.items())[:MOST_REASONS]:
        app.say(f"{count} without a release: {reason or 'no reason was given'}")
    if any(not result.reason.startswith(sweeps.GIVEN_UP) for result in failed):
        app.say(f"next: forgia sweep retry {sweep.id}")
