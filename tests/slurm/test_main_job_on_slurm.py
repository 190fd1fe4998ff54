"""The main job through submitit and a real SLURM: the same recipe, another profile, nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import SlurmLab

from forgia import samples
from forgia.catalogue import Catalogue
from forgia.paths import HomePaths
from forgia.run import Journal, State, statuses

Command = Callable[..., "subprocess.CompletedProcess[str]"]
PROFILE = ("--profile", "slurm-local")


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("export")
    return next(path for path in samples.generate(Catalogue().generator("three-firms"), place) if "alfa" in path.name)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export: Path) -> Command:
    """The command line in a folder with a recipe bound to one firm's data."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def forgia(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "forgia_cli.main", *map(str, arguments)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=dict(os.environ), timeout=400)
        assert not check or done.returncode == 0, done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        return done

    forgia("dataset", "add", "alfa", export)
    forgia("init", "mine", "--from", "predictive-maintenance", "--data", "alfa")
    return forgia


@pytest.mark.slow
def test_two_nodes_train_one_model_that_the_registry_gets(command: Command, home: HomePaths) -> None:
    two = ("--set", "resources.nodes=2", "--set", "resources.cpus_per_task=1")
    plan = json.loads(command("plan", "--test", *two, *PROFILE, "--json").stdout)
    assert "#SBATCH --nodes=2" in plan["script"]
    assert "#SBATCH --partition=main" in plan["script"]
    ref = command("run", "--test", *two, *PROFILE).stdout.split()[0]
    assert ref == "mine@1.0.0"
    (found,) = statuses(home)
    assert (found.state, found.scheduler, found.attempt) == (State.COLLECTED, "slurm", 1)
    running = next(line for line in Journal(home.run(found.run_id)).read() if line["event"] == "running")
    assert running["world_size"] == 2
    logs = command("job", "logs", found.run_id).stdout
    assert "[1.0" in logs
    assert "[1.1" in logs
    assert "verified" in command("model", "verify", ref).stdout


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_tensors_on_laptop_and_slurm(command: Command) -> None:
    refs = [command("run", "--test", "--profile", name).stdout.split()[0] for name in ("laptop", "slurm-local")]
    assert refs == ["mine@1.0.0", "mine@1.0.1"]
    shown = [json.loads(command("model", "show", ref, "--json").stdout) for ref in refs]
    digests = [model["tensors"] for model in shown]
    assert digests[0] == digests[1] != ""


@pytest.mark.slow
def test_cancelling_reaches_the_job_and_logs_stay(command: Command, slurm_lab: SlurmLab, home: HomePaths) -> None:
    run_id = command("submit", "-q", "--test", "--set", "train.epochs=900", *PROFILE).stdout.strip()
    assert command("job", "cancel", run_id).stdout.split() == [f"{run_id}:", "cancelled"]
    done = command("job", "wait", run_id, check=False)
    assert done.returncode == 6
    assert "cancelled by" in done.stderr
    assert command("job", "list").stdout.count("cancelled") >= 1


def test_a_refusal_by_slurm_is_told_in_its_words_with_exit_code_5(command: Command, home: HomePaths) -> None:
    done = command("run", "--test", *PROFILE, "--account", "no-such-account", check=False)
    assert done.returncode == 5
    assert "account" in done.stderr.lower()
    (found,) = statuses(home)
    assert found.state is State.FAILED
