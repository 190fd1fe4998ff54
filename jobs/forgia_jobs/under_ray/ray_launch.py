"""One task of a job whose ranks ray starts: it looks after its node of the cluster, and passes signals on.

What trains is the attempt itself, below a process of ray's (``ray_worker``). Where a rank is killed, ray starts all of
them again, a few times, and they go on from the last checkpoint; a rank that fails with a word ends the attempt.
"""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from forgia import store
from forgia.errors import ClusterError
from forgia.logs import reasons
from forgia.paths import RunPaths
from forgia.run import Journal
from forgia.schedulers.payload import ATTEMPT_VARIABLE
from forgia_jobs import endings, request
from forgia_jobs.meeting import placement
from forgia_jobs.under_ray import ray_cluster
from forgia_jobs.under_ray.ray_cluster import Asked, Node, NodeLost

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
"""As a rank without ray hears them."""
OUTCOME = "outcome.json"
"""In the head's folder: what the driver says of the ranks."""
DRIVER = ("-m", "forgia_jobs.under_ray.ray_driver")
FAILED = 1


def main(run_dir: str, *, driver: tuple[str, ...] = DRIVER) -> int:
    """Run one task of one attempt and return its exit code, as ``attempt.main`` says it."""
    heard = Signals()
    paths = RunPaths(Path(run_dir).resolve())
    os.umask(store.umask(paths.root))
    if not is_allowed():
        from forgia_jobs import attempt

        return attempt.main(run_dir)
    number, rank = int(os.environ.setdefault(ATTEMPT_VARIABLE, str(next_attempt(paths)))), 0
    try:
        placed = placement.discover()
        rank = placed.rank
        resources = request.load(paths.request).resources
        placement.check(placed, resources)
        asked = Asked(placement=placed, paths=paths, resources=resources, attempt=number)
        with ray_cluster.node(asked, driver=(*driver, str(paths.root)) if asked.leads else ()) as node:
            heard.tell(node.stop)
            wait = lead if asked.leads else follow
            return wait(asked, node)
    except Exception as error:  # noqa: BLE001 — the last place that can still say why the task ended
        traceback.print_exc()
        say_failed(paths, number=number, rank=rank, error=error)
        return FAILED


class Signals:
    """Signals to this process, kept until there is somebody to tell."""

    def __init__(self) -> None:
        self._name = ""
        self._told: Callable[[str], None] | None = None
        for number in SIGNALS:
            signal.signal(number, self._hear)

    def tell(self, told: Callable[[str], None]) -> None:
        """From here on say each signal's name, and the one that has come already."""
        self._told = told
        if self._name:
            told(self._name)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self._name = signal.Signals(number).name
        if self._told:
            self._told(self._name)


def is_allowed() -> bool:
    """The job may make this attempt; one that it may not is left to the attempt, which says so."""
    last, number = endings.limits().last, os.environ.get(ATTEMPT_VARIABLE)
    return last is None or number is None or int(number) <= last


def next_attempt(paths: RunPaths) -> int:
    """The attempt's number, where no launcher has given it."""
    if given := os.environ.get(ATTEMPT_VARIABLE):
        return int(given)
    from forgia_jobs import attempt

    return attempt.next_attempt(Journal(paths))


def lead(asked: Asked, node: Node) -> int:
    """Wait for the driver, which lives beside the head, and for what became of the ranks.

    Raises: ClusterError — ranks died more often than they were started again, or ray itself failed.
    """
    while not node.has_ended:
        time.sleep(ray_cluster.LOOK_AT_SHARED_S)
        said = reasons(asked.paths, asked.attempt)
        if lost := [words["rank"] for words in said if words["kind"] == NodeLost.__name__]:
            raise ClusterError(f"rank {lost[0]} has no node of ray", transient=True)
    outcome = read_outcome(node)
    code: int | None = outcome.get("code", node.code)
    if code is None or outcome.get("error"):
        refuse(asked, outcome)
    return code or 0


def read_outcome(node: Node) -> dict[str, Any]:
    """What the driver said; a driver without a word did not live to say any."""
    try:
        value: dict[str, Any] = json.loads((node.folder / OUTCOME).read_bytes())
    except (FileNotFoundError, ValueError):
        return {"error": "the driver of ray ended without a word"}
    return value


def refuse(asked: Asked, outcome: dict[str, Any]) -> None:
    """Leave the reasons of ranks that died. Raises: ClusterError — that the ranks are no more."""
    from forgia_jobs import attempt

    for rank, how in outcome.get("died", {}).items():
        error = ClusterError(f"the process of rank {rank} {how}", transient=True)
        attempt.leave_reason(asked.paths, number=asked.attempt, rank=int(rank), error=error)
    raise ClusterError(f"ray: {outcome.get('error') or 'the ranks ended without a word'}", transient=True)


def follow(asked: Asked, node: Node) -> int:
    """Keep the node until the head's task says that all is over. Raises: NodeLost — the node did not live so long."""
    while not ray_cluster.published(asked).get("over"):
        if node.has_ended:
            raise NodeLost("ray's node here ended before the training did")
        time.sleep(ray_cluster.LOOK_AT_SHARED_S)
    return node.code or 0  # where there is none, the head's task says why


def say_failed(paths: RunPaths, *, number: int, rank: int, error: Exception) -> None:
    """As a rank would; what it takes to say it is slow to import."""
    from forgia_jobs import attempt

    attempt.say_failed(paths, Journal(paths), number=number, rank=rank, error=error)
