"""From folders of photographs to a model that sorts new ones, by the commands that a firm types."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Command = Callable[..., object]
SIZE = 20


def photograph(label: str, number: int) -> Image.Image:
    """A grey part; a scratched one has a bright line across."""
    pixels = np.random.default_rng(number).integers(100, 120, (SIZE, SIZE), dtype=np.uint8)
    if label == "graffio":
        pixels[3 + number % 14, 2:-2] = 250
    return Image.fromarray(pixels)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """90 photographs of 45 parts in one folder a class, and a list that says which part each shows."""
    root = tmp_path / "photos"
    lines = [("file", "part_id")]
    for number in range(90):
        label = "graffio" if number // 2 % 3 == 0 else "buono"
        (root / label).mkdir(parents=True, exist_ok=True)
        photograph(label, number).save(root / label / f"{number:02}.jpg", quality=95)
        lines.append((f"{label}/{number:02}.jpg", f"P{number // 2}"))
    with (root / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return root


@pytest.mark.slow
def test_a_firm_sorts_its_parts_by_its_own_photographs(command: Command, photos: Path, tmp_path: Path) -> None:
    command("dataset", "add", "castings", photos)
    command("init", "castings-inspection", "--from", "visual-inspection", "--data", "castings")
    recipe = Path("castings-inspection/recipe.yaml")
    recipe.write_text(recipe.read_text().replace("normal: good", "normal: buono").replace("size: 64", "size: 16"))
    sets = ("width=8", "shift=0.0", "train.epochs=6", "evaluate.examples=4", "evaluate.gate=null")
    command("run", "castings-inspection", *(word for one in sets for word in ("--set", one)))

    shown = command("model", "show", "castings-inspection", "--json")
    metrics = json.loads(shown.stdout)["metrics"]  # type: ignore[attr-defined]
    assert set(metrics) >= {"macro_f1", "escape_rate", "false_reject_rate"}
    assert metrics["average_precision"] > 0.9

    new = tmp_path / "new"
    new.mkdir()
    for number in range(200, 220):
        photograph("graffio" if number < 210 else "buono", number).save(new / f"{number}.png")
    command("predict", "castings-inspection", new, "-o", "sorted.csv")
    with Path("sorted.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file_name"] for row in rows] == [f"{number}.png" for number in range(200, 220)]
    found = [row["predicted_class"] for row in rows]
    right = sum(name == ("graffio" if place < 10 else "buono") for place, name in enumerate(found))
    assert right >= 16
    assert all(0.99 < float(row["probability_buono"]) + float(row["probability_graffio"]) < 1.01 for row in rows)

    refused = command("predict", "castings-inspection", photos / "list.csv", "-o", "none.csv", check=False)
    assert refused.returncode == 2  # type: ignore[attr-defined]
    assert not Path("none.csv").exists()
