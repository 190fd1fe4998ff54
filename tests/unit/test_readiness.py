"""What is known of data before a node is asked: whether it can be parted, and what else a person should know."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgia import digest, plan, profile, recipe, store
from forgia.catalogue import Catalogue
from forgia.dataset.manifest import Column, DataFile, Manifest, Source
from forgia.errors import UserError
from forgia.paths import HomePaths
from forgia.plan import Choice, Plan
from forgia.vocabulary import Vocabulary

Resolve = Callable[..., Plan]
KINDS = {"run_id": "text", "machine_id": "text", "timestamp": "time", "anomaly": "boolean", "data_part": "category"} | {
    "defect_type": "category",
    "part_image": "image",
}


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(Catalogue())


def add(home: HomePaths, name: str, *, source: str = "", options: dict[str, Any] | None = None, **columns: Any) -> str:
    table = pa.table({"torque": np.arange(len(columns["torque"])) * 1.0, **columns})
    with store.building(home.dataset(name, 1).root) as beside:
        path = beside / "data" / "part-00000.parquet"
        store.private_directory(path.parent)
        pq.write_table(table, path)
        known = (
            Column(name=n, source=n, concept=None if n.startswith("sensor") else n, kind=KINDS.get(n, "number"))
            for n in table.column_names
        )
        Manifest(
            name=name, version=1, owner="acme", created="2026-01-01T00:00:00Z", options=options or {},
            sources=(Source(name=f"{name}.csv", digest=source or digest.of_bytes(name.encode()), size=1),),
            files=(DataFile(path="data/part-00000.parquet", digest=digest.of_file(path), size=1, rows=len(table)),),
            columns=tuple(known), rows=len(table),
        ).save(beside / "manifest.json")  # fmt: skip
    return name


def machines(home: HomePaths, name: str, parts: list[str] | None = None, *, count: int = 4, first: int = 0) -> str:
    rows = 6
    told = {} if parts is None else {"data_part": [part for part in parts for _ in range(rows)]}
    return add(
        home, name,
        torque=[0.0] * rows * count,
        machine_id=[f"m{number}" for number in range(count) for _ in range(rows)],
        cycle_count=[first + cycle for _ in range(count) for cycle in range(rows)],
        remaining_cycles=[float(rows - cycle) for _ in range(count) for cycle in range(rows)],
        **told,
    )  # fmt: skip


def runs(home: HomePaths, name: str, *, count: int = 4, rows: int = 6, **more: Any) -> str:
    given = {
        "torque": [0.0] * rows * count,
        "sensor_1": np.arange(rows * count) * 1.0,
        "run_id": [str(number) for number in range(count) for _ in range(rows)],
        "timestamp": pa.array([second * 1_000_000 for _ in range(count) for second in range(rows)], pa.timestamp("us")),
        "anomaly": [second == rows - 1 for _ in range(count) for second in range(rows)],
        **more,
    }
    return add(home, name, **{key: value for key, value in given.items() if value is not None})


@pytest.fixture
def resolve(home: HomePaths, vocabulary: Vocabulary) -> Resolve:
    def planned(name: str, *datasets: str, sets: tuple[str, ...] = ()) -> Plan:
        folder = recipe.load(Catalogue().recipe(name), vocabulary)
        role = next(iter(folder.recipe.data))
        choice = Choice(datasets={role: datasets}, sets=sets)
        on = profile.load(Catalogue().profile("laptop"))
        return plan.resolve(folder, on, home=home, vocabulary=vocabulary, choice=choice)

    return planned


LIFE, ANOMALY = "remaining-useful-life", "anomaly-detection"
BY_GROUP = "--set data.machines.contract.split.by=group"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (["test"] * 4, "data_part names no row of the train part; " + BY_GROUP),
        (["train", "test", "test", "test"], "a single group for training"),
        (["train", "train", "holdout", "test"], "data_part says holdout; a part is called train"),
    ],
)
def test_parts_that_cannot_be_are_told_with_the_setting_that_helps(
    home: HomePaths, resolve: Resolve, parts: list[str], said: str
) -> None:
    machines(home, "mine", parts)
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        resolve(LIFE, "mine")
    assert BY_GROUP in caught.value.message
    assert resolve(LIFE, "mine", sets=(BY_GROUP.removeprefix("--set "),)).request


def test_where_no_test_part_is_named_whole_machines_are_parted_and_that_is_said(
    home: HomePaths, resolve: Resolve
) -> None:
    machines(home, "mine", ["train"] * 4)
    found = resolve(LIFE, "mine")
    assert "data_part names no row of the test part: whole groups are parted, whatever it says" in found.warnings
    assert "part" not in found.request["data"]["machines"]["columns"]
    machines(home, "other", ["train", "train", "train", "test"])
    whole = resolve(LIFE, "other")
    assert whole.request["data"]["machines"]["columns"]["part"] == "data_part"
    assert not any("data_part" in warning for warning in whole.warnings)


def test_a_single_run_cannot_be_parted(home: HomePaths, resolve: Resolve) -> None:
    runs(home, "mine", count=1)
    with pytest.raises(UserError, match=r"the data has 1 run_id \(labelled, 0\)") as caught:
        resolve(ANOMALY, "mine")
    assert "--set data.runs.contract.split.by=time" in caught.value.message
    machines(home, "engine", count=2)
    with pytest.raises(UserError, match=r"the data has 2 machine_id \(m0, m1\)"):
        resolve(LIFE, "engine")


def test_runs_without_labels_do_not_count_where_others_have_them(home: HomePaths, resolve: Resolve) -> None:
    runs(home, "labelled", count=2)
    runs(home, "normal", count=4, options={"file_column": "run_id"}, anomaly=None)
    with pytest.raises(UserError, match=r"the data has 2 run_id \(labelled, 0, 1\)"):
        resolve(ANOMALY, "labelled", "normal")
    assert any("no row has a value of anomaly" in warning for warning in resolve(ANOMALY, "normal").warnings)


def test_a_machine_with_the_same_moment_in_two_datasets_is_told(home: HomePaths, resolve: Resolve) -> None:
    for name in ("a", "b"):
        machines(home, name)
    with pytest.raises(UserError, match="machine_id m0 has rows of the same cycle_count in a@1 and in b@1") as caught:
        resolve(LIFE, "a", "b")
    assert "bind one of the datasets" in caught.value.message
    machines(home, "later", first=6)
    assert resolve(LIFE, "a", "later").request
    for name in ("sa", "sb"):
        runs(home, name, options={"file_column": "run_id"})
    assert resolve(ANOMALY, "sa", "sb").request


def test_what_a_person_should_know_is_a_warning(home: HomePaths, resolve: Resolve) -> None:
    seconds = [second // 2 * 1_000_000 for _ in range(4) for second in range(6)]
    runs(home, "mine", timestamp=pa.array(seconds, pa.timestamp("us")), source="sha256:" + "0" * 64)
    runs(home, "again", source="sha256:" + "0" * 64, options={"file_column": "run_id"})
    path = home.dataset("mine", 1).profile
    store.write_json(path, {"duplicates": {"found": 3, "rows_compared": 24}, "columns": []})
    told = resolve(ANOMALY, "mine", "again").warnings
    assert "mine@1: 3 of 24 rows compared repeat another one wholly" in told
    assert "mine@1 and again@1 both hold mine.csv: its rows count twice" in told
    assert any(text.startswith("24 rows in 4 of the series (run_id) share their timestamp") for text in told)
    assert any(text.startswith("8 of 8 series (run_id) have fewer rows than the 400 that tell") for text in told)


def test_labels_of_one_kind_only_are_told(home: HomePaths, resolve: Resolve) -> None:
    runs(home, "good", anomaly=[False] * 24)
    assert "anomaly is true in no row: misses cannot be known" in resolve(ANOMALY, "good").warnings
    runs(home, "bad", anomaly=[True] * 24)
    with pytest.raises(UserError, match=r"true in every row.* --set data\.runs\.contract\.samples\.train_on=every"):
        resolve(ANOMALY, "bad")
    assert resolve(ANOMALY, "bad", sets=("data.runs.contract.samples.train_on=every",)).request


INSPECTION, ENERGY = "visual-inspection", "energy-forecasting"
GOOD = "data.parts.contract.columns.defect_type.normal=buono"


def photographs(home: HomePaths, name: str, **counts: int) -> str:
    labels = [label for label, count in counts.items() for _ in range(count)]
    return add(home, name, torque=[0.0] * len(labels), part_image=[b""] * len(labels), defect_type=labels)


def readings(home: HomePaths, name: str, hours: list[int]) -> str:
    return add(
        home, name,
        torque=[0.0] * len(hours),
        electric_energy=np.arange(len(hours)) * 1.0,
        timestamp=pa.array([hour * 3_600_000_000 for hour in hours], pa.timestamp("us")),
    )  # fmt: skip


def test_an_unknown_normal_class_is_told_with_the_classes_and_the_setting(home: HomePaths, resolve: Resolve) -> None:
    photographs(home, "pezzi", buono=20, graffio=6, ammaccatura=5)
    with pytest.raises(UserError, match=r"no image is good.*there are ammaccatura, buono, graffio") as caught:
        resolve(INSPECTION, "pezzi")
    assert f"--set {GOOD}" in caught.value.message
    assert resolve(INSPECTION, "pezzi", sets=(GOOD,)).request["data"]["parts"]["normal"] == "buono"
    with pytest.raises(UserError, match="no column defect; there are part_image, defect_type"):
        resolve(INSPECTION, "pezzi", sets=("data.parts.contract.columns.defect.normal=buono",))


def test_classes_that_cannot_be_learnt_or_are_never_judged_are_told(home: HomePaths, resolve: Resolve) -> None:
    photographs(home, "same", good=20)
    with pytest.raises(UserError, match="all images are good; there is nothing to tell apart"):
        resolve(INSPECTION, "same")
    photographs(home, "rare", good=20, scratch=8, dent=1)
    outcomes = []
    for seed in range(12):
        try:
            told = resolve(INSPECTION, "rare", sets=(f"data.parts.contract.split.seed={seed}",)).warnings
        except UserError as error:
            outcomes.append(error.message)
        else:
            outcomes.append("; ".join(text for text in told if "dent" in text))
    learnt = "part has no image of dent (1 in all): "
    assert all(learnt in text or "the training part has no image of dent" in text for text in outcomes), outcomes
    assert any(f"test {learnt}no figure says how well such are told apart" in text for text in outcomes)
    photographs(home, "enough", good=40, scratch=20, dent=20)
    assert not any("no image" in text for text in resolve(INSPECTION, "enough").warnings)


def test_series_too_short_for_a_forecast_are_told(home: HomePaths, resolve: Resolve) -> None:
    readings(home, "short", list(range(100)))
    with pytest.raises(UserError, match=r"no series has 168 steps.*the longest one has 100 steps") as caught:
        resolve(ENERGY, "short")
    assert "data.lines.contract.samples.length smaller" in caught.value.message
    readings(home, "uneven", [hour * hour for hour in range(300)])
    with pytest.raises(UserError, match="no regular step"):
        resolve(ENERGY, "uneven")


def test_moments_that_came_twice_are_told(home: HomePaths, resolve: Resolve) -> None:
    readings(home, "once", list(range(900)))
    assert not any("more than once" in text for text in resolve(ENERGY, "once").warnings)
    readings(home, "twice", sorted([*range(900), 5, 6, 6]))
    said = "2 moment(s) of 1 series (dataset) came more than once; the mean of their readings is used"
    assert said in resolve(ENERGY, "twice").warnings


def test_data_that_cannot_be_read_is_the_jobs_to_refuse(home: HomePaths, resolve: Resolve) -> None:
    runs(home, "mine", count=1)
    (home.dataset("mine", 1).root / "data" / "part-00000.parquet").write_bytes(b"PAR1")
    assert resolve(ANOMALY, "mine").request


def test_a_plan_says_what_is_learnt_from_and_what_a_dataset_lacks(home: HomePaths, resolve: Resolve) -> None:
    runs(home, "mine", sensor_2=np.arange(24) * 1.0)
    runs(home, "other", sensor_3=np.arange(24) * 1.0, options={"file_column": "run_id"})
    found = resolve(ANOMALY, "mine", "other")
    assert found.learnt == ("torque", "sensor_1")
    assert found.left_out == {"sensor_2": ("other@1",), "sensor_3": ("mine@1",)}


def test_a_run_id_that_is_missing_can_be_made_of_the_files(home: HomePaths, resolve: Resolve) -> None:
    runs(home, "mine", run_id=None)
    with pytest.raises(UserError, match=r"no column bound to run_id; .* add them with --file-column run_id"):
        resolve(ANOMALY, "mine")


def test_a_label_is_no_feature(tmp_path: Path, vocabulary: Vocabulary) -> None:
    root = Catalogue().recipe(ANOMALY)
    text = (root / "recipe.yaml").read_text()
    (tmp_path / "task.py").write_text((root / "task.py").read_text())
    (tmp_path / "recipe.yaml").write_text(text.replace("changepoint, role: identifier", "changepoint, role: feature"))
    with pytest.raises(UserError, match="changepoint is a label, which nobody has where an answer is wanted"):
        recipe.load(tmp_path, vocabulary)
