"""Plans: a recipe, its data, a profile and the flags become a request with nothing left to decide.

The request's canonical JSON is the identity of the run: the same identity asked twice is the same run.
"""

from __future__ import annotations

import copy
import importlib.metadata
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from forgia import digest, document, units
from forgia.dataset.dataset import Dataset
from forgia.document import CoreLoader, Document
from forgia.errors import ForgiaError, Problem, UserError, nearest
from forgia.fields import format_duration
from forgia.paths import HomePaths
from forgia.profile import Profile, resolved
from forgia.recipe import DataRole, Recipe, RecipeFolder
from forgia.store import read_json
from forgia.vocabulary import Vocabulary

SCHEMA_VERSION = 1
FEATURE_KINDS = {"number": "numeric", "category": "categorical", "boolean": "categorical"}
"""Kind of a contract's column → how a model reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The worst case: every process until the walltime."""

    gpu_h: float
    core_h: float
    units: float | None
    """In the site's own unit; None where the profile knows no billing."""
    unit: str | None
    kwh: float | None
    """An estimate from the profile's power figures; None where it has none."""
    eur: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A request, and what a person wants to know before sending it."""

    request: dict[str, Any]
    inputs: dict[str, str]
    """Dataset digest → folder on this machine."""
    recipe_root: Path
    origins: Mapping[str, str]
    """Dotted field → flag, recipe, profile or default."""
    cost: Cost
    warnings: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """The digest that names this request."""
        return digest.of_json(self.request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a person chose beside the recipe."""

    sets: Sequence[str] = ()
    """``field=value``, such as ``train.epochs=5`` or, for a parameter of the task, ``width=64``."""
    test: bool = False
    """Use the recipe's small test settings."""
    datasets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Role → dataset references, for roles that the recipe leaves unbound."""


def resolve(
    folder: RecipeFolder, profile: Profile, *, home: HomePaths, vocabulary: Vocabulary, choice: Choice | None = None
) -> Plan:
    """Resolve everything. Raises: UserError — with every problem of the flags, the data and the fit to the cluster."""
    choice = choice or Choice()
    recipe, params, origins = overridden(folder, choice)
    role, binding = next(iter(recipe.data.items()))
    datasets, problems = open_datasets(folder, role, choice.datasets.get(role) or binding.bound, home=home)
    problems += [problem for item in datasets for problem in contract_problems(folder, role, binding, item)]
    problems += fit_problems(folder, recipe, profile)
    if problems:
        raise document.invalid(folder.document.path, problems)
    columns = chosen_columns(binding, datasets, vocabulary)
    request = {
        "schema_version": SCHEMA_VERSION,
        "recipe": {
            **{key: getattr(recipe, key) for key in ("name", "version", "title", "summary", "licence", "task")},
            "authors": list(recipe.authors),
            "digest": digest.of_tree(folder.root),
        },
        "data": {role: data_request(binding, datasets, columns)},
        "params": params,
        "train": recipe.train.model_dump(mode="json"),
        "evaluate": recipe.evaluate.model_dump(mode="json"),
        "export": list(recipe.export),
        "resources": resources_request(recipe),
        "environment": current_environment(),
        "profile": resolved(profile),
    }
    return Plan(
        request=request,
        inputs={item.digest: str(item.paths.root) for item in datasets},
        recipe_root=folder.root,
        origins=origins,
        cost=cost_of(resources_request(recipe), profile),
        warnings=tuple(range_warnings(binding, datasets)),
    )


# What was written and what was flagged


def overridden(folder: RecipeFolder, choice: Choice) -> tuple[Recipe, dict[str, Any], dict[str, str]]:
    """The recipe with test settings and flags laid over it, the task's parameters, and where each value came from.

    Raises: UserError — unknown fields or values that do not fit, all at once.
    """
    value = copy.deepcopy(folder.document.value)
    params = {name: parameter.accept(parameter.default) for name, parameter in folder.recipe.params.items()}
    origins = {**dict.fromkeys(written_fields(folder), "recipe"), **{f"params.{name}": "recipe" for name in params}}
    problems: list[Problem] = []
    changes = [("recipe test", key, item) for key, item in folder.recipe.test.items() if choice.test]
    changes += [("flag", *split_flag(text)) for text in choice.sets]
    for origin, key, item in changes:
        path = key if "." in key or key not in params else f"params.{key}"
        section, _, name = path.partition(".")
        origins[path] = origin
        if section == "params" and name in params:
            try:
                params[name] = folder.recipe.params[name].accept(item)
            except ValueError as error:
                problems.append(Problem("--set", None, path, str(error)))
        elif section in ("train", "resources", "evaluate") and name:
            put(value, path.split("."), item)
        else:
            problems.append(Problem("--set", None, path, unknown_field(key, folder.recipe)))
    recipe, wrong = document.check(Document(Path("--set"), value, {}), Recipe)
    problems += [Problem("--set", None, problem.field, problem.message) for problem in wrong]
    if problems or recipe is None:
        raise document.invalid(Path("--set"), problems)
    return recipe, params, origins


def written_fields(folder: RecipeFolder) -> Iterable[str]:
    """Dotted names of what the recipe's author wrote in the sections that have defaults."""
    for section in ("train", "resources", "evaluate"):
        written = folder.document.value.get(section)
        yield from (f"{section}.{name}" for name in (written if isinstance(written, dict) else {}))


