"""One attempt of a run, from its folder to its release; every rank runs this.

The order is the story: read the request, meet the other ranks, check every digest, load the data, train from the last
checkpoint, judge, export, publish. The journal hears of the beginning and of the end, whatever the end is.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from forgia import store
from forgia.dataset.dataset import Dataset
from forgia.errors import ClusterError, ForgiaError, IntegrityError, Refused
from forgia.logs import NOTICED, read_reason, reasons
from forgia.paths import RunPaths
from forgia.release import resource
from forgia.run import Journal, State, now
from forgia.schedulers.payload import ANOTHER_ATTEMPT, ATTEMPT_VARIABLE
from forgia_jobs import determinism, endings, going_on, integrity, request
from forgia_jobs.checkpoints import checkpoint
from forgia_jobs.checkpoints.checkpoint_making import Place
from forgia_jobs.checkpoints.checkpoint_reader import Reader
from forgia_jobs.context import Attempt
from forgia_jobs.going_on import DONE, FAILED
from forgia_jobs.judging import evaluate
from forgia_jobs.loop import TrainingLoop, final_state
from forgia_jobs.meeting import lookout, placement, preflight, rendezvous
from forgia_jobs.meeting.rendezvous import World
from forgia_jobs.preparation import prepared
from forgia_jobs.progress import Progress
from forgia_jobs.samples import data, loading
from forgia_jobs.samples.data import Data
from forgia_jobs.spending import costs, energy
from forgia_jobs.spending.meters import COUNTED_SAMPLES, Meter
from forgia_jobs.stopping import StopRequest
from forgia_jobs.strategies import make as make_strategy
from forgia_jobs.task import TrainingTask, load_task, make_optimizer
from forgia_jobs.telling import outbox
from forgia_jobs.telling.card_facts import Facts

if TYPE_CHECKING:
    from forgia_jobs.telling.results import Trained

PEER_HAS_GONE = re.compile(
    r"gloo|connection closed by peer"
    r"|nccl.*(timeout|timed out|abort|remote (process|peer)|connection (was )?(closed|reset|refused))",
    re.IGNORECASE | re.DOTALL,
)
"""Words in the errors of torch's collectives when a peer has gone; NCCL's are also of this rank's own device or memory.

