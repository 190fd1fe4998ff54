"""The harness itself: what the other SLURM tests stand on."""

from __future__ import annotations

from lab import SlurmLab


def test_every_node_takes_jobs_with_its_own_gpus(slurm_lab: SlurmLab) -> None:
    command = 'echo "$SLURM_NODEID ${CUDA_VISIBLE_DEVICES:-none}"'
    lines = slurm_lab.run("srun", "--nodes=4", "--gres=gpu:2", "bash", "-c", command).split("\n")
    assert sorted(filter(None, lines)) == [f"{node} 0,1" for node in range(4)]


def test_the_user_has_an_account_and_two_partitions(slurm_lab: SlurmLab) -> None:
    users = slurm_lab.run("sacctmgr", "-nP", "list", "user", "format=user,defaultaccount").split()
    assert f"{slurm_lab.layout.user}|acme" in users
    assert slurm_lab.run("sinfo", "-h", "-o", "%P").split() == ["main*", "low"]


def test_a_node_without_power_comes_back(slurm_lab: SlurmLab) -> None:
    slurm_lab.cut_power("n2")
    assert slurm_lab.run("sinfo", "-h", "-n", "n2", "-p", "main", "-o", "%t").startswith("down")
    slurm_lab.restore_power("n2")
    assert slurm_lab.run("srun", "--nodelist=n2", "echo", "back") == "back\n"
