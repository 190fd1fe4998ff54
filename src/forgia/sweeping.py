"""From a recipe and the space of its parameters to one array job, once.

As for a single run the order of writes is the promise: sweep, run folders, intents, scheduler, job ids. A sweep is
named by its points, so the same command after a crash finds its sweep, adopts what was accepted and sends the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from forgia import digest, document, pooling, space, status, store, submission
from forgia import plan as planning
from forgia import sweep as sweeps
from forgia.errors import ClusterError, ForgiaError, Problem, Refused, UserError
from forgia.paths import HomePaths
from forgia.plan import Choice, Plan
from forgia.profile import Profile
from forgia.quota.reservation import UNCOUNTED, Budget, hold_key
from forgia.recipe import RecipeFolder
from forgia.run import NOBODY, Journal, RunStatus, State, bar, holder_of, is_mine, now
from forgia.schedulers.array import Place
from forgia.schedulers.protocol import Array, member_id
from forgia.status import Schedulers
from forgia.sweep import Member, Sweep

DEFAULT_ARRAY_SIZE = 1001
"""Source: slurm.conf(5), MaxArraySize, SLURM 22.05"""
MOST_PROBLEMS = 20
"""Points of one sweep are wrong in the same few ways; more are not told."""
ASK_EVERY_S = 15.0
TICK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person wants of a sweep, beside the recipe and the profile."""

    over: Sequence[str]
    """``name=values``, as ``forgia.space`` reads it."""
    points: int | None = None
    """So many points of the space; None: every combination."""
    seed: int = 0
    parallel: int | None = None
    collects_all: bool = False
    with_ray: bool = False
    """In one allocation, where poor points are given up early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """A sweep with the plan of each of its points."""

    sweep: Sweep
    plans: tuple[Plan, ...]
    job: Plan | None = None
    """Of the one job that tries all points, where it is to be one."""


def resolve(
    folder: RecipeFolder, base: Plan, *, home: HomePaths, profile: Profile, wanted: Wanted, choice: Choice
) -> SweepPlan:
    """Resolve every point; ``base`` is the plan without what varies.

    Raises: UserError — with every problem of the space, or of the points.
    """
    recipe, _, _ = planning.overridden(folder, choice)
    axes = space.axes(recipe, wanted.over, is_grid=wanted.points is None)
    points = space.points(axes, count=wanted.points, seed=wanted.seed)
    plans = point_plans(folder, base, points, choice)
    members = tuple(member_of(home, plan, point) for plan, point in zip(plans, points, strict=True))
    primary = base.request["evaluate"]["primary"]
    made = Sweep(
        id=sweep_id(base.request["recipe"]["name"], members),
        recipe=base.request["recipe"]["name"],
        version=base.request["recipe"]["version"],
        profile=profile.name,
        scheduler=profile.scheduler,
        primary=primary,
        is_lower_better=primary in space.LOWER_IS_BETTER,
        members=members,
        created=now(),
        parallel=wanted.parallel,
        array_size=profile.max_array_size or DEFAULT_ARRAY_SIZE,
        most_open=profile.max_submit,
        collects_all=wanted.collects_all,
    )
    return SweepPlan(sweep=made, plans=tuple(plans))


def in_one_job(swept: SweepPlan, base: Plan) -> SweepPlan:
    """The same sweep as one job; ``base`` is the plan without what varies, with resources for many points at once."""
    plan = replace(base, request=pooling.request_of(base, swept.sweep.id, swept.sweep.members))
    job = submission.new_run_id(plan, taken=())
    return replace(swept, sweep=replace(swept.sweep, job=job), job=plan)


def point_plans(folder: RecipeFolder, base: Plan, points: Sequence[space.Point], choice: Choice) -> list[Plan]:
    """The base plan with each point laid over it. Raises: UserError — values that do not fit, all of them."""
    plans: list[Plan] = []
    problems: dict[Problem, None] = {}
    for point in points:
        try:
            here = replace(choice, sets=(*choice.sets, *space.sets(point)))
            recipe, params, origins = planning.overridden(folder, here)
        except UserError as error:
            problems |= dict.fromkeys(error.problems)
            continue
        changed = {"params": planning.pinned(recipe, params)[0], "train": recipe.train.model_dump(mode="json")}
        plans.append(replace(base, request={**base.request, **changed}, origins=origins))
    if problems:
        raise document.invalid(folder.document.path, list(problems)[:MOST_PROBLEMS])
    return plans


def member_of(home: HomePaths, plan: Plan, point: space.Point) -> Member:
    """A point's run: the one that this very request already has, else one to be."""
    known = submission.runs_of(home, plan)
    run_id = known[-1] if known else submission.new_run_id(plan, taken=known)
    return Member(run_id=run_id, identity=plan.identity, values=dict(point))


