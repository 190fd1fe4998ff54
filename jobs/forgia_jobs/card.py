"""The model card: what was trained, on what, how good it is, what it cost, and what it must not be used for.

Form: README.md with YAML front matter as Hugging Face's Hub reads it.
Source: https://huggingface.co/docs/hub/model-cards (2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from forgia import digest
from forgia.dataset.manifest import Manifest
from forgia.features import NumericFeature
from forgia_jobs import baseline
from forgia_jobs.data import Data, describe
from forgia_jobs.evaluate import Evaluation, Judged
from forgia_jobs.request import Request

TASKS = {"probability": "tabular-classification", "value": "tabular-regression"}
"""Kind of output → the Hub's name of the task."""
CAPTIONS = {
    "training.png": "Training loss and validation figure by epoch",
    "precision-recall.png": "Precision and recall on the test part; the points are at the chosen thresholds",
    "threshold.png": "What the threshold decides, on the test part",
    "calibration.png": "Probability said against share that was true, on the test part",
    "predicted-true.png": "Predicted against true values, on the test part",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the card says."""

    run_id: str
    created: str
    request: Request
    data: Data
    manifests: Sequence[Manifest]
    evaluation: Evaluation
    training: Mapping[str, Any]
    """Steps, epochs, seconds, number of parameters."""
    cost: Mapping[str, float]
    determinism: Mapping[str, Any]
    tensor_digest: str
    onnx_difference: float | None
    plots: Sequence[Path]


def render(facts: Facts) -> str:
    """The card's text."""
    recipe = facts.request.recipe
    sections = [
        f"# {recipe.title or recipe.name}",
        recipe.summary,
        _figures(facts),
        _pictures(facts),
        _inputs(facts),
        _data(facts),
        _making(facts),
        _cost(facts),
        _limits(facts),
    ]
    return f"---\n{_front_matter(facts)}---\n\n" + "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(facts: Facts) -> str:
    recipe, spec = facts.request.recipe, facts.data.spec
    kind = {"type": TASKS[spec.output], "name": recipe.title or recipe.name}
    sets = {
        "name": ", ".join(sorted({manifest.ref for manifest in facts.manifests})),
        "type": "private",
        "split": "test",
    }
    values = [{"type": name, "value": round(value, 4)} for name, value in facts.evaluation.model.test.items()]
    return yaml.safe_dump(
        {
            "license": recipe.licence.lower() or "other",
            "library_name": "forgia",
            "pipeline_tag": TASKS[spec.output],
            "tags": ["forgia", "tabular", recipe.name],
            "datasets": sorted({manifest.name for manifest in facts.manifests}),
            "metrics": list(facts.evaluation.model.test),
            "model-index": [{"name": recipe.name, "results": [{"task": kind, "dataset": sets, "metrics": values}]}],
        },
        sort_keys=False,
        allow_unicode=True,
    )


def _figures(facts: Facts) -> str:
    model, other = facts.evaluation.model, facts.evaluation.baseline
    head = ["figure", "model", *(["baseline"] if other else [])]
    rows = [
        [name.replace("_", " "), f"{value:.3f}", *([f"{other.test[name]:.3f}"] if other else [])]
        for name, value in model.test.items()
    ]
    low, high = model.interval
    primary = facts.evaluation.primary.replace("_", " ")
    lines = [
        "## Figures on the test part",
        _table(head, rows),
        f"The model's {primary} over redrawn test groups, middle 90 %: {low:.3f} to {high:.3f}.",
        _decisions(model, "The model"),
    ]
    if other and facts.request.evaluate.baseline:
        name = baseline.describe(facts.request.evaluate.baseline)
        lines.append(f"Baseline: {name}, trained on the same rows and features. {_decisions(other, 'It')}")
    return "\n\n".join(line for line in lines if line)


def _decisions(judged: Judged, who: str) -> str:
    if judged.threshold is None or judged.confusion is None:
        return ""
    count = judged.confusion
    return (
        f"{who} says yes from {judged.threshold:.3f} on (greatest F1 on the validation part): "
        f"{count['true_positive']} found, {count['false_negative']} missed, {count['false_positive']} false alarms, "
        f"{count['true_negative']} rightly passed."
    )


def feature_kind(feature: NumericFeature) -> str:
    """A number of the table, or how it is made of two."""
    return f"{feature.operation} of {', '.join(f'`{name}`' for name in feature.of)}" if feature.operation else "number"


def _pictures(facts: Facts) -> str:
    return "\n\n".join(f"![{CAPTIONS.get(plot.name, plot.stem)}](plots/{plot.name})" for plot in facts.plots)


def _inputs(facts: Facts) -> str:
    spec = facts.data.spec
    rows = [
        [f"`{feature.name}`", feature_kind(feature), feature.unit or "", "yes" if feature.has_missing else "no"]
        for feature in spec.numeric
    ]
    rows += [[f"`{feature.name}`", "category", ", ".join(feature.categories[:8]), ""] for feature in spec.categorical]
    answer = "the probability that" if spec.output == "probability" else "the value of"
    ending = " is true" if spec.output == "probability" else f" in {spec.target_unit}" if spec.target_unit else ""
    return "\n\n".join(
        [
            "## What it takes and gives",
            _table(["feature", "kind", "unit or values", "missing in training"], rows),
            f"It gives {answer} `{spec.target}`{ending}. `features.json` says how a table becomes its input; missing "
            "values are allowed in every feature.",
        ]
    )


def _data(facts: Facts) -> str:
    sets = [
        [
            manifest.ref,
            manifest.owner,
            f"{manifest.rows:,}",
            manifest.licence or "not stated",
            f"`{digest.short(manifest.digest)}`",
        ]
        for manifest in facts.manifests
    ]
    parts = [
        [part, f"{about['rows']:,}", f"{about['groups']:,}", f"{about['target_mean']:.4g}"]
        for part, about in describe(facts.data).items()
    ]
    rule, columns = facts.request.role.split, facts.request.role.columns
    how = f"by time (`{columns.time}`), the latest rows for the test" if rule.by == "time" else "by whole groups"
    groups = [name for name in (columns.group, columns.episodes_of and f"resets of {columns.episodes_of}") if name]
    by = f" ({', '.join(groups)})" if groups and rule.by == "group" else ""
    left_out = facts.data.rows_without_target
    return "\n\n".join(
        [
            "## Data",
            _table(["dataset", "owner", "rows", "licence", "digest"], sets),
            f"Split {how}{by}, seed {rule.seed}; no group is in two parts."
            + (f" {left_out:,} row(s) without a target were left out." if left_out else ""),
            _table(["part", "rows", "groups", "mean of target"], parts),
        ]
    )


def _making(facts: Facts) -> str:
    request, train, training = facts.request, facts.request.train, facts.training
    processes = f"{train.strategy}, {request.resources.world_size} process(es)"
    course = f"{training['epochs']} epochs, {training['steps']} steps; weights of epoch {training['best_epoch']}"
    rows = [
        ["recipe", f"{request.recipe.name} {request.recipe.version}, `{request.recipe.digest}`"],
        ["request (identity)", f"`{request.identity}`"],
        ["run", facts.run_id],
        ["parameters of the task", ", ".join(f"{name} = {value}" for name, value in request.params.items())],
        ["strategy", f"{processes}, batch {train.batch_size}, {train.precision}"],
        ["optimizer settings", f"learning rate {train.learning_rate:g}, weight decay {train.weight_decay:g}"],
        ["trained", course],
        ["weights", f"{training['parameters']:,} numbers, tensor digest `{facts.tensor_digest}`"],
        ["determinism", ", ".join(f"{name} {value}" for name, value in facts.determinism.items())],
    ]
    if facts.onnx_difference is not None:
        rows.append(["ONNX", f"differs from torch by at most {facts.onnx_difference:.1e} on the test rows"])
    return "## How it was made\n\n" + _table(["what", "value"], rows)


def _cost(facts: Facts) -> str:
    names = {
        "train_seconds": "training [s]",
        "wall_seconds": "this attempt [s]",
        "core_h": "core-hours",
        "gpu_h": "GPU-hours",
        "peak_memory_mb": "peak memory of rank 0 [MB]",
    }
    rows = [[text, f"{facts.cost[name]:.4g}"] for name, text in names.items() if name in facts.cost]
    return "## Cost\n\n" + _table(["what", "value"], rows)


def _limits(facts: Facts) -> str:
    spec = facts.data.spec
    ranges = [
        f"- `{seen.name}`: {seen.edges[0]:.6g} to {seen.edges[-1]:.6g} {seen.unit or ''}".rstrip()
        for seen in spec.numeric
        if seen.edges
    ]
    return "\n".join(
        [
            "## Limits",
            "",
            "The figures hold for machines and conditions like those of the test part. Outside the ranges seen in "
            "training the model is not to be trusted:",
            "",
            *ranges,
            "",
            "It predicts; it does not explain, and no safety function may rest on it alone.",
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
