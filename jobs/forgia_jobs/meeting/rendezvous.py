"""How the processes of one attempt find each other, and the proof that they have.

Rank 0 listens on a port that the system gives it and publishes the address in the run folder, which every node sees.
An address left by an earlier launch names that launch, or a port where nobody answers: it is read again until it
changes.
"""

from __future__ import annotations

import functools
import gc
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # exported, but not in __all__

from forgia import store
from forgia.errors import ClusterError
from forgia.paths import RunPaths
from forgia_jobs.meeting.placement import Placement

START_TIMEOUT_S = 300.0
"""Nodes import torch from a shared disk; the last one may be minutes behind the first."""
SILENCE_TIMEOUT_S = 1800.0
"""A collective that takes longer has lost a rank."""
LOCAL_HOST = "127.0.0.1"
LOOK_EVERY_S = 0.02
ANOTHER_FAILED = "another rank has failed"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The processes that train together, met and counted; a world of one needs no meeting."""

    rank: int
    size: int
    device: torch.device
    host: str = LOCAL_HOST
    """Where rank 0 is to be reached; on rank 0 itself empty, where it is so by several names."""

    @property
    def leads(self) -> bool:
        """Rank 0: the one that writes."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def sum_in_order(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, on the CPU; it rounds alike wherever among the values a number stands."""
        own = values.detach().cpu()
        if self.size == 1:
            return own
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own)
        return functools.reduce(torch.add, parts)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            self.sum(torch.zeros(1))

    def from_leader(self, value: int) -> int:
        """Rank 0's number, on every rank."""
        return int(self.sum(torch.tensor([value if self.leads else 0], dtype=torch.int64)))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        return self.any_of(flag)[0]

    def any_of(self, *flags: bool) -> tuple[bool, ...]:
        """Of each flag, whether it is set on any rank."""
        if self.size == 1:
            return flags
        return tuple(map(bool, self.sum(torch.tensor(flags, dtype=torch.int64)).tolist()))

    def gather(self, part: torch.Tensor) -> torch.Tensor:
        """All ranks' rows, in the order of the ranks, however many each has.

        Shapes: (rows of the rank, ...) to (rows of all, ...); on the CPU.
        """
        part = part.detach().cpu().contiguous()
        if self.size == 1:
            return part
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank] = len(part)
        self.sum(counts)
        padded = torch.zeros((int(counts.max()), *part.shape[1:]), dtype=part.dtype)
        padded[: len(part)] = part
        received = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(received, padded)
        return torch.cat([rows[:count] for rows, count in zip(received, counts.tolist(), strict=True)])


class Absent(ClusterError):
    """Ranks that did not come in time."""

    def __init__(self, ranks: Sequence[int], of: int) -> None:
        listed = ", ".join(map(str, ranks))
        super().__init__(f"rank {listed} of {of} did not come within {START_TIMEOUT_S:.0f} s", transient=True)
        self.ranks = tuple(ranks)


class PeerLost(ClusterError):
    """A rank's process has died without a word."""

    def __init__(self, rank: int) -> None:
        text = f"contact with rank {rank} was lost; checkpoints are kept, another attempt goes on from the last one"
        super().__init__(text, transient=True)


class RollCall:
    """The ranks of one launch before they join: each can leave a word, and reads that of all; a world of one is alone.

    Raises: ClusterError (transient) — rank 0 cannot be found.
    """

    def __init__(
        self,
        placement: Placement,
        paths: RunPaths,
        *,
        nodes: int,
        attempt: int,
        silence_s: float = SILENCE_TIMEOUT_S,
    ) -> None:
        """Args: silence_s — after so long in a collective a rank gives the others up."""
        self.placement, self.paths, self.nodes, self.attempt = placement, paths, nodes, attempt
        self.silence_s = silence_s
        self.store = None if placement.world_size == 1 else self._asking(self._meeting_point)

    def _meeting_point(self) -> Any:
        patience = timedelta(seconds=START_TIMEOUT_S)
        placement, place = self.placement, self.paths.root / ".rendezvous.json"
        if placement.address:
            host, port = placement.address
            return TCPStore(host, port, placement.world_size, placement.rank == 0, timeout=patience)
        if placement.rank == 0:
            return _open(place, placement, nodes=self.nodes)
        return _find(place, placement, deadline=time.monotonic() + START_TIMEOUT_S, look=self._refuse_failed)

    def exchange(self, word: str) -> list[str]:
        """Every rank's word, in the order of the ranks.

        Raises: Absent — some did not come in time. ClusterError — one has said that it failed, or rank 0 has gone.
        """
        return [word] if self.store is None else self._asking(self._exchange, self.store, word)

    def _exchange(self, point: Any, word: str) -> list[str]:
        size, deadline = self.placement.world_size, time.monotonic() + START_TIMEOUT_S
        keys = [f"word/{rank}" for rank in range(size)]
        point.set(keys[self.placement.rank], word)
        while not point.check(keys):
            self._refuse_failed()
            if time.monotonic() > deadline:
                raise Absent([rank for rank, key in enumerate(keys) if not point.check([key])], of=size)
            time.sleep(LOOK_EVERY_S)
        words = [value.decode() for value in point.multi_get(keys)]
        point.add("read", 1)
        while self.placement.rank == 0 and point.add("read", 0) < size and time.monotonic() < deadline:
            self._refuse_failed()
            time.sleep(LOOK_EVERY_S)  # should rank 0 end now, the others could not read
        return words

    def _refuse_failed(self) -> None:
        """Raises: ClusterError — a rank has left the reason of its end; nobody need wait for it."""
        if self.paths.reasons(self.attempt):
            raise ClusterError(ANOTHER_FAILED, transient=False)

    def _asking(self, ask: Callable[..., T], *arguments: Any, **options: Any) -> T:
        try:
            return ask(*arguments, **options)
        except (RuntimeError, ValueError) as error:
            rank, size = self.placement.rank, self.placement.world_size
            raise ClusterError(f"rank {rank} of {size} did not meet the others: {error}", transient=True) from error

    def join(self, device: torch.device) -> World:
        """Meet the other ranks and count them.

        Raises: ClusterError (transient) — they did not all come in time; (final) — another number came.
        """
        world = World(rank=self.placement.rank, size=self.placement.world_size, device=device)
        if self.store is None:
            return world
        if self.nodes > 1:
            world = replace(world, host="" if world.leads else self.store.host)
        found = self._asking(self._join, world)
        if found != world.size:
            raise ClusterError(f"{found} rank(s) met, but {world.size} were launched", transient=False)
        return world

    def _join(self, world: World) -> int:
        if self.nodes == 1:  # traffic of one machine stays on it, whatever its name resolves to
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if world.device.type == "cuda" else "gloo",
            store=self.store,
            rank=world.rank,
            world_size=world.size,
            timeout=timedelta(seconds=self.silence_s),
            device_id=world.device if world.device.type == "cuda" else None,
        )
        return int(world.sum(torch.ones(1, dtype=torch.int64)))


