"""The generator of drawn photographs: the same bytes for a seed, both ways to write a list, and parts seen twice."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from forgia import images

FOLDER = Path(__file__).parents[2] / "datasets" / "machined-parts"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("machined_parts_generate", FOLDER / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def lines(folder: Path, delimiter: str) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "list.csv").read_text(encoding="utf-8").splitlines(), delimiter=delimiter))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(generator: ModuleType, tmp_path: Path) -> None:
    def made(name: str, seed: int) -> dict[str, bytes]:
        generator.write(tmp_path / name, 6, seed)
        return {path.name: path.read_bytes() for path in (tmp_path / name / "beta").iterdir()}

    assert made("a", 5) == made("b", 5)
    assert made("a", 5)["0001-1.png"] != made("c", 6)["0001-1.png"]


def test_each_firm_lists_its_photographs_in_its_own_words(generator: ModuleType, tmp_path: Path) -> None:
    alfa, beta = generator.write(tmp_path, 40, 0)
    for folder, delimiter, names in (
        (alfa, ",", ("File", "Label", "Part ID")),
        (beta, ";", ("Immagine", "Etichetta", "Pezzo")),
    ):
        rows = lines(folder, delimiter)
        file, label, part = names
        assert sorted(row[file] for row in rows) == sorted(path.name for path in folder.glob("*.png"))
        assert set(Counter(row[part] for row in rows).values()) == {2}
        kinds = Counter(row[label] for row in rows)
        assert set(kinds) <= {"good", "scratch", "dent", "stain"}
        assert 0.5 < kinds["good"] / len(rows) < 0.9


def test_the_photographs_are_pictures_that_forgia_reads(generator: ModuleType, tmp_path: Path) -> None:
    alfa, _ = generator.write(tmp_path, 3, 0)
    seen = images.pixels((alfa / "0001-1.png").read_bytes(), size=64, channels=1)
    assert seen.shape == (1, 64, 64)
    assert 60 < seen.mean() < 200
    assert np.ptp(seen) > 40
