"""A column of the files that rows come from: runs that are files of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgia.catalogue import Catalogue
from forgia.dataset import ingest
from forgia.dataset.ingest import Terms
from forgia.errors import UserError
from forgia.paths import HomePaths
from forgia.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(Catalogue())


def write(folder: Path, *names: str, header: str = "timestamp;Flow [l/min]") -> list[Path]:
    for place, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{header}\n2026-03-09 10:00:00;{place}.5\n2026-03-09 10:00:01;{place}.25\n")
    return [folder / name for name in names]


def test_every_row_knows_its_file(tmp_path: Path, home: HomePaths, vocabulary: Vocabulary) -> None:
    paths = write(tmp_path / "loop", "valve1/0.csv", "valve1/1.csv", "valve2/0.csv")
    terms = Terms(file_column="run_id")
    dataset = ingest.add(home, "loop", paths, owner="pump", vocabulary=vocabulary, terms=terms).dataset
    table = dataset.to_table()
    names = ["loop/valve1/0", "loop/valve1/1", "loop/valve2/0"]
    assert table.column("run_id").to_pylist() == [name for name in names for _ in range(2)]
    assert table.column("volume_flow").to_pylist() == [0.5, 0.25, 1.5, 1.25, 2.5, 2.25]
    column = dataset.manifest.column("run_id")
    assert column is not None
    assert column.concept == "run_id"
    assert dataset.manifest.options["file_column"] == "run_id"
    assert not ingest.add(home, "loop", paths, owner="pump", vocabulary=vocabulary, terms=terms).is_new
    assert ingest.add(home, "loop", paths, owner="pump", vocabulary=vocabulary).is_new


def test_files_of_two_imports_do_not_share_a_name(tmp_path: Path, home: HomePaths, vocabulary: Vocabulary) -> None:
    found = []
    for folder in ("valve1", "valve2"):
        paths = write(tmp_path / folder, "0.csv")
        terms = Terms(file_column="experiment file")
        dataset = ingest.add(home, folder, paths, owner="pump", vocabulary=vocabulary, terms=terms).dataset
        column = next(column for column in dataset.manifest.columns if column.source == "experiment file")
        assert column.concept is None
        found += dataset.to_table([column.name]).column(0).unique().to_pylist()
    assert found == ["valve1/0", "valve2/0"]


def test_a_column_of_the_file_itself_is_not_covered(tmp_path: Path, home: HomePaths, vocabulary: Vocabulary) -> None:
    paths = write(tmp_path, "0.csv", header="timestamp;run_id")
    with pytest.raises(UserError, match="has a column 'run_id' of its own"):
        ingest.add(home, "loop", paths, owner="pump", vocabulary=vocabulary, terms=Terms(file_column="run_id"))


def test_measurements_are_not_taken_for_an_identifier(tmp_path: Path, home: HomePaths, vocabulary: Vocabulary) -> None:
    paths = write(tmp_path, "0.csv", header="timestamp;sensor 1")
    with pytest.raises(UserError, match="could not be bound") as caught:
        ingest.add(home, "loop", paths, owner="pump", vocabulary=vocabulary)
    assert "sensor_id names or counts" in caught.value.problems[0].message


def test_files_of_one_name_in_two_folders_are_two_sources_and_two_runs(
    tmp_path: Path, home: HomePaths, vocabulary: Vocabulary
) -> None:
    paths = write(tmp_path, "a/0.csv", "b/0.csv", "b/0.txt")
    terms = Terms(file_column="run_id")
    dataset = ingest.add(home, "loop", paths, owner="pump", vocabulary=vocabulary, terms=terms).dataset
    assert [source.name for source in dataset.manifest.sources] == ["a/0.csv", "b/0.csv", "b/0.txt"]
    assert len(dataset.to_table().column("run_id").unique()) == 3


def test_what_is_open_in_all_files_is_told_once(tmp_path: Path, home: HomePaths, vocabulary: Vocabulary) -> None:
    paths = write(tmp_path, *(f"{number}.csv" for number in range(16)), header="timestamp;Foo")
    with pytest.raises(UserError, match=r"^1 column\(s\) could not be bound") as caught:
        ingest.add(home, "loop", paths, owner="pump", vocabulary=vocabulary, terms=Terms(file_column="run_id"))
    (problem,) = caught.value.problems
    assert (problem.field, problem.message) == ("Foo", "no concept has this name (and so in 15 more files)")
