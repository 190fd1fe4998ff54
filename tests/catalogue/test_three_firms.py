"""The generator of the three firms' exports: formats, physics, and what pooling is worth."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import itertools
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from forgia import units
from forgia.catalogue import Catalogue
from forgia.vocabulary import Vocabulary

FOLDER = Path(__file__).parents[2] / "datasets" / "three-firms"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("three_firms_generate", FOLDER / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    argv = [sys.executable, str(FOLDER / "generate.py"), "--out", str(folder)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return folder


def rows(text: str, delimiter: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


def all_rows(folder: Path) -> dict[str, list[dict[str, str]]]:
    return {
        "alfa": rows((folder / "alfa.csv").read_text("ascii"), ","),
        "beta": rows((folder / "beta.csv").read_text("cp1252"), ";"),
        "gamma": rows(gzip.decompress((folder / "gamma.tsv.gz").read_bytes()).decode(), "\t"),
    }


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(generator: ModuleType, tmp_path: Path) -> None:
    first, again, other = (
        [path.read_bytes() for path in generator.write(tmp_path / name, 300, seed)]
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_each_firm_writes_its_own_format(exports: Path) -> None:
    found = all_rows(exports)
    assert sorted(path.name for path in exports.iterdir()) == ["alfa.csv", "beta.csv", "gamma.tsv.gz"]
    assert [len(firm) for firm in found.values()] == [4000, 4000, 4000]
    assert {row["Guasto macchina"] for row in found["beta"]} == {"sì", "no"}
    assert all("," in row["Temperatura aria (°C)"] for row in found["beta"])
    datetime.strptime(found["beta"][0]["Data e ora"], "%d/%m/%Y %H:%M:%S").replace(tzinfo=UTC)
    datetime.fromisoformat(found["alfa"][0]["Timestamp"])
    assert 50 < float(found["gamma"][0]["air_temperature [°F]"]) < 110


def test_time_never_goes_back_and_no_machine_is_shared(exports: Path) -> None:
    found = all_rows(exports)
    epochs = [int(row["timestamp"]) for row in found["gamma"]]
    assert epochs == sorted(epochs)
    stamps = [row["Timestamp"] for row in found["alfa"]]
    assert stamps == sorted(stamps)
    machines = [
        {row[name] for row in found[firm]}
        for firm, name in (("alfa", "Machine ID"), ("beta", "Macchina"), ("gamma", "machine_id"))
    ]
    assert [len(one) for one in machines] == [8, 7, 9]
    assert len(set.union(*machines)) == 24


def test_tools_wear_until_they_are_changed(exports: Path) -> None:
    wear: dict[str, list[float]] = defaultdict(list)
    for row in all_rows(exports)["alfa"]:
        wear[row["Machine ID"]].append(float(row["Tool wear [min]"]))
    for path in wear.values():
        steps = list(itertools.pairwise(path))
        resets = [after for before, after in steps if after <= before]
        assert resets
        assert set(resets) == {0.0}
        assert max(path) < 260


@pytest.mark.parametrize("seed", [0, 1])
def test_few_operations_fail_at_each_firm(generator: ModuleType, seed: int) -> None:
    for firm in generator.FIRMS:
        share = sum(row.failed for row in generator.rows_of(firm, 4000, seed)) / 4000
        assert 0.025 < share < 0.055, firm.name


def test_every_cause_raises_the_chance_of_failure(generator: ModuleType) -> None:
    def chance(**changed: float) -> float:
        case = {"rise": 10.5, "speed": 1500.0, "torque": 40.0, "wear": 50.0, "life": 226.0} | changed
        return generator.failure_chance(
            "L", case["rise"], (case["speed"], case["torque"]), (case["wear"], case["life"])
        )

    assert chance() < 0.001
    assert chance(rise=8.0, speed=1200.0, torque=45.0) > 0.9
    assert chance(rise=8.0) < 0.001, "a fast spindle carries its heat away"
    assert chance(torque=20.0) > 0.9, "too little power"
    assert chance(torque=65.0) > 0.9, "too much power"
    assert chance(wear=215.0, torque=58.0) > 0.9, "strain"
    assert chance(wear=235.0, torque=40.0) > 0.9, "tool life"


def raw(row: Any) -> list[float]:
    return [row.air, row.process, row.speed, row.torque, row.wear]


def with_physics(row: Any) -> list[float]:
    return [*raw(row), row.process - row.air, row.speed * row.torque, row.wear * row.torque]


def f1(columns: Callable[[Any], list[float]], train: list[Any], test: list[Any]) -> float:
    ensemble, metrics = pytest.importorskip("sklearn.ensemble"), pytest.importorskip("sklearn.metrics")
    model = ensemble.RandomForestClassifier(n_estimators=30, random_state=0)
    model.fit([columns(row) for row in train], [row.failed for row in train])
    return float(metrics.f1_score([row.failed for row in test], model.predict([columns(row) for row in test])))


def test_a_model_of_all_firms_beats_a_model_of_one_and_none_is_perfect(generator: ModuleType) -> None:
    firms = [generator.rows_of(firm, 4000, 0) for firm in generator.FIRMS]
    held_out = {machine for firm in generator.FIRMS for machine in sorted(firm.machines)[-2:]}
    train = [[row for row in rows if row.machine not in held_out] for rows in firms]
    test = [row for rows in firms for row in rows if row.machine in held_out]
    pooled = [row for rows in train for row in rows]
    assert f1(raw, pooled, test) > max(f1(raw, rows, test) for rows in train) + 0.05
    assert 0.75 < f1(with_physics, pooled, test) < 0.97


def test_every_column_binds_to_its_concept(generator: ModuleType) -> None:
    wanted = [
        *(
            "sequence_number",
            "product_id",
            "product_grade",
            "air_temperature",
            "process_temperature",
            "rotational_speed",
        ),
        *("torque", "tool_wear", "machine_failure", "machine_id", "timestamp"),
    ]
    vocabulary = Vocabulary.load(Catalogue())
    for firm, delimiter in (("alfa", ","), ("beta", ";"), ("gamma", "\t")):
        for header, concept in zip(generator.HEADERS[firm].split(delimiter), wanted, strict=True):
            label, unit = units.split_header(header)
            key = vocabulary.key(label)
            indexes = (vocabulary.by_id, vocabulary.by_label, vocabulary.by_synonym)
            assert concept in [one.id for index in indexes for one in index.get(key, ())], header
            known = vocabulary.get(concept)
            if known.needs_unit:
                assert units.are_compatible(unit or "", known.unit or ""), header