Source: NCCL 2.27, ncclGetErrorString and its socket transport; torch 2.13, ProcessGroupNCCL
"""


def main(run_dir: str, *, launch: str = "") -> int:
    """Run one rank of one attempt and return its exit code.

    ``launch`` is the word of who has started this process in the launcher's stead; it differs between two starts.

    0 after a release, or after a clean stop that someone asked for, and at once if the job may not make this attempt;
    75 after a clean stop before the time limit, when another attempt is wanted; 1 after a failure, which the journal
    explains.
    """
    started = time.perf_counter()
    paths = RunPaths(Path(run_dir).resolve())
    os.umask(store.umask(paths.root))
    journal = Journal(paths)
    number = next_attempt(journal)
    rank = 0
    stop = StopRequest()
    try:
        placed = placement.discover()
        placed = replace(placed, launch=launch or placed.launch)
        rank = placed.rank
        stop.listen()
        limits = endings.limits()
        if limits.last is not None and number > limits.last:
            return going_on.say_not_allowed(journal, number=number, rank=rank)
        asked = request.load(paths.request)
        attempt = begin(
            Attempt(
                paths=paths,
                journal=journal,
                placement=placed,
                number=number,
                request=asked,
                world=World(rank=rank, size=placed.world_size, device=torch.device("cpu")),
                stop=stop,
                started=started,
                started_at=now(),
                limits=limits,
            )
        )
        number = attempt.number
        with lookout.watching(paths, number, attempt.world, tell=lambda error: tell(attempt, error)):
            code = run(attempt)
            rendezvous.leave(attempt.world)
    except Exception as error:  # noqa: BLE001 — the last place that can still say why the run ended
        if isinstance(error, preflight.BadNodes):
            question = preflight.Asked(placement=placed, paths=paths, resources=asked.resources, attempt=number)
            if preflight.go_round(error, question, journal, last=limits.last):
                return ANOTHER_ATTEMPT
        traceback.print_exc()
        heard = going_on.voice(paths, journal, number=number, is_echo=is_echo(error))
        say_failed(paths, heard, number=number, rank=rank, error=error)
        return FAILED
    return code


def begin(attempt: Attempt) -> Attempt:
    """Meet the other ranks, agree on the attempt's number, and say that the run is running.

    Raises: ClusterError — the ranks are not those that were asked for.
    """
    resources = attempt.request.resources
    placement.check(attempt.placement, resources)
    is_wanted, looking = attempt.request.train.preflight, time.perf_counter()
    question = preflight.Asked(
        placement=attempt.placement,
        paths=attempt.paths,
        resources=resources,
        attempt=attempt.number,
        silence_s=attempt.request.train.collective_timeout_s,
    )
    attempt.world = preflight.meet(question, is_wanted=is_wanted)
    attempt.number = attempt.world.from_leader(attempt.number)
    if attempt.world.leads:
        attempt.journal.record(
            State.RUNNING,
            by="job",
            attempt=attempt.number,
            job_id=attempt.placement.job_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            world_size=attempt.world.size,
        )
    if is_wanted:
        preflight.report(attempt.world, attempt.journal, attempt=attempt.number, started=looking)
    return attempt


def run(attempt: Attempt) -> int:
    """Everything between the first word in the journal and the last; the exit code.

    Raises: ForgiaError — why there is no release.
    """
    if finish_published(attempt):
        return DONE
    counters = energy.read(attempt.world.device)
    together(attempt, lambda: going_on.explain_last(attempt))
    datasets = check_inputs(attempt)
    facts = determinism.set_up(
        level=attempt.request.train.determinism,
        seed=attempt.request.train.seed,
        threads=attempt.request.resources.cpus_per_task,
    )
    loaded = loading.load(attempt.request.role, datasets, ready=ready_data(attempt))
    data.check_answers(loaded)
    evaluate.check_metrics(attempt.request.evaluate, loaded.spec.output)
    task = load_task(attempt.paths.recipe, attempt.request.recipe.task)
    progress = Progress(attempt.paths.metrics, is_writer=attempt.world.leads)
    with contextlib.closing(progress), contextlib.closing(prepare(attempt, task, loaded, progress)) as loop:
        try:
            resume(attempt, loop)
            has_finished = loop.run(attempt.stop)
        except Exception as error:
            tell(attempt, error)  # to let go of the loop may take for ever, where a GPU waits for a rank that has gone
            raise
        taken = costs.taken(attempt, loop.meter, counters)
        progress.write("speed", progress=loop.share_done, **taken)
        weights = loop.strategy.weights() if has_finished else {}
        loop.strategy.teardown()
        if not has_finished:
            return going_on.say_stopped(attempt, loop)
        if attempt.world.leads:
            trained = finished(attempt, loop, weights, data=loaded, facts=facts)
            release(attempt, loop, trained, datasets=datasets, taken=taken)
        return DONE


def finish_published(attempt: Attempt) -> bool:
    """Whether an earlier attempt has published the release and died before it could say so."""
    found = outbox.published(attempt.paths) if attempt.world.leads else None
    if not attempt.world.any(found is not None):
        return False
    if found is not None:
        attempt.journal.record(State.SUCCEEDED, by="job", attempt=attempt.number, release=found)
    return True


def check_inputs(attempt: Attempt) -> list[Dataset]:
    """Digest recipe and data on one rank of each node; all ranks go on, or none."""
    datasets: list[Dataset] = []

    def check() -> None:
        datasets.extend(integrity.open_datasets(attempt.paths, attempt.request))
        if attempt.placement.local_rank == 0:
            integrity.verify(attempt.paths, attempt.request, datasets)

    together(attempt, check)
    attempt.request = integrity.placed(attempt.paths, attempt.request)
    return datasets


def ready_data(attempt: Attempt) -> Path | None:
    """Prepared data that every rank may use: it is there, and whole on every node; None: there is none."""
    folder = prepared.folder_of(attempt.paths.home, attempt.request.role)
    if not attempt.world.from_leader(folder.is_dir()):
        return None
    damage = ""
    if attempt.placement.local_rank == 0:
        try:
            prepared.verify(folder)
        except IntegrityError as error:
            damage = error.message
    is_damaged = attempt.world.any(bool(damage))
    if damage or (attempt.world.leads and not is_damaged):
        words = f"left prepared data alone and read the datasets: {damage}" if damage else "mapped prepared data"
        attempt.journal.note(f"{words} ({folder})", by="job", attempt=attempt.number)
    return None if is_damaged else folder


def together(attempt: Attempt, step: Callable[[], None]) -> None:
    """Do a step that may fail on some ranks and must then end all of them.

    Raises: ForgiaError — this rank's own, or a word that another has failed.
    """
    failure: ForgiaError | None = None
    try:
        step()
    except ForgiaError as error:
        failure = error
        leave_reason(attempt.paths, number=attempt.number, rank=attempt.world.rank, error=error)
    if attempt.world.any(failure is not None):
        raise failure or ClusterError(rendezvous.ANOTHER_FAILED, transient=False)


def prepare(attempt: Attempt, task: TrainingTask, loaded: Data, progress: Progress) -> TrainingLoop:
    """Network, optimizer, strategy and tensors on their devices."""
    asked, device = attempt.request.train, attempt.world.device
    training = loaded.samples("train", device=device)
    if asked.class_weights == "balanced" and loaded.spec.output in ("probability", "classes"):
        training.weigh(data.balanced_weights(training.target))
    strategy = make_strategy("private" if asked.privacy else asked.strategy, attempt.world)
    strategy.setup(asked)
    model = task.model(loaded.spec, attempt.request.given).to(device)
    meter = Meter(world=attempt.world)
    if attempt.world.leads:
        meter.count_flops(task, model, training.batch(torch.arange(min(len(training), COUNTED_SAMPLES))))
    strategy.wrap(model, lambda network: make_optimizer(task, network, asked))
    # Weights are drawn alike on every rank; what is drawn while training (dropout) must differ from rank to rank.
    determinism.seed_all(asked.seed + attempt.world.rank)
    return TrainingLoop(
        task,
        strategy,
        train=asked,
        training=training,
        validation=loaded.samples("validation", device=device),
        progress=progress,
        meter=meter,
        place=Place(
            folder=attempt.paths.checkpoints,
            identity=attempt.request.identity,
            strategy=asked.strategy,
            keep=asked.keep_checkpoints,
            tell_failure=lambda error: tell(attempt, error),
        ),
    )


def resume(attempt: Attempt, loop: TrainingLoop) -> None:
    """Go on from the newest whole checkpoint, or begin with an empty file of metrics."""
    step = -1
    if attempt.world.leads:
        place, notes = checkpoint.choose(
            attempt.paths.checkpoints, identity=attempt.request.identity, attempt=attempt.number
        )
        for note in notes:
            attempt.journal.note(note, by="job", attempt=attempt.number)
        step = int(place.name.removeprefix("step-")) if place else -1
    step = attempt.world.from_leader(step)
    if step < 0:
        begin_with(attempt, loop)
        return
    lost = max(going_on.last_step(attempt.paths) - step, 0) if attempt.world.leads else 0
    loop.resume(Reader(attempt.paths.checkpoints / checkpoint.name_of(step)))
    if attempt.world.leads:
        about = {"step": step, "resumed": True, "lost_steps": lost}
        attempt.journal.note(f"resumed at step {step}", by="job", attempt=attempt.number, **about)


def begin_with(attempt: Attempt, loop: TrainingLoop) -> None:
    """Begin with another run's checkpoint, where the request names one, or with an empty file of metrics.

    Raises: IntegrityError — it is not there any more, or not what the request names.
    """
    given = attempt.request.goes_on_from
    if given is None:
        loop.progress.rewind(0)
        return
    place = integrity.given_checkpoint(attempt.paths, given)
    together(attempt, lambda: integrity.verify_checkpoint(place, given) if attempt.world.leads else None)
    found, before = Reader(place), RunPaths(place.parent.parent)
    loop.progress.take_over(before.metrics, position=int(found.manifest.cursor["metrics_position"]))
    loop.resume(found)
    if attempt.world.leads:
        about = {"step": given["step"], "resumed": True, "lost_steps": 0}
        text = f"goes on from step {given['step']} of run {given['run']}"
        attempt.journal.note(text, by="job", attempt=attempt.number, **about)


def finished(
    attempt: Attempt, loop: TrainingLoop, weights: Mapping[str, Tensor], *, data: Data, facts: dict[str, Any]
) -> Trained:
    """The recipe's network as it was written, with the weights that the strategy has gathered; on the leader."""
    from forgia_jobs.telling import results  # matplotlib and scikit-learn are only for the end, and only on one rank

    model = loop.task.model(data.spec, attempt.request.given)
    model.load_state_dict(weights)
    return results.Trained(
        task=loop.task,
        model=model.to(attempt.world.device),
        data=data,
        training=final_state(loop, model),
        determinism=facts,
    )


