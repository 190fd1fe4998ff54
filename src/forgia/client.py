"""The library as one object: what the command line does, for notebooks and other programs.

import forgia
client = forgia.Client()
plan = client.plan("mill-failures")
release = client.run(plan)
"""

from __future__ import annotations

import collections
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from forgia import (
    building,
    collection,
    fit,
    pooling,
    preparing,
    recipe,
    samples,
    scaling,
    settings,
    space,
    status,
    submission,
    sweeping,
)
from forgia import plan as planning
from forgia import profile as profiles
from forgia import sweep as sweeps
from forgia.catalogue import Catalogue
from forgia.collection import Collected
from forgia.dataset import ingest
from forgia.dataset import mapping as mappings
from forgia.dataset.dataset import Dataset
from forgia.environment import Manifest
from forgia.errors import ClusterError, ForgiaError, JobFailed, NotFound, Refused, UserError
from forgia.paths import HomePaths
from forgia.plan import Choice, Plan
from forgia.preparing import Prepared
from forgia.profile import Profile
from forgia.quota.reservation import Reservations, hold_key
from forgia.recipe import FILE_NAME, RecipeFolder
from forgia.run import NOBODY, Journal, RunStatus, State, holder_of, is_mine, open_run, settle_ended
from forgia.scaling import Point, Size
from forgia.schedulers import interruptions, open_scheduler
from forgia.schedulers.protocol import Scheduler
from forgia.submission import Started
from forgia.sweep import Sweep
from forgia.sweeping import SweepPlan, Wanted
from forgia.vocabulary import Vocabulary

if TYPE_CHECKING:
    from forgia.scoring import Model


