"""What each strategy costs: from the start of its processes to their first step, and a step after that.

    python bench/strategies.py [--processes 2] [--repeats 5] [--steps 100] [--width 256]

``plain`` is torch alone: processes that meet by env:// and train with DistributedDataParallel. Strategies take turns,
so that a busy machine hits all of them, and rank 0's processor time is told beside the clock's. Prints one JSON object
with medians, their spread, and ratios to ``plain``.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODES = {
    "plain": None,
    "ddp": {"strategy": "ddp"},
    "fsdp": {"strategy": "fsdp"},
    "deepspeed-2": {"strategy": "deepspeed", "stage": 2},
    "deepspeed-3": {"strategy": "deepspeed", "stage": 3},
}
"""What is measured, and the settings that make it."""
QUANTITIES = ("ready_s", "ready_cpu_s", "step_ms", "step_cpu_ms")
ROWS = 64
"""Of one process."""
Step = Callable[[], None]


def network(width: int) -> Any:
    """Four blocks of two matrices."""
    import torch
    from torch import nn

    class Tower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(
                nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(4)
            )

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            for block in self.blocks:
                values = values + block(values)
            return values

    torch.manual_seed(0)
    return Tower()


def rows(width: int) -> dict[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(ROWS, width, generator=generator) for name in ("numeric", "target")}


def plain(width: int) -> tuple[Step, Step]:
    """A step of torch alone, and the end."""
    import torch
    import torch.distributed as dist
    from torch.nn import functional
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    model = DistributedDataParallel(network(width))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batch = rows(width)

    def step() -> None:
        optimizer.zero_grad()
        functional.mse_loss(model(batch["numeric"]), batch["target"]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step, dist.destroy_process_group


def ours(mode: dict[str, Any], width: int, folder: Path) -> tuple[Step, Step]:
    """A step of a strategy, in processes that have met, and will part, as those of a run do."""
    import torch
    from torch.nn import functional

    from forgia.paths import RunPaths
    from forgia_jobs import strategies
    from forgia_jobs.meeting import placement, rendezvous
    from forgia_jobs.request import DeepSpeed, Train

    class Task:
        def loss(self, model: Any, batch: Any) -> torch.Tensor:
            return functional.mse_loss(model(batch["numeric"]), batch["target"])

    torch.set_num_threads(1)
    world = rendezvous.join(placement.discover(), RunPaths(folder), device=torch.device("cpu"), nodes=1)
    strategy = strategies.make(mode["strategy"], world)
    settings = DeepSpeed(stage=mode.get("stage", 2))
    strategy.setup(
        Train(strategy=mode["strategy"], batch_size=ROWS * world.size, gradient_clip=1.0, deepspeed=settings)
    )
    strategy.wrap(network(width), lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3))
    shares, count = [strategies.Share(rows(width), ROWS)], ROWS * world.size

    def step() -> None:
        strategy.step(Task(), shares, global_rows=count)  # type: ignore[arg-type]

    def end() -> None:
        strategy.teardown()
        rendezvous.leave(world)

    return step, end


def be_rank(name: str, asked: argparse.Namespace) -> None:
    """One process: tell when the first step was done, and what one takes after ten more."""
    import torch.distributed as dist

    mode = MODES[name]
    step, end = plain(asked.width) if mode is None else ours(mode, asked.width, Path(asked.folder))
    step()
    ready, ready_cpu = time.time() - asked.began, time.process_time()
    for _ in range(10):
        step()
    dist.barrier()
    started, started_cpu = time.perf_counter(), time.process_time()
    for _ in range(asked.steps):
        step()
    taken, taken_cpu = time.perf_counter() - started, time.process_time() - started_cpu
    if dist.get_rank() == 0:
        found = {"ready_s": ready, "ready_cpu_s": ready_cpu}
        each = {"step_ms": 1000 * taken / asked.steps, "step_cpu_ms": 1000 * taken_cpu / asked.steps}
        print(json.dumps({**found, **each}))
    end()


def measure(name: str, asked: argparse.Namespace) -> dict[str, float]:
    """Start the processes of one mode, and read what rank 0 tells."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    places = os.pathsep.join(str(ROOT / part) for part in ("src", "jobs"))
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, __file__, "--rank-of", name, "--folder", folder, "--began", repr(time.time())]
        argv += ["--steps", str(asked.steps), "--width", str(asked.width)]
        ranks = [
            subprocess.Popen(
                argv,
                stdout=subprocess.PIPE,
                env={
                    **os.environ, **meeting, "PYTHONPATH": places, "RANK": str(rank), "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": str(asked.processes),
                },
            )
            for rank in range(asked.processes)
        ]  # fmt: skip
        said = [rank.communicate()[0] for rank in ranks]
    if any(rank.returncode for rank in ranks):
        raise SystemExit(f"{name}: a process failed")
    found: dict[str, float] = json.loads(said[0].splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--modes", default=",".join(MODES))
    for hidden in ("--rank-of", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.rank_of:
        be_rank(asked.rank_of, asked)
        return
    names = asked.modes.split(",")
    load = os.getloadavg()[0]
    rounds = [{name: measure(name, asked) for name in names} for _ in range(asked.repeats)]
    found: dict[str, Any] = {"processes": asked.processes, "repeats": asked.repeats, "load_before": load, "modes": {}}
    for name in names:
        figures = {}
        for quantity in QUANTITIES:
            values = [taken[name][quantity] for taken in rounds]
            ratios = [taken[name][quantity] / taken["plain"][quantity] for taken in rounds] if "plain" in names else []
            figures[quantity] = {
                "median": round(statistics.median(values), 3),
                "least": round(min(values), 3),
                "most": round(max(values), 3),
                **({"ratio_to_plain": round(statistics.median(ratios), 3)} if ratios else {}),
            }
        found["modes"][name] = figures
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
