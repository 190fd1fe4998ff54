"""What an author writes, and what is said of its mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia import derivation, document, fields, recipe
from forgia.catalogue import Catalogue
from forgia.errors import NotFound, UserError
from forgia.vocabulary import Vocabulary

GOOD = """\
schema_version: 1
name: mill-failures # mine
version: 2.1.0
title: Failures of a mill
summary: Which mill fails next.
licence: Apache-2.0
data:
  machines:
    dataset: null
    contract:
      columns:
        - {concept: torque, unit: N.m}
        - {concept: machine_failure, role: target, kind: boolean}
        - {concept: machine_id, role: group, kind: text, required: false}
      split: {by: group}
task: task:Model
params:
  width: {type: int, default: 64, range: [8, 512], help: Units of a hidden layer.}
resources: {walltime: "00:30:00"}
evaluate:
  {metrics: [f1, precision], primary: f1, baseline: gradient-boosted-trees, gate: {metric: f1, baseline_margin: 0.02}}
"""


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(Catalogue())


def folder(tmp_path: Path, text: str = GOOD, task: str = "class Model:\n    pass\n") -> Path:
    root = tmp_path / "mine"
    root.mkdir(parents=True, exist_ok=True)
    (root / "recipe.yaml").write_text(text)
    (root / "task.py").write_text(task)
    return root


def test_a_good_recipe_is_read_with_its_defaults(tmp_path: Path, vocabulary: Vocabulary) -> None:
    found = recipe.load(folder(tmp_path), vocabulary).recipe
    assert found.resources.walltime == 1800
    assert found.train.strategy == "ddp"
    assert found.params["width"].default == 64


def test_five_mistakes_are_told_at_once_each_with_its_line(tmp_path: Path, vocabulary: Vocabulary) -> None:
    text = (
        GOOD.replace("title:", "titel:")
        .replace("torque, unit: N.m", "torque, unit: bar")
        .replace("machine_id", "machine_idd")
        .replace("task:Model", "task:Modell")
        .replace("metrics: [f1, precision]", "metrics: [f1, precison]")
        .replace('walltime: "00:30:00"', "walltime: 30")
    )
    with pytest.raises(UserError) as caught:
        recipe.load(folder(tmp_path, text), vocabulary)
    told = {(problem.line, problem.field): problem.message for problem in caught.value.problems}
    assert "did you mean title?" in told[4, "titel"]
    assert told[1, "title"] == "is required"
    assert "does not measure torque" in told[12, "data.machines.contract.columns[0].unit"]
    assert "did you mean machine_id?" in told[14, "data.machines.contract.columns[2].concept"]
    assert "did you mean Model?" in told[16, "task"]
    assert "did you mean precision?" in told[21, "evaluate.metrics[1]"]
    assert "HH:MM:SS" in told[19, "resources.walltime"]
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("role: target", "role: feature", "exactly one column must have role: target"),
        ("split: {by: group}", "split: {by: time}", "split by time needs a column"),
        ("split: {by: group}", "split: {by: group, fractions: [0.5, 0.5, 0.5]}", "add up to 1"),
        ("default: 64", "default: 4", "outside 8 to 512"),
        ("default: 64", "default: wide", "expected int"),
        ("primary: f1", "primary: rmse", "not listed in metrics"),
        (", baseline: gradient-boosted-trees", "", "needs a baseline"),
        ("version: 2.1.0", "version: 2.1", "MAJOR.MINOR.PATCH"),
        ("name: mill-failures", "name: ../../etc", "lower-case"),
        ("schema_version: 1", "schema_version: 7", "1"),
    ],
)
def test_what_does_not_fit_together_is_told(
    tmp_path: Path, vocabulary: Vocabulary, old: str, new: str, words: str
) -> None:
    assert old in GOOD
    with pytest.raises(UserError, match=words):
        recipe.load(folder(tmp_path, GOOD.replace(old, new)), vocabulary)


def test_the_task_is_read_and_never_run(tmp_path: Path, vocabulary: Vocabulary) -> None:
    root = folder(tmp_path, task="raise SystemExit('it ran')\nclass Model: ...\n")
    assert recipe.load(root, vocabulary).recipe.task == "task:Model"
    with pytest.raises(UserError, match=r"task.py:1: not Python"):
        recipe.load(folder(tmp_path, task="class Model(:\n"), vocabulary)
    (root / "task.py").unlink()
    with pytest.raises(UserError, match=r"no file task.py"):
        recipe.load(root, vocabulary)


def test_a_folder_without_a_recipe_is_not_found(tmp_path: Path, vocabulary: Vocabulary) -> None:
    with pytest.raises(NotFound):
        recipe.load(tmp_path, vocabulary)


@given(st.integers(1, 90 * 86400))
def test_a_duration_reads_back_as_it_was_written(seconds: int) -> None:
    assert fields.parse_duration(fields.format_duration(seconds)) == seconds


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("2h30m", 9000), ("1-00:00:00", 86400), ("45s", 45)])
def test_durations_have_units(text: str, seconds: int) -> None:
    assert fields.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", 30, "1:30", "00:99:00", "-5m", "2 weeks"])
def test_a_duration_without_a_clear_unit_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="HH:MM:SS"):
        fields.parse_duration(text)


def test_a_recipe_of_ones_own_keeps_comments_and_binds_the_data(tmp_path: Path, vocabulary: Vocabulary) -> None:
    source = recipe.load(folder(tmp_path), vocabulary)
    place = tmp_path / "work"
    place.mkdir()
    root = derivation.derive(source, "ours", datasets=("mill-7", "mill-8"), folder=place)
    text = (root / "recipe.yaml").read_text()
    assert "name: ours # mine" in text
    found = recipe.load(root, vocabulary).recipe
    assert (found.name, found.version) == ("ours", "1.0.0")
    assert found.data["machines"].bound == ("mill-7", "mill-8")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="exists already"):
        derivation.derive(source, "ours", datasets=(), folder=place)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_data_is_bound_where_the_recipe_has_no_line_for_it(tmp_path: Path, vocabulary: Vocabulary) -> None:
    source = recipe.load(folder(tmp_path, GOOD.replace("    dataset: null\n", "")), vocabulary)
    root = derivation.derive(source, "ours", datasets=("mill-7",), folder=tmp_path)
    assert recipe.load(root, vocabulary).recipe.data["machines"].bound == ("mill-7",)


def test_the_published_schema_knows_every_section() -> None:
    schema = recipe.json_schema()
    assert set(recipe.Recipe.model_fields) == set(schema["properties"])
    assert document.dotted(("data", "x", "columns", 2, "unit")) == "data.x.columns[2].unit"


WINDOWS = GOOD.replace(
    "      split: {by: group}", "      samples: {kind: windows, length: 4}\n      split: {by: group}"
).replace(
    "        - {concept: machine_id", "        - {concept: cycle_count, role: time}\n        - {concept: machine_id"
)


@pytest.mark.parametrize(
    ("written", "instead", "said"),
    [
        ("length: 4}", "length: 4, train_on: normal}", "train_on: normal is for output: score"),
        ("split: {by: group}", "split: {by: part}", "split by part needs a column with role: part"),
        ("- {concept: cycle_count, role: time}", "- {concept: cycle_count}", "windows need a column with role: time"),
        ("kind: windows, length: 4", "kind: rows", None),
    ],
)
def test_what_windows_need_is_said(
    tmp_path: Path, vocabulary: Vocabulary, written: str, instead: str, said: str | None
) -> None:
    root = folder(tmp_path, WINDOWS.replace(written, instead))
    if said is None:
        assert recipe.load(root, vocabulary).recipe.data["machines"].contract.samples.kind == "rows"
        return
    with pytest.raises(UserError) as caught:
        recipe.load(root, vocabulary)
    assert said in str(caught.value.problems)


def test_a_cap_and_conditions_are_for_windows(tmp_path: Path, vocabulary: Vocabulary) -> None:
    text = GOOD.replace("      split: {by: group}", "      cap: 125\n      split: {by: group}")
    with pytest.raises(UserError) as caught:
        recipe.load(folder(tmp_path, text), vocabulary)
    assert "for samples of kind windows" in str(caught.value.problems)
