"""What the preflight finds, whom it blames, and when it sends a job round."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forgia.paths import RunPaths
from forgia.run import Journal, State
from forgia.store import private_directory, write_json
from forgia_jobs.meeting import preflight, rendezvous
from forgia_jobs.meeting.placement import Placement
from forgia_jobs.meeting.preflight import Asked, BadNodes, Facts
from forgia_jobs.meeting.rendezvous import Absent, World
from forgia_jobs.request import Resources

HOSTS = ("n1", "n2")


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    paths = RunPaths(tmp_path / "run")
    private_directory(paths.root)
    alone = Placement(rank=0, world_size=1, local_rank=0, hosts=("n1",), job_id="7")
    return Asked(placement=alone, paths=paths, resources=Resources(), attempt=1)


def test_a_sound_node_has_no_problem_and_a_world_of_one_needs_no_meeting(asked: Asked) -> None:
    assert preflight.meet(asked) == World(rank=0, size=1, device=torch.device("cpu"))
    assert preflight.look(asked)[1].problems == ()
    assert list(asked.paths.attempt(1).iterdir()) == []


def test_what_is_found_is_written_down_and_a_world_of_one_has_nothing_to_measure(asked: Asked) -> None:
    journal = Journal(asked.paths)
    preflight.report(World(rank=0, size=1, device=torch.device("cpu")), journal, attempt=1, started=0.0)
    (note,) = journal.read()
    assert note["text"].startswith("preflight: all nodes are fit")
    assert list(note["preflight"]) == ["seconds"]


def test_scratch_that_cannot_be_written_makes_the_node_a_bad_one(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/no/such/folder")
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    with pytest.raises(BadNodes) as caught:
        preflight.meet(asked)
    assert caught.value.nodes == ("n7",)
    assert "preflight: node n7: /no/such/folder" in caught.value.message
    preflight.meet(asked, is_wanted=False)


def test_a_full_disk_is_told_with_what_is_wanted(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "scratch_bytes", lambda: 3 * 2**20)
    (problem,) = preflight.look(asked)[1].problems
    assert "has 3 MiB free, 64 are wanted" in problem


def test_a_run_folder_that_takes_no_files_is_a_problem(asked: Asked) -> None:
    asked.paths.attempts.touch()
    (problem,) = preflight.look(asked)[1].problems
    assert str(asked.paths.attempts) in problem


def test_gpus_that_are_not_there_are_a_problem_of_the_node_and_keep_nobody_waiting(asked: Asked) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    _, facts = preflight.look(replace(asked, resources=Resources(gpus_per_node=4)))
    assert any("torch" in problem and "sees none" in problem for problem in facts.problems)


def test_two_ranks_of_a_node_with_one_gpu_are_told_and_of_two_nodes_not() -> None:
    shared = [Facts(rank=0, host="n1", gpu="GPU-1"), Facts(rank=1, host="n1", gpu="GPU-1")]
    resources = Resources(tasks_per_node=2, gpus_per_node=2)
    with pytest.raises(BadNodes, match="two processes were given GPU GPU-1"):
        preflight.refuse_bad(shared, resources)
    preflight.refuse_bad(shared, replace(resources, gpus_per_node=1))  # more tasks than GPUs: they were asked to share
    preflight.refuse_bad([shared[0], replace(shared[1], host="n2")], resources)


@given(st.lists(st.tuples(st.sampled_from(["n1", "n2", "n3"]), st.booleans()), max_size=12))
def test_exactly_the_nodes_with_a_problem_are_bad(found: list[tuple[str, bool]]) -> None:
    every = [Facts(rank=i, host=host, problems=("broken",) * bad) for i, (host, bad) in enumerate(found)]
    every = [Facts.from_text(json.dumps(asdict(fact))) for fact in every]
    expected = sorted({host for host, bad in found if bad})
    try:
        preflight.refuse_bad(every, Resources())
        assert expected == []
    except BadNodes as error:
        assert list(error.nodes) == expected


def test_ranks_that_never_came_are_told_by_their_nodes(asked: Asked) -> None:
    placed = Placement(rank=0, world_size=4, local_rank=0, hosts=HOSTS)
    wide = replace(asked, placement=placed, resources=Resources(nodes=2, tasks_per_node=2))
    error = preflight.missing_nodes(wide, Absent([2, 3], of=4))
    assert isinstance(error, BadNodes)
    assert error.nodes == ("n2",)
    alone = replace(wide, placement=replace(placed, hosts=()))
    assert not isinstance(preflight.missing_nodes(alone, Absent([2, 3], of=4)), BadNodes)


# Going round


def go(asked: Asked, *, last: int | None = None, nodes: tuple[str, ...] = ("n1",)) -> bool:
    return preflight.go_round(BadNodes(nodes, "preflight: node n1: bad"), asked, Journal(asked.paths), last=last)


def test_a_job_goes_round_once_and_every_rank_decides_alike(asked: Asked) -> None:
    wide = replace(asked, placement=replace(asked.placement, world_size=2, hosts=HOSTS))
    other = replace(wide, placement=replace(wide.placement, rank=1))
    assert [go(other), go(wide), go(other)] == [True] * 3  # whether or not rank 0 has written already
    assert asked.paths.excluded_nodes.read_text() == "n1 1\n"
    found = Journal(asked.paths).status()
    assert found.state is State.CHECKPOINTED
    assert "to run without n1" in found.reason
    assert not go(replace(wide, attempt=2))
    assert not go(replace(other, attempt=2))


def test_a_job_that_may_not_go_round_fails(asked: Asked) -> None:
    assert not go(replace(asked, placement=replace(asked.placement, hosts=())))
    assert not go(asked, last=1)
    assert not asked.paths.excluded_nodes.exists()


# Two processes

RANK = """
    import json, pathlib, sys, time
    import torch
    from forgia.paths import RunPaths
    from forgia.run import Journal
    from forgia_jobs.meeting import preflight, rendezvous
    from forgia_jobs.meeting.placement import Placement
    from forgia_jobs.request import Resources

    rank, folder, bad = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3] == sys.argv[1]
    if bad:
        preflight.CHECKS += (lambda asked: "it is on fire",)
    paths = RunPaths(folder)
    placed = Placement(rank=rank, world_size=2, local_rank=rank, launch="test")
    asked = preflight.Asked(placement=placed, paths=paths, resources=Resources(tasks_per_node=2), attempt=1)
    started = time.perf_counter()
    try:
        world = preflight.meet(asked)
        preflight.report(world, Journal(paths), attempt=1, started=started)
        rendezvous.leave(world)
    except preflight.BadNodes as error:
        print(error.message)
