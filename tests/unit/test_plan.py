"""From a recipe, data, a profile and flags to a request with nothing left to decide."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgia import digest, plan, profile, recipe, store
from forgia.catalogue import Catalogue
from forgia.dataset.manifest import Column, DataFile, Manifest
from forgia.errors import UserError
from forgia.paths import HomePaths
from forgia.plan import Choice
from forgia.profile import Profile
from forgia.vocabulary import Vocabulary

RECIPE = """\
schema_version: 1
name: mill-failures
version: 1.0.0
title: Failures of a mill
summary: Which mill fails next.
licence: Apache-2.0
data:
  machines:
    dataset: mill-7
    contract:
      columns:
        - {concept: torque, unit: N.m, range: [0, 100]}
        - {concept: product_grade, kind: category, required: false}
        - {concept: machine_failure, role: target, kind: boolean}
        - {concept: machine_id, role: group, kind: text, required: false}
      extra_features: true
      split: {by: group, episodes_of: tool_wear}
task: task:Model
params:
  width: {type: int, default: 64, range: [8, 512], help: Units of a hidden layer.}
train: {epochs: 7}
test: {train.epochs: 1, width: 8}
evaluate: {metrics: [f1], primary: f1}
"""
COLUMNS = (
    ("torque", "number", "N.m"),
    ("oil_temperature", "number", "K"),
    ("tool_wear", "number", "min"),
    ("machine_id", "text", None),
    ("machine_failure", "boolean", None),
)


def add_dataset(home: HomePaths, name: str, columns: tuple[tuple[str, str, str | None], ...] = COLUMNS) -> None:
    values = {"number": [1.0, 2.0], "text": ["a", "b"], "boolean": [True, False]}
    with store.building(home.dataset(name, 1).root) as beside:
        file = beside / "data" / "part-00000.parquet"
        store.private_directory(file.parent)
        pq.write_table(pa.table({column: values[kind] for column, kind, _ in columns}), file)
        known = tuple(Column(name=n, source=n, concept=n, kind=k, unit=u) for n, k, u in columns)
        files = (
            DataFile(path="data/part-00000.parquet", digest=digest.of_file(file), size=file.stat().st_size, rows=2),
        )
        manifest = Manifest(
            name=name, version=1, owner="acme", created="2026-01-01T00:00:00Z", title=name, licence="",
            sources=(), options={}, files=files, columns=known, rows=2, rejected=0,
        )  # fmt: skip
        store.write_json(beside / "manifest.json", manifest.to_json())
        extremes = [{"name": n, "min": -5.0, "max": 250.0} for n, k, _ in columns if k == "number"]
        store.write_json(beside / "profile.json", {"columns": extremes})


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(Catalogue())


@pytest.fixture
def folder(tmp_path: Path, home: HomePaths, vocabulary: Vocabulary) -> recipe.RecipeFolder:
    root = tmp_path / "mine"
    root.mkdir()
    (root / "recipe.yaml").write_text(RECIPE)
    (root / "task.py").write_text("class Model: ...\n")
    add_dataset(home, "mill-7")
    return recipe.load(root, vocabulary)


def profile_of(name: str = "slurm-local", **changes: Any) -> Profile:
    return profile.load(Catalogue().profile(name)).model_copy(update=changes)


def resolve(
    folder: recipe.RecipeFolder, home: HomePaths, vocabulary: Vocabulary, *sets: str, test: bool = False,
    on: Profile | None = None,
) -> plan.Plan:  # fmt: skip
    choice = Choice(sets=sets, test=test)
    return plan.resolve(folder, on or profile_of(), home=home, vocabulary=vocabulary, choice=choice)


def test_the_request_names_everything_and_its_identity_is_stable(
    folder: recipe.RecipeFolder, home: HomePaths, vocabulary: Vocabulary
) -> None:
    found = resolve(folder, home, vocabulary)
    machines = found.request["data"]["machines"]
    assert machines["columns"] == {
        "numeric": ["torque", "oil_temperature"],
        "categorical": [],
        "derived": [],
        "target": "machine_failure",
        "group": "machine_id",
        "time": None,
        "episodes_of": "tool_wear",
    }
    assert machines["units"] == {"torque": "N.m", "oil_temperature": "K"}
    assert list(found.inputs) == [machines["datasets"][0]["digest"]]
    assert found.identity == resolve(folder, home, vocabulary).identity
    assert str(home.root) not in digest.canonical_json(found.request).decode()


def test_flags_beat_test_settings_beat_the_recipe_beat_defaults_and_the_origin_says_so(
    folder: recipe.RecipeFolder, home: HomePaths, vocabulary: Vocabulary
) -> None:
    found = resolve(folder, home, vocabulary, "train.epochs=3", test=True)
    assert (found.request["train"]["epochs"], found.origins["train.epochs"]) == (3, "flag")
    assert (found.request["params"]["width"], found.origins["params.width"]) == (8, "recipe test")
    assert resolve(folder, home, vocabulary).origins["train.epochs"] == "recipe"
    assert "train.batch_size" not in found.origins
    assert found.identity != resolve(folder, home, vocabulary).identity
    assert found.request["test"] is True
    assert "test" not in resolve(folder, home, vocabulary).request


def test_fields_of_a_role_can_be_set_and_not_the_role_itself(
    folder: recipe.RecipeFolder, home: HomePaths, vocabulary: Vocabulary
) -> None:
    add_dataset(home, "other")
    sets = ("data.machines.contract.split.seed=3", "data.machines.dataset=other")
    machines = resolve(folder, home, vocabulary, *sets).request["data"]["machines"]
    assert machines["split"]["seed"] == 3
    assert machines["datasets"][0]["name"] == "other"


def test_every_wrong_flag_is_told_at_once(folder: recipe.RecipeFolder, home: HomePaths, vocabulary: Vocabulary) -> None:
    with pytest.raises(UserError) as caught:
        resolve(folder, home, vocabulary, "widht=9", "width=4", "train.epochs=none", "data.machines=x", "train.epoch=3")
    text = caught.value.message
    assert "did you mean width?" in text
    assert "outside 8 to 512" in text
    assert "train.epochs" in text
    assert "did you mean epochs?" in text
    assert len(caught.value.problems) == 5
    with pytest.raises(UserError, match="field=value"):
        resolve(folder, home, vocabulary, "width")


def test_every_misfit_with_the_cluster_is_told_at_once(
    folder: recipe.RecipeFolder, home: HomePaths, vocabulary: Vocabulary
) -> None:
    wishes = (
        "resources.gpus_per_node=8",
        "resources.walltime=3-00:00:00",
        "resources.attempts.time_limit=0",
        "resources.memory_gb=900",
        "resources.cpus_per_task=4",
    )
    with pytest.raises(UserError) as caught:
        resolve(folder, home, vocabulary, *wishes, on=profile_of(account_required=True))
    assert len(caught.value.problems) == 5
    assert "has 4 GPUs a node" in caught.value.message
    assert "needs an account" in caught.value.message


def test_a_laptop_is_one_machine(folder: recipe.RecipeFolder, home: HomePaths, vocabulary: Vocabulary) -> None:
    with pytest.raises(UserError, match="is one machine"):
        resolve(folder, home, vocabulary, "resources.nodes=2", on=profile_of("laptop"))


@pytest.mark.parametrize(
    ("sets", "sentence"),
    [
        (("train.deepspeed.stage=3",), "settings of DeepSpeed, but train.strategy is ddp"),
        (("train.strategy=fsdp", "train.precision=bf16"), "bf16 needs GPUs"),
        (
            ("train.strategy=deepspeed", "train.deepspeed.offload=true"),
            "there is no GPU to keep free, as resources.gpus_per_node is 0",
        ),
        (
            ("train.strategy=deepspeed", "train.deepspeed={stage: 0, offload: true}", "resources.gpus_per_node=1"),
            "stage 0 does not shard the optimizer's state",
        ),
        (
            ("train.strategy=deepspeed", "train.deepspeed.stage=3", "train.compile=true"),
            "stage 3 gathers weights inside the blocks",
        ),
        (
            ("train.batch_size=7", "train.accumulate=4", "resources.tasks_per_node=2"),
            "7 rows are fewer than 2 process(es) x 4 micro-batch(es)",
        ),
        (
            ("resources.gpus_per_node=1", "resources.tasks_per_node=2"),
            "2 processes, but 1 GPU(s) a node, and each process needs one of its own",
        ),
        (("train.strategy=horovod",), "ddp"),
    ],
)
def test_settings_of_the_training_that_cannot_go_together_are_refused_with_the_reason(
    folder: recipe.RecipeFolder,
    home: HomePaths,
    vocabulary: Vocabulary,
    monkeypatch: pytest.MonkeyPatch,
    sets: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(UserError) as caught:
        resolve(folder, home, vocabulary, *sets)
    assert sentence in caught.value.message
    assert len(caught.value.problems) == 1


def test_a_strategy_needs_its_package_only_where_the_job_runs_in_this_environment(
    folder: recipe.RecipeFolder, home: HomePaths, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "deepspeed" else name)
    with pytest.raises(UserError, match="deepspeed is not installed in this environment"):
        resolve(folder, home, vocabulary, "train.strategy=deepspeed")
    elsewhere = profile_of(python="/opt/python")
    found = resolve(folder, home, vocabulary, "train.strategy=deepspeed", "train.deepspeed.stage=3", on=elsewhere)
    assert found.request["train"]["deepspeed"] == {"stage": 3, "offload": False}
    resolve(folder, home, vocabulary, "train.strategy=fsdp", "train.accumulate=4")


def test_data_that_breaks_the_contract_is_told_with_what_it_has(
    folder: recipe.RecipeFolder, home: HomePaths, vocabulary: Vocabulary
) -> None:
    add_dataset(home, "other", (("oil_temperature", "number", "K"), ("machine_failure", "number", None)))
    (folder.root / "recipe.yaml").write_text(RECIPE.replace("dataset: mill-7", "dataset: [mill-7, other, nowhere]"))
    with pytest.raises(UserError) as caught:
        resolve(recipe.load(folder.root, vocabulary), home, vocabulary)
    assert "other@1 has no column bound to torque; it has: oil_temperature, machine_failure" in caught.value.message
    assert "machine_failure is number, the contract wants boolean" in caught.value.message
    assert "no dataset named 'nowhere'" in caught.value.message


def test_a_needed_column_without_any_value_breaks_the_contract(
    folder: recipe.RecipeFolder, home: HomePaths, vocabulary: Vocabulary
) -> None:
    path = home.dataset("mill-7", 1).manifest
    written = store.read_json(path)
    for column in written["columns"]:
        column["nulls"] = 2 if column["name"] == "torque" else 0
    store.write_json(path, written)
    with pytest.raises(UserError) as caught:
        resolve(folder, home, vocabulary)
    assert "torque has no value in any of its 2 rows" in str(caught.value.problems[0])


def test_values_outside_the_expected_range_are_a_warning(
    folder: recipe.RecipeFolder, home: HomePaths, vocabulary: Vocabulary
) -> None:
    assert resolve(folder, home, vocabulary).warnings == (
        "mill-7@1: torque runs from -5 to 250 N.m, the contract expects 0 to 100",
    )


def test_labels_and_counters_are_never_learnt_from_unasked(
    folder: recipe.RecipeFolder, home: HomePaths, vocabulary: Vocabulary
) -> None:
    assert "tool_wear" not in resolve(folder, home, vocabulary).request["data"]["machines"]["columns"]["numeric"]


def test_the_cost_is_the_worst_case_in_the_sites_own_unit(
    folder: recipe.RecipeFolder, home: HomePaths, vocabulary: Vocabulary
) -> None:
    leonardo = profile_of("leonardo-booster", account="AIFAC_P02_001")
    base = ("resources.walltime=02:00:00", "resources.gpus_per_node=1", "resources.cpus_per_task=24")
    cost = resolve(folder, home, vocabulary, *base, on=leonardo).cost
    assert (cost.gpu_h, cost.units, cost.unit) == (2.0, 48.0, "local core-h")  # 24 cores bill more than one GPU's 8
    half = resolve(folder, home, vocabulary, "resources.walltime=01:00:00", "resources.memory_gb=240", on=leonardo).cost
    assert half.units == pytest.approx(
        16, rel=0.01
    )  # half of a node's memory is half a node, as the site's letter says
    assert (half.kwh, half.eur) == (None, None)


def test_an_environment_that_cannot_train_is_told_before_anything_is_sent(
    folder: recipe.RecipeFolder, home: HomePaths, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    import forgia

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = resolve(folder, home, vocabulary)
    assert any("torch is not installed" in warning for warning in found.warnings)
    with pytest.raises(UserError, match="torch is not installed"):
        forgia.Client(forgia.Settings(home=home)).start(found)
    elsewhere = resolve(folder, home, vocabulary, on=profile_of(python="/opt/site/python"))
    assert not any("torch" in warning for warning in elsewhere.warnings)
