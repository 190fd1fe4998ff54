"""A ray cluster of the job's own: one node of it for each task that the launcher started, gone when the tasks go.

A node of ray is not a machine but a task: so it has the cores, GPUs and memory that the scheduler has given that task,
and as many ranks train as were launched. Every port is one that the system chooses; the head's address and the token
that admits to it lie in a file that only the user can read.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgia.errors import ClusterError
from forgia.paths import RunPaths
from forgia_jobs.meeting.placement import Placement
from forgia_jobs.request import Resources
from forgia_jobs.under_ray import ray_keeper

START_TIMEOUT_S = 300.0
"""Nodes import ray from a shared disk; the last one may be minutes behind the first."""
LOOK_EVERY_S = 0.1
LOOK_AT_SHARED_S = 0.5
"""Between two looks at files on the shared disk."""
PREFIX = "forgia-ray-"
LONGEST_PLACE = 38
"""Characters of a folder in which ray's sockets still fit: 107 less what ray adds. Source: unix(7); ray 2.60"""
STORE_SHARE = 0.02
"""Of the memory; nothing that is learnt from goes through ray."""
LEAST_STORE, MOST_STORE = 80 * 2**20, 512 * 2**20
"""Bytes; ray refuses less than 75 MiB. Source: ray 2.60, ray_constants.py"""
OWN, ADDRESS = "r", "ray_current_cluster"
"""In the folder: ray's own, which it opens to everyone; in that: the head's address, once ray has started.

Source: ray 2.60, write_ray_address
"""
TOKEN, CODE, STOP = "token", "code", "stop"
"""In the folder: what admits to the cluster; the exit code of the rank here; the name of the signal that came."""
FOLDER_VARIABLE = "FORGIA_RAY_FOLDER"
TASK_VARIABLE = "FORGIA_RAY_TASK"
"""Process id of the task: what ranks print goes where its output goes."""
HEAD = ("--head", "--port", "0", "--include-dashboard", "false", "--no-monitor")
SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # The scheduler limits the job's memory; ray would look at that of the whole machine, which others use too.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_enable_worker_prestart": "0",
    # A run that was given up writes its checkpoint; what is left of any process ends with the node's keeper.
    "RAY_kill_child_processes_on_worker_exit": "0",
    # Each task sees the GPUs that the scheduler gave it; ray hands out none.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "2",
}
"""Environment of every process of ray."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whose cluster it is."""

    placement: Placement
    paths: RunPaths
    resources: Resources
    attempt: int

    @property
    def leads(self) -> bool:
        """This task has the head."""
        return self.placement.rank == 0

    @property
    def launch(self) -> str:
        """Differs between two attempts, also where one job makes both."""
        return f"{self.placement.launch}.{self.attempt}"


class NodeLost(ClusterError):
    """A task has no node, so that its rank will not come."""

    def __init__(self, message: str) -> None:
        super().__init__(message, transient=True, hint="see this rank's log, and that of rank 0")


class Node:
    """A task's node, while its keeper lives."""

    def __init__(self, asked: Asked, folder: Path, keeper: subprocess.Popen[bytes]) -> None:
        self.asked, self.folder, self._keeper = asked, folder, keeper

    @property
    def has_ended(self) -> bool:
        """Ray, or the driver beside it, has ended; or the keeper was killed."""
        return (self.folder / ray_keeper.ENDED).exists() or self._keeper.poll() is not None

    @property
    def address(self) -> str:
        """The head's, once ray has started here; else empty."""
        try:
            return (self.folder / OWN / ADDRESS).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    @property
    def code(self) -> int | None:
        """The exit code of the rank here; None — it has not ended well enough to have one."""
        try:
            return int((self.folder / CODE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def stop(self, signal_name: str) -> None:
        """Tell the rank here that a signal has come."""
        with contextlib.suppress(FileNotFoundError):  # all is over
            write_private(self.folder / STOP, signal_name)

    def close(self) -> None:
        """End every process of the node and remove its folder."""
        if self._keeper.stdin:
            self._keeper.stdin.close()
        self._keeper.wait()
        shutil.rmtree(self.folder, ignore_errors=True)  # left only by a keeper that was killed


@contextlib.contextmanager
def node(asked: Asked, *, driver: Sequence[str] = ()) -> Iterator[Node]:
    """This task's node of the cluster; ``driver`` runs beside the head.

    Raises: NodeLost — ray did not start here, or the head's task did not come; ClusterError — there is no room.
    """
    told = {"token": secrets.token_hex(32)} if asked.leads else find(asked)
    token, folder = told["token"], make_folder()
    try:
        write_private(folder / TOKEN, token)
        role = HEAD if asked.leads else ("--address", told["address"])
        beside = [[sys.executable, *driver, str(folder)]] if driver else []
        made = Node(asked, folder, keep(asked, folder, [[*ray_start(asked, folder), *role], *beside]))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        if asked.leads:
            publish(asked, token=token, address=wait_for_address(made))
        yield made
    finally:
        if asked.leads:
            publish(asked, over=True)
        made.close()
        if asked.leads:
            shutil.rmtree(asked.paths.ray_notes(asked.attempt), ignore_errors=True)


def make_folder() -> Path:
    """A private folder on the node's own disk, short enough for sockets; those of jobs that were killed go.

    Raises: ClusterError — there is no such place.
    """
    places = [place for place in (tempfile.gettempdir(), "/tmp") if len(place) <= LONGEST_PLACE - len(PREFIX) - 8]  # noqa: S108
    if not places:
        raise ClusterError(f"TMPDIR = {tempfile.gettempdir()} is too long for ray's sockets", transient=False)
    ray_keeper.sweep(Path(places[0]), PREFIX)
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=places[0]))


