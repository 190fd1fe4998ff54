"""Columns of one concept: told apart by their headers and the numbers in them, never by their place."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgia.catalogue import Catalogue
from forgia.dataset import ingest, reader
from forgia.dataset.binding import bind
from forgia.dataset.ingest import Terms
from forgia.dataset.kinds import Look
from forgia.dataset.manifest import Column
from forgia.dataset.mapping import Entry
from forgia.dataset.naming import column_names
from forgia.errors import UserError
from forgia.paths import HomePaths
from forgia.vocabulary import Vocabulary

NUMBER = Look(kind="number", low=300, high=380, numeric_share=1.0, example="300")
VOCABULARY = Vocabulary.load(Catalogue())
PLENTY = (
    "Temperature 1 [K]",
    "Temperature 2 [K]",
    "Temperature 3 [K]",
    "Oil temperature [K]",
    "Temperatura olio [K]",
    "Torque 4.1 [Nm]",
    "Torque 4.2 [Nm]",
    "sensor reading",
    "sensor reading 2",
    "sensor 10",
    "Strange",
    "strange",
    "Torque 7",
)
SENSORS = tuple(f"sensor {number}" for number in range(1, 8))
CONCEPTS = {header: Entry(concept="sensor_reading") for header in SENSORS}


def names(*headers: str) -> dict[str, str]:
    found = bind(dict.fromkeys(headers, NUMBER), VOCABULARY, keep_unbound=True)
    return dict(zip(headers, column_names(found.bound, VOCABULARY), strict=True))


def write(path: Path, headers: list[str] | tuple[str, ...], *, among: tuple[str, ...], rows: int = 3) -> Path:
    """A file in which each header has values of its own, wherever it stands."""
    lines = [";".join(headers)]
    for row in range(rows):
        lines.append(";".join(f"{300 + 10 * among.index(header) + row}.5" for header in headers))
    path.write_text("\n".join(lines) + "\n")
    return path


def add(folder: Path, *paths: Path, **said: object) -> dict[str, list[object]]:
    terms = Terms(keep_unbound=True, **said)  # type: ignore[arg-type]
    home = HomePaths(folder / "home")
    dataset = ingest.add(home, "set", list(paths), owner="x", vocabulary=VOCABULARY, terms=terms).dataset
    found: dict[str, list[object]] = dataset.to_table().to_pydict()
    return found


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (("Temperature 3 [K]",), ("temperature",)),
        (("Temperature 3 [K]", "Temperature 1 [K]"), ("temperature_3", "temperature")),
        (("Temperature 3 [K]", "Temperature 2 [K]"), ("temperature_3", "temperature_2")),
        (("Temperature 2 [K]", "Temperature [K]"), ("temperature_2", "temperature")),
        (("Temperature 1 [K]", "Temperature [K]"), ("temperature_1", "temperature")),
        (("Torque 4.1 [Nm]", "Torque 4.2 [Nm]"), ("torque", "torque_2")),
        (("Torque 5.1 [Nm]", "Torque 4.1 [Nm]"), ("torque_5", "torque_4")),
        (("Temperatura olio [K]", "Oil temperature [K]"), ("oil_temperature_2", "oil_temperature")),
        (("CO2 2 [ppm]", "CO2 1 [ppm]"), ("gas_concentration_2", "gas_concentration")),
        (("Torque", "Torque 2"), ("torque_unbound", "torque_2_unbound")),
    ],
)
def test_a_column_has_the_number_of_its_header(headers: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert tuple(names(*headers).values()) == expected


@given(st.permutations(PLENTY))
def test_the_order_of_columns_changes_no_name(headers: list[str]) -> None:
    assert names(*headers) == names(*PLENTY)


@settings(max_examples=25, deadline=None)
@given(st.permutations(PLENTY), st.permutations(PLENTY))
def test_the_order_of_columns_changes_no_value(first: list[str], second: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = add(folder, write(folder / "plain.csv", PLENTY, among=PLENTY))
        paths = write(folder / "a.csv", first, among=PLENTY), write(folder / "b.csv", second, among=PLENTY)
        both = add(folder, *paths)
    assert both == {name: values * 2 for name, values in plain.items()}


@settings(max_examples=25, deadline=None)
@given(st.permutations(SENSORS), st.permutations(SENSORS), st.sampled_from(["same", "named", "other"]))
def test_new_rows_are_the_same_whatever_the_order_of_their_columns(
    trained: list[str], headers: list[str], how: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write(folder / "trained.csv", trained, among=SENSORS)
        terms = Terms(mapping=CONCEPTS)
        dataset = ingest.add(
            HomePaths(folder / "home"), "set", [path], owner="x", vocabulary=VOCABULARY, terms=terms
        ).dataset
        source = write(folder / "new.csv", headers, among=SENSORS)
        words = {"same": "sensor ", "named": "sensor_reading_", "other": "Lettura sensore "}[how]
        source.write_text(source.read_text().replace("sensor ", words))
        found = pa.Table.from_batches(reader.read_bound(source, dataset.manifest.columns, vocabulary=VOCABULARY))
        assert found.to_pydict() == dataset.to_table().to_pydict()


def read(folder: Path, headers: tuple[str, ...], trained: tuple[str, ...], **said: object) -> dict[str, object]:
    """What the first row of a file gives for a dataset that numbered its columns by their place."""
    columns = [
        Column(
            name=f"temperature_{place}" if place > 1 else "temperature", source=header, concept="temperature", unit="K"
        )
        for place, header in enumerate(trained, 1)
    ]
    path = write(folder / "new.csv", headers, among=headers)
    batches = reader.read_bound(path, columns, vocabulary=VOCABULARY, **said)  # type: ignore[arg-type]
    return {name: values[0] for name, values in pa.Table.from_batches(batches).to_pydict().items()}


def test_a_column_more_in_front_changes_nothing(tmp_path: Path) -> None:
    trained = ("Temperature 1 [K]", "Temperature 2 [K]")
    found = read(tmp_path, ("Temperature 9 [K]", "Temperature 2 [K]", "Temperature 1 [K]"), trained)
    assert found == {"temperature": 320.5, "temperature_2": 310.5}


def test_a_dataset_that_numbered_by_place_is_matched_by_its_headers(tmp_path: Path) -> None:
    trained = ("Temperature 3 [K]", "Temperature 1 [K]")
    assert read(tmp_path, ("T 1 [K]", "T 3 [K]"), trained) == {"temperature": 310.5, "temperature_2": 300.5}


def test_the_missing_column_is_the_one_that_is_told(tmp_path: Path) -> None:
    trained = tuple(f"Temperature {number} [K]" for number in range(1, 5))
    with pytest.raises(UserError, match=r"no column for temperature_2 \('Temperature 2 \[K\]'\)$"):
        read(tmp_path, ("T 4 [K]", "T 1 [K]", "T 3 [K]"), trained)


def test_columns_that_nothing_tells_apart_are_refused_with_a_remedy(tmp_path: Path) -> None:
    trained = ("Temperature left [K]", "Temperature right [K]")
    mapping = {name: Entry(concept="temperature") for name in ("Zone A [K]", "Zone B [K]")}
    with pytest.raises(UserError, match=r"temperature, temperature_2 cannot be told: 'Zone A \[K\]'") as caught:
        read(tmp_path, ("Zone A [K]", "Zone B [K]"), trained, mapping=mapping)
    assert "call them 'Temperature left [K]', 'Temperature right [K]'" in str(caught.value.hint)


def test_a_lone_column_is_the_lone_one_whatever_its_number(tmp_path: Path) -> None:
    assert read(tmp_path, ("Temperatura 2 [K]",), ("Temperature 1 [K]",)) == {"temperature": 300.5}


def test_files_whose_columns_nothing_tells_apart_are_not_mixed(tmp_path: Path) -> None:
    headers = ("Zone A [K]", "Zone B [K]"), ("Left [K]", "Right [K]")
    mapping = {name: Entry(concept="temperature") for pair in headers for name in pair}
    paths = [write(tmp_path / f"{place}.csv", pair, among=pair) for place, pair in enumerate(headers)]
    with pytest.raises(UserError, match=r"which of 'Left \[K\]', 'Right \[K\]' it is cannot be told"):
        add(tmp_path, *paths, mapping=mapping)


def test_the_file_that_differs_is_blamed_and_each_difference_told_once(tmp_path: Path) -> None:
    usual = ("Temperature [K]", "Torque [Nm]")
    paths = [write(tmp_path / "0.csv", ("Temperature [K]", "Foo"), among=("Temperature [K]", "Foo"))]
    paths += [write(tmp_path / f"{number}.csv", usual, among=usual) for number in range(1, 6)]
    with pytest.raises(UserError) as caught:
        add(tmp_path, *paths)
    told = [(Path(problem.path).name, problem.field, problem.message) for problem in caught.value.problems]
    assert told == [("0.csv", "Torque [Nm]", "is missing here"), ("0.csv", "Foo", "is here and not in the others")]


def test_a_column_kept_without_a_unit_is_near_one_with_a_unit(tmp_path: Path) -> None:
    columns = [Column(name="temperature_unbound", source="Temperature")]
    path = write(tmp_path / "new.csv", ("Temperature [°C]", "Torque [Nm]"), among=("Temperature [°C]", "Torque [Nm]"))
    with pytest.raises(UserError, match=r"'Temperature' is near 'Temperature \[°C\]', which is read as temp") as caught:
        reader.read_bound(path, columns, vocabulary=VOCABULARY)
    assert '"Temperature [°C]": {keep: auto}' in str(caught.value.hint)
    mapping = {"Temperature [°C]": Entry(keep="auto")}
    found = pa.Table.from_batches(reader.read_bound(path, columns, vocabulary=VOCABULARY, mapping=mapping))
    assert found.to_pydict() == {"temperature_unbound": [300.5, 301.5, 302.5]}


def test_columns_keep_the_names_of_the_version_before(tmp_path: Path) -> None:
    headers = ("Centre [K]", "Left [K]", "Right [K]")
    mapping = {name: Entry(concept="temperature") for name in headers}
    versions = []
    for place, chosen in enumerate([("Right [K]", "Left [K]"), headers, ("Right [K]",), ("Centre [K]",)]):
        path = write(tmp_path / f"{place}.csv", (*chosen, "UDI"), among=(*headers, "UDI"))
        said = {name: mapping[name] for name in chosen}
        found = add(tmp_path, path, mapping=said)
        versions.append({name: values[0] for name, values in found.items() if name != "udi"})
    assert versions == [
        {"temperature": 310.5, "temperature_2": 320.5},
        {"temperature": 310.5, "temperature_2": 320.5, "temperature_3": 300.5},
        {"temperature_2": 320.5},
        {"temperature": 300.5},
    ]