def split_flag(text: str) -> tuple[str, Any]:
    """``train.epochs=5`` as a name and a YAML value. Raises: UserError — no ``=``."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise UserError(f"--set {text}: write it as field=value, such as train.epochs=5")
    try:
        return key.strip(), yaml.load(value, Loader=CoreLoader)  # noqa: S506 — SafeLoader
    except yaml.YAMLError as error:
        raise UserError(f"--set {text}: the value is not YAML") from error


def put(value: dict[str, Any], path: Sequence[str], item: Any) -> None:
    """Set a nested field, making the sections on the way."""
    for part in path[:-1]:
        section = value.setdefault(part, {})
        if not isinstance(section, dict):
            value[part] = section = {}
        value = section
    value[path[-1]] = item


def unknown_field(key: str, recipe: Recipe) -> str:
    """What to say of a field that cannot be set."""
    sections = {"train": recipe.train, "resources": recipe.resources, "evaluate": recipe.evaluate}
    known = [f"{name}.{inner}" for name, model in sections.items() for inner in type(model).model_fields]
    known += [*recipe.params, *(f"params.{name}" for name in recipe.params)]
    close = nearest(key, known)
    return (
        f"cannot be set; did you mean {close[0]}?"
        if close
        else f"cannot be set; parameters: {', '.join(recipe.params)}"
    )


# Data


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


def contract_problems(folder: RecipeFolder, role: str, binding: DataRole, item: Dataset) -> list[Problem]:
    """Where a dataset does not keep the role's contract."""
    problems = []
    known = {column.name: column for column in item.manifest.columns}
    for index, wanted in enumerate(binding.contract.columns):
        place = ("data", role, "contract", "columns", index, "concept")
        column = known.get(wanted.concept)
        if column is None and wanted.required:
            text = f"dataset {item.ref} has no column bound to {wanted.concept}; it has: {', '.join(known)}"
            problems.append(folder.problem(place, text))
        elif column and not kinds_agree(wanted.kind, column.kind):
            text = f"dataset {item.ref}: {wanted.concept} is {column.kind}, the contract wants {wanted.kind}"
            problems.append(folder.problem(place, text))
    return problems


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
    by_role = {role: contract.column(role) for role in ("target", "group", "time")}
    named = {role: column.concept if column and column.concept in present else None for role, column in by_role.items()}
    episodes = contract.split.episodes_of
    return {**features, **named, "episodes_of": episodes if episodes in present else None}


def extra_measurements(binding: DataRole, datasets: Sequence[Dataset], vocabulary: Vocabulary) -> list[str]:
    """Numbers the contract does not name, which every dataset has and the vocabulary calls measurements: never a
    label, an identifier or a counter, through which the answer could leak."""
    named = {column.concept for column in binding.contract.columns}
    shared = set.intersection(*({column.name for column in item.manifest.columns} for item in datasets))
    return [
        column.name
        for column in datasets[0].manifest.columns
        if column.name in shared and column.kind == "number" and column.concept and column.concept not in named
        if vocabulary.concepts[column.concept].role == "measurement"
    ]