def sweep_id(recipe: str, members: Sequence[Member]) -> str:
    """``<recipe>-sweep-<10 hex>`` of the points' identities in their order."""
    identity = digest.of_json([member.identity for member in members])
    return f"{recipe[:40].rstrip('._-')}-sweep-{digest.hexadecimal(identity)[:10]}"


# Sending


def start(home: HomePaths, plan: SweepPlan, schedulers: Schedulers, *, budget: Budget = UNCOUNTED) -> Sweep:
    """Write the sweep down, make the runs that are missing, and send those that were not sent yet.

    Raises: ClusterError — the scheduler refused, or gave no answer; nothing is sent twice. QuotaExceeded — the budget
    does not bear the worst case of the members that would be sent at once.
    """
    sweep = plan.sweep
    store.private_directory(home.sweep(sweep.id).root)
    with store.locked(home.sweep(sweep.id).lock):
        if home.sweep(sweep.id).record.is_file():
            before = sweeps.load(home, sweep.id)
            sweep = replace(sweep, created=before.created, members=before.members)
        sweeps.save(home, sweep)
        for member, item in zip(sweep.members, plan.plans, strict=True):
            if not home.run(member.run_id).request.is_file():
                make_run(home, member.run_id, item)
        if plan.job and not home.run(sweep.job).request.is_file():
            make_run(home, sweep.job, plan.job)
        desk = Desk(schedulers=schedulers, budget=budget)
        deliver(home, sweep, desk, is_wanted=lambda found: has_not_begun(home, found))
    return sweep


def has_not_begun(home: HomePaths, found: RunStatus) -> bool:
    """Nothing of the run was ever started: it waits for room, or its submission was refused, interrupted or lost."""
    is_barred = found.state is State.FAILED and holder_of(home.run(found.run_id), found.attempt) == NOBODY
    return found.state is State.PLANNED or is_barred


def make_run(home: HomePaths, run_id: str, plan: Plan) -> None:
    """The run folder of a point, unless another command is quicker."""
    try:
        submission.freeze(home.run(run_id), plan)
    except FileExistsError:
        return


def resume(home: HomePaths, sweep: Sweep, schedulers: Schedulers, *, budget: Budget = UNCOUNTED) -> int:
    """Send what still waits for room in the queue; how many."""
    with store.locked(home.sweep(sweep.id).lock):
        desk = Desk(schedulers=schedulers, budget=budget)
        return deliver(home, sweep, desk, is_wanted=lambda found: found.state is State.PLANNED)


def retry(home: HomePaths, sweep: Sweep, schedulers: Schedulers, *, budget: Budget = UNCOUNTED) -> int:
    """Another attempt of the members that ended without a release, and of no other; how many.

    Raises: UserError — there are none.
    """
    with store.locked(home.sweep(sweep.id).lock):
        sent = deliver(home, sweep, Desk(schedulers=schedulers, budget=budget), is_wanted=is_worth_another)
    if not sent:
        raise UserError(f"sweep {sweep.id}: no member has failed", hint=f"forgia sweep show {sweep.id}")
    return sent


