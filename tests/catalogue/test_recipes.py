"""Every recipe of the catalogue is read, planned on the profiles, and trained on its sample data."""

from __future__ import annotations

from pathlib import Path

import pytest

import forgia
from forgia import digest, scoring, submission
from forgia.catalogue import Catalogue
from forgia.paths import HomePaths

RECIPES = sorted(Catalogue().recipes())
PROFILES = ("laptop", "slurm-local", "leonardo-booster")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> forgia.Client:
    """One home for all, so that sample data is made once."""
    return forgia.Client(forgia.Settings(home=HomePaths(tmp_path_factory.mktemp("catalogue") / "home")))


def test_there_are_recipes() -> None:
    assert "predictive-maintenance" in RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_the_readme_says_problem_data_method_and_cost(name: str) -> None:
    text = (Catalogue().recipe(name) / "README.md").read_text().lower()
    assert all(word in text for word in ("data contract", "method", "figures", "cost", "limits"))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("profile", PROFILES)
def test_the_recipe_plans_and_renders_on_the_profile(client: forgia.Client, name: str, profile: str) -> None:
    chosen = client.open_profile(profile, account="AIFAC_P02_001" if profile.startswith("leonardo") else None)
    plan = client.plan(name, profile=chosen)
    script = client.script(plan)
    assert script.startswith("#!/bin/bash")
    assert plan.identity == digest.of_json(plan.request)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_trains_on_its_sample_data(client: forgia.Client, name: str) -> None:
    model = client.run(client.plan(name, test=True))
    assert isinstance(model, scoring.Model)
    assert model.card.startswith("---")
    assert model.metrics["training"]["steps"] > 0
    assert Path(client.home.registry).is_dir()


@pytest.mark.parametrize("name", RECIPES)
def test_the_script_shown_for_a_request_that_has_a_run_is_that_runs(client: forgia.Client, name: str) -> None:
    plan = client.plan(name, profile=client.open_profile("slurm-local"))
    before = client.script(plan)
    submission.freeze(client.home.run(submission.new_run_id(plan, taken=())), plan)
    assert client.script(plan) == before
