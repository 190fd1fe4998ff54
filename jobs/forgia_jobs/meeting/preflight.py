"""Is every node fit for the training? Asked before it, in seconds, so that a bad node is named and gone round.

Each rank looks at its own node; all read what all have found before they join, so that a node whose GPU is lost keeps
nobody waiting. What only the ranks together can show, a collective's speed and the clocks, is measured after that.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from forgia import store
from forgia.errors import ClusterError
from forgia.paths import RunPaths
from forgia.run import Journal, State
from forgia_jobs.meeting import rendezvous
from forgia_jobs.meeting.placement import Placement
from forgia_jobs.meeting.rendezvous import Absent, World
from forgia_jobs.request import Resources

LIMIT_S = 60.0
"""A collective of the preflight that takes longer has failed."""
SCRATCH_BYTES = 64 * 2**20
"""What a node must have free for temporary files."""
GPU_FREE = 0.9
"""Of a GPU's memory: with less, another process holds it."""
CLOCKS_S = 5.0
"""Nodes whose clocks differ by more are told of; nothing in a training depends on them."""
BUFFER_BYTES = {"cpu": 4 * 2**20, "cuda": 256 * 2**20}
"""Of the measured collective."""
REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one rank has found on its node."""

    rank: int
    host: str
    """The scheduler's name of the node."""
    problems: tuple[str, ...] = ()
    """A sentence each; any of them makes the node a bad one."""
    gpu: str = ""
    """Which GPU the rank has, by its own name."""
    gpu_free_gb: float | None = None
    scratch_gb: float = 0.0

    @classmethod
    def from_text(cls, text: str) -> Facts:
        """The inverse of the JSON that ranks exchange."""
        value = json.loads(text)
        return cls(**{**value, "problems": tuple(value["problems"])})


