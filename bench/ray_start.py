"""How long two ranks take to start and meet: by the launcher alone (ddp), and under ray in an allocation of its own.

    python bench/ray_start.py [--processes 2] [--repeats 3]

``met_s`` is from the start of the job to the ranks' first word, that all of them have met; ``gone_s`` from their last
word to the end of every process of the job. The two take turns. Prints one JSON object with medians, every figure, and
the machine's load before each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PLACES = [str(ROOT / name) for name in ("src", "cli", "jobs")]
sys.path[:0] = PLACES
os.environ["PYTHONPATH"] = os.pathsep.join(PLACES)

from forgia.client import Client  # noqa: E402
from forgia.run import Journal, State  # noqa: E402
from forgia.schedulers.protocol import JobState  # noqa: E402

STRATEGIES = ("ddp", "ray")
SETS = ("train.epochs=1", "evaluate.gate=null", "evaluate.baseline=null", "resources.cpus_per_task=1")


def measured(strategy: str, processes: int) -> dict[str, float]:
    """One job."""
    client, load = Client(), os.getloadavg()[0]
    sets = [*SETS, f"train.strategy={strategy}", f"resources.tasks_per_node={processes}"]
    plan = client.plan("predictive-maintenance", sets=sets, test=True)
    began = time.time()
    run_id = client.start(plan, again=True).run_id
    *_, last = client.wait(run_id, sleep=lambda _: time.sleep(0.05))
    if last.state is not State.SUCCEEDED:
        sys.exit(f"{run_id}: {last.state}: {last.reason}")
    job_id, scheduler = str(last.job_id), client.scheduler("local")
    while scheduler.states([job_id])[job_id].state is not JobState.ENDED:
        time.sleep(0.05)
    ended = time.time()
    times = {line["event"]: datetime.fromisoformat(line["t"]).timestamp() for line in lines(client, run_id)}
    return {"met_s": times["running"] - began, "gone_s": ended - times["succeeded"], "load": load}


def lines(client: Client, run_id: str) -> list[dict[str, Any]]:
    """What the run's journal says."""
    return Journal(client.home.run(run_id)).read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in STRATEGIES}
    with tempfile.TemporaryDirectory() as home:
        os.environ["FORGIA_HOME"] = home
        for _ in range(given.repeats):
            for name in STRATEGIES:
                found[name].append(measured(name, given.processes))
    medians = {
        name: {key: round(statistics.median(item[key] for item in items), 2) for key in items[0]}
        for name, items in found.items()
    }
    print(json.dumps({"processes": given.processes, "median": medians, "all": found}, indent=2))


if __name__ == "__main__":
    main()
