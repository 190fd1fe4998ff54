from __future__ import annotations

import pytest

from forgia import scaling
from forgia.errors import UserError
from forgia.paths import HomePaths
from forgia.run import Journal, State
from forgia.scaling import Size
from forgia.store import append_line, private_directory


def test_sizes_come_in_the_order_of_their_processes_each_once() -> None:
    assert [str(size) for size in scaling.parse(["2x4", "1x1", "4x1", "1x4", "1x1"])] == ["1x1", "1x4", "4x1", "2x4"]


def test_every_text_that_is_no_size_is_named() -> None:
    with pytest.raises(UserError, match="4, 0x2, 2x-1: write a size as NODESxPROCESSES"):
        scaling.parse(["4", "0x2", "1x1", "2x-1"])


def test_each_process_keeps_its_share_only_if_the_batch_grows() -> None:
    size = Size(nodes=2, tasks=4)
    for is_weak, rows in ((False, 256), (True, 2048)):
        changes = scaling.settings(size, steps=50, batch_size=256, is_weak=is_weak, has_gpus=True)
        assert f"train.batch_size={rows}" in changes
        assert {"resources.nodes=2", "resources.tasks_per_node=4", "resources.gpus_per_node=4"} <= set(changes)
    assert not any(
        "gpus" in item for item in scaling.settings(size, steps=50, batch_size=1, is_weak=False, has_gpus=False)
    )


def test_speed_is_held_against_the_smallest_size_that_has_one(home: HomePaths) -> None:
    run_ids = ["failed", "small", "large"]
    for run_id, rate in zip(run_ids, (None, 100.0, 300.0), strict=True):
        paths = home.run(run_id)
        private_directory(paths.root)
        journal = Journal(paths)
        journal.record(State.PLANNED, by="submitter", attempt=1)
        if rate is None:
            journal.record(State.FAILED, by="job", attempt=1, reason="no room")
        else:
            append_line(paths.metrics, {"kind": "speed", "samples_per_s": rate, "data_wait_share": 0.1}, sync=False)
            journal.record(State.SUCCEEDED, by="job", attempt=1)
    sizes = [Size(nodes=1, tasks=1), Size(nodes=1, tasks=2), Size(nodes=2, tasks=4)]
    failed, small, large = scaling.points(home, sizes, run_ids)
    assert (failed.samples_per_s, failed.speedup, failed.reason) == (None, None, "no room")
    assert (small.speedup, small.efficiency) == (1, 1)
    assert (large.speedup, large.efficiency) == (3, pytest.approx(0.75))
    assert large.to_json()["figures"] == {"data_wait_share": 0.1}
