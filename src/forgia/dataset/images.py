"""A folder of images as a dataset: what lies there, and what says which class, part and camera each image is of.

A sheet is a table in the folder itself that names files and tells of them. Without one, or where it says no class, the
folder that an image lies in is its class.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from forgia import digest, images
from forgia.dataset.binding import Ask, Bindings
from forgia.dataset.dialect import ReadOptions
from forgia.dataset.manifest import Column, Source
from forgia.dataset.mapping import Entry
from forgia.dataset.parse import Reject
from forgia.dataset.preparation import Plan, Terms
from forgia.dataset.preparation import prepare as prepare_table
from forgia.dataset.reader import Opened, inspect
from forgia.dataset.source import is_table_name
from forgia.errors import Problem, UserError
from forgia.vocabulary import Vocabulary, plain

FILE, CLASS = "file_name", "defect_type"
"""Concepts of an image's path below the folder, and of its class."""
IMAGE, WIDTH, HEIGHT, DIGEST = "part_image", "image_width", "image_height", "image_digest"
MEASURED: Mapping[str, tuple[str, pa.DataType]] = {
    IMAGE: ("image", pa.binary()),
    WIDTH: ("number", pa.int64()),
    HEIGHT: ("number", pa.int64()),
    DIGEST: ("text", pa.string()),
}
"""Columns that the images themselves fill: kind and type. Width and height are those of the upright image."""
SHEET_WORDS = {
    **dict.fromkeys(("file", "file name", "filename", "image", "image file", "path", "photo", "picture"), FILE),
    **dict.fromkeys(("immagine", "nome file", "foto", "fotografia", "percorso"), FILE),
    **dict.fromkeys(("class", "label", "defect", "classe", "etichetta", "difetto"), CLASS),
    **dict.fromkeys(("camera", "cam", "telecamera"), "camera_id"),
}
"""What a word means at the head of a sheet, where a table could mean anything by it."""
OTHER_IMAGES = (".tif", ".tiff", ".webp", ".gif", ".heic", ".jp2", ".raw", ".dng")
"""Names of images that forgia does not read: told, so that none is missed in silence."""
TEXTS = (".txt", ".dat")
SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """What an import of a folder would do."""

    root: Path
    files: tuple[str, ...]
    """The images below the folder, in order."""
    strangers: tuple[Reject, ...] = ()
    """What lies there and cannot be taken, by its name alone."""
    sheet: Plan | None = None
    columns: tuple[Column, ...] = ()

    @property
    def opened(self) -> tuple[Opened, ...]:
        """The sheet, if there is one."""
        return self.sheet.opened if self.sheet else ()

    @property
    def bindings(self) -> tuple[Bindings, ...]:
        """What the sheet's columns mean."""
        return self.sheet.bindings if self.sheet else ()

    @property
    def schema(self) -> pa.Schema:
        """The schema of the Parquet files."""
        told = self.sheet.schema if self.sheet else pa.schema([])
        known = {name: told.field(name) for name in told.names}
        return pa.schema(
            [known.get(column.name) or pa.field(column.name, _type(column.name)) for column in self.columns]
        )

    @property
    def size(self) -> int:
        """Bytes to read."""
        return sum(self.sizes())

    @property
    def open_questions(self) -> bool:
        """Whether a column of the sheet is not bound yet."""
        return self.sheet is not None and self.sheet.open_questions

    @property
    def classes(self) -> Mapping[str, int]:
        """Images by class, where their folders tell it; empty where the sheet does."""
        return {} if _tells(self.sheet, CLASS) else dict(sorted(Counter(map(class_of, self.files)).items()))

    def mapping_text(self) -> str:
        """A mapping file for what is open in the sheet."""
        return self.sheet.mapping_text() if self.sheet else ""

    def sizes(self) -> list[int]:
        """Bytes of the images together, and of the sheet."""
        return [_sizes(self.root / name for name in self.files), *(_sizes([item.path]) for item in self.opened)]

    def digests(self) -> list[str]:
        """What names the images together, and the sheet."""
        return [source.digest for source in self.sources({name: digest_of(self.root / name) for name in self.files})]

    def sources(self, digests: Mapping[str, str | None]) -> tuple[Source, ...]:
        """The folder as one source, and the sheet. Args: digests — of each image; None for one that cannot be read."""
        whole = digest.of_json([[name, digests.get(name)] for name in self.files])
        names = [f"{self.root.resolve().name}/", *(item.path.name for item in self.opened)]
        found = [whole, *(digest.of_file(item.path) for item in self.opened)]
        parts = zip(names, found, self.sizes(), strict=True)
        return tuple(Source(name=name, digest=each, size=size) for name, each, size in parts)


def is_meant(paths: Sequence[Path]) -> bool:
    """Whether these paths are one folder of images: in folders of classes, or beside a sheet that names them."""
    if len(paths) != 1 or not paths[0].is_dir():
        return False
    names, sheets = walk(paths[0]), sheets_of(paths[0])
    found = [name for name in names if images.is_image_name(Path(name).name)]
    if len(sheets) > 1 or any("/" in name and is_sheet_name(Path(name).name) for name in names):
        return False
    return any("/" in name for name in found) or (bool(found) and (not sheets or names_files(sheets[0])))


