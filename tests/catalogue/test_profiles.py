"""Every cluster profile of the catalogue: honest about its sources, fit to be planned on, shown and rendered."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from forgia import fit, lint, profile
from forgia.catalogue import Catalogue
from forgia.paths import HomePaths
from forgia.profile import Profile
from forgia.schedulers import open_scheduler

FILES = Catalogue().profiles()
SLURM = sorted(set(FILES) - {"laptop"})
EXPECTED = {
    *("leonardo-booster", "leonardo-dcgp", "leonardo-serial", "leonardo-lisa", "it4lia", "lumi-g", "marenostrum5-acc"),
    *("juwels-booster", "jupiter", "karolina", "meluxina", "generic-slurm", "slurm-local", "laptop"),
}


def small_request(on: Profile) -> dict[str, Any]:
    gpus = 1 if on.gpu else 0
    small = {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": gpus, "cpus_per_task": 4, "memory_gb": 16.0}
    return {**small, "walltime_s": 1800}


def test_the_clusters_of_the_project_are_there() -> None:
    assert set(FILES) == EXPECTED


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_profile_is_named_as_its_file_and_says_where_its_facts_are_from(name: str) -> None:
    found = profile.load(FILES[name])
    assert found.name == name
    assert found.sources or found.scheduler == "local"
    assert found.verified_on is None or date.fromisoformat(found.verified_on)


@pytest.mark.parametrize("name", SLURM)
def test_a_profile_that_was_only_read_about_says_what_is_unknown(name: str) -> None:
    found, text = profile.load(FILES[name]), FILES[name].read_text()
    comments = " ".join(re.findall(r"^# (.*)$", text, re.MULTILINE))
    assert found.verified_on or re.search(r"unknown|nothing|Nothing|not on the cluster", comments, re.IGNORECASE)


@pytest.mark.parametrize("name", SLURM)
def test_nodes_that_reach_no_internet_are_told_so(name: str) -> None:
    found = profile.load(FILES[name])
    assert ("HF_HUB_OFFLINE" in found.environment) == (found.compute_internet is False)


@pytest.mark.parametrize("name", SLURM)
def test_the_queue_that_a_profile_chooses_is_one_of_its_queues(name: str) -> None:
    found = profile.load(FILES[name])
    assert not found.queues or found.queue in found.queues
    assert not found.qos_required or found.qos


@pytest.mark.parametrize("name", SLURM)
def test_a_small_request_fits_has_a_cost_and_becomes_a_script(name: str, home: HomePaths) -> None:
    found = profile.load(FILES[name]).model_copy(update={"account": "p200301", "python": "/opt/python"})
    resources = small_request(found)
    assert [*fit.node_misfits(resources, found), *fit.queue_misfits(resources, found)] == []
    cost = fit.cost_of(resources, found)
    assert (cost.units is None) == (found.billing is None)
    advice = lint.warnings(resources, found, home=home.root, variables={}, machine="x86_64", torch=None)
    assert all(name in words or "resources." in words for words in advice)
    text = open_scheduler("slurm", home=home).render(
        {"profile": profile.resolved(found), "resources": resources}, home.run("mill-1")
    )
    assert (f"#SBATCH --partition={found.partition}" in text) == bool(found.partition)
    assert "#SBATCH --account=p200301" in text
    assert bool(re.search(r"#SBATCH --(gres|gpus|gpus-per-node)=", text)) == bool(found.gpu)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_profile_is_shown_and_checked(name: str, forgia_command: Callable[..., Any]) -> None:
    shown = forgia_command("profile", "show", name)
    assert shown.exit_code == 0, shown.output
    assert re.search(rf"^name +{re.escape(name)}$", shown.stdout, re.MULTILINE)
    checked = forgia_command("profile", "check", FILES[name])
    assert checked.exit_code == 0, checked.output


def test_every_profile_is_listed(forgia_command: Callable[..., Any]) -> None:
    listed = forgia_command("profile", "list")
    assert listed.exit_code == 0, listed.output
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == sorted(FILES)


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_readme_of_the_folder_names_every_profile(name: str, repository: Path) -> None:
    assert f"`{name}`" in (repository / "cluster-profiles" / "README.md").read_text()
