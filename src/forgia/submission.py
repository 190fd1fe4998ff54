"""From a plan to a job, once.

The order of writes is the promise: run folder, hold on the budget, intent, scheduler, job id. Whatever instruction a
crash falls on, the next command finds on disk what was meant, asks the scheduler what became of it, and neither loses
nor doubles it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forgia import digest, environment, status, store
from forgia.errors import ClusterError, ForgiaError, Refused, UserError
from forgia.paths import HomePaths, RunPaths
from forgia.plan import Plan
from forgia.quota.reservation import UNCOUNTED, Budget, Reserved, hold_key
from forgia.run import NOBODY, Journal, RunStatus, State, bar, holder_of, require_mine, unsettle
from forgia.status import Schedulers


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What became of a request."""

    run_id: str
    status: RunStatus
    is_new: bool
    """False: the same request was asked before, and this is its run."""


UNSENT = (State.PLANNED, State.HELD)
"""Nothing of the attempt was sent yet: it goes out under the same number."""


def start(
    home: HomePaths, plan: Plan, schedulers: Schedulers, *, budget: Budget = UNCOUNTED, again: bool = False
) -> Started:
    """Make the plan's run, or find the one that the same request already has.

    A run that failed, was cancelled or stopped at a checkpoint gets another attempt, from its last checkpoint.
    ``again`` asks for a fresh run whatever came before.
    Raises: ClusterError — the scheduler refused (final) or gave no answer (transient: nothing is sent twice).
    QuotaExceeded — the budget does not bear the worst case; nothing was sent.
    """
    known = runs_of(home, plan)
    if known and not again:
        return join(home, known[-1], schedulers, budget=budget)
    run_id = new_run_id(plan, taken=known)
    try:
        freeze(home.run(run_id), plan)
    except FileExistsError:  # the same request from another terminal came first
        return join(home, run_id, schedulers, budget=budget)
    return Started(run_id=run_id, status=attempt(home, run_id, schedulers, seen=None, budget=budget), is_new=True)


def join(home: HomePaths, run_id: str, schedulers: Schedulers, *, budget: Budget = UNCOUNTED) -> Started:
    """The run that this request already is: as it stands, or with another attempt where the last one ended badly."""
    found = status.refresh(home, run_id, schedulers)
    if is_ready(found):
        require_mine(home.run(run_id), "try again")
    if found.state is State.SUBMITTING:
        message = f"run {run_id} of this request is being submitted by another command"
        raise ClusterError(message, transient=True, hint=f"try again in a minute, or forgia job show {run_id}")
    if is_ready(found):
        found = attempt(home, run_id, schedulers, seen=found, budget=budget)
    return Started(run_id=run_id, status=found, is_new=False)


def is_ready(found: RunStatus) -> bool:
    """Another attempt would neither double work that goes on nor repeat work that is done."""
    stopped = found.state.is_final or found.state in (*UNSENT, State.CHECKPOINTED)
    return stopped and not found.state.is_success


def runs_of(home: HomePaths, plan: Plan) -> list[str]:
    """The runs of this very request, oldest first."""
    first = new_run_id(plan, taken=())
    found = [first] if home.run(first).request.is_file() else []
    while found and home.run(again := f"{first}-{len(found) + 1}").request.is_file():
        found.append(again)
    return found


def new_run_id(plan: Plan, *, taken: Sequence[str]) -> str:
    """``<recipe>-<10 hex of the identity>``, with ``-2``, ``-3`` … for runs that were asked for again.

    A run is named by what it was asked, so a plan can show the very script, and the same request finds its run.
    """
    name = plan.request["recipe"]["name"][:40].rstrip("._-")
    first = f"{name}-{digest.hexadecimal(plan.identity)[:10]}"
    return f"{first}-{len(taken) + 1}" if taken else first


def freeze(paths: RunPaths, plan: Plan) -> None:
    """Publish the run folder: request, inputs, environment and a copy of the recipe whose digest is the request's.

    Raises: UserError — the recipe was edited in between, or its environment is not built.
    """
    with store.building(paths.root) as beside:
        draft = RunPaths(beside)
        store.write_atomic(draft.request, digest.canonical_json(plan.request))
        store.write_json(draft.inputs, plan.inputs)
        if plan.tariff:
            store.write_json(draft.tariff, plan.tariff.to_json())
        environment.pin(draft, plan.request, home=HomePaths(paths.root.parent.parent))
        store.copy_tree(plan.recipe_root, draft.recipe, digest.tree_files(plan.recipe_root))
        if digest.of_tree(draft.recipe) != plan.request["recipe"]["digest"]:
            raise UserError(f"{plan.recipe_root}: changed while it was being submitted", hint="run the command again")
        Journal(draft).record(
            State.PLANNED, by="submitter", attempt=1, identity=plan.identity, profile=plan.request["profile"]["name"]
        )


