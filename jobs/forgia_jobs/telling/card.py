"""The model card: what was trained, on what, how good it is, what it cost, and what it must not be used for.

Form: README.md with YAML front matter as Hugging Face's Hub reads it.
Source: https://huggingface.co/docs/hub/model-cards (2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from forgia import digest
from forgia.features import NumericFeature
from forgia_jobs.judging import baseline
from forgia_jobs.judging.evaluate import Judged
from forgia_jobs.samples.data import describe
from forgia_jobs.telling import card_classes, card_forecasts, card_text, card_windows
from forgia_jobs.telling.card_facts import Facts

TASKS = {"probability": "tabular-classification", "value": "tabular-regression", "tokens": "text-generation"} | {
    "classes": "image-classification",
    "quantiles": "time-series-forecasting",
    "score": "tabular-classification",
}
"""Kind of output → the Hub's name of the task."""
CAPTIONS = {
    "training.png": "Training loss and validation figure by epoch",
    "precision-recall.png": "Precision and recall on the test part; the points are at the chosen thresholds",
    "threshold.png": "What the threshold decides, on the test part",
    "calibration.png": "Probability said against share that was true, on the test part",
    "predicted-true.png": "Predicted against true values, on the test part",
    "fan.png": "Ten days of the test part as they were foretold, a horizon at a time",
    "by-step.png": "Pinball loss by the step ahead, on the test part",
    "confusion.png": "What was taken for what, on the test part",
    "escapes.png": "Defects that escape against good parts rejected, by threshold, on the test part",
    "misjudged.png": "Test images that were misjudged, the surest mistakes first",
}

COSTS = {
    "train_seconds": "training [s]",
    "wall_seconds": "this attempt [s]",
    "core_h": "core-hours",
    "gpu_h": "GPU-hours",
    "kwh": "energy [kWh]",
    "kwh_source": "energy is",
    "samples_per_s": "samples a second",
    "tokens_per_s": "tokens a second",
    "tflops": "TFLOP a second, forward and backward",
    "flop_utilisation": "share of what the GPUs could do",
    "data_wait_share": "share of time waiting for data",
    "collective_share": "share of time in collectives (of a few steps)",
    "host_memory_mb": "peak memory of a process [MB]",
    "gpu_memory_mb": "peak memory of a GPU [MB]",
}
"""Figure → its name on the card, in their order."""

OF_TEST = (
    "**Made with the recipe's small test settings (`--test`)**, its gate included: the figures say that it runs, not "
    "how good a model of this recipe is."
)
PRIVATE = (
    "whether one row was in the training part, as far as the weights go. Not hidden: what several rows of one machine "
    "have in common, the ranges and quantiles in features.json, the figures above and the threshold, which come from "
    "the rows themselves. The noise is of a pseudo-random generator, not a cryptographic one"
)


def render(facts: Facts) -> str:
    """The card's text."""
    recipe = facts.request.recipe
    sections = [
        f"# {recipe.title or recipe.name}",
        recipe.summary,
        OF_TEST if facts.request.test else "",
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
            "tags": ["forgia", *(["tabular"] if TASKS[spec.output].startswith("tabular") else []), recipe.name],
            "datasets": sorted({manifest.name for manifest in facts.manifests}),
            "metrics": list(facts.evaluation.model.test),
            "model-index": [{"name": recipe.name, "results": [{"task": kind, "dataset": sets, "metrics": values}]}],
        },
        sort_keys=False,
        allow_unicode=True,
    )


def _figures(facts: Facts) -> str:
    model, others = facts.evaluation.model, facts.evaluation.baselines
    head = ["figure", "model", *(others if len(others) > 1 else ["baseline"] * len(others))]
    asked = dict.fromkeys((*facts.request.evaluate.metrics, *model.test))
    rows = [
        [name.replace("_", " "), *(_known(judged.test.get(name)) for judged in (model, *others.values()))]
        for name in asked
    ]
    low, high = model.interval
    primary = facts.evaluation.primary.replace("_", " ")
    lines = [
        "## Figures on the test part",
        _table(head, rows),
        f"{facts.evaluation.unknown[0].upper()}{facts.evaluation.unknown[1:]}." if facts.evaluation.unknown else "",
        f"The model's {primary} over redrawn test groups, middle 90 %: {low:.3f} to {high:.3f}.",
        _decisions(facts, model, "The model"),
        _table(*card_classes.confusion(facts.data.spec, model)) if facts.data.spec.output == "classes" else "",
        card_classes.never_judged(facts.data) if facts.data.spec.output == "classes" else "",
    ]
    for name, other in others.items():
        told = f"Baseline: {baseline.describe(name)}, trained on the same rows and features."
        lines.append(f"{told} {_decisions(facts, other, 'It')}".rstrip())
    return "\n\n".join(line for line in lines if line)


