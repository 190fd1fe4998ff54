"""Data meets a recipe: which columns a model reads, and where a dataset breaks the contract of its role."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from forgia import units
from forgia.data_contract import Contract, DataRole
from forgia.dataset.dataset import Dataset
from forgia.errors import ForgiaError, Problem
from forgia.paths import HomePaths
from forgia.recipe import RecipeFolder
from forgia.store import read_json
from forgia.vocabulary import Vocabulary

FEATURE_KINDS = {"number": "numeric", "category": "categorical", "boolean": "categorical"}
"""Kind of a contract's column → how a model reads it."""


def open_datasets(
    folder: RecipeFolder, role: str, refs: Sequence[str], *, home: HomePaths
) -> tuple[list[Dataset], list[Problem]]:
    """The datasets bound to a role, and a problem for each that is not there."""
    place = ("data", role, "dataset")
    if not refs:
        return [], [folder.problem(place, "no data is bound; name a dataset (forgia dataset list)")]
    found, problems = [], []
    for ref in refs:
        try:
            found.append(Dataset.open(home, ref))
        except ForgiaError as error:
            problems.append(folder.problem(place, error.message))
    return found, problems


def problems(folder: RecipeFolder, role: str, binding: DataRole, item: Dataset) -> list[Problem]:
    """Where a dataset does not keep the role's contract."""
    found = []
    known = {column.name: column for column in item.manifest.columns}
    for index, wanted in enumerate(binding.contract.columns):
        place = ("data", role, "contract", "columns", index, "concept")
        column = known.get(wanted.concept)
        if column is None and wanted.required:
            text = f"dataset {item.ref} has no column bound to {wanted.concept}; it has: {', '.join(known)}"
            if wanted.role == "group":
                text += f"; where each file is one, add them with --file-column {wanted.concept}"
            found.append(folder.problem(place, text))
        elif column and not kinds_agree(wanted.kind, column.kind):
            text = f"dataset {item.ref}: {wanted.concept} is {column.kind}, the contract wants {wanted.kind}"
            found.append(folder.problem(place, text))
        elif column and wanted.required and column.nulls == item.manifest.rows:
            text = f"dataset {item.ref}: {wanted.concept} has no value in any of its {item.manifest.rows:,} rows"
            found.append(folder.problem(place, text))
    times = [column.concept for column in binding.contract.columns if column.role == "time"]
    if binding.contract.samples.kind == "windows" and not any(name in known for name in times):
        text = f"dataset {item.ref} has no column bound to {' or '.join(times)}, by which rows are ordered"
        found.append(folder.problem(("data", role, "contract", "columns"), text))
    return found


def kinds_agree(wanted: str, found: str) -> bool:
    """A category may be written as text or as a boolean; everything else is what it is."""
    return (
        wanted == found
        or (wanted == "category" and found in ("text", "boolean"))
        or (wanted == "text" and found == "category")
    )


def chosen_columns(binding: DataRole, datasets: Sequence[Dataset], vocabulary: Vocabulary) -> dict[str, Any]:
    """Which columns the model reads, and what the others are for."""
    contract = binding.contract
    present = {column.name for item in datasets for column in item.manifest.columns}
    features: dict[str, list[str]] = {"numeric": [], "categorical": []}
    for column in contract.columns:
        if column.role == "feature" and column.concept in present and column.kind in FEATURE_KINDS:
            features[FEATURE_KINDS[column.kind]].append(column.concept)
    if contract.extra_features:
        features["numeric"] += extra_measurements(binding, datasets, vocabulary)
    named = {role: bound_column(contract, role, present) for role in ("target", "group", "time")}
    named["target"] = named["target"] or next(c.concept for c in contract.columns if c.role == "target")
    episodes = contract.split.episodes_of
    derived = [
        {"name": item.name, "operation": item.operation, "of": list(item.of)}
        for item in contract.derived
        if set(item.of) <= set(features["numeric"])
    ]
    ahead = [column.concept for column in contract.columns if column.ahead and column.concept in features["numeric"]]
    found = {**features, "derived": derived, **named, "episodes_of": episodes if episodes in present else None}
    beside = {
        "ahead": ahead,
        "part": bound_column(contract, "part", present),
        "image": next((c.concept for c in contract.columns if c.kind == "image" and c.concept in present), None),
        "conditions": settings_columns(contract, datasets, features["numeric"]),
    }
    return {**found, **{name: value for name, value in beside.items() if value}}


