"""Imports: versions, no-ops, refusals that leave nothing, and new data read with an old binding."""

from __future__ import annotations

import errno
import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgia.catalogue import Catalogue
from forgia.dataset import ingest, reader, writer
from forgia.dataset.dataset import Dataset, list_datasets
from forgia.dataset.dialect import ReadOptions
from forgia.dataset.ingest import Terms
from forgia.dataset.manifest import Manifest
from forgia.dataset.mapping import Entry
from forgia.errors import ForgiaError, IntegrityError, NotFound, UserError
from forgia.paths import HomePaths
from forgia.vocabulary import Vocabulary

ENGLISH = "UDI,Torque [Nm],Type,Machine failure\n" + "".join(
    f"{n},{n % 7}.5,{'LMH'[n % 3]},{n % 2}\n" for n in range(300)
)
ITALIAN = "Progressivo;Coppia (kNm);Tipo;Guasto\r\n" + "".join(
    f"{n};0,00{n % 7}5;{'LMH'[n % 3]};{'OK' if n % 2 == 0 else 'KO'}\r\n" for n in range(300)
)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(Catalogue())


@pytest.fixture
def add(home: HomePaths, vocabulary: Vocabulary, tmp_path: Path):
    def run(content: str | bytes, name: str = "mill", file: str = "export.csv", **terms) -> ingest.Added:
        path = tmp_path / file
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return ingest.add(home, name, [path], owner="acme", vocabulary=vocabulary, terms=Terms(**terms))

    return run


def nothing_left(home: HomePaths) -> bool:
    return not home.datasets.exists() or not list(home.datasets.iterdir())


def test_an_import_is_a_verified_version_with_canonical_units(add) -> None:
    dataset = add(ITALIAN.encode("cp1252")).dataset
    dataset.verify()
    table = dataset.to_table()
    assert table.column_names == ["sequence_number", "torque", "product_grade", "machine_failure"]
    assert table.column("torque")[1].as_py() == pytest.approx(1.5)
    assert table.column("machine_failure").to_pylist()[:2] == [False, True]
    assert dataset.manifest.columns[1].source_unit == "kNm"
    for place in (dataset.paths.profile, dataset.paths.report, dataset.paths.croissant, dataset.paths.rejects):
        assert place.is_file()
        assert place.stat().st_mode & 0o077 == 0


def test_a_manifest_reads_back_as_it_was_written(add) -> None:
    manifest = add(ENGLISH).dataset.manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.rows == 300
    assert manifest.files[0].rows == 300


def test_the_same_bytes_are_added_once_and_others_are_a_version(add, home: HomePaths) -> None:
    first = add(ENGLISH)
    again = add(ENGLISH)
    assert (first.is_new, again.is_new, again.dataset.ref) == (True, False, "mill@1")
    assert add(ENGLISH + "300,1.5,L,0\n").dataset.ref == "mill@2"
    assert add(ENGLISH, title="Mill").dataset.ref == "mill@3"
    assert Dataset.open(home, "mill@1").manifest.rows == 300
    assert [dataset.ref for dataset in list_datasets(home)] == ["mill@3"]


