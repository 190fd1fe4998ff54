"""The generators of histories and of runs: what they write, and that every header is understood."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from forgia.catalogue import Catalogue
from forgia.dataset import ingest
from forgia.dataset.ingest import Terms
from forgia.vocabulary import Vocabulary

FOLDER = Path(__file__).parents[2] / "datasets"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_generator", FOLDER / name / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(Catalogue())


@pytest.mark.parametrize("name", ["engines", "pump-loop"])
def test_every_header_of_every_firm_is_bound(name: str, tmp_path: Path, vocabulary: Vocabulary) -> None:
    paths = loaded(name).write(tmp_path, 2, 0)
    assert len(paths) == 2
    for path in paths:
        plan = ingest.prepare([path], vocabulary, Terms())
        assert not plan.open_questions
        assert all(column.concept for column in plan.columns)


@pytest.mark.parametrize("name", ["engines", "pump-loop"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(name: str, tmp_path: Path) -> None:
    generator = loaded(name)
    first, again, other = (
        [path.read_bytes() for path in generator.write(tmp_path / folder, 2, seed)]
        for folder, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_engines_wear_until_they_fail() -> None:
    generator = loaded("engines")
    for seed in range(5):
        history = generator.engine(1, ways=1, random=np.random.default_rng(seed))
        readings = np.array([row.readings for row in history])
        assert [row.left for row in history] == list(range(len(history)))[::-1]
        assert 128 <= len(history) <= 360
        changes = readings[-10:].mean(axis=0) - readings[:30].mean(axis=0)
        for sensor, change in zip(generator.SENSORS, changes, strict=True):
            if sensor.worn and abs(sensor.worn) >= 4 * sensor.noise:
                assert np.sign(change) == np.sign(sensor.worn)
        assert (np.ptp(readings, axis=0) == 0).sum() >= 6


def test_something_goes_wrong_in_the_middle_of_a_run_and_can_be_seen() -> None:
    generator = loaded("pump-loop")
    for fault in generator.FAULTS:
        run = generator.run("x", fault, generator.START, np.random.default_rng(3))
        assert 0.1 < run.anomaly.mean() < 0.5
        assert not run.anomaly[: generator.BEGINS[0] // 2].any()
        assert run.changepoint.sum() in (1, 2)
        assert (np.diff(run.second) >= 1).all()
        assert (np.diff(run.second) > 1).any()
    calm = generator.run("y", None, generator.START, np.random.default_rng(3))
    assert not calm.anomaly.any()


def test_the_benchmark_has_a_file_a_run_and_labels_only_where_something_happened(tmp_path: Path) -> None:
    for path in loaded("pump-loop").write(tmp_path, 6, 0, as_benchmark=True):
        header, first = path.read_text().splitlines()[:2]
        labelled = path.parent.name != "anomaly-free"
        assert header.startswith("datetime;Accelerometer1RMS;Accelerometer2RMS;Current;Pressure;Temperature;")
        assert header.endswith(";anomaly;changepoint" if labelled else ";Volume Flow RateRMS")
        assert first.endswith(";0.0;0.0") == labelled
