"""From a plan to a job, once.

The order of writes is the promise: run folder, intent, scheduler, job id. Whatever instruction a crash falls on,
the next command finds on disk what was meant, asks the scheduler what became of it, and neither loses nor doubles it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forgia import digest, status, store
from forgia.errors import ClusterError, ForgiaError, UserError
from forgia.paths import HomePaths, RunPaths
from forgia.plan import Plan
from forgia.run import Journal, RunStatus, State, bar, require_mine, unsettle
from forgia.status import Schedulers


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What became of a request."""

    run_id: str
    status: RunStatus
    is_new: bool
    """False: the same request was asked before, and this is its run."""


def start(home: HomePaths, plan: Plan, schedulers: Schedulers, *, again: bool = False) -> Started:
    """Make the plan's run, or find the one that the same request already has.

    A run that failed, was cancelled or stopped at a checkpoint gets another attempt, from its last checkpoint.
    ``again`` asks for a fresh run whatever came before.
    Raises: ClusterError — the scheduler refused (final) or gave no answer (transient: nothing is sent twice).
    """
    known = runs_of(home, plan)
    if known and not again:
        return join(home, known[-1], schedulers)
    run_id = new_run_id(plan, taken=known)
    try:
        freeze(home.run(run_id), plan)
    except FileExistsError:  # the same request from another terminal came first
        return join(home, run_id, schedulers)
    return Started(run_id=run_id, status=attempt(home, run_id, schedulers, seen=None), is_new=True)


def join(home: HomePaths, run_id: str, schedulers: Schedulers) -> Started:
    """The run that this request already is: as it stands, or with another attempt where the last one ended badly."""
    found = status.refresh(home, run_id, schedulers)
    if is_ready(found):
        require_mine(home.run(run_id), "try again")
    if found.state is State.SUBMITTING:
        message = f"run {run_id} of this request is being submitted by another command"
        raise ClusterError(message, transient=True, hint=f"try again in a minute, or forgia job show {run_id}")
    if is_ready(found):
        found = attempt(home, run_id, schedulers, seen=found)
    return Started(run_id=run_id, status=found, is_new=False)


def is_ready(found: RunStatus) -> bool:
    """Another attempt would neither double work that goes on nor repeat work that is done."""
    stopped = found.state.is_final or found.state in (State.PLANNED, State.CHECKPOINTED)
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
    """Publish the run folder: request, inputs and a copy of the recipe whose digest is the request's.

    Raises: UserError — the recipe was edited in between.
    """
    with store.building(paths.root) as beside:
        draft = RunPaths(beside)
        store.write_atomic(draft.request, digest.canonical_json(plan.request))
        store.write_json(draft.inputs, plan.inputs)
        store.copy_tree(plan.recipe_root, draft.recipe, digest.tree_files(plan.recipe_root))
        if digest.of_tree(draft.recipe) != plan.request["recipe"]["digest"]:
            raise UserError(f"{plan.recipe_root}: changed while it was being submitted", hint="run the command again")
        Journal(draft).record(
            State.PLANNED, by="submitter", attempt=1, identity=plan.identity, profile=plan.request["profile"]["name"]
        )


def attempt(home: HomePaths, run_id: str, schedulers: Schedulers, *, seen: RunStatus | None) -> RunStatus:
    """Submit a run's first or next attempt: intent on disk first, then the scheduler, then its answer.

    ``seen`` is the status that the decision stands on; if another command has moved the run since, nothing is sent.
    Raises: ClusterError — refused (recorded as failed), or no answer (left as an intent to be looked up).
    """
    paths = home.run(run_id)
    journal = Journal(paths)
    request = store.read_json(paths.request)
    scheduler = schedulers(request["profile"]["scheduler"])
    with store.locked(paths.lock):
        before = journal.status()
        if (before.state, before.attempt) != ((seen.state, seen.attempt) if seen else (State.PLANNED, 1)):
            return before
        number = before.attempt if before.state is State.PLANNED else before.attempt + 1
        if before.state.is_final:
            unsettle(home, run_id)
        if number > before.attempt:
            bar(paths, before.attempt)  # what its scheduler may still hold of it must not begin now
        profile = request["profile"]["name"]
        journal.record(State.SUBMITTING, by="submitter", attempt=number, scheduler=scheduler.name, profile=profile)
        try:
            job_id = scheduler.submit(request, paths, attempt=number)
        except ForgiaError as error:
            is_refusal = not (isinstance(error, ClusterError) and error.transient)
            if is_refusal and bar(paths, number):  # barred: should the words mislead, the job ends before it begins
                reason = f"the scheduler refused it: {error.message}"
                journal.record(State.FAILED, by="submitter", attempt=number, reason=reason)
            raise
        journal.record(State.PENDING, by="submitter", attempt=number, job_id=job_id)
        return journal.status()


def retry(home: HomePaths, run_id: str, schedulers: Schedulers) -> RunStatus:
    """Another attempt of a run that ended without a release; it goes on from the last checkpoint.

    Raises: UserError — the run is still going or has its release.
    """
    require_mine(home.run(run_id), "try again")
    found = status.refresh(home, run_id, schedulers)
    if found.state.is_success:
        raise UserError(f"run {run_id} has succeeded; there is nothing to try again", hint="forgia run --again")
    if not is_ready(found):
        raise UserError(f"run {run_id} is {found.state}; cancel it first", hint=f"forgia job cancel {run_id}")
    return attempt(home, run_id, schedulers, seen=found)
