from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from forgia import digest
from forgia.dataset.dataset import Dataset
from forgia.dataset.manifest import Column, DataFile, Manifest
from forgia.errors import UserError
from forgia.splitting import PARTS
from forgia_jobs.judging import baseline
from forgia_jobs.judging.evaluate import gate_failure
from forgia_jobs.request import Columns, Gate, Role, SplitRule
from forgia_jobs.samples import data, loading


def dataset(folder: Path, *, owner: str = "mill", **columns: Any) -> Dataset:
    table = pa.table(columns)
    path = folder / "data" / "part-00000.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path)
    file = DataFile(path="data/part-00000.parquet", digest=digest.of_file(path), size=1, rows=table.num_rows)
    Manifest(
        name=folder.name,
        version=1,
        owner=owner,
        created="2026-11-22T10:00:00Z",
        files=(file,),
        columns=tuple(Column(name=name, source=name) for name in table.column_names),
        rows=table.num_rows,
    ).save(folder / "manifest.json")
    return Dataset.at(folder)


def role(**changes: Any) -> Role:
    columns = {"numeric": ("torque",), "categorical": (), "target": "failed", **changes.pop("columns", {})}
    rule = {"by": "group", "fractions": (0.6, 0.2, 0.2), **changes}
    more = {name: changes.pop(name) for name in ("samples", "output") if name in changes}
    rule = {name: value for name, value in rule.items() if name not in more}
    return Role(name="machines", datasets=(), columns=Columns(**columns), units={}, split=SplitRule(**rule), **more)


def rows(count: int, **more: Any) -> dict[str, Any]:
    return {"torque": np.arange(count, dtype=float), "failed": np.arange(count) % 5 == 0, **more}


def test_pooled_rows_keep_their_owner_and_lack_what_a_dataset_lacks(tmp_path: Path) -> None:
    first = dataset(tmp_path / "a", owner="one", **rows(10))
    second = dataset(tmp_path / "b", owner="two", **rows(20, current=np.ones(20)))
    found = loading.load(role(columns={"numeric": ("torque", "current")}), [first, second])
    assert data.owners(found) == {"one": 10, "two": 20}
    everything = np.arange(30)
    current = found.source.flat(everything).matrix[:, 1]
    assert np.isnan(current[:10]).all()
    assert (current[10:] == 1).all()
    assert [feature.name for feature in found.spec.numeric] == ["torque", "current"]


def test_one_machine_name_of_two_owners_is_two_groups(tmp_path: Path) -> None:
    names = ["press-1", "press-2", None] * 4
    sets = [dataset(tmp_path / owner, owner=owner, **rows(12, machine_id=names)) for owner in ("one", "two")]
    found = loading.load(role(columns={"group": "machine_id"}), sets)
    assert len(set(found.groups.tolist())) == 6
    groups = [set(found.groups[found.split.part(part)].tolist()) for part in PARTS]
    assert sum(map(len, groups)) == 6


def test_a_file_is_a_group_of_its_dataset_and_a_machine_one_of_its_owner(tmp_path: Path) -> None:
    names = ["0", "1", "2", "3"] * 3
    sets = [dataset(tmp_path / name, **rows(12, run_id=names)) for name in ("sa", "sb")]
    wanted = role(columns={"group": "run_id"})
    assert len(set(loading.load(wanted, sets).groups.tolist())) == 4
    of_files = [replace(one, manifest=replace(one.manifest, options={"file_column": "run_id"})) for one in sets]
    found = loading.load(wanted, of_files)
    assert len(set(found.groups.tolist())) == 8
    assert set(found.test_groups) <= {f"{number} of {name}" for number in range(4) for name in ("sa", "sb")}
    turned = loading.load(wanted, of_files[::-1])
    assert turned.test_groups == found.test_groups
    mixed = loading.load(wanted, [of_files[0], sets[1]])
    assert len(set(mixed.groups.tolist())) == 8


def test_episodes_end_where_the_counter_drops_within_a_machine(tmp_path: Path) -> None:
    table = rows(12, tool_wear=[0, 1, 2, 0, 1, 2] * 2, machine_id=["a"] * 6 + ["b"] * 6)
    found = loading.load(
        role(columns={"group": "machine_id", "episodes_of": "tool_wear"}), [dataset(tmp_path / "a", **table)]
    )
    assert len(set(found.groups.tolist())) == 4


def test_features_are_fitted_on_the_training_part_only(tmp_path: Path) -> None:
    times = np.arange(100).astype("datetime64[s]")
    found = loading.load(
        role(by="time", columns={"time": "timestamp"}), [dataset(tmp_path / "a", **rows(100, timestamp=times))]
    )
    assert found.spec.numeric[0].edges[-1] == found.flat("train").matrix.max() < 99


def test_rows_without_a_target_are_left_out_and_counted(tmp_path: Path) -> None:
    found = loading.load(role(), [dataset(tmp_path / "a", torque=np.arange(9.0), failed=[True, None, False] * 3)])
    assert found.left_out == 3
    assert sum(len(found.split.part(part)) for part in PARTS) == 6


def test_a_split_by_time_needs_every_time(tmp_path: Path) -> None:
    times = pa.array([1, 2, None, 4, 5], pa.timestamp("us", "UTC"))
    with pytest.raises(UserError, match=r"1 row\(s\) have no timestamp"):
        loading.load(
            role(by="time", columns={"time": "timestamp"}), [dataset(tmp_path / "a", **rows(5, timestamp=times))]
        )


