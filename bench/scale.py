"""Forgia at the size of Leonardo: 3,456 real slurmd on this machine, 10,000 pending jobs of others.

Seconds and calls to SLURM of each command. Needs root (for the other user), SLURM and some 5 GB of memory.

python bench/scale.py [nodes] [jobs]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/slurm"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from lab import port_is_free
from lab_scale import ScaledLab
from submitting_client import make_plan

from forgia import submission
from forgia.paths import HomePaths
from forgia.run import Journal, State
from forgia.schedulers.slurm import SlurmScheduler

REPOSITORY = Path(__file__).resolve().parents[1]
PROGRAMS = ("sacct", "sacctmgr", "sbatch", "scancel", "scontrol", "sinfo", "squeue")
SHIM = '#!/bin/sh\necho {name} >> "{log}"\nexec {real} "$@"\n'
OTHER_USER = "65534"
RUNS, OPEN = 1000, 200
ROUNDS = 5


class Bench:
    """Forgia's commands against one cluster, their calls counted by programs that stand before SLURM's own."""

    def __init__(self, lab: ScaledLab, place: Path) -> None:
        self.log, shims = place / "calls", place / "shims"
        shims.mkdir()
        for name in PROGRAMS:
            shim = shims / name
            shim.write_text(SHIM.format(name=name, log=self.log, real=f"/usr/bin/{name}"))
            shim.chmod(0o755)
        self.environment = {
            **lab.environment(),
            "FORGIA_HOME": str(place / "home"),
            "PATH": f"{shims}:{lab.environment()['PATH']}",
            "PYTHONPATH": os.pathsep.join(str(REPOSITORY / name) for name in ("src", "cli", "jobs")),
        }

    def forgia(self, *arguments: str) -> str:
        self.log.write_text("")
        argv = [sys.executable, "-m", "forgia_cli.main", *arguments]
        begin = time.perf_counter()
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begin
        calls = " ".join(self.log.read_text().split()) or "none"
        print(f"{' '.join(arguments)[:60]:62} {seconds:6.2f} s   {calls}", flush=True)
        if done.returncode:
            print(f"  exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout


def free_block(span: int) -> int:
    """Below the ports of the small labs, of which some may start while this one does."""
    for port in range(10_000, 20_000 - span, 500):
        if all(port_is_free(port + offset) for offset in range(span)):
            return port
    raise RuntimeError(f"no {span} free ports in a row below 20000")


def fill(lab: ScaledLab, jobs: int) -> None:
    """Pending jobs of somebody else: they wait for tomorrow."""
    common = ["sbatch", "--quiet", "--begin=now+1day", "--chdir=/", "--output=/dev/null", "--wrap=true"]
    argv = ["setpriv", f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups", *common]

    def submit(_: int) -> None:
        subprocess.run(argv, env=lab.environment(), check=True, capture_output=True)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(submit, range(jobs)))


def main() -> None:
    nodes, jobs = (int(text) for text in (*sys.argv[1:], "3456", "10000")[:2]) if len(sys.argv) > 2 else (3456, 10000)
    root = Path(tempfile.mkdtemp(prefix="forgia-scale-", dir="/tmp"))
    root.chmod(0o711)  # the other user has to reach slurm.conf
    lab = ScaledLab(root / "lab", port=free_block(nodes + 20), nodes=nodes, accounting=False)
    begin = time.perf_counter()
    try:
        lab.start()
        print(f"{nodes} nodes up in {time.perf_counter() - begin:.1f} s")
        begin = time.perf_counter()
        fill(lab, jobs)
        print(f"{jobs} jobs of another user pending after {time.perf_counter() - begin:.1f} s")
        bench = Bench(lab, root)
        measure(bench)
        list_many(bench, lab, root)
    finally:
        begin = time.perf_counter()
        if lab.root.is_dir():
            subprocess.run(["scancel", f"--user={OTHER_USER}"], env=lab.environment(), check=False)
        lab.stop()
        print(f"down in {time.perf_counter() - begin:.1f} s")
        subprocess.run(["rm", "-rf", str(root)], check=True)


def measure(bench: Bench) -> None:
    large = ("--profile", "slurm-local", "--set", "resources.nodes=64", "--set", "resources.gpus_per_node=4")
    bench.forgia("dataset", "list")
    bench.forgia("profile", "probe", "slurm-local")
    bench.forgia("plan", "predictive-maintenance", *large)  # the first makes the sample data
    bench.forgia("plan", "predictive-maintenance", *large)
    bench.forgia("submit", "predictive-maintenance", *large)
    for seed in range(3):
        bench.forgia("submit", "predictive-maintenance", *large, "--set", f"train.seed={seed + 1}")
    bench.forgia("job", "list")
    bench.forgia("job", "list")
    print(bench.forgia("job", "show", "last").splitlines()[0:8])
    bench.forgia("job", "cancel", "last")


def list_many(bench: Bench, lab: ScaledLab, place: Path) -> None:
    """A list of many runs, of which some wait in the queue for tomorrow."""
    os.environ.update(lab.exports())
    home = HomePaths(place / "home")
    schedulers = lambda _: SlurmScheduler({}, home=home)  # noqa: E731
    for number in range(RUNS):
        if number < OPEN:
            plan = make_plan(place / "once", seed=number)
            plan.request["profile"]["extra_sbatch"] = {"begin": "now+1day"}
            submission.start(home, plan, schedulers)
            continue
        run = home.run(f"ended-{number:06d}")
        run.root.mkdir(parents=True, mode=0o700)
        Journal(run).record(State.PLANNED, by="submitter", attempt=1, profile="slurm-local")
        Journal(run).record(State.FAILED, by="job", attempt=1, reason="made for this measurement")
    print(f"{RUNS} runs, {OPEN} of them open:")
    for _ in range(ROUNDS):
        bench.forgia("job", "list", "-n", str(RUNS), "-q")


if __name__ == "__main__":
    main()