@pytest.mark.parametrize("file", ["export.csv.gz", "folder"])
def test_compressed_files_and_folders_hold_the_same_rows(
    file: str, home: HomePaths, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    path = tmp_path / file
    if file == "folder":
        path.mkdir()
        (path / "a.csv").write_text(ENGLISH)
        (path / "b.csv").write_text(ITALIAN)
        (path / "notes.md").write_text("not data")
    else:
        path.write_bytes(gzip.compress(ENGLISH.encode()))
    dataset = ingest.add(home, "mill", [path], owner="acme", vocabulary=vocabulary).dataset
    assert dataset.manifest.rows == (600 if file == "folder" else 300)
    assert dataset.to_table(["torque"]).column("torque").to_pylist()[1] == pytest.approx(1.5)


def test_parquet_is_read_with_its_types(home: HomePaths, vocabulary: Vocabulary, tmp_path: Path) -> None:
    path = tmp_path / "export.parquet"
    columns = {
        "UDI": [1, 2, 3],
        "Temperatura aria (°C)": pa.array([20.5, None, 22.5], pa.float32()),
        "Guasto": ["OK", "KO", "?x"],
    }
    pq.write_table(pa.table(columns), path)
    terms = Terms(max_rejects=0.5)
    dataset = ingest.add(home, "mill", [path], owner="acme", vocabulary=vocabulary, terms=terms).dataset
    assert dataset.to_table().to_pydict() == {
        "sequence_number": [1, 2],
        "air_temperature": [293.65, None],
        "machine_failure": [False, True],
    }
    assert "3,Guasto: '?x' is not a yes or a no" in dataset.paths.rejects.read_text()
    assert dataset.manifest.columns[1].nulls == 1


def test_a_few_bad_rows_are_set_aside_with_line_and_reason(add) -> None:
    dataset = add(ENGLISH + "300,heavy,L,0\n301,2.5\n302,3.5,L,1\n").dataset
    assert (dataset.manifest.rows, dataset.manifest.rejected) == (301, 2)
    assert dataset.paths.rejects.read_text().splitlines()[1:] == [
        f"{dataset.paths.root.parents[3] / 'export.csv'},302,Torque [Nm]: 'heavy' is not a number,\"300,heavy,L,0\"",
        f'{dataset.paths.root.parents[3] / "export.csv"},303,2 values instead of 4,"301,2.5"',
    ]


def test_too_many_bad_rows_refuse_the_import(add, home: HomePaths) -> None:
    with pytest.raises(UserError, match="20 of 320 rows") as caught:
        add(ENGLISH + "x,y\n" * 20)
    assert caught.value.problems[0].line == 302
    assert nothing_left(home)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("UDI,Torque [Nm]\n", "no rows"),
        (bytes(range(256)), "no text file"),
        ("UDI,Torque [bar]\n1,2\n", "'bar' does not measure torque"),
        ("UDI,Foo\n1,2\n", "Foo: no concept has this name"),
        (b"PK\x03\x04zip", "Excel"),
        (b"PAR1 cut", "damaged Parquet"),
        (gzip.compress(ENGLISH.encode())[:200], "cut short"),
    ],
)
def test_what_cannot_be_imported_leaves_nothing(add, home: HomePaths, content: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        add(content)
    assert nothing_left(home)


@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interruption_leaves_nothing(add, home: HomePaths, monkeypatch, stop: BaseException) -> None:
    def fail(*_: object) -> None:
        raise stop

    monkeypatch.setattr(writer.ParquetFileWriter, "write", fail)
    with pytest.raises((ForgiaError, KeyboardInterrupt)) as caught:
        add(ENGLISH)
    if isinstance(stop, OSError):
        assert "the disk is full" in str(caught.value)
    assert nothing_left(home)


def test_a_failure_of_the_writing_thread_is_told(add, home: HomePaths, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", fail)
    with pytest.raises(ForgiaError, match="the disk is full"):
        add(ENGLISH)
    assert nothing_left(home)


def test_a_single_column_with_a_blank_in_its_name_is_one_column(add) -> None:
    assert add("Torque [Nm]\n10\n20\n30\n").dataset.to_table().to_pydict() == {"torque": [10, 20, 30]}


def test_what_is_open_in_any_of_several_files_is_told_at_once(
    home: HomePaths, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    for name in ("Foo", "Bar"):
        (tmp_path / f"{name}.csv").write_text(f"UDI,{name},Common\n1,2,3\n")
    with pytest.raises(UserError) as caught:
        ingest.add(home, "mill", [tmp_path / "Foo.csv", tmp_path / "Bar.csv"], owner="acme", vocabulary=vocabulary)
    assert [problem.field for problem in caught.value.problems] == ["Foo", "Common", "Bar"]
    assert caught.value.problems[1].message.endswith("(and so in one more file)")
    assert caught.value.hint.count('"Common"') == 1
    assert '"Bar"' in caught.value.hint


def test_a_file_named_twice_does_not_count_twice(home: HomePaths, vocabulary: Vocabulary, tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()
    path = tmp_path / "exports" / "a.csv"
    path.write_text(ENGLISH)
    with pytest.raises(UserError, match="named more than once"):
        ingest.add(home, "mill", [path.parent, path], owner="acme", vocabulary=vocabulary)
    assert nothing_left(home)


def test_an_altered_byte_is_found(add, home: HomePaths) -> None:
    dataset = add(ENGLISH).dataset
    file = dataset.files()[0]
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"part-00000\.parquet"):
        dataset.verify()


def test_an_unknown_dataset_gets_the_nearest_name(add, home: HomePaths) -> None:
    add(ENGLISH)
    with pytest.raises(NotFound, match="did you mean mill"):
        Dataset.open(home, "mil")
    with pytest.raises(NotFound, match="mill@1"):
        Dataset.open(home, "mill@7")


def test_columns_without_header_take_given_names(add) -> None:
    content = "".join(f" {n}   {n * 0.5:6.2f}  \n" for n in range(1, 50))
    dataset = add(content, read=ReadOptions(header=False, columns=("UDI", "Torque [Nm]"))).dataset
    assert dataset.to_table().column("torque").to_pylist()[:2] == [0.5, 1.0]


def test_a_mapping_renames_ignores_and_keeps(add) -> None:
    mapping = {"A": Entry(concept="torque", unit="kNm"), "B": Entry(ignore=True), "C": Entry(keep="text")}
    dataset = add("A,B,C\n1,2,3\n2,3,4\n", mapping=mapping).dataset
    assert dataset.to_table().to_pydict() == {"torque": [1000.0, 2000.0], "c": ["3", "4"]}


def test_a_value_that_turns_decimal_late_is_kept_as_it_is(add) -> None:
    content = "Torque [Nm],Setting\n" + "1,7\n" * 50_000 + "2.5,7.5\n"
    table = add(content).dataset.to_table()
    assert table.slice(50_000).to_pydict() == {"torque": [2.5], "operating_setting": [7.5]}


def test_new_data_is_read_by_concept_whatever_it_is_called(add, vocabulary: Vocabulary, tmp_path: Path) -> None:
    columns = [column for column in add(ENGLISH).dataset.manifest.columns if column.name != "sequence_number"]
    path = tmp_path / "new.csv"
    path.write_text("Tipo;Coppia [kNm];Altro\nL;0,0015;x\nH;leggera;x\nM;0,0035;x\n", encoding="utf-8")
    rejects: list = []
    batches = reader.read_bound(
        path, columns, vocabulary=vocabulary, optional=["machine_failure"], on_reject=rejects.append
    )
    table = pa.Table.from_batches(batches)
    assert table.column("torque").to_pylist() == pytest.approx([1.5, 3.5])
    assert table.column("product_grade").to_pylist() == ["L", "M"]
    assert [reject.line for reject in rejects] == [3]


def test_forgias_own_parquet_reads_back_as_new_data(add, vocabulary: Vocabulary) -> None:
    dataset = add(ENGLISH).dataset
    batches = reader.read_bound(dataset.files()[0], dataset.manifest.columns, vocabulary=vocabulary)
    assert pa.Table.from_batches(batches).equals(dataset.to_table())


def test_what_no_file_can_be_read_with_is_told_before() -> None:
    with pytest.raises(UserError, match=r"Europe/Rome.*no encoding"):
        ReadOptions(time_zone="Europe/Rom", encoding="utf-9")


def test_new_data_without_a_needed_column_is_refused(add, vocabulary: Vocabulary, tmp_path: Path) -> None:
    columns = add(ENGLISH).dataset.manifest.columns
    path = tmp_path / "new.csv"
    path.write_text("Tipo,Coppia\nL,1\n")
    with pytest.raises(UserError, match=r"no column for .*torque") as caught:
        reader.read_bound(path, columns, vocabulary=vocabulary)
    assert "Coppia" in str(caught.value)
