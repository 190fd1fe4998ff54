"""Folders of images as datasets: bytes as they are, what is told beside them, and a reason for what is left out."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from forgia.catalogue import Catalogue
from forgia.dataset import image_rows, ingest
from forgia.dataset.ingest import Added, Terms
from forgia.errors import UserError
from forgia.paths import HomePaths
from forgia.store import read_json
from forgia.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(Catalogue())


def png(number: int, size: tuple[int, int] = (12, 8)) -> bytes:
    place = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (size[1], size[0]), dtype=np.uint8)
    Image.fromarray(pixels).save(place, "PNG")
    return place.getvalue()


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Four good ones and two scratched ones."""
    root = tmp_path / "parts"
    for place, name in enumerate(
        ["good/a.png", "good/b.png", "good/c.png", "good/d.png", "scratch/a.png", "scratch/e.png"]
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(place))
    return root


@pytest.fixture
def add(home: HomePaths, vocabulary: Vocabulary) -> Callable[..., Added]:
    def run(folder: Path, **terms: object) -> Added:
        return ingest.add(home, "parts", [folder], owner="acme", vocabulary=vocabulary, terms=Terms(**terms))

    return run


def reasons(added: Added) -> dict[str, str]:
    with added.dataset.paths.rejects.open(newline="") as file:
        return {Path(row["source"]).name: row["reason"] for row in csv.DictReader(file)}


def test_every_image_is_a_row_with_its_very_bytes(parts: Path, add: Callable[..., Added]) -> None:
    dataset = add(parts).dataset
    dataset.verify()
    rows = dataset.to_table().to_pylist()
    assert [(row["file_name"], row["defect_type"]) for row in rows][3:5] == [
        ("good/d.png", "good"),
        ("scratch/a.png", "scratch"),
    ]
    assert all(row["part_image"] == (parts / row["file_name"]).read_bytes() for row in rows)
    assert {(row["image_width"], row["image_height"]) for row in rows} == {(12, 8)}
    kinds = {column.name: column.kind for column in dataset.manifest.columns}
    assert (kinds["part_image"], kinds["defect_type"]) == ("image", "category")


def test_the_profile_counts_classes_and_the_metadata_speaks_of_images(parts: Path, add: Callable[..., Added]) -> None:
    paths = add(parts).dataset.paths
    told = {column["name"]: column for column in read_json(paths.profile)["columns"]}
    assert told["defect_type"]["top"] == [{"value": "good", "count": 4}, {"value": "scratch", "count": 2}]
    assert "part_image" not in told
    fields = {field["name"]: field for field in read_json(paths.croissant)["recordSet"][0]["field"]}
    assert fields["part_image"]["dataType"] == "sc:ImageObject"


def test_the_same_folder_is_added_once_and_a_changed_image_makes_a_version(
    parts: Path, add: Callable[..., Added]
) -> None:
    assert add(parts).dataset.ref == "parts@1"
    assert not add(parts).is_new
    (parts / "good" / "a.png").write_bytes(png(99))
    assert add(parts).dataset.ref == "parts@2"


def test_a_sheet_says_class_part_and_camera_in_its_own_words(parts: Path, add: Callable[..., Added]) -> None:
    (parts / "elenco.csv").write_text(
        "Immagine;Etichetta;Pezzo;Telecamera;Data e ora\n"
        "b.png;ok;P1;cam1;02/03/2026 06:00:00\n"
        "good\\d.png;dent;P1;cam2;02/03/2026 06:00:01\n"
    )
    dataset = add(parts).dataset
    rows = {row["file_name"]: row for row in dataset.to_table().to_pylist()}
    assert [rows["good/b.png"][name] for name in ("defect_type", "part_id", "camera_id")] == ["ok", "P1", "cam1"]
    assert rows["good/d.png"]["defect_type"] == "dent"
    assert rows["scratch/a.png"]["defect_type"] is None  # the sheet says nothing of it, and folders do not count
    assert [source.name for source in dataset.manifest.sources] == ["parts/", "elenco.csv"]


def test_a_name_from_a_mac_means_the_same_file(parts: Path, add: Callable[..., Added]) -> None:
    (parts / "good" / unicodedata.normalize("NFD", "metà.png")).write_bytes(png(40))
    (parts / "list.csv").write_text("file,label\nmetà.png,dent\n", encoding="utf-8")
    rows = add(parts).dataset.to_table().to_pylist()
    assert rows[0]["defect_type"] == "dent"
    assert len(rows) == 7


def test_a_sheet_without_classes_leaves_them_to_the_folders(parts: Path, add: Callable[..., Added]) -> None:
    (parts / "list.csv").write_text("file,part_id\n" + "".join(f"good/{name}.png,P7\n" for name in "abcd"))
    rows = {row["file_name"]: row for row in add(parts).dataset.to_table().to_pylist()}
    assert (rows["good/a.png"]["part_id"], rows["good/a.png"]["defect_type"]) == ("P7", "good")
    assert (rows["scratch/e.png"]["part_id"], rows["scratch/e.png"]["defect_type"]) == (None, "scratch")