def join(placement: Placement, paths: RunPaths, *, device: torch.device, nodes: int, attempt: int = 1) -> World:
    """Meet the other ranks and count them. Raises: ClusterError — as ``RollCall``."""
    return RollCall(placement, paths, nodes=nodes, attempt=attempt).join(device)


def leave(world: World) -> None:
    """Part from the other ranks at the end of an attempt that went well.

    What still holds the process group goes first: were it freed while the interpreter ends, one of its threads could
    wait for an interpreter that is gone, and the process would abort with its work done.
    """
    if world.size > 1:
        gc.collect()
        dist.destroy_process_group()
        gc.collect()


def choose_device(local_rank: int, *, gpus_per_node: int) -> torch.device:
    """The rank's own accelerator, or the CPU where none was asked for.

    Raises: ClusterError — GPUs were asked for and torch sees none; training on the CPU would be a slow, dear success.
    """
    if gpus_per_node == 0:
        return torch.device("cpu")
    visible = torch.cuda.device_count()
    if not visible:
        raise ClusterError(
            f"the request is for {gpus_per_node} GPU(s) a node, but torch {torch.__version__} sees none here",
            transient=False,
            hint="check the torch build and the node's driver, or ask for gpus_per_node = 0",
        )
    device = torch.device(
        "cuda", local_rank % visible
    )  # one visible: the scheduler has already given each task its own
    torch.cuda.set_device(device)
    return device


def _open(place: Path, placement: Placement, *, nodes: int) -> Any:
    """Listen, on one machine only for that machine, and publish where."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((LOCAL_HOST if nodes == 1 else "", 0))
    listener.listen(placement.world_size)
    port = listener.getsockname()[1]
    point = TCPStore(
        LOCAL_HOST,
        port,
        placement.world_size,
        is_master=True,
        timeout=timedelta(seconds=START_TIMEOUT_S),
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )
    hosts = [LOCAL_HOST] if nodes == 1 else _own_names(placement)
    store.write_json(place, {"launch": placement.launch, "hosts": hosts, "port": port})
    return point


def _find(place: Path, placement: Placement, *, deadline: float, look: Callable[[], None]) -> Any:
    """Connect to the published address, reading it again while it is another launch's or nobody answers there.

    ``look`` is called on the way, and ends the search by an error.
    """
    while True:
        try:
            found = store.read_json(place)
        except FileNotFoundError:
            found = {}
        if found.get("launch") == placement.launch:
            for host in found["hosts"]:
                if _answers(host, found["port"]):
                    remaining = timedelta(seconds=max(deadline - time.monotonic(), 1.0))
                    return TCPStore(host, found["port"], placement.world_size, False, timeout=remaining)
        if time.monotonic() > deadline:
            raise ClusterError(
                f"rank {placement.rank} waited {START_TIMEOUT_S:.0f} s for rank 0 to publish an address that answers",
                transient=True,
            )
        look()
        time.sleep(LOOK_EVERY_S)


def _own_names(placement: Placement) -> list[str]:
    """Names of this machine that others may know it by, the scheduler's first."""
    names = [*placement.hosts[:1], socket.gethostname(), socket.getfqdn()]
    return [name for name in dict.fromkeys(names) if _resolves(name)]


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=5.0):
            return True
    except OSError:
        return False