def attempt(
    home: HomePaths, run_id: str, schedulers: Schedulers, *, seen: RunStatus | None, budget: Budget = UNCOUNTED
) -> RunStatus:
    """Submit a run's first or next attempt: hold and intent on disk first, then the scheduler, then its answer.

    ``seen`` is the status that the decision stands on; if another command has moved the run since, nothing is sent.
    Raises: ClusterError — refused (recorded as failed), or no answer (left as an intent to be looked up).
    """
    paths = home.run(run_id)
    journal = Journal(paths)
    request = store.read_json(paths.request)
    scheduler = schedulers(request["profile"]["scheduler"])
    with store.locked(paths.lock):
        profile = request["profile"]["name"]
        number = next_attempt(journal, seen)
        if number is None:
            return journal.status()
        held = reserve(budget, journal, request, number)
        announce(home, journal, number, scheduler=scheduler.name, profile=profile)
        try:
            job_id = scheduler.submit(request, paths, attempt=number, nice=held.nice if held else 0)
        except ForgiaError as error:
            if say_refused(journal, number, error):
                budget.release(hold_key(run_id, number), reason=REFUSED)
            raise
        journal.record(State.PENDING, by="submitter", attempt=number, job_id=job_id)
        return journal.status()


def next_attempt(journal: Journal, seen: RunStatus | None) -> int | None:
    """The number of the attempt to send; None: another command has moved the run since it was seen."""
    before = journal.status()
    if seen is None:
        is_same = before.state in UNSENT and before.attempt == 1
    else:
        is_same = (before.state, before.attempt) == (seen.state, seen.attempt)
    if not is_same:
        return None
    return before.attempt if before.state in UNSENT else before.attempt + 1


def reserve(budget: Budget, journal: Journal, request: Mapping[str, Any], number: int) -> Reserved | None:
    """Hold the worst case of an attempt, and give back what was held for one before it that can never begin.

    Raises: QuotaExceeded — the journal keeps the reason; the attempt stays unsent.
    """
    paths = journal.paths
    if number > 1 and holder_of(paths, number - 1) == NOBODY:
        budget.release(hold_key(paths.root.name, number - 1), reason="its job never began")
    try:
        held = budget.reserve(paths, request, key=hold_key(paths.root.name, number))
    except Refused as error:
        journal.note(f"not sent: {error.message}", by="submitter", attempt=number)
        raise
    if held:
        journal.record(State.HELD, by="submitter", attempt=number, billing_s=held.amount)
    return held


def announce(home: HomePaths, journal: Journal, number: int, **facts: Any) -> None:
    """Write down that a run's next attempt is about to be sent; the caller holds the run's lock."""
    before = journal.status()
    if before.state.is_final:
        unsettle(home, before.run_id)
    if number > 1:
        bar(journal.paths, number - 1)  # what its scheduler may still hold of it must not begin now
    journal.record(State.SUBMITTING, by="submitter", attempt=number, **facts)


REFUSED = "the scheduler refused the job"


def say_refused(journal: Journal, number: int, error: ForgiaError) -> bool:
    """Record the failure of an attempt that its scheduler refused; one whose answer is missing stays an intent.

    Returns whether it was refused, and no job of it can ever begin.
    """
    is_refusal = not (isinstance(error, ClusterError) and error.transient)
    if not (is_refusal and bar(journal.paths, number)):  # barred: should the words mislead, the job ends at once
        return False
    reason = f"the scheduler refused it: {error.message}"
    journal.record(State.FAILED, by="submitter", attempt=number, reason=reason)
    return True


def retry(home: HomePaths, run_id: str, schedulers: Schedulers, *, budget: Budget = UNCOUNTED) -> RunStatus:
    """Another attempt of a run that ended without a release; it goes on from the last checkpoint.

    Raises: UserError — the run is still going or has its release.
    """
    require_mine(home.run(run_id), "try again")
    found = status.refresh(home, run_id, schedulers)
    if found.state.is_success:
        raise UserError(f"run {run_id} has succeeded; there is nothing to try again", hint="forgia run --again")
    if not is_ready(found):
        raise UserError(f"run {run_id} is {found.state}; cancel it first", hint=f"forgia job cancel {run_id}")
    return attempt(home, run_id, schedulers, seen=found, budget=budget)
