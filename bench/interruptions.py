"""Interrupt two trainings on a real SLURM again and again, and count what was lost.

    python bench/interruptions.py [PREEMPTIONS] [TIME_LIMITS] [NODE_LOSSES]      (default: 20 10 5)

Two jobs of two nodes each train one model; one is preempted, by notice and by SIGTERM in turn, the other reaches its
time limit and loses nodes. Prints a line an interruption, a table, and whether the tensors are those of a run that was
left alone.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join(str(ROOT / name) for name in ("src", "jobs", "cli"))
sys.path[:0] = [str(ROOT / "tests/slurm"), str(ROOT / "src"), str(ROOT / "jobs")]

import lab_interruptions as interruptions  # noqa: E402
import lab_packages as packages  # noqa: E402
from lab import SlurmLab, free_port  # noqa: E402
from lab_interruptions import KINDS, PAIRS, Outcome  # noqa: E402

from forgia.paths import RunPaths  # noqa: E402

PAUSE_S = 0.2
STEPS_EACH = {"preemption": 60, "time_limit": 200, "node_failure": 60}
"""Steps that an attempt may do before its interruption has come, with some to spare."""
BUDGETS = tuple(f"resources.attempts.{kind}=100" for kind in KINDS)


def main(counts: Sequence[int]) -> int:
    """Interrupt, compare, print; 0 if every promise was kept."""
    wanted = dict(zip(KINDS, counts, strict=True))
    with tempfile.TemporaryDirectory(prefix="fi-", dir="/tmp") as folder:
        lab = SlurmLab(Path(folder) / "lab", port=free_port(4), prefix=packages.provide())
        lab.start()
        try:
            os.environ.update(lab.exports())
            return measure(lab, Path(folder), wanted)
        finally:
            lab.stop()


def measure(lab: SlurmLab, folder: Path, wanted: dict[str, int]) -> int:
    """One job for preemptions, one for the others, one that is left alone."""
    client = interruptions.home_of(folder)
    source = client.catalogue.recipe("predictive-maintenance")
    slow, quick = (interruptions.recipe_with_pause(source, folder, pause_s=pause) for pause in (PAUSE_S, 0.0))
    own = {kind: number * STEPS_EACH[kind] for kind, number in wanted.items()}
    steps = max(own["preemption"], own["time_limit"] + own["node_failure"]) + 100
    first, second = (interruptions.submit(client, slow, steps=steps, nodes=pair, sets=BUDGETS) for pair in PAIRS)
    outcomes: list[Outcome] = []
    half = wanted["preemption"] // 2
    others = [kind for kind in ("time_limit", "node_failure") for _ in range(wanted[kind])]
    beside = threading.Thread(target=work, args=(lab, second, others, outcomes))
    beside.start()
    work(lab, first, ["preemption"] * (wanted["preemption"] - half), outcomes)
    with interruptions.without_user_signal(lab):
        work(lab, first, ["preemption"] * half, outcomes)
    beside.join()
    alone = interruptions.tensors(client, interruptions.submit(client, quick, steps=steps, nodes=None))
    are_same = [interruptions.tensors(client, paths) == alone for paths in (first, second)]
    return report(outcomes, wanted, are_same=all(are_same), steps=steps)


def work(lab: SlurmLab, paths: RunPaths, kinds: Sequence[str], outcomes: list[Outcome]) -> None:
    """Interrupt one job so, one after the other."""
    interruptions.await_progress(paths, interruptions.running(paths)[-1]["attempt"] if outcomes else 1)
    for turn, kind in enumerate(kinds):
        outcomes.append(interruptions.interrupt(lab, paths, kind, turn=turn))
        print(outcomes[-1], flush=True)


def report(outcomes: Sequence[Outcome], wanted: dict[str, int], *, are_same: bool, steps: int) -> int:
    """The table; 0 if all was as promised."""
    print(f"\n{'interruption':14} {'asked':>5} {'found':>5} {'steps lost':>10} {'most':>5} {'s to work again':>16}")
    for kind, number in wanted.items():
        mine = [outcome for outcome in outcomes if outcome.kind == kind]
        found = sum(outcome.cause == kind for outcome in mine)
        lost = [outcome.lost_steps for outcome in mine] or [0]
        seconds = statistics.median([outcome.seconds for outcome in mine] or [0])
        print(f"{kind:14} {number:5} {found:5} {statistics.median(lost):10g} {max(lost):5} {seconds:16.1f}")
    are_kept = len(outcomes) == sum(wanted.values()) and all(outcome.is_as_promised for outcome in outcomes)
    print(f"{steps} steps in two jobs; tensors as of a run left alone: {are_same}; every promise kept: {are_kept}")
    return 0 if are_same and are_kept else 1


if __name__ == "__main__":
    raise SystemExit(main([int(argument) for argument in sys.argv[1:]] or [20, 10, 5]))
