"""What keeps a node of ray: nothing outlives who asked for it, and a scheduler's notice ends nothing too early."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgia.errors import ClusterError
from forgia.paths import RunPaths
from forgia.run import Journal, State
from forgia_jobs.meeting import launch
from forgia_jobs.meeting.placement import Placement
from forgia_jobs.request import Resources
from forgia_jobs.under_ray import ray_cluster, ray_keeper, ray_process, ray_tune
from forgia_jobs.under_ray.ray_cluster import Asked, NodeLost

SHELL = "/bin/sh"
TREE = "(setsid sleep 600 & echo $! >{0}/orphan) ; sleep 600 & echo $! >{0}/child ; wait"
"""A child, and a grandchild in a session of its own whose parent has gone."""


def keeper(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", ray_keeper.__name__, str(folder), *command],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def pids(place: Path) -> list[int]:
    texts = [(place / name).read_text() if (place / name).exists() else "" for name in ("orphan", "child")]
    return [int(text) for text in texts if text.endswith("\n")]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_nothing_outlives_a_task_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    folder.mkdir()
    script = (
        f"import subprocess, sys, time; subprocess.Popen({[sys.executable, '-m', ray_keeper.__name__, str(folder)]!r}"
    )
    script += f" + ['{SHELL}', '-c', {TREE.format(tmp_path)!r}], stdin=subprocess.PIPE); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script]) as task:
        both = until(lambda: len(pids(tmp_path)) == 2 and pids(tmp_path))
        assert all(map(lives, both))
        task.kill()
    until(lambda: not any(map(lives, both)))
    until(lambda: not folder.exists())


def test_the_first_end_of_a_command_ends_the_others_and_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    folder.mkdir()
    ending = (ray_keeper.SEPARATOR, SHELL, "-c", "echo no room; exit 7")
    with keeper(folder, SHELL, "-c", TREE.format(tmp_path), *ending) as kept:
        assert until(lambda: (folder / ray_keeper.ENDED).exists() and (folder / ray_keeper.ENDED).read_text()) == "7"
        assert not any(map(lives, pids(tmp_path)))
        _, said = kept.communicate(timeout=60)
    assert b"no room" in said
    assert not folder.exists()


def test_a_notice_to_every_process_of_the_job_ends_none_of_ray(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    folder.mkdir()
    with keeper(folder, SHELL, "-c", TREE.format(tmp_path)) as kept:
        both = until(lambda: len(pids(tmp_path)) == 2 and pids(tmp_path))
        for number in (signal.SIGUSR2, signal.SIGTERM):
            for pid in (*both, kept.pid):
                os.kill(pid, number)
        time.sleep(0.2)
        assert all(map(lives, (*both, kept.pid)))
        kept.communicate(timeout=60)
    assert not any(map(lives, both))


def test_folders_of_jobs_that_were_killed_whole_are_removed_and_no_others(tmp_path: Path) -> None:
    for name in ("forgia-ray-left", "forgia-ray-used", "other"):
        (tmp_path / name / "r").mkdir(parents=True)
        (tmp_path / name / ray_keeper.LOCK).touch()
    with keeper(tmp_path / "forgia-ray-used", "/bin/sleep", "600") as kept:
        until((tmp_path / "forgia-ray-used" / ray_keeper.LOG).exists)
        ray_keeper.sweep(tmp_path, "forgia-ray-")
        assert sorted(place.name for place in tmp_path.iterdir()) == ["forgia-ray-used", "other"]
        kept.communicate(timeout=60)


def asked(root: Path, *, attempt: int = 1, rank: int = 1) -> Asked:
    placed = Placement(rank=rank, world_size=2, local_rank=rank, launch="77.0.0")
    return Asked(placement=placed, paths=RunPaths(root), resources=Resources(nodes=2, memory_gb=64), attempt=attempt)


def test_the_head_is_told_of_to_the_user_alone_and_to_this_attempt_alone(tmp_path: Path) -> None:
    (tmp_path / ".shared").write_text("write")
    head = asked(tmp_path, rank=0)
    ray_cluster.publish(head, token="secret", address="10.0.0.1:7")
    assert head.paths.ray.stat().st_mode & 0o777 == 0o600
    assert ray_cluster.find(asked(tmp_path))["address"] == "10.0.0.1:7"
    assert ray_cluster.published(asked(tmp_path, attempt=2)) == {}
    ray_cluster.publish(head, over=True)
    assert "secret" not in head.paths.ray.read_text()
    with pytest.raises(NodeLost, match="rank 0"):
        ray_cluster.find(asked(tmp_path))


def test_ray_gets_little_of_the_memory_and_nothing_that_was_meant_for_another_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [ray_cluster.store_bytes(Resources(memory_gb=gigabytes)) >> 20 for gigabytes in (0.5, 16, 500)]
    assert sizes == [80, 327, 512]
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:1")
    told = ray_cluster.environment(asked(tmp_path), tmp_path)
    assert "RAY_ADDRESS" not in told
    assert (told["RAY_AUTH_MODE"], told["RAY_USAGE_STATS_ENABLED"]) == ("token", "0")
    assert "secret" not in " ".join(ray_cluster.ray_start(asked(tmp_path), tmp_path))


def test_a_place_whose_sockets_would_not_open_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/tmp/" + "long" * 20)
    folder = ray_cluster.make_folder()
    try:
        assert folder.parent == Path("/tmp")
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        folder.rmdir()
    assert issubclass(NodeLost, ClusterError)


def test_only_a_request_for_ray_starts_ray(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    assert not launch.is_under_ray(paths)
    for request, expected in (
        ({"train": {"strategy": "ddp"}}, False),
        ({"train": {"strategy": "ray"}}, True),
        ({"train": {"strategy": "ddp"}, "sweep": {}}, True),
        ([], False),
    ):
        paths.request.write_text(json.dumps(request))
        assert launch.is_under_ray(paths) is expected


def test_each_epoch_is_told_once_also_where_a_run_goes_back(tmp_path: Path) -> None:
    place = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"kind": "epoch", "epoch": epoch, "loss": 1.0}) + "\n" for epoch in (1, 2, 3, 4)]
    curve = ray_tune.Curve(place)
    told = [[line["epoch"] for line in curve.news()]]
    for text in (lines[0] + lines[1][:9], "".join(lines[:3]), lines[0], "".join(lines)):
        place.write_text(text)
        told.append([line["epoch"] for line in curve.news()])
    assert told == [[], [1], [2, 3], [], [4]]


def test_a_point_takes_the_gpus_of_its_place(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    paths.request.write_text(json.dumps({"resources": {"gpus_per_node": 2}}))
    task = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1"}
    for visible, expected in (("0,1,2,3", {"CUDA_VISIBLE_DEVICES": "2,3"}), ("6,7", {}), ("6", {}), (None, {})):
        environment = {**task, **({"CUDA_VISIBLE_DEVICES": visible} if visible else {})}
        assert ray_tune.own_gpus(paths, environment) == expected


def test_a_signal_is_passed_on_once_for_each_name(tmp_path: Path) -> None:
    script = "import signal, sys, time\nfor n in (10, 12): signal.signal(n, lambda n, _: print(n, flush=True))\n"
    script += "print('up', flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        watching = ray_process.watch(process, tmp_path)
        for name, number in (("SIGUSR1", 10), ("SIGUSR2", 12)):
            ray_cluster.write_private(tmp_path / ray_cluster.STOP, name)
            next(watching)
            next(watching)
            assert process.stdout.readline() == b"%d\n" % number
        process.stdin.close()
        assert list(watching) is not None
        assert process.stdout.read() == b""


def test_a_point_that_was_given_up_ends_with_its_process_and_one_that_is_done_after_all_stays(tmp_path: Path) -> None:
    points = [RunPaths(tmp_path / name) for name in ("gone", "stopped", "done", "never-judged")]
    for paths in points:
        paths.root.mkdir()
        Journal(paths).record(State.RUNNING, by="job", attempt=1, host=socket.gethostname(), pid=2**22 + 1)
    Journal(points[1]).record(State.CHECKPOINTED, by="job", attempt=1, reason="stopped by SIGTERM")
    Journal(points[2]).record(State.SUCCEEDED, by="job", attempt=1)
    began, judged = time.monotonic(), {"gone": 2, "stopped": 4, "done": 4}
    found = list(ray_tune.settle(points, judged, is_stopped=False))
    assert time.monotonic() - began < 10, "nobody waits for a process that is not there"
    assert [status.state for status in found] == [State.CANCELLED, State.CANCELLED, State.SUCCEEDED, State.RUNNING]
    assert found[0].reason == "given up early after epoch 2: others were better by then"


def test_rays_judge_hears_nothing_of_a_last_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{"kind": "epoch", "epoch": epoch, "validation": {"rmse": float(epoch)}} for epoch in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told: list[Any] = []
    monkeypatch.setattr("ray.tune.report", told.append)
    ray_tune.report(ray_tune.Curve(tmp_path / "metrics.jsonl"), last=3)
    assert told == [{"epoch": 1, "figure": -1.0}, {"epoch": 2, "figure": -2.0}]