def bound_column(contract: Contract, role: str, present: Collection[str]) -> str | None:
    """The first of the contract's columns for this that a dataset has."""
    named = (column.concept for column in contract.columns if column.role == role)
    return next((name for name in named if name in present), None)


def settings_columns(contract: Contract, datasets: Sequence[Dataset], features: Collection[str]) -> list[str]:
    """The features bound to the concept whose columns are a machine's settings, in the order of the data."""
    columns = (column for item in datasets for column in item.manifest.columns)
    settings = (c.name for c in columns if contract.conditions and c.concept == contract.conditions)
    return list(dict.fromkeys(name for name in settings if name in features))


def extra_measurements(binding: DataRole, datasets: Sequence[Dataset], vocabulary: Vocabulary) -> list[str]:
    """Numbers the contract does not name, which every dataset has and the vocabulary calls measurements: never a
    label, an identifier or a counter, through which the answer could leak. Where the contract takes all numbers, those
    kept without a concept, too."""
    shared = set.intersection(*({column.name for column in item.manifest.columns} for item in datasets))
    return [name for name in measurements(binding, datasets[0], vocabulary) if name in shared]


def measurements(binding: DataRole, item: Dataset, vocabulary: Vocabulary) -> list[str]:
    """The numbers of a dataset that the contract does not name and would learn from, did every other one have them."""
    takes_unknown = binding.contract.extra_features == "numbers"
    named = {column.concept for column in binding.contract.columns}
    return [
        column.name
        for column in item.manifest.columns
        if column.kind == "number" and column.concept not in named
        if (vocabulary.concepts[column.concept].role == "measurement" if column.concept else takes_unknown)
    ]


def left_out(binding: DataRole, datasets: Sequence[Dataset], vocabulary: Vocabulary) -> dict[str, tuple[str, ...]]:
    """Measurements that are not learnt from because a dataset lacks them → the datasets that do."""
    if not binding.contract.extra_features:
        return {}
    able = dict.fromkeys(name for item in datasets for name in measurements(binding, item, vocabulary))
    lacking = {name: tuple(item.ref for item in datasets if item.manifest.column(name) is None) for name in able}
    return {name: refs for name, refs in lacking.items() if refs}


def data_request(binding: DataRole, datasets: Sequence[Dataset], columns: Mapping[str, Any]) -> dict[str, Any]:
    """The role as the request holds it."""
    unit_of = {column.name: column.unit for item in reversed(datasets) for column in item.manifest.columns}
    split = binding.contract.split
    rule = {"by": split.by, "fractions": list(split.fractions), "seed": split.seed}
    cap, target = binding.contract.cap, binding.contract.column("target")
    return {
        "datasets": [
            {"name": i.manifest.name, "version": i.manifest.version, "owner": i.manifest.owner, "digest": i.digest}
            for i in datasets
        ],
        "columns": dict(columns),
        "units": {name: unit_of[name] for name in [*columns["numeric"], columns["target"]] if unit_of.get(name)},
        "split": {**rule, "judge": split.judge} if split.by == "part" else rule,
        "samples": binding.contract.samples.model_dump(mode="json"),
        "output": binding.contract.output,
        "quantiles": list(binding.contract.quantiles),
        **({} if cap is None else {"cap": cap}),
        **({} if not target or target.normal is None else {"normal": target.normal}),
    }


def range_warnings(binding: DataRole, datasets: Sequence[Dataset]) -> Iterable[str]:
    """Values outside the contract's ranges: worth a look, no reason to stop."""
    for item in datasets:
        unit_of = {column.name: column.unit for column in item.manifest.columns}
        for wanted in binding.contract.columns:
            found, unit = extremes(item, wanted.concept), unit_of.get(wanted.concept) or ""
            if not found or not wanted.range:
                continue
            convert = units.conversion(wanted.unit, unit) if wanted.unit and unit else units.Conversion()
            low, high = sorted(convert(bound) for bound in wanted.range)
            if found[0] < low or found[1] > high:
                yield (
                    f"{item.ref}: {wanted.concept} runs from {found[0]:g} to {found[1]:g} {unit}, "
                    f"the contract expects {low:g} to {high:g}"
                )


def extremes(item: Dataset, name: str) -> tuple[float, float] | None:
    """Smallest and largest value of a column, from the dataset's profile."""
    if not item.paths.profile.is_file():
        return None
    columns = read_json(item.paths.profile).get("columns", [])
    found: dict[str, Any] = next((column for column in columns if column.get("name") == name), {})
    low, high = found.get("min"), found.get("max")
    return (low, high) if isinstance(low, int | float) and isinstance(high, int | float) else None