def data_request(binding: DataRole, datasets: Sequence[Dataset], columns: Mapping[str, Any]) -> dict[str, Any]:
    """The role as the request holds it."""
    unit_of = {column.name: column.unit for item in reversed(datasets) for column in item.manifest.columns}
    split = binding.contract.split
    return {
        "datasets": [
            {"name": i.manifest.name, "version": i.manifest.version, "owner": i.manifest.owner, "digest": i.digest}
            for i in datasets
        ],
        "columns": dict(columns),
        "units": {name: unit_of[name] for name in columns["numeric"] if unit_of.get(name)},
        "split": {"by": split.by, "fractions": list(split.fractions), "seed": split.seed},
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


# The cluster


def resources_request(recipe: Recipe) -> dict[str, Any]:
    """Resources with their defaults filled in."""
    wanted = recipe.resources
    return {
        "nodes": wanted.nodes,
        "tasks_per_node": wanted.tasks_per_node or max(wanted.gpus_per_node, 1),
        "gpus_per_node": wanted.gpus_per_node,
        "cpus_per_task": wanted.cpus_per_task,
        "memory_gb": wanted.memory_gb,
        "walltime_s": wanted.walltime,
    }


def fit_problems(folder: RecipeFolder, recipe: Recipe, profile: Profile) -> list[Problem]:
    """Where the request does not fit the cluster; each with the limit and the remedy."""
    wanted = resources_request(recipe)
    cores, gpus = wanted["tasks_per_node"] * wanted["cpus_per_task"], wanted["gpus_per_node"]
    limits = profile.limits
    have = profile.gpu.per_node if profile.gpu else 0
    memory_mb, node_mb = wanted["memory_gb"] * 1024, profile.memory_mb_per_node
    checks: list[tuple[str, bool, str]] = [
        ("gpus_per_node", gpus > have and profile.scheduler == "slurm", f"{gpus}, but {{}} has {have} GPUs a node"),
        ("nodes", profile.scheduler == "local" and wanted["nodes"] > 1, f"{wanted['nodes']}, but {{}} is one machine"),
        (
            "nodes",
            bool(limits.nodes and wanted["nodes"] > limits.nodes),
            f"{wanted['nodes']}, {{}} allows {limits.nodes}",
        ),
        (
            "walltime",
            bool(limits.walltime and wanted["walltime_s"] > limits.walltime),
            f"{format_duration(wanted['walltime_s'])}, {{}} allows {format_duration(limits.walltime or 0)}",
        ),
        (
            "cpus_per_task",
            bool(profile.cpus_per_node and cores > profile.cpus_per_node),
            f"{cores} cores a node in all, {{}} has {profile.cpus_per_node}",
        ),
        ("memory_gb", bool(node_mb and memory_mb > node_mb), f"{memory_mb:.0f} MB a node, {{}} has {node_mb}"),
    ]
    problems = [
        folder.problem(
            ("resources", name), f"{text.format(f'profile {profile.name}')}; lower it or choose another profile"
        )
        for name, wrong, text in checks
        if wrong
    ]
    if profile.account_required and not profile.account:
        text = f"profile {profile.name} needs an account; pass --account NAME"
        problems.append(Problem(profile.name, None, "account", text))
    return problems


def cost_of(resources: Mapping[str, Any], profile: Profile) -> Cost:
    """The worst case in GPU-hours, core-hours, the site's unit, kWh and euro; what is not known stays None."""
    hours = resources["walltime_s"] / 3600
    cores = resources["tasks_per_node"] * resources["cpus_per_task"] * resources["nodes"]
    gpus = resources["gpus_per_node"] * resources["nodes"]
    memory_gb = resources["memory_gb"] * resources["nodes"]
    billing, gpu = profile.billing, profile.gpu
    units = None
    if billing:
        units = hours * max(billing.per_core * cores, billing.per_gpu * gpus, billing.per_gb * memory_gb)
    watts = None
    if profile.cpu_watts_per_core is not None and (not gpus or (gpu and gpu.watts)):
        watts = cores * profile.cpu_watts_per_core + gpus * (gpu.watts or 0 if gpu else 0)
    return Cost(
        gpu_h=gpus * hours,
        core_h=cores * hours,
        units=units,
        unit=billing.unit if billing else None,
        kwh=watts * hours / 1000 if watts is not None else None,
        eur=units * billing.eur_per_unit
        if billing and units is not None and billing.eur_per_unit is not None
        else None,
    )


def current_environment() -> dict[str, Any]:
    """The Python environment that runs forgia, named by the digest of its distributions and versions."""
    found = {
        (item.metadata["Name"].lower().replace("_", "-"), item.version) for item in importlib.metadata.distributions()
    }
    names = sorted(found)
    return {
        "kind": "current",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "digest": digest.of_json([list(pair) for pair in names]),
    }
