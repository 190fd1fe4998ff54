"""Windows on the node: whose rows they show, in which part they are, and what is learnt of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forgia.errors import UserError
from forgia.splitting import PARTS
from forgia_jobs.request import Columns, Role, SplitRule
from forgia_jobs.samples import tabular, windows
from forgia_jobs.samples.data import DATASET, OWNER
from forgia_jobs.samples.tabular import Layout


def role(*, part: str | None = None, by: str = "group", judge: str = "every", **more: Any) -> Role:
    columns = Columns(
        numeric=("reading",),
        categorical=(),
        target="left",
        group="machine",
        time="cycle",
        part=part,
        **more.pop("columns", {}),
    )
    samples = {"kind": "windows", "length": 4, "lead_in": True, **more.pop("samples", {})}
    rule = SplitRule(by=by, fractions=(0.6, 0.2, 0.2), judge=judge)
    return Role(name="machines", datasets=(), columns=columns, units={}, split=rule, samples=samples, **more)


def histories(lengths: list[int], *, seed: int = 0, **columns: Any) -> pa.Table:
    """Machines of these many cycles, their rows in any order; a reading tells machine and cycle."""
    machine = np.repeat(np.arange(len(lengths)), lengths)
    cycle = np.concatenate([np.arange(length) for length in lengths])
    left = np.concatenate([np.arange(length)[::-1] for length in lengths]).astype(float)
    mixed = np.random.default_rng(seed).permutation(len(machine))
    given = {name: pa.array(values).take(pa.array(mixed)) for name, values in columns.items()}
    table = pa.table(
        {
            "reading": (machine * 1000.0 + cycle)[mixed],
            "machine": pa.array([f"m{number}" for number in machine[mixed]]),
            "cycle": cycle[mixed],
            "left": pa.array(left[mixed]),
            DATASET: np.zeros(len(machine), dtype=np.int32),
            OWNER: pa.array(["firm"] * len(machine)),
        }
    )
    for name, values in given.items():
        table = table.drop_columns([name]) if name in table.column_names else table
        table = table.append_column(name, values)
    return table


def seen(layout: Layout, table: pa.Table, which: Role) -> np.ndarray:
    """The readings in every window. Shapes: (windows, length)."""
    reading = table.column("reading").to_numpy()[layout.rows].astype(np.float32)[:, None]
    source = windows.source(
        which, {"numeric": reading, "categorical": np.zeros((len(reading), 0), np.int64)}, layout.own
    )
    return source.inputs(torch.arange(len(layout.groups)))["numeric"].squeeze(2).numpy()


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=3, max_size=7),
    length=st.integers(1, 6),
    stride=st.integers(1, 3),
    lead_in=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_window_is_of_one_machine_in_order_and_no_row_of_it_is_in_two_parts(
    lengths: list[int], length: int, stride: int, lead_in: bool, seed: int
) -> None:
    wanted = role(samples={"length": length, "stride": stride, "lead_in": lead_in})
    table = histories(lengths, seed=seed)
    if sum(lead_in or count >= length for count in lengths) < len(PARTS):
        with pytest.raises(UserError):
            windows.arrange(wanted, table)
        return
    layout = windows.arrange(wanted, table)
    shown = seen(layout, table, wanted)
    machine, cycle = np.divmod(shown, 1000)
    assert (machine == machine[:, :1]).all()
    steps = np.diff(cycle, axis=1)
    assert ((steps == 1) | ((steps == 0) & (cycle[:, 1:] == 0))).all()
    np.testing.assert_array_equal(layout.target, np.asarray(lengths)[machine[:, -1].astype(int)] - 1 - cycle[:, -1])
    parts = [set(shown[layout.split.part(part)].ravel().tolist()) for part in PARTS]
    assert not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])
    if lead_in and stride == 1:
        assert sum(len(layout.split.part(part)) for part in PARTS) == sum(lengths)


def parted(lengths: list[int], parts: list[str | None]) -> pa.Table:
    return histories(lengths, part=[part for part, count in zip(parts, lengths, strict=True) for _ in range(count)])


def test_parts_that_the_data_names_are_taken_and_the_test_is_judged_at_its_end() -> None:
    table = parted([6, 7, 8, 5, 9], ["train", "Training", None, "test", "test"])
    wanted = role(part="part", by="part", judge="last")
    layout = windows.arrange(wanted, table)
    last = seen(layout, table, wanted)[:, -1]
    assert sorted(last[layout.split.test].tolist()) == [3004.0, 4008.0]
    train, validation = (set((last[layout.split.part(part)] // 1000).astype(int)) for part in PARTS[:2])
    assert train | validation == {0, 1, 2}
    assert len(validation) == 1
    every = windows.arrange(role(part="part", by="part"), table)
    assert len(every.split.test) == 14


def test_a_validation_part_that_is_named_is_taken() -> None:
    table = parted([6, 7, 8], ["train", "valid", "test"])
    wanted = role(part="part", by="part")
    layout = windows.arrange(wanted, table)
    last = seen(layout, table, wanted)[:, -1]
    assert set((last[layout.split.validation] // 1000).astype(int)) == {1}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (["train", "train", "holdout"], "holdout: a part is called"),
        (["train", "train", "train"], "no row of it is in the test part"),
        (["test", "test", "test"], "no row of it is in the train part"),
        (["train", "test", "test"], "single group"),
    ],
)
def test_parts_that_cannot_be_are_refused(parts: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        windows.arrange(role(part="part", by="part"), parted([5, 5, 5], parts))


def test_a_machine_in_two_parts_is_refused() -> None:
    table = histories([4, 4, 4], part=["train"] * 5 + ["test"] * 7)
    with pytest.raises(UserError, match=r"1 group\(s\) of the data are in more than one part"):
        windows.arrange(role(part="part", by="part"), table)


def test_without_a_part_column_whole_machines_are_parted() -> None:
    layout = windows.arrange(role(by="part"), histories([5] * 5))
    assert sorted(len(layout.split.part(part)) for part in PARTS) == [5, 5, 15]


def test_a_target_above_the_cap_counts_as_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = role(cap=3.0)
    table = histories([9, 9, 9])
    layout = windows.arrange(wanted, table)
    assert layout.target.max() == 3.0
    spec = tabular.fit(wanted, table, wanted.columns)
    assert (spec.cap, spec.samples["group"], spec.samples["time"]) == (3.0, "machine", "cycle")
    assert spec.target_mean == pytest.approx(np.minimum(table.column("left").to_numpy(), 3).mean())


def labelled(lengths: list[int], labels: list[list[bool] | None]) -> pa.Table:
    rows = [
        label
        for found, count in zip(labels, lengths, strict=True)
        for label in (found if found is not None else [None] * count)
    ]
    return histories(lengths, left=pa.array(rows, pa.bool_()))


def test_windows_with_an_anomaly_do_not_train_and_runs_without_labels_judge_nothing() -> None:
    bad = [False, False, True, False, False, False, False]
    table = labelled([7, 7, 7, 7, 7], [bad, bad, bad, bad, None])
    wanted = role(output="score", samples={"train_on": "normal", "length": 3, "lead_in": True})
    layout = windows.arrange(wanted, table)
    shown = seen(layout, table, wanted)
    train = shown[layout.split.train]
    abnormal = {number * 1000.0 + 2 for number in range(4)}
    assert not abnormal & set(train.ravel().tolist())
    assert 4 in set((train[:, -1] // 1000).astype(int))
    judged = np.concatenate([layout.split.validation, layout.split.test])
    assert 4 not in set((shown[judged][:, -1] // 1000).astype(int))
    assert layout.target[judged].sum() == 2
    every = windows.arrange(role(output="score", samples={"length": 3, "lead_in": True}), table)
    assert len(every.split.train) == len(layout.split.train) + 2 * 3


def test_without_any_label_all_runs_count_as_normal() -> None:
    table = labelled([6] * 4, [None] * 4)
    wanted = role(output="score", samples={"train_on": "normal"})
    layout = windows.arrange(wanted, table)
    assert all(len(layout.split.part(part)) for part in PARTS)
    assert not layout.target.any()
    spec = tabular.fit(wanted, table, wanted.columns)
    assert (spec.output, spec.target_mean) == ("score", 0.0)
    with pytest.raises(UserError, match="has no value"):
        tabular.fit(role(), table, wanted.columns)


def test_rows_without_a_time_or_an_order_are_refused() -> None:
    table = histories([5, 5, 5])
    with pytest.raises(UserError, match="1 row\\(s\\) have no cycle"):
        windows.arrange(role(), histories([5, 5, 5], cycle=pa.array([None, *range(14)])))
    with pytest.raises(UserError, match="binds no time column"):
        windows.arrange(role(columns={}).__class__(**{**_fields(role()), "columns": _without_time(role())}), table)


def _fields(one: Role) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def _without_time(one: Role) -> Columns:
    return Columns(**{**{name: getattr(one.columns, name) for name in one.columns.__dataclass_fields__}, "time": None})


def test_series_shorter_than_a_window_need_a_lead_in() -> None:
    with pytest.raises(UserError, match="no series has 4 rows in a row"):
        windows.arrange(role(samples={"lead_in": False}), histories([2, 3, 1]))
    assert len(windows.arrange(role(), histories([2, 3, 1])).target) == 6


def test_the_same_rows_in_another_order_are_parted_alike() -> None:
    found = []
    for seed in (1, 2):
        table = histories([5, 9, 4, 8, 6, 7], seed=seed)
        layout = windows.arrange(role(), table)
        shown = seen(layout, table, role())
        found.append([sorted(shown[layout.split.part(part)][:, -1].tolist()) for part in PARTS])
        assert layout.test_groups == tuple(f"m{int(one)}" for one in sorted({value // 1000 for value in found[-1][2]}))
    assert found[0] == found[1]


def test_a_machine_with_rows_of_one_moment_in_two_datasets_is_refused() -> None:
    table = histories([5, 5, 5])
    twice = pa.concat_tables([table, table.set_column(4, DATASET, pa.array([1] * 15, pa.int32()))])
    with pytest.raises(
        UserError, match="machine m0 has rows of the same cycle in dataset 0 and in dataset 1"
    ) as caught:
        windows.arrange(role(), twice)
    assert "as 2 more have" in caught.value.message
    assert "different names" in str(caught.value.hint)
    later = table.set_column(4, DATASET, pa.array([1] * 15, pa.int32())).set_column(
        table.column_names.index("cycle"), "cycle", pa.array(table.column("cycle").to_numpy() + 5)
    )
    layout = windows.arrange(role(), pa.concat_tables([table, later]))
    assert len(np.unique(layout.groups)) == 3


def test_rows_that_share_their_time_and_series_without_an_end_of_their_beginning_are_told() -> None:
    cycles = np.concatenate([[0, 0, 1, 2, 2, 2], np.arange(4), np.arange(6)])
    table = histories([6, 4, 6], cycle=pa.array(cycles))
    mine = role(samples={"beginning": 5})
    notes = windows.arrange(mine, table.append_column("x", pa.array(cycles))).notes
    assert any(note.startswith("5 rows in 1 of the series (machine) share their cycle") for note in notes)
    assert any(note.startswith("1 of 3 series (machine) have fewer rows than the 5 that tell") for note in notes)
    assert windows.arrange(role(), histories([6, 4, 6])).notes == ()


def test_a_training_part_that_is_anomalous_throughout_is_refused() -> None:
    table = labelled([6] * 4, [[True] * 6] * 4)
    with pytest.raises(UserError, match=r"every window of the training part \(\d+\) shows a row where left is true"):
        windows.arrange(role(output="score", samples={"train_on": "normal"}), table)


def test_the_data_says_that_nobody_labelled_it() -> None:
    (note,) = windows.arrange(role(output="score"), labelled([6] * 4, [None] * 4)).notes
    assert note.startswith("No row has a value of left")
    assert not windows.arrange(role(output="score"), labelled([6] * 4, [[False] * 6] * 3 + [None])).notes
