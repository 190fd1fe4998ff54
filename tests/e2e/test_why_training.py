"""Why a training failed: each failure made to happen in the real program of the node, then asked about."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_training import TASK, Change, make_run, train_here

from forgia import causes, digest, status, store
from forgia.causes import Explanation
from forgia.paths import HomePaths, RunPaths
from forgia.run import Journal, State
from forgia.schedulers.local import LocalScheduler
from forgia_jobs.checkpoints import checkpoint

LOSS = "        answers = model(batch["
ON_RANK_1 = 'import os\n        if os.environ.get("SUBMITIT_LOCAL_GLOBALID") == "1":\n            '


def broken_run(home: HomePaths, *, before: str = "", in_loss: str = "", **changes: Change) -> RunPaths:
    """A run whose recipe has these lines before everything, and at the beginning of its loss."""
    home.runs.mkdir(parents=True, exist_ok=True)
    paths = make_run(home.runs, **changes)
    text = before + TASK.replace(LOSS, f"        {in_loss}\n{LOSS}" if in_loss else LOSS, 1)
    (paths.recipe / "task.py").write_text(text)
    value = json.loads(paths.request.read_text())
    value["recipe"]["digest"] = digest.of_tree(paths.recipe)
    value["profile"]["python"] = sys.executable
    value["resources"].setdefault("walltime_s", 600)
    value["resources"].setdefault("memory_gb", 1)
    paths.request.write_text(json.dumps(value))
    return paths


def fail_here(paths: RunPaths) -> Explanation:
    """Train in this process, its words in the rank's log, and ask why it failed."""
    store.private_directory(paths.attempt(1))
    with paths.stderr(1, 0).open("w") as log, contextlib.redirect_stderr(log):
        assert train_here(paths) == 1
    found = causes.explain_files(HomePaths(paths.root.parent.parent), paths.root.name)
    assert found.state == "failed"
    assert found.is_clear
    return found


@pytest.fixture
def local(home: HomePaths) -> Iterator[Callable[[RunPaths], Explanation]]:
    """Send a run to this machine's scheduler, wait for its end, ask why it failed."""
    scheduler = LocalScheduler({}, home=home)
    sent: list[str] = []

    def fail(paths: RunPaths) -> Explanation:
        journal = Journal(paths)
        journal.record(State.SUBMITTING, by="submitter", attempt=1, scheduler="local", profile="laptop")
        sent.append(scheduler.submit(json.loads(paths.request.read_text()), paths))
        journal.record(State.PENDING, by="submitter", attempt=1, job_id=sent[-1])
        deadline = time.monotonic() + 90
        while not status.refresh(home, paths.root.name, lambda _: scheduler).state.is_final:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        while scheduler.states(sent)[sent[-1]].state != "ended":  # the other rank may still be on its way out
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return causes.explain(home, paths.root.name, lambda _: scheduler)

    yield fail
    scheduler.cancel(sent)


def test_an_import_that_is_not_there_is_named(home: HomePaths) -> None:
    found = fail_here(broken_run(home, before="import not_installed_here\n"))
    assert found.cause == "import-error"
    assert "not_installed_here" in found.sentence
    assert found.rank == 0
    assert found.node


def test_an_exception_of_the_recipe_is_told_with_its_place(home: HomePaths) -> None:
    paths = broken_run(home, in_loss='raise ValueError("wear is negative")')
    found = fail_here(paths)
    line = next(n for n, text in enumerate((paths.recipe / "task.py").read_text().splitlines(), 1) if "wear is" in text)
    assert found.cause == "recipe-error"
    assert f"task.py:{line}: ValueError: wear is negative" in found.sentence
    log = found.evidence[0]
    assert log.file == str(paths.stderr(1, 0))
    assert log.number is not None
    assert Path(log.file).read_text().splitlines()[log.number - 1] == "ValueError: wear is negative"


def test_a_loss_that_is_no_number_is_told_with_its_step(home: HomePaths) -> None:
    found = fail_here(broken_run(home, in_loss='batch = {**batch, "weight": batch["weight"] * float("nan")}'))
    assert found.cause == "nan-loss"
    assert "nan at step 1" in found.sentence
    assert found.next.endswith("--set train.learning_rate=0.002")


def test_a_gate_that_refuses_is_no_crash(home: HomePaths) -> None:
    gate = {"metric": "f1", "minimum": 1.1, "baseline_margin": None}
    found = fail_here(broken_run(home, evaluate={"gate": gate}))
    assert found.cause == "gate-refused"
    assert "f1" in found.sentence