def prepare(root: Path, vocabulary: Vocabulary, terms: Terms, *, ask: Ask | None = None) -> ImagePlan:
    """Look at the folder and its sheet; read no image and write nothing.

    Raises: UserError — images whose class nothing tells, or a sheet without a column of files.
    """
    images.require_pillow()
    sheets = sheets_of(root)
    sheet = prepare_table(sheets, vocabulary, sheet_terms(sheets[0], terms), ask=ask) if sheets else None
    names = [name for name in walk(root) if images.is_image_name(Path(name).name)]
    plan = ImagePlan(root=root, files=tuple(filter(is_text, names)), sheet=sheet)
    if plan.open_questions:
        return plan
    check(plan)
    return replace(plan, strangers=tuple(strangers(plan)), columns=columns(plan, vocabulary))


def walk(root: Path) -> list[str]:
    """Files below a folder by their path in it, in order; what hides behind a dot is passed over."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        found += [Path(folder, name).relative_to(root).as_posix() for name in names if not name.startswith(".")]
    return sorted(found)


def sheets_of(root: Path) -> list[Path]:
    """The tables in a folder itself."""
    return sorted(path for path in root.iterdir() if path.is_file() and is_sheet_name(path.name))


def is_sheet_name(name: str) -> bool:
    """Whether a file of this name beside images is a table; a text is not."""
    return is_table_name(name) and not name.lower().endswith(TEXTS)


def names_files(sheet: Path) -> bool:
    """Whether a table has a column that names files."""
    try:
        headers = inspect(sheet, ReadOptions()).looks
    except UserError:
        return False
    return any(SHEET_WORDS.get(plain(header)) == FILE for header in headers)


def sheet_terms(sheet: Path, terms: Terms) -> Terms:
    """The terms with what the sheet's plain words mean, each concept once; what a person said stands above it."""
    found: dict[str, Entry] = {}
    for header in inspect(sheet, terms.read).looks:
        concept = SHEET_WORDS.get(plain(header))
        if concept and concept not in {entry.concept for entry in found.values()}:
            found[header] = Entry(concept=concept)
    return replace(terms, mapping={**found, **(terms.mapping or {})})


def class_of(name: str) -> str:
    """The folder that an image lies in; empty for none, or for folders in folders."""
    folder, _, file = name.partition("/")
    return folder if file and "/" not in file else ""


def check(plan: ImagePlan) -> None:
    """Raises: UserError — the sheet names no files, says what is measured, or nothing tells the class."""
    if plan.sheet:
        path, told = plan.sheet.opened[0].path, {column.name for column in plan.sheet.columns}
        if FILE not in told:
            hint = f"--mapping FILE.yaml with columns: {{HEADER: {{concept: {FILE}}}}}, or name the table alone"
            raise UserError(f"{path}: no column names the image files beside it", hint=hint)
        if clash := sorted(told & set(MEASURED)):
            raise UserError(f"{path}: {', '.join(clash)} is measured from the images; leave the column out")
    if not plan.files:
        raise UserError(f"{plan.root}: no image in this folder; forgia reads {' '.join(images.SUFFIXES)}")
    homeless = [] if _tells(plan.sheet, CLASS) else [name for name in plan.files if not class_of(name)]
    if homeless:
        raise UserError(
            f"{plan.root}: nothing tells the class of {len(homeless)} image(s)",
            problems=[
                Problem(str(plan.root / name), None, "", "lies in no folder of a class") for name in homeless[:SHOWN]
            ],
            hint="put them into one folder a class, or lay a table beside them with the columns file, class, part",
        )


def strangers(plan: ImagePlan) -> Iterator[Reject]:
    """Files and folders that nothing can be made of."""
    for name in walk(plan.root):
        path = plan.root / name
        if path.suffix.lower() in OTHER_IMAGES:
            yield reject(path, f"forgia reads {' '.join(images.SUFFIXES)}; save it as one of them")
        elif not is_text(name):
            yield reject(Path(os.fsencode(path).decode("utf-8", "replace")), "its name is not UTF-8; rename it")
    for folder in sorted(plan.root.iterdir()) if plan.classes else ():
        if folder.is_dir() and not folder.name.startswith((".", "__MACOSX")) and folder.name not in plan.classes:
            yield reject(folder, "no image in the folder of this class")


def columns(plan: ImagePlan, vocabulary: Vocabulary) -> tuple[Column, ...]:
    """What the sheet tells, the class where it does not, and what is measured."""
    told = plan.sheet.columns if plan.sheet else (_own(FILE, vocabulary, source="file"),)
    by_folder = () if _tells(plan.sheet, CLASS) else (_own(CLASS, vocabulary, source="folder"),)
    return (*told, *by_folder, *(_own(name, vocabulary, source="image") for name in MEASURED))


def reject(path: Path, reason: str) -> Reject:
    """An image that is left out."""
    return Reject(source=str(path), line=None, reason=reason, text="")


def digest_of(path: Path) -> str | None:
    """The digest of a file; None where it cannot be read."""
    try:
        return digest.of_file(path)
    except OSError:
        return None


def is_text(name: str) -> bool:
    """Whether a file's name can be written down."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _sizes(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.exists())


def _tells(sheet: Plan | None, name: str) -> bool:
    return sheet is not None and any(column.name == name for column in sheet.columns)


def _own(name: str, vocabulary: Vocabulary, *, source: str) -> Column:
    kind, dtype = MEASURED.get(name, ("category" if name == CLASS else "text", pa.string()))
    concept = None if name == DIGEST else vocabulary.get(name)
    return Column(
        name=name,
        source=source,
        concept=concept.id if concept else None,
        kind=kind,
        dtype=str(dtype),
        sensitivity=concept.sensitivity if concept else "internal",
        binding="exact" if concept else "none",
        confidence=1.0 if concept else 0.0,
    )


def _type(name: str) -> pa.DataType:
    return MEASURED[name][1] if name in MEASURED else pa.string()
