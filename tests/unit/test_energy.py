from __future__ import annotations

from pathlib import Path

import pytest
import torch

from forgia_jobs.request import Resources
from forgia_jobs.spending import energy
from forgia_jobs.spending.energy import Reading

CPU = torch.device("cpu")


def counter(powercap: Path, name: str, *, microjoules: int, most: int = 1_000_000_000) -> None:
    zone = powercap / name
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "energy_uj").write_text(f"{microjoules}\n")
    (zone / "max_energy_range_uj").write_text(f"{most}\n")


def test_packages_are_counted_and_their_parts_are_not_counted_twice(tmp_path: Path) -> None:
    for joules in (100, 160):
        counter(tmp_path, "intel-rapl:0", microjoules=joules * 1_000_000)
        counter(tmp_path, "intel-rapl:0:0", microjoules=joules * 1_000_000)
        counter(tmp_path, "intel-rapl:1", microjoules=joules * 2_000_000)
        if joules == 100:
            before = energy.read(CPU, tmp_path)
    assert energy.used_j(before, energy.read(CPU, tmp_path)) == (None, 60 + 120)


def test_a_counter_that_starts_over_is_followed(tmp_path: Path) -> None:
    counter(tmp_path, "intel-rapl:0", microjoules=990_000_000)
    before = energy.read(CPU, tmp_path)
    counter(tmp_path, "intel-rapl:0", microjoules=5_000_000)
    assert energy.used_j(before, energy.read(CPU, tmp_path)) == (None, 15)


def test_without_counters_nothing_is_counted(tmp_path: Path) -> None:
    found = energy.read(CPU, tmp_path)
    assert found == Reading(gpu_j=None, packages_j=None, ranges_j={})
    assert energy.used_j(found, found) == (None, None)


@pytest.mark.parametrize(
    ("counted", "estimated", "kwh", "source"),
    [
        ((3.6e6, 1.8e6), (9e9, 9e9), 1.5, "GPUs counted, processors counted"),
        ((3.6e6, None), (9e9, 3.6e6), 2.0, "GPUs counted, processors estimated from the profile"),
        ((None, None), (None, 3.6e6), 1.0, "processors estimated from the profile"),
    ],
)
def test_what_is_not_counted_is_estimated_and_said_to_be(
    counted: tuple[float | None, float | None], estimated: tuple[float | None, float | None], kwh: float, source: str
) -> None:
    assert energy.report(counted, estimated) == {"kwh": kwh, "kwh_source": source}


def test_what_nobody_knows_is_not_told() -> None:
    assert energy.report((None, None), (None, None)) == {}


def test_the_estimate_is_full_load_of_what_was_asked_for() -> None:
    asked = Resources(nodes=2, tasks_per_node=4, gpus_per_node=4, cpus_per_task=8)
    profile = {"gpu": {"watts": 400.0}, "cpu_watts_per_core": 5.0}
    assert energy.estimate_j(asked, profile, seconds=10) == (2 * 4 * 400 * 10, 2 * 4 * 8 * 5 * 10)
    assert energy.estimate_j(asked, {"gpu": None}, seconds=10) == (None, None)
