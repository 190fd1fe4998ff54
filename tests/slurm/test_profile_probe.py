"""`forgia profile probe` on a real SLURM: what it asks, what it finds, and what it writes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import SlurmLab

from forgia import cluster, probe, profile
from forgia.catalogue import Catalogue


def sacctmgr(*words: str) -> None:
    subprocess.run(["sacctmgr", "--immediate", *words], check=True, capture_output=True, timeout=60)


@pytest.fixture
def long_qos(slurm_client: SlurmLab) -> Iterator[str]:
    """A QOS with limits of its own, gone again after the test."""
    limits = ["MaxWall=4-00:00:00", "MaxTRESPerJob=node=3,cpu=16", "MinTRESPerJob=node=2", "Flags=PartitionTimeLimit"]
    sacctmgr("add", "qos", "forgia-long", *limits)
    yield "forgia-long"
    sacctmgr("delete", "qos", "forgia-long")


def test_the_profile_of_the_lab_is_as_the_lab_is(forgia_command: Callable[..., Any], slurm_lab: SlurmLab) -> None:
    outcome = forgia_command("profile", "probe", "slurm-local")
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout == "slurm-local: no difference to what cluster lab tells\n"
    assert "your accounts: acme" in outcome.stderr


def test_a_profile_of_which_nothing_is_known_is_filled_in_and_accepted(
    forgia_command: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    outcome = forgia_command("profile", "probe", "generic-slurm", "--partition", "main", "--write", path, "--json")
    assert outcome.exit_code == 0, outcome.output
    told = json.loads(outcome.stdout)
    assert (told["cluster"], told["slurm"].split(".")[0].isdecimal()) == ("lab", True)
    assert {"cpus_per_node", "memory_mb_per_node", "gpu.per_node"} <= {item["field"] for item in told["differences"]}
    assert forgia_command("profile", "check", path).exit_code == 0
    written = profile.load(path)
    local = profile.load(Catalogue().profile("slurm-local"))
    assert written.verified_on
    assert (written.partition, written.queue.walltime) == ("main", local.queue.walltime)
    assert (written.cpus_per_node, written.memory_mb_per_node) == (local.cpus_per_node, local.memory_mb_per_node)
    request = {"nodes": 2, "tasks_per_node": 1, "gpus_per_node": 3, "cpus_per_task": 2, "memory_gb": 1.0}
    assert written.charge_per_hour(request) == local.charge_per_hour(request) == 52  # as SLURM: 2 x (2 x 1 + 3 x 8)


def test_the_charge_of_the_profile_is_what_slurm_bills(slurm_client: SlurmLab) -> None:
    local = profile.load(Catalogue().profile("slurm-local"))
    shape = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2", "--gres=gpu:3", "--mem=1G", "--partition=main"]
    argv = ["sbatch", "--parsable", "--hold", *shape, "--wrap=true"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    job_id = done.stdout.strip()
    shown = subprocess.run(
        ["scontrol", "show", "job", job_id], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    request = {"nodes": 2, "tasks_per_node": 1, "gpus_per_node": 3, "cpus_per_task": 2, "memory_gb": 1.0}
    assert f"billing={local.charge_per_hour(request):.0f}" in shown


def test_limits_of_a_qos_are_read_as_slurm_has_them(long_qos: str) -> None:
    queue = profile.Queue(qos=long_qos, nodes_max=9)
    local = profile.load(Catalogue().profile("slurm-local"))
    found = probe.compare(local.model_copy(update={"qos": long_qos, "queues": (*local.queues, queue)}), cluster.ask())
    seen = found.seen.queue
    assert (seen.walltime, seen.nodes_min, seen.nodes_max, seen.cores_max) == (4 * 86400, 2, 3, 16)
    changed = {item.field: (item.profile, item.cluster) for item in found.differences}
    assert changed[f"queues.qos {long_qos}.nodes_max"] == (9, 3)
    assert any(f"no qos {long_qos}" in words for words in found.remarks)  # nobody was given it


def test_another_clusters_profile_is_told_apart(forgia_command: Callable[..., Any]) -> None:
    outcome = forgia_command("profile", "probe", "leonardo-booster")
    assert outcome.exit_code == 3
    assert "no partition named 'boost_usr_prod'; known: low, main" in outcome.stderr


def test_an_accounting_that_does_not_answer_leaves_its_part_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slurm_client: SlurmLab
) -> None:
    (tmp_path / "sacctmgr").symlink_to("/bin/true")  # as on sites that close it to users
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = cluster.ask()
    assert (found.qos, found.accounts) == ({}, ())
    local = profile.load(Catalogue().profile("slurm-local"))
    compared = probe.compare(local, found)
    assert compared.differences == ()
    assert any("qos stay unknown" in words for words in compared.remarks)