def test_columns_of_no_common_type_are_refused(tmp_path: Path) -> None:
    sets = [dataset(tmp_path / "a", **rows(5)), dataset(tmp_path / "b", torque=["x"], failed=[True])]
    with pytest.raises(UserError, match="cannot be pooled"):
        loading.load(role(), sets)


@pytest.mark.parametrize(("failed", "words"), [([False] * 30, "false in all 18"), ([True] * 30, "true in all 18")])
def test_a_target_that_knows_one_answer_is_refused_before_training(
    tmp_path: Path, failed: list[bool], words: str
) -> None:
    table = rows(30, machine_id=[f"press-{n % 10}" for n in range(30)]) | {"failed": np.arange(30) % 3 == 0}
    known = loading.load(role(columns={"group": "machine_id"}), [dataset(tmp_path / "good", **table)])
    data.check_answers(known)
    one = loading.load(
        role(columns={"group": "machine_id"}), [dataset(tmp_path / "bad", **{**table, "failed": failed})]
    )
    with pytest.raises(UserError, match=words):
        data.check_answers(one)


def test_a_measurement_without_any_value_does_not_stop_the_baseline(tmp_path: Path) -> None:
    empty = pa.nulls(40, pa.float64())
    found = loading.load(
        role(columns={"numeric": ("torque", "power")}), [dataset(tmp_path / "a", **rows(40, power=empty))]
    )
    answers = baseline.predictions("gradient-boosted-trees", found, seed=0)
    assert len(answers["test"]) == len(found.split.test)


def test_balanced_weights_give_both_answers_the_same_total() -> None:
    target = torch.tensor([1.0, 0.0, 0.0, 0.0])
    weights = data.balanced_weights(target)
    assert float(weights[target == 1].sum()) == pytest.approx(float(weights[target == 0].sum()))
    assert float(weights.mean()) == pytest.approx(1.0)
    assert data.balanced_weights(torch.zeros(3)).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("gate", "model", "baseline", "passes"),
    [
        (Gate(metric="f1", baseline_margin=0.02), 0.71, 0.72, True),
        (Gate(metric="f1", baseline_margin=0.02), 0.61, 0.72, False),
        (Gate(metric="f1", minimum=0.7), 0.69, None, False),
        (Gate(metric="rmse", minimum=2.0), 1.9, None, True),
        (Gate(metric="rmse", baseline_margin=0.1), 2.2, 2.0, False),
    ],
)
def test_a_gate_says_in_one_sentence_what_is_wanting(
    gate: Gate, model: float, baseline: float | None, passes: bool
) -> None:
    failure = gate_failure(gate, {gate.metric: model}, None if baseline is None else {gate.metric: baseline})
    assert (failure is None) == passes


def test_a_failed_gate_names_both_figures_and_the_margin() -> None:
    failure = gate_failure(Gate(metric="f1", baseline_margin=0.02), {"f1": 0.61}, {"f1": 0.72})
    assert failure == "gate: f1 0.61 < baseline 0.72 − 0.02"


def test_windows_hold_the_rows_of_one_machine_in_the_order_of_time(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(60)
    table = {
        "torque": np.arange(60, dtype=float)[order],
        "failed": np.arange(60)[order] % 7 == 0,
        "machine_id": [f"press-{number // 20}" for number in order],
        "timestamp": (np.arange(60) % 20)[order],
    }
    columns = {"group": "machine_id", "time": "timestamp"}
    asked = role(columns=columns, samples={"kind": "windows", "length": 5, "stride": 1, "horizon": 0})
    found = loading.load(asked, [dataset(tmp_path / "a", **table)])
    assert [len(found.split.part(part)) for part in PARTS] == [16, 16, 16]
    for part in PARTS:
        batch = found.samples(part, device=torch.device("cpu")).batch(torch.arange(16))
        torque = batch["numeric"][:, :, 0]
        assert torch.equal(torque.diff(dim=1), torch.ones(16, 4))
        assert len(set((torque // 20).flatten().tolist())) == 1
        assert torch.equal(batch["target"], (torque[:, -1] % 7 == 0).float())


def test_a_window_is_one_row_of_last_value_mean_deviation_and_slope_to_a_baseline(tmp_path: Path) -> None:
    table = rows(60, machine_id=[f"press-{n // 20}" for n in range(60)], timestamp=np.arange(60))
    asked = role(columns={"group": "machine_id", "time": "timestamp"}, samples={"kind": "windows", "length": 3})
    flat = loading.load(asked, [dataset(tmp_path / "a", **table)]).source.flat(np.array([0]))
    assert flat.matrix[0].tolist() == pytest.approx([2.0, 1.0, np.sqrt(2 / 3), 1.0])


def test_series_that_are_too_short_for_a_window_are_refused(tmp_path: Path) -> None:
    table = rows(9, machine_id=["a", "b", "c"] * 3, timestamp=np.arange(9))
    asked = role(columns={"group": "machine_id", "time": "timestamp"}, samples={"kind": "windows", "length": 4})
    with pytest.raises(UserError, match="no series has 4 rows in a row"):
        loading.load(asked, [dataset(tmp_path / "a", **table)])
