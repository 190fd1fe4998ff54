"""Plans: a recipe, its data, a profile and the flags become a request with nothing left to decide.

The request's canonical JSON is the identity of the run: the same identity asked twice is the same run.
"""

from __future__ import annotations

import copy
import importlib.metadata
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from forgia import contract, digest, document, environment, fit, handover, lint, readiness, rehearsal, store, weights
from forgia.data_contract import DataRole
from forgia.dataset.dataset import Dataset
from forgia.document import CoreLoader, Document
from forgia.errors import ForgiaError, Problem, UserError, nearest
from forgia.paths import HomePaths, RunPaths
from forgia.profile import Profile, resolved
from forgia.recipe import Recipe, RecipeFolder
from forgia.vocabulary import Vocabulary

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A request, and what a person wants to know before sending it."""

    request: dict[str, Any]
    inputs: dict[str, str]
    """Digest of a dataset, or of weights → where it lies."""
    recipe_root: Path
    origins: Mapping[str, str]
    """Dotted field → flag, recipe, profile or default."""
    cost: fit.Cost
    tariff: fit.Tariff | None = None
    """What it asks of a budget; None: of none."""
    warnings: tuple[str, ...] = ()
    learnt: tuple[str, ...] = ()
    """Columns that are learnt from."""
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Measurement that is not learnt from → the datasets that lack it."""

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
    goes_on_from: RunPaths | None = None
    """The run whose newest checkpoint the training begins with."""


def resolve(
    folder: RecipeFolder, profile: Profile, *, home: HomePaths, vocabulary: Vocabulary, choice: Choice | None = None
) -> Plan:
    """Resolve everything. Raises: UserError — with every problem of the flags, the data and the fit to the cluster."""
    choice = choice or Choice()
    recipe, params, origins = overridden(folder, choice)
    role, binding = next(iter(recipe.data.items()))
    datasets, problems = contract.open_datasets(folder, role, choice.datasets.get(role) or binding.bound, home=home)
    problems += [problem for item in datasets for problem in contract.problems(folder, role, binding, item)]
    problems += fit.problems(folder, recipe, profile)
    params, places, wrong = pinned(recipe, params)
    problems += wrong
    if problems:
        raise document.invalid(folder.document.path, problems)
    columns = contract.chosen_columns(binding, datasets, vocabulary)
    told = look_at_parts(folder, role, binding, datasets, columns)
    request: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "recipe": {**described(recipe), "digest": digest.of_tree(folder.root)},
        "data": {role: contract.data_request(binding, datasets, columns)},
        "params": params,
        **({"test": True} if choice.test else {}),
        **({"weights": {name: params[name] for name in places}} if places else {}),
        "train": recipe.train.model_dump(mode="json"),
        "evaluate": recipe.evaluate.model_dump(mode="json"),
        "export": list(recipe.export),
        "resources": fit.resources_request(recipe, profile),
        "environment": environment.requested(recipe.environment, root=folder.root, python=profile.python),
        "profile": resolved(profile),
    }
    given = begin_with(choice.goes_on_from, request) if choice.goes_on_from else {}
    return Plan(
        request=request,
        inputs={item.digest: str(item.paths.root) for item in datasets}
        | {str(params[name]): str(place) for name, place in places.items()}
        | given,
        recipe_root=folder.root,
        origins=origins,
        cost=fit.cost_of(request["resources"], profile),
        tariff=fit.tariff_of(request["resources"], profile),
        warnings=(
            *contract.range_warnings(binding, datasets),
            *told,
            *fit.chain_warnings(recipe, profile),
            *cluster_warnings(recipe, profile, home),
            *([fit.NO_TRAINING] if fit.lacks_training(request["profile"], request["environment"]) else ()),
            *environment.warnings(request["environment"], root=folder.root, home=home),
        ),
        learnt=readiness.learnt(columns),
        left_out=contract.left_out(binding, datasets, vocabulary),
    )


def described(recipe: Recipe) -> dict[str, Any]:
    """What a request says of its recipe, beside the digest."""
    named = {key: getattr(recipe, key) for key in ("name", "version", "title", "summary", "licence", "task")}
    return {**named, "authors": list(recipe.authors)}


def begin_with(paths: RunPaths, request: dict[str, Any]) -> dict[str, str]:
    """Have a request go on from the newest checkpoint of a run; digest and place of it.

    Raises: UserError — the run has none to give, or the request learns something else than that run did.
    """
    found = handover.given(paths)
    if strange := list(handover.differences(store.read_json(paths.request), request)):
        raise UserError(
            f"the training of run {found.run_id} cannot go on so: {', '.join(strange)} differ(s)",
            hint="only how it is done may change, by --set: strategy, processes, resources, profile",
        )
    request[handover.KEY] = found.to_json()
    return {found.digest: str(found.place)}