class Client:
    """Forgia with one set of settings."""

    def __init__(self, given: settings.Settings | None = None) -> None:
        self.settings = given or settings.load()
        self.catalogue = Catalogue(self.settings.catalogue)

    @property
    def home(self) -> HomePaths:
        """Forgia's home folder."""
        return self.settings.home

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The shared vocabulary."""
        return Vocabulary.load(self.catalogue)

    @property
    def budget(self) -> Reservations:
        """The ledger of the settings, as submissions ask it."""
        return Reservations(self.settings)

    def scheduler(self, name: str) -> Scheduler:
        """The scheduler of this name. Raises: NotFound."""
        return open_scheduler(name, home=self.home)

    # What there is

    def open_dataset(self, ref: str) -> Dataset:
        """A dataset by ``name`` (latest) or ``name@version``. Raises: NotFound."""
        return Dataset.open(self.home, ref)

    def add_dataset(
        self, name: str, paths: Sequence[str | Path], *, mapping: str | Path | None = None, owner: str | None = None
    ) -> Dataset:
        """Import files as a dataset's next version, or find the version that holds these bytes already.

        Raises: UserError — too many rejects, or columns that cannot be bound (the message holds a mapping to fill in).
        """
        entries = mappings.load(Path(mapping), self.vocabulary) if mapping else None
        added = ingest.add(
            self.home,
            name,
            [Path(path) for path in paths],
            owner=owner or self.settings.organisation,
            vocabulary=self.vocabulary,
            terms=ingest.Terms(mapping=entries),
        )
        return added.dataset

    def open_recipe(self, where: str | Path | None = None) -> RecipeFolder:
        """A recipe by folder or catalogue name; None: the one in this folder. Raises: NotFound, UserError."""
        return recipe.load(self.recipe_root(where), self.vocabulary)

    def recipe_root(self, where: str | Path | None = None, *, folder: Path | None = None) -> Path:
        """The folder of a recipe; None: this folder, or the only recipe directly below it.

        Raises: NotFound — nothing of that name. UserError — several below this folder.
        """
        if where is not None:
            place = Path(where)
            if (place / FILE_NAME).is_file():
                return place.resolve()
            if place.name == FILE_NAME and place.is_file():
                return place.parent.resolve()
            return self.catalogue.recipe(str(where))
        here = (folder or Path.cwd()).resolve()
        if (here / FILE_NAME).is_file():
            return here
        below = sorted(path.parent for path in here.glob(f"*/{FILE_NAME}"))
        if len(below) == 1:
            return below[0]
        if below:
            names = ", ".join(path.name for path in below)
            raise UserError(f"several recipes lie here: {names}", hint=f"name one of them, such as {below[0].name}")
        raise NotFound("recipe", str(here), hint="forgia init NAME --from predictive-maintenance")

    def open_profile(self, name: str | None = None, *, account: str | None = None) -> Profile:
        """A cluster profile, with the account to charge. Raises: NotFound, UserError."""
        found = profiles.load(self.catalogue.profile(name or self.settings.profile))
        return found.model_copy(update={"account": account}) if account else found

    def open_model(self, ref: str) -> Model:
        """A registered model, verified, ready to predict. Raises: NotFound, IntegrityError."""
        from forgia.scoring import load_release

        return load_release(self.home, self.settings.organisation, ref)

    # From a recipe to a model

    def plan(
        self,
        where: str | Path | RecipeFolder | None = None,
        *,
        profile: str | Profile | None = None,
        sets: Sequence[str] = (),
        test: bool = False,
        goes_on_from: str = "",
    ) -> Plan:
        """Resolve a recipe; sample data is made where a role is unbound.

        Args: goes_on_from — a run whose newest checkpoint the training begins with.
        Raises: UserError, NotFound.
        """
        folder = where if isinstance(where, RecipeFolder) else self.open_recipe(where)
        chosen = profile if isinstance(profile, Profile) else self.open_profile(profile)
        before = open_run(self.home, goes_on_from) if goes_on_from else None
        choice = Choice(sets=tuple(sets), test=test, goes_on_from=before)
        planning.overridden(folder, choice)  # a wrong flag is told before sample data is made
        choice = replace(choice, datasets=self.sample_data(folder))
        return planning.resolve(folder, chosen, home=self.home, vocabulary=self.vocabulary, choice=choice)

    def sample_data(self, folder: RecipeFolder) -> dict[str, tuple[str, ...]]:
        """References to generated data for the roles that have none bound."""
        return {
            role: samples.prepare(
                binding.sample, settings=self.settings, catalogue=self.catalogue, vocabulary=self.vocabulary
            )
            for role, binding in folder.recipe.data.items()
            if not binding.bound and binding.sample
        }

    def prepare(
        self,
        plan: Plan,
        *,
        workers: int | None = None,
        remove: bool = False,
        tell: preparing.Tell = lambda _word: None,
    ) -> Prepared:
        """Make the data of a plan ready, so that its runs map it into memory; or take that away again.

        Raises: ForgiaError — why not.
        """
        return preparing.prepare(self.home, plan, workers=workers, remove=remove, tell=tell)

    def script(self, plan: Plan) -> str:
        """The exact text that ``start`` gives to the scheduler for the first attempt of the plan's run."""
        known = submission.runs_of(self.home, plan)
        paths = self.home.run(known[-1] if known else submission.new_run_id(plan, taken=known))
        return self.scheduler(plan.request["profile"]["scheduler"]).render(plan.request, paths)

    def build_environment(self, plan: Plan, *, tell: Callable[[str], None] = lambda _text: None) -> Manifest | None:
        """The packed environment of a plan, built unless it is there; None: the plan has none to build.

        Raises: UserError — the lock is none; ForgiaError — pip could not install it.
        """
        section, python = plan.request["environment"], plan.request["profile"]["python"]
        if section["kind"] != "lock":
            return None
        return building.build(self.home, section, root=plan.recipe_root, python=python, tell=tell)

    def start(self, plan: Plan, *, again: bool = False, interrupt_at: str = "") -> Started:
        """Submit the plan once; ``interrupt_at``, such as ``30s,70s:kill``, tries out on this machine what clusters do.

        Raises: ClusterError; UserError — the environment it would run in cannot train, or interruptions are no use.
        """
        wanted = interruptions.parse(interrupt_at) if interrupt_at else ()
        if wanted and plan.request["profile"]["scheduler"] != "local":
            text = f"--interrupt-at simulates interruptions on this machine; profile {plan.request['profile']['name']}"
            raise UserError(f"{text} has a cluster, which brings its own", hint="--profile laptop")
        self.make_ready(plan)
        started = submission.start(self.home, plan, self.scheduler, budget=self.budget, again=again)
        if wanted:
            interruptions.arrange(self.home.run(started.run_id), wanted)
        return started

    def make_ready(self, plan: Plan) -> None:
        """Have the environment that the plan's job needs. Raises: UserError — it cannot train."""
        if fit.lacks_training(plan.request["profile"], plan.request["environment"]):
            raise UserError(fit.NO_TRAINING, hint="pip install 'forgia[train]', or name another python in the profile")
        self.build_environment(plan)

    def wait(self, run_id: str, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[RunStatus]:
        """The run's status until it has ended. Raises: NotFound — its folder was removed meanwhile."""
        for found in status.wait(self.home, run_id, self.scheduler, sleep=sleep):
            if not self.home.run(run_id).request.is_file():
                raise NotFound(
                    "run", run_id, hint="its folder was removed meanwhile; a job it had may still be going on"
                )
            yield found

    def retry(self, run_id: str) -> RunStatus:
        """Another attempt of a run that ended without a release. Raises: UserError, ClusterError, QuotaExceeded."""
        return submission.retry(self.home, run_id, self.scheduler, budget=self.budget)

    def cancel(self, run_ids: Sequence[str]) -> list[RunStatus]:
        """End runs, and give back at once what was held for those that had not begun. Raises: ClusterError, Refused."""
        found = status.cancel(self.home, self.scheduler, run_ids)
        for item in found:
            if holder_of(self.home.run(item.run_id), item.attempt) == NOBODY:
                self.budget.release(hold_key(item.run_id, item.attempt), reason="cancelled before it began")
        return found

    def settle(self) -> str:
        """Charge what our runs have used, by the accounting; a sentence where that could not be done, else empty.

        What is not charged now is charged later: by the next settlement, or by staff.
        """
        try:
            self.budget.settle(self.home)
        except (ClusterError, Refused) as error:
            return f"the budget was not settled: {error.message}"
        return ""

    def finish(self, run_id: str) -> Collected:
        """Put an ended run's release into the registry. Raises: JobFailed — it has none."""
        paths = open_run(self.home, run_id)
        found = Journal(paths).status()
        if not found.state.is_success:
            log = paths.stderr(found.attempt, 0)
            raise JobFailed(found.run_id, state=found.state, reason=found.reason or "it has no release", log_path=log)
        collected = collection.collect(self.home, self.settings.organisation, found.run_id)
        if is_mine(paths):
            settle_ended(self.home, [Journal(paths).status()])
        return collected

    def collect_finished(self, view: status.Overview | None = None) -> tuple[list[Collected], list[str]]:
        """Put every finished release into the registry; what stood in the way of some comes back as sentences.

        ``view``: where the runs stand, if that was just asked.
        """
        view = view or status.overview(self.home, self.scheduler)
        done, complaints = [], list(view.unanswered)
        kept = sweeps.unregistered(self.home)
        for found in sorted(view.statuses, key=lambda item: item.ended):  # so that versions follow the order of ends
            if found.state is State.SUCCEEDED and found.run_id not in kept:
                try:
                    done.append(self.finish(found.run_id))
                except (ForgiaError, OSError) as error:  # one bad release must not keep the others waiting
                    complaints.append(f"{found.run_id}: {error}")
        settle_ended(self.home, view.statuses)
        return done, complaints

    # From a recipe to the best of many models

    def plan_sweep(
        self,
        where: str | Path | RecipeFolder | None = None,
        *,
        wanted: Wanted,
        profile: str | Profile | None = None,
        sets: Sequence[str] = (),
        test: bool = False,
    ) -> SweepPlan:
        """Resolve a recipe at every point of a space. Raises: UserError — every problem at once; NotFound."""
        folder = where if isinstance(where, RecipeFolder) else self.open_recipe(where)
        chosen = profile if isinstance(profile, Profile) else self.open_profile(profile)
        choice = Choice(sets=tuple(sets), test=test)
        recipe_, _, _ = planning.overridden(folder, choice)
        space.axes(recipe_, wanted.over, is_grid=wanted.points is None)  # told before sample data is made
        base = self.plan(folder, profile=chosen, sets=sets, test=test)
        swept = sweeping.resolve(folder, base, home=self.home, profile=chosen, wanted=wanted, choice=choice)
        if not wanted.with_ray:
            return swept
        flags = pooling.flags(base.request, chosen, parallel=wanted.parallel, points=len(swept.plans))
        return sweeping.in_one_job(swept, self.plan(folder, profile=chosen, sets=(*sets, *flags), test=test))

    def start_sweep(self, plan: SweepPlan) -> Sweep:
        """Send a sweep once, as one array job. Raises: as ``start``."""
        self.make_ready(plan.plans[0])
        return sweeping.start(self.home, plan, self.scheduler, budget=self.budget)

    def follow_sweep(self, sweep: Sweep) -> Iterator[list[RunStatus]]:
        """Where the members stand, until all have ended."""
        desk = sweeping.Desk(schedulers=self.scheduler, budget=self.budget)
        return sweeping.follow(self.home, sweep, desk, sleep=time.sleep, clock=time.monotonic)

    def finish_sweep(self, sweep: Sweep) -> Collected | None:
        """Register the best release, or all of them, then the best is given back; None: no member has one."""
        found = sweeps.results(self.home, sweep)
        winner = sweeps.best(found, is_lower_better=sweep.is_lower_better)
        for result in found if sweep.collects_all else ():
            if result.state is State.SUCCEEDED:
                self.finish(result.run_id)
        return self.finish(winner.run_id) if winner else None

    # How fast at which size

    def plan_scaling(
        self,
        where: str | Path | RecipeFolder | None = None,
        *,
        sizes: Sequence[Size],
        steps: int,
        is_weak: bool = False,
        profile: str | Profile | None = None,
        sets: Sequence[str] = (),
        test: bool = False,
    ) -> list[Plan]:
        """The same few steps at each size. Raises: UserError — a size does not fit the profile, as ``plan``."""
        folder = where if isinstance(where, RecipeFolder) else self.open_recipe(where)
        own, _, _ = planning.overridden(folder, Choice(sets=tuple(sets), test=test))
        has_gpus, batch_size = own.resources.gpus_per_node > 0, own.train.batch_size
        plans = []
        for size in sizes:
            changes = scaling.settings(size, steps=steps, batch_size=batch_size, is_weak=is_weak, has_gpus=has_gpus)
            plans.append(self.plan(folder, profile=profile, sets=[*sets, *changes], test=test))
        return plans

    def measure_scaling(
        self, plans: Sequence[Plan], sizes: Sequence[Size], *, tell: Callable[[str], None] = lambda _text: None
    ) -> list[Point]:
        """Run the plans and read their meters: all at once on a cluster, one after another on this machine.

        Raises: as ``start``. A run that fails is a point with its reason.
        """
        is_here = plans[0].request["profile"]["scheduler"] == "local"
        run_ids = [submission.new_run_id(plan, taken=submission.runs_of(self.home, plan)) for plan in plans]
        sweeps.save(self.home, scaling.as_sweep(plans, run_ids, sizes))
        for plan, run_id, size in zip(plans, run_ids, sizes, strict=True):
            self.start(plan, again=True)
            tell(f"{size}: run {run_id}")
            if is_here:
                collections.deque(self.wait(run_id), maxlen=0)
        for run_id in run_ids:
            collections.deque(self.wait(run_id), maxlen=0)
        return scaling.points(self.home, sizes, run_ids)

    def run(self, plan: Plan, *, again: bool = False) -> Model:
        """Submit, wait, collect, and open the registered model. Raises: JobFailed, ClusterError."""
        run_id = self.start(plan, again=again).run_id
        for _ in self.wait(run_id):
            pass
        collected = self.finish(run_id)
        return self.open_model(f"{plan.request['recipe']['name']}@{collected.version}")
