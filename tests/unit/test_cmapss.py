"""NASA's run-to-failure files: what becomes of them, and what is refused."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from forgia.catalogue import Catalogue
from forgia.dataset import cmapss, ingest
from forgia.dataset.dataset import Dataset
from forgia.dataset.dialect import ReadOptions
from forgia.dataset.ingest import Terms
from forgia.errors import UserError
from forgia.paths import HomePaths
from forgia.vocabulary import Vocabulary

GENERATOR = Path(__file__).parents[2] / "datasets" / "engines" / "generate.py"
TERMS = Terms(read=ReadOptions(format="cmapss"))
SUBSETS = ("FD001", "FD002")


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("engines_generate", GENERATOR)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(generator: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cmapss")
    generator.write(folder, 5, 3, as_cmapss=True)
    (folder / "readme.txt").write_text("Data Set: FD001\n")
    return folder


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(Catalogue())


def added(home: HomePaths, paths: list[Path], vocabulary: Vocabulary) -> Dataset:
    return ingest.add(home, "engines", paths, owner="nasa", vocabulary=vocabulary, terms=TERMS).dataset


def histories(dataset: Dataset) -> dict[str, tuple[str, np.ndarray]]:
    """Engine → its part, and what it has left cycle by cycle."""
    table = dataset.to_table(["machine_id", "data_part", "remaining_cycles"])
    found: dict[str, tuple[str, list[float]]] = {}
    for engine, part, left in zip(*(column.to_pylist() for column in table.columns), strict=True):
        found.setdefault(engine, (part, []))[1].append(left)
    return {engine: (part, np.array(left)) for engine, (part, left) in found.items()}


def test_the_files_are_spelled_as_the_real_ones(files: Path) -> None:
    first = (files / "train_FD001.txt").read_text().splitlines()[0]
    assert first.endswith("  ")
    assert len(first.split()) == 26
    assert first.startswith("1 1 ")
    assert (files / "RUL_FD001.txt").read_text().splitlines()[0].endswith(" ")


def test_a_training_file_brings_the_test_file_beside_it(files: Path, home: HomePaths, vocabulary: Vocabulary) -> None:
    dataset = added(home, [files / "train_FD001.txt"], vocabulary)
    assert [source.name for source in dataset.manifest.sources] == [
        "train_FD001.txt",
        "test_FD001.txt",
        "RUL_FD001.txt",
    ]
    engines = histories(dataset)
    parts = [part for part, _ in engines.values()]
    assert (parts.count("train"), parts.count("test")) == (5, 5)
    for _, left in engines.values():
        assert (np.diff(left) == -1).all()
    assert all(left[-1] == 0 for part, left in engines.values() if part == "train")
    told = [int(line) for line in (files / "RUL_FD001.txt").read_text().split()]
    assert [left[-1] for part, left in engines.values() if part == "test"] == told
    assert not ingest.add(
        home, "engines", [files / "train_FD001.txt"], owner="nasa", vocabulary=vocabulary, terms=TERMS
    ).is_new


def test_engines_of_another_file_or_subset_are_other_engines(
    files: Path, home: HomePaths, vocabulary: Vocabulary
) -> None:
    dataset = added(home, [files], vocabulary)
    names = set(dataset.to_table(["machine_id"]).column("machine_id").to_pylist())
    wanted = {f"{s}-{part}-{number:03}" for s in SUBSETS for part in ("train", "test") for number in range(1, 6)}
    assert names == wanted
    columns = [column.name for column in dataset.manifest.columns]
    assert columns[:5] == [
        "machine_id",
        "cycle_count",
        "operating_setting",
        "operating_setting_2",
        "operating_setting_3",
    ]
    assert columns[5:26] == ["sensor_reading", *(f"sensor_reading_{number}" for number in range(2, 22))]


def test_numbers_come_through_as_they_stand(files: Path, home: HomePaths, vocabulary: Vocabulary) -> None:
    table = added(home, [files / "test_FD002.txt"], vocabulary).to_table()
    wanted = np.loadtxt(files / "test_FD002.txt")
    found = np.column_stack([table.column(place).to_numpy() for place in range(1, 26)])
    np.testing.assert_array_equal(found, wanted[:, 1:])


def test_without_answers_a_test_file_can_be_read_to_predict(files: Path, tmp_path: Path) -> None:
    alone = tmp_path / "test_FD001.txt"
    alone.write_text((files / "test_FD001.txt").read_text())
    (found,) = cmapss.read([alone], complete=False)
    assert "remaining cycles" not in found.table.column_names
    with pytest.raises(UserError, match=r"RUL_FD001\.txt"):
        cmapss.read([alone], complete=True)


def test_a_training_file_alone_is_enough(files: Path, tmp_path: Path) -> None:
    alone = tmp_path / "TRAIN_fd003.TXT"
    alone.write_text((files / "train_FD001.txt").read_text() + "\n\n")
    (found,) = cmapss.read([alone], complete=True)
    assert found.table.column("engine")[0].as_py() == "FD003-train-001"
    (tmp_path / "test_FD003.txt").write_text("of no use without its RUL file")
    assert len(cmapss.read([alone], complete=True)) == 1


def lines_with(files: Path, number: int, line: str) -> str:
    lines = (files / "train_FD001.txt").read_text().splitlines()
    lines[number - 1] = line
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 3 0.0", ":3: 3 values instead of 26"),
        ("1 3 " + "x " * 24, "no number"),
        ("1 3 " + "nan " * 24, ":3: a value is not finite"),
        ("1 7 " + "1 " * 24, ":3: engine 1, cycle 7 where engine 1, cycle 3 was expected"),
        ("3 1 " + "1 " * 24, ":3: engine 3, cycle 1 where engine 2, cycle 1 was expected"),
        ("1.5 3 " + "1 " * 24, ":3: engine 1.5"),
    ],
)
def test_a_broken_line_is_named(files: Path, tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "train_FD001.txt"
    path.write_text(lines_with(files, 3, line))
    with pytest.raises(UserError, match=said):
        cmapss.read([path], complete=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1\n2\n", "says it of 2 engines, test_FD001.txt has 5"),
        ("1\n2\n3\n4\n-5\n", ":5: -5 is no number of cycles"),
        ("1\n2\n3\n4 5\n6\n", ":4: 2 values instead of 1"),
        ("", "holds no rows"),
    ],
)
def test_answers_that_do_not_fit_are_refused(files: Path, tmp_path: Path, text: str, said: str) -> None:
    for name in ("train_FD001.txt", "test_FD001.txt"):
        (tmp_path / name).write_text((files / name).read_text())
    (tmp_path / "RUL_FD001.txt").write_text(text)
    with pytest.raises(UserError, match=said):
        cmapss.read([tmp_path / "train_FD001.txt"], complete=True)


def test_other_files_are_no_engines(tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="not a C-MAPSS file"):
        cmapss.read([tmp_path / "export.csv"], complete=True)
    (tmp_path / "train_FD001.txt").write_bytes(b"\xff\xfe1 1")
    with pytest.raises(UserError, match="not a C-MAPSS file"):
        cmapss.read([tmp_path / "train_FD001.txt"], complete=True)
    (tmp_path / "RUL_FD001.txt").write_text("1\n")
    with pytest.raises(UserError, match="no file of engines"):
        cmapss.read([tmp_path / "RUL_FD001.txt"], complete=True)
    with pytest.raises(UserError, match="no format 'hdf'"):
        ReadOptions(format="hdf")


def test_the_same_seed_gives_the_same_engines(generator: ModuleType, tmp_path: Path) -> None:
    first, again, other = (
        [path.read_bytes() for path in generator.write(tmp_path / name, 2, seed)]
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))