def release(
    attempt: Attempt, loop: TrainingLoop, trained: Trained, *, datasets: list[Dataset], taken: Mapping[str, Any]
) -> None:
    """Judge, export and publish, on the leader. Raises: Refused — the gate; ForgiaError — a file that does not hold."""
    from forgia_jobs.telling import results

    asked, loaded = attempt.request, trained.data
    evaluation, model, other = results.judge(trained, asked)
    loop.progress.write("evaluation", progress=1.0, tensors_digest=trained.digest, **evaluation.to_json())
    if evaluation.gate_failure:
        raise Refused(evaluation.gate_failure)
    folder = attempt.paths.attempt(attempt.number) / "release"
    shutil.rmtree(folder, ignore_errors=True)
    difference = results.write_model(folder, trained, asked, evaluation)
    pictures = results.write_plots(
        folder / "plots",
        attempt.paths.metrics,
        evaluation,
        data=loaded,
        model=model,
        other=other,
        examples=asked.evaluate.examples,
    )
    wall = time.perf_counter() - attempt.started
    seconds = trained.training["train_seconds"]
    used = {**costs.reserved(asked.resources, wall_seconds=wall, train_seconds=seconds), **taken}
    loop.progress.write("cost", progress=1.0, **used)
    finished = now()
    about = Facts(
        run_id=attempt.paths.root.name,
        created=finished,
        request=asked,
        data=loaded,
        manifests=results.dataset_manifests(datasets),
        evaluation=evaluation,
        training=trained.training,
        cost=used,
        determinism=trained.determinism,
        tensor_digest=trained.digest,
        onnx_difference=difference,
        plots=pictures,
    )
    results.write_papers(folder, about)
    publish(attempt, about, folder=folder, datasets=datasets)


