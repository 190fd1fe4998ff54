"""What the card says of models that tell classes apart, and of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forgia import class_parts
from forgia.features import FeatureSpec
from forgia_jobs.judging.evaluate import Judged
from forgia_jobs.samples.data import Data

CHANNELS = {1: "grey", 3: "RGB"}


def decisions(spec: FeatureSpec, judged: Judged, *, who: str, rule: str) -> str:
    """From where on a sample is called defective, and what came of it. Args: rule — how that was chosen."""
    if judged.threshold is None or judged.confusion is None:
        return ""
    bad = [name for name in spec.classes if name != spec.normal]
    defective = sum(sum(judged.confusion[true].values()) for true in bad)
    escaped = sum(judged.confusion[true][str(spec.normal)] for true in bad)
    passed = judged.confusion[str(spec.normal)]
    normal = sum(passed.values())
    return (
        f"{who} calls a sample defective from a probability of {judged.threshold:.3f} on ({rule}): of {defective:,} "
        f"defective ones {escaped:,} escaped, of {normal:,} that are {spec.normal} "
        f"{normal - passed[str(spec.normal)]:,} were rejected."
    )


def confusion(spec: FeatureSpec, judged: Judged) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of true classes (down) and given ones (across)."""
    found = judged.confusion or {}
    head = ["truly", *(f"called {name}" for name in spec.classes)]
    return head, [[true, *(f"{found[true][given]:,}" for given in spec.classes)] for true in spec.classes]


def never_judged(data: Data) -> str:
    """Which classes a part has no image of, beside figures that are means over classes; empty where none."""
    labels = class_parts.Labels(names=data.spec.classes, codes=data.target)
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in class_parts.never_judged(labels, data.split))


def inputs(spec: FeatureSpec) -> str:
    """What a model of images takes and gives."""
    size, channels = spec.samples["size"], CHANNELS[spec.samples["channels"]]
    names = ", ".join(f"`{name}`" for name in spec.classes)
    return (
        "## What it takes and gives\n\n"
        f"An image of a part (PNG, JPEG or BMP), which is turned upright, made {channels}, and scaled to {size} x "
        f"{size} pixels with its aspect kept and black beside it; its brightness goes in as `image`, from 0 to 1.\n\n"
        f"It gives the probability of each class of `{spec.target}`: {names}."
    )


def limits(spec: FeatureSpec) -> str:
    """What a model of images is not to be trusted with."""
    return (
        "## Limits\n\n"
        "The figures hold for parts, cameras and light like those of the test part. A defect of a kind that is no "
        f"class here may be called anything{f', {spec.normal} too' if spec.normal else ''}; a defect smaller than a "
        "pixel of the scaled image is not seen.\n\n"
        "It predicts; it does not explain, and no safety function may rest on it alone."
    )


def answers(about: Mapping[str, Any]) -> str:
    """What a part's answers are: how many of each class, or their mean."""
    classes = about.get("classes")
    if classes is None:
        return f"{about['target_mean']:.4g}"
    return ", ".join(f"{name} {count:,}" for name, count in classes.items())


def columns(spec: FeatureSpec) -> Sequence[str]:
    """Head of the table of parts."""
    return ("part", "rows", "groups", "classes" if spec.output == "classes" else "mean of target")