def _known(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _decisions(facts: Facts, judged: Judged, who: str) -> str:
    if judged.threshold is None or judged.confusion is None:
        return ""
    cost = facts.request.evaluate.miss_cost
    rule = card_windows.threshold_rule(facts.data) if cost is None else f"least cost, {cost:g} false alarms a miss,"
    if facts.data.spec.output == "classes":
        return card_classes.decisions(facts.data.spec, judged, who=who, rule=f"{rule} on the validation part")
    count = judged.confusion
    found = f"{count['true_positive']} found, {count['false_negative']} missed, "
    is_any = count["true_positive"] + count["false_negative"] > 0
    return (
        f"{who} says yes from {judged.threshold:.3f} on ({rule} on the validation part): {found if is_any else ''}"
        f"{count['false_positive']} false alarms, {count['true_negative']} rightly passed."
    )


def feature_kind(feature: NumericFeature) -> str:
    """A number of the table, or how it is made of two."""
    return f"{feature.operation} of {', '.join(f'`{name}`' for name in feature.of)}" if feature.operation else "number"


def _pictures(facts: Facts) -> str:
    return "\n\n".join(f"![{CAPTIONS.get(plot.name, plot.stem)}](plots/{plot.name})" for plot in facts.plots)


def _inputs(facts: Facts) -> str:
    spec = facts.data.spec
    if spec.output == "tokens":
        return card_text.inputs(facts)
    if spec.samples["kind"] == "images":
        return card_classes.inputs(spec)
    if spec.output == "quantiles":
        head, columns, gives = card_forecasts.inputs(spec)
        return "\n\n".join(["## What it takes and gives", _table(head, columns), gives])
    rows = [
        [f"`{feature.name}`", feature_kind(feature), feature.unit or "", "yes" if feature.has_missing else "no"]
        for feature in spec.numeric
    ]
    rows += [[f"`{feature.name}`", "category", ", ".join(feature.categories[:8]), ""] for feature in spec.categorical]
    return "\n\n".join(
        [
            "## What it takes and gives",
            _table(["feature", "kind", "unit or values", "missing in training"], rows),
            f"It gives {card_windows.gives(spec)}. `features.json` says how a table becomes its input; missing "
            "values are allowed in every feature.",
            *([" ".join(card_windows.read_as(spec))] if spec.samples["kind"] == "windows" else []),
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
        [part, f"{about['rows']:,}", f"{about['groups']:,}", card_classes.answers(about)]
        for part, about in describe(facts.data).items()
    ]
    rule, columns = facts.request.role.split, facts.request.role.columns
    left_out = facts.data.left_out
    apart = card_forecasts.split() if facts.data.spec.output == "quantiles" else "no group is in two parts"
    heads = {"tokens": card_text.COLUMNS, "quantiles": card_forecasts.PARTS}
    names = heads.get(facts.data.spec.output) or card_classes.columns(facts.data.spec)
    return "\n\n".join(
        [
            "## Data",
            _table(["dataset", "owner", "rows", "licence", "digest"], sets),
            f"Split {card_windows.split(rule, columns)}, seed {rule.seed}; {apart}."
            + (f" {left_out:,} row(s) without a target were left out." if left_out else ""),
            _table(names, parts),
            *card_windows.tested(facts.data, columns),
            *facts.data.notes,
        ]
    )


def _making(facts: Facts) -> str:
    request, train, training = facts.request, facts.request.train, facts.training
    processes = f"{train.strategy}, {request.resources.world_size} process(es)"
    course = f"{training['epochs']} epochs, {training['steps']} steps; weights of epoch {training['best_epoch']}"
    if given := request.goes_on_from:
        course += f"; from step {given['step']} of run {given['run']} on"
    rows = [
        ["recipe", f"{request.recipe.name} {request.recipe.version}, `{request.recipe.digest}`"],
        ["request (identity)", f"`{request.identity}`"],
        ["run", facts.run_id],
        ["parameters of the task", ", ".join(f"{name} = {value}" for name, value in request.params.items())],
        ["strategy", f"{processes}, batch {train.batch_size}, {train.precision}"],
        ["optimizer settings", f"learning rate {train.learning_rate:g}, weight decay {train.weight_decay:g}"],
        ["trained", course],
        ["weights", f"{_count(training)}, tensor digest `{facts.tensor_digest}`"],
        ["determinism", ", ".join(f"{name} {value}" for name, value in facts.determinism.items())],
    ]
    if private := training.get("privacy"):
        told = f"ε = {private['epsilon']:.3g} at δ = {private['delta']:g}, noise {private['noise']:g}, clip"
        rows.append(["privacy", f"{told} {private['clip']:g}, samples drawn at a rate of {private['sample_rate']:.3g}"])
        rows.append(["what that hides", PRIVATE])
    if facts.onnx_difference is not None:
        rows.append(["ONNX", f"differs from torch by at most {facts.onnx_difference:.1e} on the test rows"])
    return "## How it was made\n\n" + _table(["what", "value"], rows)


def _count(training: Mapping[str, Any]) -> str:
    """How many numbers a network is made of, and how many of them were learnt where others came from elsewhere."""
    every, learnt = training["parameters"], training["learnt"]
    return f"{every:,} numbers" if every == learnt else f"{every:,} numbers, of which {learnt:,} learnt and kept here"


def _cost(facts: Facts) -> str:
    rows = [[text, _figure(facts.cost[name])] for name, text in COSTS.items() if name in facts.cost]
    return "## Cost\n\n" + _table(["what", "value"], rows)


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _limits(facts: Facts) -> str:
    spec = facts.data.spec
    if spec.output == "tokens":
        return card_text.limits(facts)
    if spec.samples["kind"] == "images":
        return card_classes.limits(spec)
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
