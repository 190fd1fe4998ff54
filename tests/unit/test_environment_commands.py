"""``forgia environment``, and what plan and check say of an environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgia import environment, store
from forgia.environment import Manifest
from forgia.paths import HomePaths

Command = Callable[..., Any]


@pytest.fixture
def built(home: HomePaths, tmp_path: Path) -> Manifest:
    """An environment whose one file is not worth unpacking."""
    archive = f"sha256:{'b' * 64}"
    manifest = Manifest(
        digest=f"sha256:{'3f1c' * 16}",
        lock="requirements.txt",
        base=environment.base_interpreter(None),
        forgia="0.1.0",
        archive=archive,
        archive_bytes=3,
        unpacked_bytes=2**21,
        files=7,
        packages=(("six", "1.16.0"), ("submitit", "1.5.4")),
        created="2026-11-23T00:00:00Z",
        seconds=1.5,
    )
    store.private_directory(home.environments)
    home.environment_archive(archive).write_bytes(b"tar")
    store.write_json(home.environment(manifest.digest), manifest.to_json())
    return manifest


def test_nothing_built_is_an_empty_list(forgia_command: Command) -> None:
    assert json.loads(forgia_command("environment", "list", "--json").stdout)["environments"] == []


def test_a_built_environment_is_listed_and_shown_by_the_beginning_of_its_digest(
    forgia_command: Command, built: Manifest, home: HomePaths
) -> None:
    assert "3f1c3f1c3f1c  requirements.txt" in forgia_command("environment", "list").stdout
    shown = forgia_command("environment", "show", "3f1c")
    assert (shown.exit_code, "six" in shown.stdout, str(home.environments) in shown.stdout) == (0, True, True)
    value = json.loads(forgia_command("environment", "show", "3f1c", "--json").stdout)
    assert Manifest.from_json(value["environment"]) == built


def test_an_environment_whose_file_is_gone_or_cut_counts_as_not_built(
    forgia_command: Command, built: Manifest, home: HomePaths
) -> None:
    home.environment_archive(built.archive).write_bytes(b"t")
    assert environment.listing(home) == []
    assert forgia_command("environment", "show", "3f1c").exit_code == 3


def test_plan_and_check_tell_what_is_not_built_and_what_the_lock_lacks(
    forgia_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert forgia_command("init", "mine", "--from", "predictive-maintenance").exit_code == 0
    recipe = tmp_path / "mine" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("environment: current", "environment: requirements.txt"))
    (tmp_path / "mine" / "requirements.txt").write_text("submitit>=1.5\n")
    refused = forgia_command("check", "mine")
    assert refused.exit_code == 2
    assert "requirements.txt:1: 'submitit>=1.5' is not one version" in refused.stderr
    (tmp_path / "mine" / "requirements.txt").write_text("submitit==1.5.4\n")
    checked, planned = forgia_command("check", "mine"), forgia_command("plan", "mine")
    assert "environment requirements.txt is not built yet" in checked.stderr
    assert "lacks" in checked.stderr
    assert "torch" in checked.stderr
    assert "; not built yet" in planned.stdout
    assert "unpacking.py environment.json --" in planned.stdout


def test_an_image_needs_a_profile_that_runs_containers(
    forgia_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    forgia_command("init", "mine", "--from", "predictive-maintenance")
    recipe = tmp_path / "mine" / "recipe.yaml"
    image = f"/images/train.sif@sha256:{'a' * 64}"
    recipe.write_text(recipe.read_text().replace("environment: current", f'environment: "{image}"'))
    refused = forgia_command("check", "mine")
    assert refused.exit_code == 2
    assert "names no container runtime" in refused.stderr