def publish(attempt: Attempt, about: Facts, *, folder: Path, datasets: list[Dataset]) -> None:
    """Write the outbox, then say that the run has succeeded."""
    draft = outbox.draft(
        attempt.paths,
        attempt.request,
        folder=folder,
        datasets=datasets,
        evaluation=about.evaluation,
        tensor_digest=about.tensor_digest,
        created=about.created,
        made=provenance(attempt, finished=about.created),
    )
    digest = outbox.publish(attempt.paths, draft)
    shutil.rmtree(folder)  # its bytes are in the outbox
    attempt.journal.record(State.SUCCEEDED, by="job", attempt=attempt.number, release=digest)


def provenance(attempt: Attempt, *, finished: str) -> dict[str, Any]:
    """The node's part of the SLSA predicate."""
    asked, given = attempt.request, attempt.request.goes_on_from
    begun = [resource(f"checkpoints/{given['run']}/{given['step']}", given["digest"], of="manifest")] if given else []
    return {
        "externalParameters": {
            "recipe": f"{asked.recipe.name}@{asked.recipe.version}",
            "params": dict(asked.params),
        },
        "internalParameters": {
            "attempt": attempt.number,
            "job_id": attempt.placement.job_id,
            "world_size": attempt.world.size,
            "device": attempt.world.device.type,
            "machine": platform.machine(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "environment": dict(asked.environment),
        },
        "resolvedDependencies": [
            *(resource(f"weights/{name}", known, of="weights") for name, known in asked.weights.items()),
            *begun,
        ],
        "startedOn": attempt.started_at,
        "finishedOn": finished,
    }


def say_failed(paths: RunPaths, journal: Journal, *, number: int, rank: int, error: Exception) -> None:
    """Leave the reason on disk; the leader then tells the journal that of the rank which failed first."""
    with contextlib.suppress(OSError):  # on a full disk the journal may still take a line
        leave_reason(paths, number=number, rank=rank, error=error)
    if rank != 0:
        return
    first = next(iter(reasons(paths, number)), own_words(rank, error))
    sentence = first["reason"] if first["rank"] == 0 else f"rank-{first['rank']}: {first['reason']}"
    who = {key: first[key] for key in ("rank", "host", "kind")}
    journal.record(State.FAILED, by="job", attempt=number, reason=sentence, **who)


def tell(attempt: Attempt, error: Exception) -> None:
    """Leave the reason on disk, if it takes that."""
    with contextlib.suppress(OSError):
        leave_reason(attempt.paths, number=attempt.number, rank=attempt.world.rank, error=error)


def leave_reason(paths: RunPaths, *, number: int, rank: int, error: Exception) -> None:
    """Write why, where and when this rank ends, before its connections close and the others notice."""
    place, words = paths.reason(number, rank), own_words(rank, error)
    if place.exists() and (words["kind"] == NOTICED or read_reason(place)["kind"] != NOTICED):
        return  # what comes after the first failure of a rank is its echo
    store.private_directory(place.parent)
    store.write_json(place, words)


def own_words(rank: int, error: Exception) -> dict[str, Any]:
    """When, where and why this rank ends."""
    kind = NOTICED if is_echo(error) else type(error).__name__
    return {"t": now(), "rank": rank, "host": socket.gethostname(), "kind": kind, "reason": reason_of(error)}


def next_attempt(journal: Journal) -> int:
    """The number the launcher gives; else one more than the attempts that have run, or the one that was announced."""
    if given := os.environ.get(ATTEMPT_VARIABLE):
        return int(given)
    lines = journal.read()
    ran = [
        int(line.get("attempt", 0)) for line in lines if line.get("event") == State.RUNNING and line.get("by") == "job"
    ]
    announced = [int(line.get("attempt", 0)) for line in lines]
    return max([max(ran, default=0) + 1, *announced])


def reason_of(error: Exception) -> str:
    """One line for a person: a forgia error's own text and remedy, or the kind and first line of any other."""
    if isinstance(error, ForgiaError):
        return " ".join("; ".join(filter(None, (error.message, error.hint))).split())
    if is_echo(error):
        return "contact with another rank was lost; checkpoints are kept, another attempt goes on from the last one"
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def is_echo(error: Exception) -> bool:
    """The error only tells that another rank has gone."""
    if isinstance(error, ClusterError):
        return isinstance(error, rendezvous.PeerLost) or error.message == rendezvous.ANOTHER_FAILED
    return isinstance(error, RuntimeError) and bool(PEER_HAS_GONE.search(str(error)))