def look_at_parts(
    folder: RecipeFolder, role: str, binding: DataRole, datasets: Sequence[Dataset], columns: dict[str, Any]
) -> list[str]:
    """What is to be said of how the data will be parted; a column of parts that names no test part is dropped.

    Raises: UserError — the data cannot be parted as the recipe asks.
    """
    outlook, told = readiness.look(binding, datasets, columns), []
    if binding.contract.split.by == "part" and readiness.names_no_test(outlook):
        told = [f"{columns.pop('part')} names no row of the test part: whole groups are parted, whatever it says"]
    if outlook and (problems := list(readiness.problems(folder, role, binding, columns, outlook))):
        raise document.invalid(folder.document.path, problems)
    found = rehearsal.rehearse(role, binding, datasets, columns)
    if found.refusal:
        raise document.invalid(folder.document.path, [folder.problem(("data", role, "contract"), found.refusal)])
    return [*told, *readiness.warnings(binding, datasets, columns, outlook), *found.warnings]


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
    for text in choice.sets:
        try:
            changes.append(("flag", *split_flag(text)))
        except ValueError as error:
            problems.append(Problem("--set", None, text, str(error)))
    for origin, key, item in changes:
        path = key if "." in key or key not in params else f"params.{key}"
        section, _, name = path.partition(".")
        origins[path] = origin
        if section == "params" and name in params:
            try:
                params[name] = folder.recipe.params[name].accept(item)
            except ValueError as error:
                problems.append(Problem("--set", None, path, str(error)))
        elif (section in ("train", "resources", "evaluate") and name) or is_data_field(path, folder.recipe):
            try:
                put(value, path.split("."), item)
            except ValueError as error:
                problems.append(Problem("--set", None, path, str(error)))
        else:
            problems.append(Problem("--set", None, path, unknown_field(key, folder.recipe)))
    recipe, wrong = document.check(Document(Path("--set"), value, {}), Recipe)
    problems += [Problem("--set", None, problem.field, problem.message) for problem in wrong]
    if problems or recipe is None:
        raise document.invalid(Path("--set"), problems)
    return recipe, params, origins


def pinned(recipe: Recipe, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Path], list[Problem]]:
    """The parameters with the digests of weights for their places, those places, and what is wrong with them."""
    found, places, problems = dict(params), {}, []
    for name in (name for name, known in recipe.params.items() if known.type == "weights" and params[name]):
        try:
            places[name] = weights.located(str(params[name]), needs=recipe.params[name].files)
            found[name] = weights.digest_of(places[name])
        except ForgiaError as error:
            hint = f"; {error.hint}" if error.hint else ""
            problems.append(Problem("--set", None, f"params.{name}", f"{error.message}{hint}"))
    return found, places, problems


def is_data_field(path: str, recipe: Recipe) -> bool:
    """A field below a role that the recipe has, such as ``data.machines.contract.split.seed``."""
    return any(path.startswith(f"data.{role}.") for role in recipe.data)


def written_fields(folder: RecipeFolder) -> Iterable[str]:
    """Dotted names of what the recipe's author wrote in the sections that have defaults."""
    for section in ("train", "resources", "evaluate"):
        written = folder.document.value.get(section)
        yield from (f"{section}.{name}" for name in (written if isinstance(written, dict) else {}))


def split_flag(text: str) -> tuple[str, Any]:
    """``train.epochs=5`` as a name and a YAML value. Raises: ValueError — no ``=``, or not YAML."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ValueError("write it as field=value, such as train.epochs=5")
    try:
        return key.strip(), yaml.load(value, Loader=CoreLoader)  # noqa: S506 — SafeLoader
    except yaml.YAMLError as error:
        raise ValueError("the value is not YAML") from error


def put(value: dict[str, Any], path: Sequence[str], item: Any) -> None:
    """Set a nested field, making the sections on the way; a column of a contract is named by its concept.

    Raises: ValueError — no column of that name, or a field of a list that has none.
    """
    section: Any = value
    for part in path[:-1]:
        section = _inside(section, part)
    if isinstance(section, list):
        raise ValueError(f"{path[-2]} is a list; it is set as a whole")
    section[path[-1]] = item


def _inside(section: Any, part: str) -> Any:
    if isinstance(section, list):
        columns = {column["concept"]: column for column in section if isinstance(column, dict) and "concept" in column}
        if part not in columns:
            raise ValueError(f"no column {part}; there are {', '.join(columns) or 'none'}")
        return columns[part]
    inner = section.setdefault(part, {})
    if not isinstance(inner, dict | list):
        section[part] = inner = {}
    return inner


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


def cluster_warnings(recipe: Recipe, profile: Profile, home: HomePaths) -> list[str]:
    """What had better be asked otherwise of this cluster, from this machine."""
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        torch = None
    return lint.warnings(
        fit.resources_request(recipe, profile),
        profile,
        home=home.root,
        variables=os.environ,
        machine=platform.machine(),
        torch=torch,
    )
