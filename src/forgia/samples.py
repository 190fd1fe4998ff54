"""Sample data: what a catalogue's generator makes, added to the home folder like anyone's export."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from forgia import process
from forgia.catalogue import Catalogue
from forgia.dataset import ingest
from forgia.dataset.dialect import ReadOptions
from forgia.errors import ForgiaError
from forgia.paths import HomePaths
from forgia.settings import Settings
from forgia.store import read_json, write_json
from forgia.vocabulary import Vocabulary

READ_SUFFIX = ".read.json"
"""A generator says with ``FIRM.read.json`` how that firm's file is to be read, in the fields of ``ReadOptions``."""


def prepare(name: str, *, settings: Settings, catalogue: Catalogue, vocabulary: Vocabulary) -> tuple[str, ...]:
    """References to the datasets of a generator, one a firm, made on first use.

    Raises: NotFound — no such generator. ForgiaError — it failed.
    """
    folder = catalogue.generator(name)
    record = settings.home.sample(name)
    if record.is_file():
        refs = tuple(read_json(record)["datasets"])
        if all(settings.home.dataset(*parse(ref)).manifest.is_file() for ref in refs):
            return refs
    with tempfile.TemporaryDirectory(prefix="forgia-sample-") as place:
        refs = tuple(
            add_firm(name, path, home=settings.home, vocabulary=vocabulary) for path in generate(folder, Path(place))
        )
    write_json(record, {"datasets": refs})
    return refs


def parse(ref: str) -> tuple[str, int]:
    """Name and version of a full reference."""
    name, _, version = ref.partition("@")
    return name, int(version)


def add_firm(name: str, path: Path, *, home: HomePaths, vocabulary: Vocabulary) -> str:
    """Add one firm's file, or folder of images, as a dataset that the firm owns; its reference."""
    firm = path.name.partition(".")[0]
    said = path.with_name(f"{firm}{READ_SUFFIX}")
    terms = ingest.Terms(read=ReadOptions(**read_json(said))) if said.is_file() else None
    added = ingest.add(home, f"sample-{name}-{firm}", [path], owner=firm, vocabulary=vocabulary, terms=terms)
    return added.dataset.ref


def generate(folder: Path, place: Path, *, seed: int = 0) -> list[Path]:
    """Run a generator, a program of its own; what it made, a file or folder a firm. Raises: ForgiaError — it failed."""
    argv = [sys.executable, str(folder / "generate.py"), "--out", str(place), "--seed", str(seed)]
    done = process.run(argv, timeout_s=300)
    if done.returncode != 0:
        raise ForgiaError(f"generator {folder.name} failed: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
    return sorted(path for path in place.iterdir() if not path.name.endswith(READ_SUFFIX))
