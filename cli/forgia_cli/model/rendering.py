"""How a model is shown to a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from forgia_cli.app import aligned

if TYPE_CHECKING:
    from forgia.scoring import Scored

TEST_SENTENCE = "made with the recipe's small test settings (--test); its figures say that it runs, not how good it is"
UNITS = ("B", "kB", "MB", "GB", "TB")


def size_text(size: float) -> str:
    """Bytes in the unit a person would choose; decimal, as disks are sold."""
    for unit in UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {UNITS[-1]}"


def summary(model: Mapping[str, Any]) -> str:
    """What ``forgia.collection.describe`` found, as text."""
    blocks = [head(model), figures(model), data(model), files(model)]
    return "\n\n".join(block for block in blocks if block)


def head(model: Mapping[str, Any]) -> str:
    """Name, title, and where it all came from."""
    aliases = f"  ({', '.join(model['aliases'])})" if model["aliases"] else ""
    recipe = f"{model['name']} {model['recipe']['version']}  {model['recipe']['digest']}"
    facts = {
        "digest": model["digest"],
        "created": model["created"],
        "licence": model["licence"],
        "authors": model["authors"],
        "recipe": recipe,
        "run": f"{model['run']}  {model['identity']}",
        "gate": model["gate"],
        "test": TEST_SENTENCE if model["test"] else "",
        "tensors": model["tensors"],
    }
    lines = [f"{model['name']}@{model['version'] or model['digest']}{aliases}", model["title"], model["summary"]]
    told = [f"{key:<8} {value}" for key, value in facts.items() if value.strip()]
    return "\n".join([*(line for line in lines if line), "", *told])


def figures(model: Mapping[str, Any]) -> str:
    """Each metric on the test split, the primary one first, the baseline's beside it."""
    told = {*model["metrics"], model["primary"]} - {""} if model["metrics"] else ()
    names = sorted(told, key=lambda name: (name != model["primary"], name))
    rows = [
        (f"{name} *" if name == model["primary"] else name, number(model["metrics"].get(name)), number(baseline))
        for name in names
        for baseline in [model["baseline"].get(name)]
    ]
    return aligned(("metric", "model", "baseline"), rows) if rows else ""


def number(value: float | None) -> str | None:
    """Four decimals, or nothing."""
    return None if value is None else f"{value:.4f}"


def data(model: Mapping[str, Any]) -> str:
    """The datasets it was trained on."""
    rows = [(item["ref"], item["owner"], f"{item['rows']:,}", item["digest"]) for item in model["datasets"]]
    return aligned(("dataset", "owner", "rows", "digest"), rows) if rows else ""


def files(model: Mapping[str, Any]) -> str:
    """Every file with its size."""
    rows = list(file_rows(model))
    return aligned(("file", "size", "digest"), rows) if rows else ""


def file_rows(model: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Path, size, and enough of the digest to compare by eye."""
    for file in model["files"]:
        yield file["path"], size_text(file["size"]), file["digest"][:19]


def test_warning(ref: str) -> str:
    """What to say before a version of a test is used."""
    return f"warning: {ref} was {TEST_SENTENCE}"


def scored_text(scored: Scored) -> str:
    """What a prediction took for granted, and what it came to."""
    text = "".join(f"{sentence}\n" for sentence in scored.assumed) + f"{scored.path}: {scored.rows:,} rows"
    if scored.predicted is not None:
        text += f", {scored.predicted:,} predicted true (threshold {scored.threshold:g})"
    if scored.rejected and scored.is_forecast:
        text += f"\n{scored.rejected:,} rows could not be read: so many readings are missing to the history or the plan"
        text += f", see {scored.rejects}"
    elif scored.rejected:
        text += f"\n{scored.rejected:,} rows could not be read and are not in it: see {scored.rejects}"
    return text
