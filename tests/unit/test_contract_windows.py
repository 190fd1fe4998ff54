"""Which columns of bound datasets a recipe of windows reads, and what for."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgia import contract, recipe
from forgia.catalogue import Catalogue
from forgia.dataset.dataset import Dataset
from forgia.dataset.manifest import Column, Manifest
from forgia.paths import DatasetPaths
from forgia.recipe import RecipeFolder
from forgia.vocabulary import Vocabulary

CONCEPTS = {"operating_setting_2": "operating_setting", "spare": None, "label_like": None}


def dataset(tmp_path: Path, *names: str, kinds: dict[str, str] | None = None) -> Dataset:
    given = {"machine_id": "text", "timestamp": "time", "run_id": "text", "data_part": "category", **(kinds or {})}
    columns = tuple(
        Column(name=name, source=name, concept=CONCEPTS.get(name, name), kind=given.get(name, "number"))
        for name in names
    )
    return Dataset(
        paths=DatasetPaths(tmp_path),
        manifest=Manifest(name="mine", version=1, owner="one", created="2026-11-23T08:00:00Z", columns=columns, rows=9),
    )


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(Catalogue())


def catalogued(name: str, vocabulary: Vocabulary) -> RecipeFolder:
    return recipe.load(Catalogue().recipe(name), vocabulary)


def test_settings_are_found_by_their_concept_and_the_first_column_of_a_role_that_is_there(
    tmp_path: Path, vocabulary: Vocabulary
) -> None:
    binding = catalogued("remaining-useful-life", vocabulary).recipe.data["machines"]
    names = ("remaining_cycles", "machine_id", "timestamp", "operating_setting", "operating_setting_2", "spare")
    item = dataset(tmp_path, *names, "torque")
    found = contract.chosen_columns(binding, [item], vocabulary)
    assert found["conditions"] == ["operating_setting", "operating_setting_2"]
    assert found["numeric"] == ["operating_setting", "operating_setting_2", "torque"]
    assert (found["time"], found["group"]) == ("timestamp", "machine_id")
    assert "part" not in found
    request = contract.data_request(binding, [item], found)
    assert (request["cap"], request["split"]["judge"]) == (125.0, "last")
    assert contract.chosen_columns(binding, [dataset(tmp_path, *names, "data_part")], vocabulary)["part"] == "data_part"


def test_numbers_of_no_known_meaning_are_read_where_the_recipe_takes_them(
    tmp_path: Path, vocabulary: Vocabulary
) -> None:
    binding = catalogued("anomaly-detection", vocabulary).recipe.data["runs"]
    names = ("run_id", "timestamp", "spare", "torque", "anomaly", "changepoint", "sequence_number")
    item = dataset(tmp_path, *names, kinds={"anomaly": "boolean", "changepoint": "boolean"})
    assert contract.chosen_columns(binding, [item], vocabulary)["numeric"] == ["spare", "torque"]


def test_a_target_that_is_only_judged_by_may_be_nowhere(tmp_path: Path, vocabulary: Vocabulary) -> None:
    folder = catalogued("anomaly-detection", vocabulary)
    binding = folder.recipe.data["runs"]
    item = dataset(tmp_path, "run_id", "timestamp", "torque", "spare")
    assert contract.problems(folder, "runs", binding, item) == []
    assert contract.chosen_columns(binding, [item], vocabulary)["target"] == "anomaly"


def test_a_dataset_without_an_order_is_told(tmp_path: Path, vocabulary: Vocabulary) -> None:
    folder = catalogued("remaining-useful-life", vocabulary)
    item = dataset(tmp_path, "remaining_cycles", "machine_id", "torque")
    (problem,) = contract.problems(folder, "machines", folder.recipe.data["machines"], item)
    assert "no column bound to cycle_count or timestamp" in problem.message
