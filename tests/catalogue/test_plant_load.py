"""The generator of the plants' readings: formats, clock changes, gaps, and what the load is made of."""

from __future__ import annotations

import csv
import importlib.util
import io
import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from forgia import calendars, units
from forgia.catalogue import Catalogue
from forgia.vocabulary import Vocabulary

FOLDER = Path(__file__).parents[2] / "datasets" / "plant-load"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plant_load_generate", FOLDER / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def exports(generator: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    paths = generator.write(tmp_path_factory.mktemp("plants"), 310, 0)
    texts = {path.name.partition(".")[0]: path.read_text() for path in paths}
    return {
        name: list(csv.DictReader(io.StringIO(text), delimiter=generator.DELIMITERS[name]))
        for name, text in texts.items()
    }


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(generator: ModuleType, tmp_path: Path) -> None:
    first, again, other = (
        [path.read_bytes() for path in generator.write(tmp_path / name, 20, seed)]
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_the_plant_without_offsets_misses_an_hour_in_spring_and_writes_one_twice_in_autumn(
    exports: dict[str, list[dict[str, str]]],
) -> None:
    stamps = [row["Data e ora"] for row in exports["beta"] if row["Linea"] == "Forno 1"]
    assert not any(stamp.startswith("26/03/2023 02") for stamp in stamps)
    assert stamps.count("29/10/2023 02:00") == 2
    assert exports["alfa"][0]["Timestamp"] == "2023-01-02T01:00:00+01:00"
    assert int(exports["gamma"][0]["timestamp"]) == int(datetime(2023, 1, 2, tzinfo=UTC).timestamp())


def test_some_readings_are_missing_and_some_come_twice(exports: dict[str, list[dict[str, str]]]) -> None:
    for line in ("A-press", "A-paint"):
        stamps = Counter(row["Timestamp"] for row in exports["alfa"] if row["Production line"] == line)
        assert 0.97 < len(stamps) / (310 * 24) < 1
        assert max(stamps.values()) == 2


def test_a_plant_stands_still_on_holidays_on_weekends_and_in_august(generator: ModuleType) -> None:
    plant = generator.PLANTS[0]
    found = generator.readings_of(plant, 310, 0)
    planned: dict[date, float] = {}
    load: dict[date, list[float]] = {}
    for reading in found:
        if reading.line == "A-press":
            day = reading.moment.astimezone(generator.ROME).date()
            planned[day] = max(planned.get(day, 0), reading.planned)
            load.setdefault(day, []).append(reading.energy_kwh)
    closed = {
        day for day in planned if day in calendars.italy(day.year) or date(2023, 8, 5) <= day <= date(2023, 8, 25)
    }
    assert all(planned[day] == 0 for day in closed)
    assert all(planned[day] == 0 for day in planned if day.weekday() == 6)
    workdays = [day for day in planned if planned[day] > 0]
    assert np.mean([np.mean(load[day]) for day in workdays]) > 2 * np.mean([np.mean(load[day]) for day in closed])


def test_the_generators_holidays_are_those_of_the_calendar(generator: ModuleType) -> None:
    for year, month_day in generator.EASTER_SUNDAYS.items():
        assert calendars.easter(year) == date(year, *month_day)
    days = [date(2025, 2, 1) + timedelta(days=number) for number in range(180)]
    plant = generator.PLANTS[2]
    shut = {day for day in days if generator.is_closed(plant, day)} - {date(2025, *plant.patron)}
    assert shut == {day for day in days if day in calendars.italy(2025) and day.weekday() < 6}


def test_every_column_binds_to_its_concept(generator: ModuleType) -> None:
    vocabulary = Vocabulary.load(Catalogue())
    wanted = ["timestamp", "line_id", "electric_energy", "ambient_temperature", "planned_production"]
    for name, header in generator.HEADERS.items():
        for text, concept in zip(header.split(generator.DELIMITERS[name]), wanted, strict=False):
            label, unit = units.split_header(text)
            key = vocabulary.key(label)
            indexes = (vocabulary.by_id, vocabulary.by_label, vocabulary.by_synonym)
            assert concept in [one.id for index in indexes for one in index.get(key, ())], text
            known = vocabulary.get(concept)
            assert not known.needs_unit or units.are_compatible(unit or "", known.unit or ""), text