def ray_start(asked: Asked, folder: Path) -> list[str]:
    """The command of one node, as far as all have it in common. Source: ray 2.60, ``ray start --help``"""
    name = own_address(asked)
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--temp-dir", str(folder / OWN)),
        *("--num-cpus", "1", "--num-gpus", "0", "--object-store-memory", str(store_bytes(asked.resources))),
        *("--min-worker-port", "0", "--max-worker-port", "0", "--dashboard-agent-listen-port", "0"),
        *("--include-log-monitor", "false", "--disable-usage-stats", "--log-style", "record"),
        *(("--node-ip-address", name) if name else ()),
    ]


def store_bytes(resources: Resources) -> int:
    """Memory for ray's objects on one node."""
    share = resources.memory_gb * 2**30 / max(resources.tasks_per_node, 1) * STORE_SHARE
    return min(max(int(share), LEAST_STORE), MOST_STORE)


def own_address(asked: Asked) -> str:
    """The address by which the scheduler's name of this node is known; empty: let ray choose."""
    name = os.environ.get("SLURMD_NODENAME", "")
    try:
        found = socket.gethostbyname(name) if name and asked.resources.nodes > 1 else ""
    except OSError:
        return ""
    return "" if found.startswith("127.") else found


def environment(asked: Asked, folder: Path) -> dict[str, str]:
    """Of every process of the node; nothing that the user has set for another cluster of ray."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own = {
        "RAY_AUTH_TOKEN_PATH": str(folder / TOKEN),
        FOLDER_VARIABLE: str(folder),
        TASK_VARIABLE: str(os.getpid()),
    }
    threads = {"OMP_NUM_THREADS": str(asked.resources.cpus_per_task)}  # ray would say 1
    return {**threads, **kept, **SETTINGS, **own}


def keep(asked: Asked, folder: Path, commands: Sequence[Sequence[str]]) -> subprocess.Popen[bytes]:
    """Start the keeper of these commands, out of reach of signals to this task's group."""
    listed = [word for command in commands for word in (ray_keeper.SEPARATOR, *command)][1:]
    return subprocess.Popen(
        [sys.executable, "-m", ray_keeper.__name__, str(folder), *listed],
        stdin=subprocess.PIPE,
        env=environment(asked, folder),
        start_new_session=True,
    )


# How the other tasks learn of the head


def publish(asked: Asked, **facts: Any) -> None:
    """Say where the head is, or that all is over, to this user's processes on any node."""
    told = {"launch": asked.launch, **facts}
    write_private(asked.paths.ray, json.dumps(told))


def published(asked: Asked) -> Mapping[str, Any]:
    """What the head's task of this launch has said; empty while it has said nothing."""
    try:
        told = json.loads(asked.paths.ray.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return told if told.get("launch") == asked.launch else {}


def find(asked: Asked) -> Mapping[str, Any]:
    """Wait for the head. Raises: NodeLost — it does not come, or has failed."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        told = published(asked)
        if told.get("over") or asked.paths.reasons(asked.attempt):
            raise NodeLost("rank 0 has not started ray's head")
        if told:
            return told
        time.sleep(LOOK_EVERY_S)
    raise NodeLost(f"rank 0 did not start ray's head within {START_TIMEOUT_S:.0f} s")


def wait_for_address(made: Node) -> str:
    """The head's address. Raises: NodeLost — ray has not started."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not made.address:
        if made.has_ended or time.monotonic() > deadline:
            text = "ray's head did not start" if made.has_ended else f"ray's head took over {START_TIMEOUT_S:.0f} s"
            raise NodeLost(text)
        time.sleep(LOOK_EVERY_S)
    return made.address


def write_private(path: Path, text: str) -> None:
    """Replace a file that nobody but the user may read, in a shared folder too."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    beside.replace(path)