def test_data_that_changed_is_told_by_its_digest(home: HomePaths) -> None:
    paths = broken_run(home)
    (place,) = json.loads(paths.inputs.read_text()).values()
    with next((Path(place) / "data").glob("*.parquet")).open("r+b") as file:
        file.seek(40)
        file.write(b"X")
    found = fail_here(paths)
    assert found.cause == "integrity"
    assert "part-00000.parquet" in found.sentence


def test_too_few_processes_are_told(home: HomePaths) -> None:
    found = fail_here(broken_run(home, resources={"tasks_per_node": 2}))
    assert found.cause == "world-size"
    assert found.sentence.startswith("1 process(es)")


def test_memory_that_runs_out_is_told_as_such(home: HomePaths) -> None:
    found = fail_here(broken_run(home, in_loss="torch.empty(2**48)"))  # more than any machine maps
    assert found.cause == "host-memory"
    assert found.next.endswith("--set resources.memory_gb=2")


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts a small disk")
def test_a_full_disk_is_told_as_such(home: HomePaths) -> None:
    paths = broken_run(home)
    paths.checkpoints.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(paths.checkpoints)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let us mount")
    try:
        assert fail_here(paths).cause == "disk-full"
    finally:
        subprocess.run(["umount", str(paths.checkpoints)], check=True)


def test_of_two_ranks_the_one_that_was_killed_is_named_not_the_one_that_noticed(
    home: HomePaths, local: Callable[[RunPaths], Explanation]
) -> None:
    paths = broken_run(home, in_loss=f"{ON_RANK_1}os.kill(os.getpid(), 9)", resources={"tasks_per_node": 2})
    found = local(paths)
    assert (found.cause, found.rank) == ("killed", 1)
    assert any("task 1: Killed" in line.text for line in found.evidence)
    assert "contact with another rank was lost" in found_reason(paths)


def test_of_two_ranks_the_one_whose_code_failed_is_named(
    home: HomePaths, local: Callable[[RunPaths], Explanation]
) -> None:
    paths = broken_run(home, in_loss=f'{ON_RANK_1}raise OSError("no probe")', resources={"tasks_per_node": 2})
    found = local(paths)
    assert (found.cause, found.rank) == ("recipe-error", 1)
    assert "OSError: no probe" in found.sentence
    (line,) = [line for line in Journal(paths).read() if line["event"] == "failed"]
    assert (line["rank"], line["kind"], line["reason"]) == (1, "OSError", "rank-1: OSError: no probe")


STEP_9 = 'globals().setdefault("seen", []).append(1)\n        if len(seen) == 9 and '
"""What a rank does in its ninth step, when there is a checkpoint of the sixth."""
LOST = {
    "killed": "os.kill(os.getpid(), 9)",
    "nan": 'batch["target"].fill_(float("nan"))',
    "memory": "torch.empty(2**48)",
    "hang": "__import__('time').sleep(600)",
}


@pytest.mark.parametrize(
    ("how", "cause", "rank"),
    [("killed", "killed", 1), ("nan", "nan-loss", None), ("memory", "host-memory", 1), ("hang", "lost-peer", 1)],
)
def test_a_rank_that_is_lost_half_way_ends_the_job_soon_with_its_cause_and_the_last_checkpoint_holds(
    home: HomePaths, local: Callable[[RunPaths], Explanation], how: str, cause: str, rank: int | None
) -> None:
    on_rank_1 = f'{STEP_9}os.environ.get("SUBMITIT_LOCAL_GLOBALID") == "1":\n            {LOST[how]}'
    train = {"checkpoint_every": 3, "collective_timeout_s": 10}
    paths = broken_run(home, before="import os\n", in_loss=on_rank_1, resources={"tasks_per_node": 2}, train=train)
    found = local(paths)
    assert found.cause == cause, (found, found_reason(paths))
    assert rank is None or found.rank == rank
    identity = digest.of_json(json.loads(paths.request.read_text()))
    place, notes = checkpoint.choose(paths.checkpoints, identity=identity, attempt=2)
    assert place is not None
    assert (place.name in ("step-000000003", "step-000000006"), notes) == (True, [])  # the newer may not be done yet


def found_reason(paths: RunPaths) -> str:
    """What the journal says."""
    return Journal(paths).status().reason