"""


def ranks(tmp_path: Path, *, bad: str = "none") -> tuple[list[str], RunPaths]:
    paths = RunPaths(tmp_path / "run")
    private_directory(paths.root)
    program = textwrap.dedent(RANK)
    both = [
        subprocess.Popen([sys.executable, "-c", program, str(rank), str(paths.root), bad], stdout=-1, text=True)
        for rank in range(2)
    ]
    told = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    return told, paths


def test_two_ranks_measure_their_collective_and_their_clocks(tmp_path: Path) -> None:
    told, paths = ranks(tmp_path)
    assert told == ["", ""]
    (note,) = Journal(paths).read()
    found = note["preflight"]
    assert found["latency_ms"] > 0
    assert found["bandwidth_gb_s"] > 0
    assert 0 <= found["clock_s"] < preflight.CLOCKS_S
    assert "GB/s" in note["text"]


def test_what_one_rank_finds_all_are_told(tmp_path: Path) -> None:
    told, _ = ranks(tmp_path, bad="1")
    assert told[0] == told[1]
    assert "it is on fire" in told[0]


def test_a_rank_that_has_said_why_it_ends_is_not_waited_for(asked: Asked) -> None:
    placed = Placement(rank=0, world_size=2, local_rank=0, launch="test")
    call = rendezvous.RollCall(placed, asked.paths, nodes=1, attempt=1)
    private_directory(asked.paths.attempt(1))
    write_json(asked.paths.reason(1, 1), {"reason": "out of order", "kind": "X"})
    with pytest.raises(rendezvous.ClusterError, match=rendezvous.ANOTHER_FAILED):
        call.exchange("here")


def test_rank_0_is_not_looked_for_once_it_has_said_why_it_ends(asked: Asked) -> None:
    private_directory(asked.paths.attempt(1))
    write_json(asked.paths.reason(1, 0), {"reason": "its environment was altered", "kind": "UnfitError"})
    with pytest.raises(rendezvous.ClusterError, match=rendezvous.ANOTHER_FAILED):
        rendezvous.RollCall(Placement(rank=1, world_size=2, local_rank=0), asked.paths, nodes=2, attempt=1)


def test_a_rank_that_does_not_come_is_named(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "START_TIMEOUT_S", 1.0)
    placed = Placement(rank=0, world_size=3, local_rank=0, launch="test")
    with pytest.raises(Absent) as caught:
        rendezvous.RollCall(placed, asked.paths, nodes=1, attempt=1).exchange("here")
    assert caught.value.ranks == (1, 2)


def test_clocks_that_differ_much_are_told_and_no_failure() -> None:
    measured = {"latency_ms": 0.1, "bandwidth_gb_s": 1.0, "clock_s": 60.0}
    assert "clocks are 60.0 s apart" in preflight.sentence(measured, seconds=0.2)
    assert "clocks" not in preflight.sentence({**measured, "clock_s": 0.01}, seconds=0.2)


def test_only_a_sum_that_took_too_long_is_the_networks_fault() -> None:
    late = preflight.failed_sum(RuntimeError("Timed out waiting 60000ms for recv operation to complete"))
    assert "did not end within 60 s" in late.message
    own = preflight.failed_sum(RuntimeError("CUDA runtime error: out of memory\nmore"))
    assert own.message == "preflight: a sum over all ranks failed: CUDA runtime error: out of memory"