def test_lines_of_a_sheet_that_mean_no_image_or_several_are_rejected(parts: Path, add: Callable[..., Added]) -> None:
    (parts / "list.csv").write_text("file,label\na.png,ok\nnone.png,ok\nb.png,ok\nb.png,dent\n../parts/good/c.png,ok\n")
    added = add(parts, max_rejects=0.9)
    with added.dataset.paths.rejects.open(newline="") as file:
        found = {row["text"]: row["reason"] for row in csv.DictReader(file)}
    assert "several images have this name: good/a.png, scratch/a.png" in found["a.png"]
    assert found["none.png"] == found["../parts/good/c.png"] == "no image of this name lies in the folder"
    assert found["b.png"] == "the image is named a second time"


def test_hostile_and_broken_files_are_rejected_with_a_reason_and_the_others_kept(
    parts: Path, add: Callable[..., Added]
) -> None:
    whole = io.BytesIO()
    Image.new("L", (64, 64), 90).save(whole, "JPEG")
    (parts / "good" / "cut.jpg").write_bytes(whole.getvalue()[:200])
    (parts / "good" / "text.png").write_text("no image")
    (parts / "good" / "empty.png").write_bytes(b"")
    (parts / "good" / "gone.png").symlink_to(parts / "nowhere.png")
    (parts / "good" / "copy.png").write_bytes((parts / "good" / "a.png").read_bytes())
    (parts / "good" / "wrong.jpg").write_bytes(png(50))  # a PNG by its bytes
    (parts / "good" / "scan.tif").write_bytes(b"II*\0")
    (parts / "good" / "notes.txt").write_text("not taken for an image")
    (parts / "dent").mkdir()
    (parts / ".cache").mkdir()
    (parts / ".cache" / "a.png").write_bytes(png(51))
    added = add(parts, max_rejects=0.9)
    found = reasons(added)
    assert "cut short" in found["cut.jpg"]
    assert "not one of the formats" in found["text.png"]
    assert found["empty.png"] == "the file is empty"
    assert "cannot be read" in found["gone.png"]
    assert found["copy.png"] == "the same bytes as good/a.png"
    assert "save it as one of them" in found["scan.tif"]
    assert found["dent"] == "no image in the folder of this class"
    assert set(found) == {"cut.jpg", "text.png", "empty.png", "gone.png", "copy.png", "scan.tif", "dent"}
    kept = added.dataset.to_table().column("file_name").to_pylist()
    assert len(kept) == 7
    assert "good/wrong.jpg" in kept


def test_an_image_of_too_many_bytes_is_not_even_read(
    parts: Path, add: Callable[..., Added], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_rows.images, "MAX_BYTES", 300)
    (parts / "good" / "large.png").write_bytes(png(60, (40, 40)))
    assert "forgia reads images up to 300" in reasons(add(parts, max_rejects=0.9))["large.png"]


def test_too_many_rejects_leave_nothing(parts: Path, add: Callable[..., Added], home: HomePaths) -> None:
    (parts / "good" / "text.png").write_text("no image")
    with pytest.raises(UserError, match="1 of 7 rows"):
        add(parts)
    assert not list(home.datasets.glob("*/*"))


def test_a_name_that_is_no_text_is_told_and_left_out(parts: Path, add: Callable[..., Added]) -> None:
    strange = os.fsencode(parts / "good") + b"/\xff.png"
    try:
        Path(os.fsdecode(strange)).write_bytes(png(70))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert "its name is not UTF-8; rename it" in reasons(add(parts, max_rejects=0.9)).values()


def test_images_of_no_class_are_refused_with_a_way_out(parts: Path, add: Callable[..., Added]) -> None:
    (parts / "loose.png").write_bytes(png(80))
    (parts / "good" / "line-1").mkdir()
    (parts / "good" / "line-1" / "x.png").write_bytes(png(81))
    with pytest.raises(UserError) as caught:
        add(parts)
    assert [Path(problem.path).name for problem in caught.value.problems] == ["x.png", "loose.png"]
    assert "one folder a class" in (caught.value.hint or "")


def test_a_sheet_that_names_no_files_is_refused(parts: Path, add: Callable[..., Added]) -> None:
    (parts / "list.csv").write_text("part_id,label\nP1,ok\n")
    with pytest.raises(UserError, match="no column names the image files"):
        add(parts)


def test_tables_with_a_picture_beside_them_are_still_tables(
    tmp_path: Path, home: HomePaths, vocabulary: Vocabulary
) -> None:
    (tmp_path / "exports" / "plots").mkdir(parents=True)
    (tmp_path / "exports" / "plots" / "curve.png").write_bytes(png(1))
    for name in "ab":
        (tmp_path / "exports" / f"{name}.csv").write_text("UDI,Torque [Nm]\n" + "".join(f"{n},1.5\n" for n in range(9)))
    added = ingest.add(home, "mill", [tmp_path / "exports"], owner="acme", vocabulary=vocabulary)
    assert added.dataset.manifest.rows == 18


def test_the_command_says_what_would_come_of_a_folder(parts: Path, forgia_command: Callable[..., object]) -> None:
    shown = forgia_command("dataset", "add", "parts", parts, "--dry-run")
    assert "6 images" in shown.output
    assert "scratch" in shown.output
    added = forgia_command("dataset", "add", "parts", parts)
    assert (added.exit_code, added.stdout.strip()) == (0, "parts@1")
    assert "an image" in forgia_command("dataset", "add", "other", parts / "good" / "a.png").output