class BadNodes(ClusterError):
    """Nodes that are not fit, and why."""

    def __init__(self, nodes: Sequence[str], message: str) -> None:
        super().__init__(message, transient=True, hint="forgia job retry, once the site has mended it")
        self.nodes = tuple(nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the checks of one rank need to know."""

    placement: Placement
    paths: RunPaths
    resources: Resources
    attempt: int
    silence_s: float = rendezvous.SILENCE_TIMEOUT_S


def meet(asked: Asked, *, is_wanted: bool = True) -> World:
    """Look, tell each other, and join; or only join. Raises: BadNodes; ClusterError — as ``rendezvous.RollCall``."""
    if not is_wanted:
        device = rendezvous.choose_device(asked.placement.local_rank, gpus_per_node=asked.resources.gpus_per_node)
        return roll_call(asked).join(device)
    device, facts = look(asked)
    call = roll_call(asked)
    try:
        words = call.exchange(json.dumps(asdict(facts)))
    except Absent as error:
        raise missing_nodes(asked, error) from error
    refuse_bad([Facts.from_text(word) for word in words], asked.resources)
    return call.join(device)


def roll_call(asked: Asked) -> rendezvous.RollCall:
    """The ranks of this launch."""
    return rendezvous.RollCall(
        asked.placement,
        asked.paths,
        nodes=asked.resources.nodes,
        attempt=asked.attempt,
        silence_s=asked.silence_s,
    )


def missing_nodes(asked: Asked, error: Absent) -> ClusterError:
    """The error with the nodes of the ranks that did not come, where the scheduler's list tells them."""
    hosts, tasks = asked.placement.hosts, asked.resources.tasks_per_node
    names = sorted({hosts[rank // tasks] for rank in error.ranks if rank // tasks < len(hosts)})
    return BadNodes(names, f"preflight: {error.message} (node {', '.join(names)})") if names else error


# What one rank sees


def look(asked: Asked) -> tuple[torch.device, Facts]:
    """The device of this rank and the facts of its node."""
    facts = Facts(rank=asked.placement.rank, host=node_name(), scratch_gb=round(scratch_bytes() / 1e9, 1))
    problems = [sentence for check in CHECKS if (sentence := told_by(check, asked))]
    device = torch.device("cpu")
    if asked.resources.gpus_per_node:
        try:
            device, facts = look_at_gpu(asked, facts)
        except (ClusterError, RuntimeError) as error:
            problems.append(str(error).splitlines()[0])
    return device, replace(facts, problems=(*facts.problems, *problems))


def node_name() -> str:
    """As the scheduler names it, so that it can be excluded by that name."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def told_by(check: Callable[[Asked], str], asked: Asked) -> str:
    """A check's sentence; what the system refuses is one."""
    try:
        return check(asked)
    except OSError as error:
        return f"{error.filename or check.__name__.replace('_', ' ')}: {error.strerror or error}"


def scratch_bytes() -> int:
    """Free for temporary files; 0 where there is no folder for them."""
    try:
        return shutil.disk_usage(tempfile.gettempdir()).free
    except OSError:
        return 0


def scratch(_: Asked) -> str:
    """Temporary files can be written, and there is room for some."""
    free, folder = scratch_bytes(), os.environ.get("TMPDIR") or tempfile.gettempdir()
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"preflight")
    return (
        "" if free >= SCRATCH_BYTES else f"{folder} has {free / 2**20:.0f} MiB free, {SCRATCH_BYTES >> 20} are wanted"
    )


def run_folder(asked: Asked) -> str:
    """The run's folder takes files from this node."""
    folder = asked.paths.attempt(asked.attempt)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".preflight-") as file:
        file.write(b"preflight")
        file.flush()
        os.fsync(file.fileno())
    return ""


def environment(_: Asked) -> str:
    """What the ranks import from is there, to its last folder."""
    place = Path(sysconfig.get_path("purelib"))
    return "" if any(place.iterdir()) else f"the environment {place} is empty"


def port(_: Asked) -> str:
    """A port can be listened at."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("", 0))
        listener.listen()
    return ""


CHECKS: tuple[Callable[[Asked], str], ...] = (scratch, run_folder, environment, port)
"""Each gives a sentence of what is wrong, or nothing."""


def look_at_gpu(asked: Asked, facts: Facts) -> tuple[torch.device, Facts]:
    """The rank's GPU. Raises: ClusterError — torch sees none; RuntimeError — it does not answer."""
    wanted, tasks = asked.resources.gpus_per_node, asked.resources.tasks_per_node
    device = rendezvous.choose_device(asked.placement.local_rank, gpus_per_node=wanted)
    visible = torch.cuda.device_count()
    free, total = torch.cuda.mem_get_info(device)
    problems = []
    if visible not in (wanted, max(wanted // tasks, 1)):
        problems.append(f"{visible} GPU(s) are visible, {wanted} were asked for")
    if free < GPU_FREE * total:
        text = f"GPU {device.index} has {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        problems.append(f"{text}: another process holds the rest")
    name = str(getattr(torch.cuda.get_device_properties(device), "uuid", device.index))
    return device, replace(facts, gpu=name, gpu_free_gb=round(free / 1e9, 1), problems=tuple(problems))


# What all see


def refuse_bad(every: Sequence[Facts], resources: Resources) -> None:
    """Raises: BadNodes — with each bad node and what is wrong with it."""
    found: dict[str, list[str]] = {}
    for facts in every:
        for sentence in facts.problems:
            found.setdefault(facts.host, []).append(sentence)
    for host, gpu in twice_used(every) if resources.tasks_per_node <= resources.gpus_per_node else ():
        found.setdefault(host, []).append(f"two processes were given GPU {gpu}")
    if found:
        sentences = [f"node {host}: {', '.join(dict.fromkeys(words))}" for host, words in sorted(found.items())]
        raise BadNodes(sorted(found), f"preflight: {'; '.join(sentences)}")


def twice_used(every: Sequence[Facts]) -> Iterator[tuple[str, str]]:
    """Node and GPU of each that more than one rank has."""
    seen: set[tuple[str, str]] = set()
    for facts in every:
        if facts.gpu and (facts.host, facts.gpu) in seen:
            yield facts.host, facts.gpu
        seen.add((facts.host, facts.gpu))


def report(world: World, journal: Journal, *, attempt: int, started: float) -> None:
    """Measure, and write it down. ``started``: monotonic clock, seconds. Raises: ClusterError — as ``measure``."""
    measured = measure(world)
    seconds = time.perf_counter() - started
    if world.leads:
        facts = {**measured, "seconds": round(seconds, 2)}
        journal.note(sentence(measured, seconds=seconds), by="job", attempt=attempt, preflight=facts)


def measure(world: World) -> dict[str, Any]:
    """Latency and bandwidth of a sum over all ranks, and how far apart their clocks are; nothing for a world of one.

    Raises: ClusterError (transient) — it did not end in time.
    """
    if world.size == 1:
        return {}
    try:
        small = best_of(world, torch.zeros(1))
        large = torch.zeros(BUFFER_BYTES[world.device.type] // 4, device=world.device)
        seconds = best_of(world, large)
    except RuntimeError as error:
        raise failed_sum(error) from error
    clocks = world.gather(torch.tensor([time.time()], dtype=torch.float64))
    moved = large.nbytes * 2 * (world.size - 1) / world.size
    return {
        "latency_ms": round(small * 1e3, 3),
        # Bus bandwidth. Source: github.com/NVIDIA/nccl-tests, doc/PERFORMANCE.md (AllReduce)
        "bandwidth_gb_s": round(moved / seconds / 1e9, 3),
        "clock_s": round(float(clocks.max() - clocks.min()), 3),
    }


def failed_sum(error: RuntimeError) -> ClusterError:
    """The sentence for a sum over all ranks that failed: the network's fault only where it took too long."""
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if "timed out" in first.lower() or "timeout" in first.lower():
        text = f"preflight: a sum over all ranks did not end within {LIMIT_S:.0f} s"
        return ClusterError(text, transient=True, hint="the network between the nodes is at fault")
    return ClusterError(f"preflight: a sum over all ranks failed: {first}", transient=True)


def best_of(world: World, values: torch.Tensor) -> float:
    """Seconds of the quickest of some sums, on the slowest rank. Raises: RuntimeError — one did not end in time."""
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work = dist.all_reduce(values, async_op=True)
        if work is not None:
            work.wait(timedelta(seconds=LIMIT_S))
        if values.is_cuda:
            torch.cuda.synchronize(values.device)
        taken.append(time.perf_counter() - started)
    return float(world.gather(torch.tensor([min(taken)], dtype=torch.float64)).max())


def sentence(measured: dict[str, Any], *, seconds: float) -> str:
    """For the journal."""
    told = f"preflight: all nodes are fit ({seconds:.1f} s)"
    if not measured:
        return told
    told += f"; a sum over all ranks takes {measured['latency_ms']} ms, and moves {measured['bandwidth_gb_s']} GB/s"
    apart = measured["clock_s"]
    return f"{told}; the nodes' clocks are {apart} s apart" if apart > CLOCKS_S else told


# Going round a bad node


def go_round(error: BadNodes, asked: Asked, journal: Journal, *, last: int | None) -> bool:
    """Have the job started again without the bad nodes; False: it has gone round before, or it cannot.

    The batch script tells the scheduler; ``last`` is the last attempt that the job may make.
    """
    earlier = [line.split() for line in read_excluded(asked.paths) if not line.endswith(f" {asked.attempt}")]
    if earlier or not asked.placement.hosts or (last is not None and asked.attempt >= last):
        return False
    if asked.placement.rank == 0:
        text = "".join(f"{node} {asked.attempt}\n" for node in error.nodes)
        store.write_atomic(asked.paths.excluded_nodes, text)
        reason = f"{error.message}; the job goes back to the queue, to run without {', '.join(error.nodes)}"
        journal.record(State.CHECKPOINTED, by="job", attempt=asked.attempt, reason=reason, excluded=list(error.nodes))
    return True


def read_excluded(paths: RunPaths) -> list[str]:
    """Lines of node and attempt."""
    try:
        return paths.excluded_nodes.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
