from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia.errors import ClusterError
from forgia.paths import RunPaths
from forgia_jobs.meeting import nodelist, placement, rendezvous
from forgia_jobs.meeting.placement import Placement
from forgia_jobs.request import Resources


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", []),
        ("n1", ["n1"]),
        ("n[1-3,5]", ["n1", "n2", "n3", "n5"]),
        ("n[08-11],login1", ["n08", "n09", "n10", "n11", "login1"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("lrdn[0001-0002]-ib", ["lrdn0001-ib", "lrdn0002-ib"]),
    ],
)
def test_a_node_list_names_its_hosts(text: str, hosts: list[str]) -> None:
    assert nodelist.expand(text) == hosts


@pytest.mark.parametrize("text", ["n[1", "n1]", "n[]", "n[3-1]", "n[a-b]", "n[[1]]"])
def test_a_broken_node_list_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="node list"):
        nodelist.expand(text)


@given(st.lists(st.integers(0, 9999), min_size=1, max_size=20))
def test_every_number_of_a_list_is_a_host(numbers: list[int]) -> None:
    assert nodelist.expand(f"n[{','.join(map(str, numbers))}]") == [f"n{number}" for number in numbers]


SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_PROCID": "3",
    "SLURM_NTASKS": "4",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_RESTART_COUNT": "2",
}


def test_a_slurm_task_knows_its_place() -> None:
    found = placement.discover(SLURM)
    assert (found.rank, found.world_size, found.local_rank) == (3, 4, 1)
    assert found.hosts == ("n1", "n2")
    assert found.job_id == "77"
    assert found.launch != placement.discover({**SLURM, "SLURM_RESTART_COUNT": "3"}).launch


def test_a_task_of_submitits_local_executor_knows_its_place_even_inside_a_slurm_job() -> None:
    local = {
        "SUBMITIT_LOCAL_JOB_ID": "123",
        "SUBMITIT_LOCAL_NTASKS": "2",
        "SUBMITIT_LOCAL_GLOBALID": "1",
        "SUBMITIT_LOCAL_LOCALID": "1",
    }
    found = placement.discover({**SLURM, **local})
    assert (found.rank, found.world_size, found.job_id) == (1, 2, "123")


def test_torchruns_variables_are_read_and_no_variables_mean_one_process() -> None:
    launched = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
    assert placement.discover(launched).address == ("10.0.0.1", 29500)
    assert placement.discover({}).world_size == 1


def test_half_a_set_of_variables_is_an_error() -> None:
    with pytest.raises(ClusterError, match="SLURM_NTASKS"):
        placement.discover({"SLURM_PROCID": "0", "SLURM_JOB_ID": "1"})


def test_another_number_of_processes_than_asked_for_is_an_error() -> None:
    with pytest.raises(ClusterError, match="1 process"):
        placement.check(Placement(rank=0, world_size=1, local_rank=0), Resources(nodes=2, tasks_per_node=4))


def test_an_address_left_by_an_earlier_launch_is_passed_over(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    place = tmp_path / ".rendezvous.json"
    place.write_text('{"launch": "earlier", "hosts": ["127.0.0.1"], "port": 9}')
    points = {}

    def meet(rank: int) -> None:
        own = Placement(rank=rank, world_size=2, local_rank=rank, launch="now")
        points[rank] = rendezvous.RollCall(own, paths, nodes=1, attempt=1).store

    second = threading.Thread(target=meet, args=(1,))
    second.start()
    meet(0)
    second.join(timeout=30)
    points[0].set("key", "value")
    assert points[1].get("key") == b"value"


def test_gpus_that_torch_does_not_see_are_an_error_and_no_slow_run() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ClusterError, match="sees none"):
        rendezvous.choose_device(0, gpus_per_node=4)
    assert rendezvous.choose_device(0, gpus_per_node=0).type == "cpu"