def is_worth_another(found: RunStatus) -> bool:
    """Another attempt can be made, and it was not given up for want of promise."""
    return submission.is_ready(found) and not found.reason.startswith(sweeps.GIVEN_UP)


def cancel(home: HomePaths, sweep: Sweep, schedulers: Schedulers) -> list[RunStatus]:
    """End our members that have not ended; nothing of the sweep is sent meanwhile. Raises: as ``status.cancel``."""
    with store.locked(home.sweep(sweep.id).lock):
        mine = [run_id for run_id in sweep.run_ids if is_mine(home.run(run_id))]
        jobs = [sweep.job] if sweep.job and is_mine(home.run(sweep.job)) else []
        return status.cancel(home, schedulers, [*mine, *jobs])[: len(mine)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Who is asked before a member goes out: the budget, then the scheduler."""

    schedulers: Schedulers
    budget: Budget


def deliver(home: HomePaths, sweep: Sweep, desk: Desk, *, is_wanted: Callable[[RunStatus], bool]) -> int:
    """Send the members that are wanted, in as few arrays as the cluster takes; the caller holds the sweep's lock."""
    withdraw_unsent(home, sweep, desk.budget)
    found = stand(home, sweep, desk.schedulers)
    ready = [seen for seen in found if is_wanted(seen) and is_mine(home.run(seen.run_id))]
    if sweep.job:
        return pooling.deliver(home, sweep, ready, desk.schedulers, budget=desk.budget)
    busy = sum(status.is_open(seen) for seen in found)
    room = len(ready) if sweep.most_open is None else max(sweep.most_open - busy, 0)
    ready = ready[:room]
    parts = [ready[first : first + sweep.array_size] for first in range(0, len(ready), sweep.array_size)]
    share = max(sweep.parallel // len(parts), 1) if sweep.parallel and parts else sweep.parallel
    return sum(send(home, replace(sweep, parallel=share), part, desk) for part in parts)


def stand(home: HomePaths, sweep: Sweep, schedulers: Schedulers) -> list[RunStatus]:
    """Where the members stand; one question to the scheduler for all that are open."""
    found = [Journal(home.run(run_id)).status() for run_id in sweep.run_ids]
    answers = status.ask(home, schedulers, [item for item in found if status.is_open(item)])
    return [answers.statuses.get(item.run_id, item) for item in found]


def withdraw_unsent(home: HomePaths, sweep: Sweep, budget: Budget) -> None:
    """Give up the intents of an array that was never sent: its list, written last and under our lock, is not there."""
    for number in numbers(home, sweep):
        if not home.sweep(sweep.id).array(number).members.is_file():
            budget.release(hold_key(sweep.id, number), reason=UNSENT)
    for run_id in sweep.run_ids:
        journal = Journal(home.run(run_id))
        found = journal.status()
        is_unsent = found.state is State.SUBMITTING and not was_sent(home, sweep, journal)
        if is_unsent and bar(journal.paths, found.attempt):
            journal.record(State.FAILED, by="submitter", attempt=found.attempt, reason=UNSENT)


UNSENT = "the command was interrupted before anything was sent"


def numbers(home: HomePaths, sweep: Sweep) -> list[int]:
    """Of the sweep's arrays, sent or not."""
    folder = home.sweep(sweep.id).arrays
    return sorted(int(place.name) for place in folder.iterdir()) if folder.is_dir() else []


def was_sent(home: HomePaths, sweep: Sweep, journal: Journal) -> bool:
    """The array of the latest intent may have reached the scheduler; so may any that is not this sweep's."""
    intents = [line for line in journal.read() if line.get("event") == State.SUBMITTING]
    place = Place.parse(f"{intents[-1].get('array')}_0") if intents else None
    return place is None or place.sweep_id != sweep.id or home.sweep(sweep.id).array(place.number).members.is_file()


def send(home: HomePaths, sweep: Sweep, part: Sequence[RunStatus], desk: Desk) -> int:
    """One array: hold, intents, scheduler, job ids. Returns how many it holds.

    Raises: ClusterError — refused (recorded as failed), or no answer (left as intents to be looked up).
    QuotaExceeded — nothing was sent.
    """
    paths, first = home.sweep(sweep.id), home.run(part[0].run_id)
    number = max(numbers(home, sweep), default=0) + 1
    store.private_directory(paths.array(number).root)
    key, request = hold_key(sweep.id, number), store.read_json(first.request)
    held = desk.budget.reserve(first, request, key=key, tasks=len(part))
    announced = list(announce(home, sweep, part, number=number))
    if not announced:
        desk.budget.release(key, reason="another command sent its members")
        return 0
    array = Array(
        sweep_id=sweep.id,
        number=number,
        paths=paths.array(number),
        request=request,
        members=[(journal.paths, attempt) for journal, attempt in announced],
        parallel=least(sweep.parallel, held.at_once if held else None),
        nice=held.nice if held else 0,
    )
    try:
        job_id = desk.schedulers(sweep.scheduler).submit_array(array)
    except ForgiaError as error:
        refused = [submission.say_refused(journal, attempt, error) for journal, attempt in announced]
        if all(refused):
            desk.budget.release(key, reason=submission.REFUSED)
        raise
    for index, (journal, attempt) in enumerate(announced):
        journal.record(State.PENDING, by="submitter", attempt=attempt, job_id=member_id(job_id, index))
    return len(announced)


def least(*limits: int | None) -> int | None:
    """The smallest of the limits that there are."""
    return min((limit for limit in limits if limit is not None), default=None)


def announce(home: HomePaths, sweep: Sweep, part: Sequence[RunStatus], *, number: int) -> Iterator[tuple[Journal, int]]:
    """Write the intents; a run that another command has moved meanwhile is left to it."""
    facts = {"scheduler": sweep.scheduler, "profile": sweep.profile, "array": f"{sweep.id}@{number}"}
    for seen in part:
        journal = Journal(home.run(seen.run_id))
        with store.locked(journal.paths.lock):
            attempt = submission.next_attempt(journal, seen)
            if attempt is not None:
                submission.announce(home, journal, attempt, **facts)
        if attempt is not None:
            yield journal, attempt


# Following


def follow(
    home: HomePaths, sweep: Sweep, desk: Desk, *, sleep: Callable[[float], None], clock: Callable[[], float]
) -> Iterator[list[RunStatus]]:
    """Where the members stand, again and again until none is going; sends what waits when there is room.

    A scheduler that does not answer is no reason to stop.
    """
    asked = clock()
    found = [Journal(home.run(run_id)).status() for run_id in sweep.run_ids]
    while True:
        found = [item if is_over(item) else Journal(home.run(item.run_id)).status() for item in found]
        is_due = clock() - asked > ASK_EVERY_S
        if is_due or all(is_over(item) or item.state is State.CHECKPOINTED for item in found):
            found, asked = stand(home, sweep, desk.schedulers), clock()
        if any(item.state is State.PLANNED for item in found) and has_room(sweep, found):
            with contextlib.suppress(ClusterError, Refused):  # one that lasts is told by the next command
                resume(home, sweep, desk.schedulers, budget=desk.budget)
        yield found
        if all(is_over(item) or item.state is State.CHECKPOINTED for item in found):
            return
        sleep(TICK_S)


def is_over(item: RunStatus) -> bool:
    """Nothing more happens to it by itself."""
    return item.state.is_final


def has_room(sweep: Sweep, found: Sequence[RunStatus]) -> bool:
    """A good part of what waits could be sent: an array for each that ends would be many calls."""
    waiting = sum(item.state is State.PLANNED for item in found)
    busy = sum(status.is_open(item) for item in found)
    return sweep.most_open is None or sweep.most_open - busy >= min(waiting, max(sweep.most_open // 4, 1))
