"""Recipes: what makes a problem reproducible, as its author writes it (``recipe.yaml``).

Machine-made counterpart: the request (``forgia.plan``), in which every default, dataset and digest is resolved.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, Field, model_validator

from forgia import document, units
from forgia import environment as environments
from forgia.document import Document
from forgia.errors import NotFound, Problem, nearest
from forgia.fields import Count, Duration, Name, Strict, Version, one_of
from forgia.vocabulary import Vocabulary

FILE_NAME = "recipe.yaml"
METRICS = (
    "f1", "precision", "recall", "average_precision", "roc_auc", "balanced_accuracy", "brier", "mae", "rmse", "r2",
)  # fmt: skip
"""What a recipe can ask to be measured; defined as scikit-learn defines the same names (rmse: root of its mse)."""
BASELINES = ("gradient-boosted-trees",)
STRATEGIES = ("ddp",)
FORMATS = ("safetensors", "onnx")


Metric = Annotated[str, one_of("metric", METRICS)]


class ContractColumn(Strict):
    """One column that a role's data brings, named by its concept in the shared vocabulary."""

    concept: str
    role: Literal["feature", "target", "group", "time", "identifier"] = "feature"
    kind: Literal["number", "category", "boolean", "text", "time"] = "number"
    unit: str | None = None
    required: bool = True
    range: tuple[float, float] | None = None
    """Values outside are a problem of the data, in the given unit."""
    categories: tuple[str, ...] | None = None


class Split(Strict):
    """How rows part into train, validation and test so that nothing leaks from one into another."""

    by: Literal["group", "time"] = "group"
    episodes_of: str | None = None
    """A counter: each of its resets begins a new group, where no group column is bound (and within one where it is)."""
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0

    @model_validator(mode="after")
    def _whole(self) -> Split:
        if any(part <= 0 for part in self.fractions) or abs(sum(self.fractions) - 1) > 1e-9:
            raise ValueError(f"fractions must be positive and add up to 1 (found {list(self.fractions)})")
        return self


class Derived(Strict):
    """A measurement made of two others: physics that a model need not find out by itself."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    difference: tuple[str, str] | None = None
    product: tuple[str, str] | None = None
    ratio: tuple[str, str] | None = None

    @model_validator(mode="after")
    def _one(self) -> Derived:
        if sum(pair is not None for pair in (self.difference, self.product, self.ratio)) != 1:
            raise ValueError("say exactly one of difference, product or ratio, with two concepts")
        return self

    @property
    def operation(self) -> str:
        """difference, product or ratio."""
        return next(name for name in ("difference", "product", "ratio") if getattr(self, name))

    @property
    def of(self) -> tuple[str, str]:
        """The two concepts."""
        pair: tuple[str, str] = getattr(self, self.operation)
        return pair


class Contract(Strict):
    """What data has to look like for the recipe to work on it."""

    columns: tuple[ContractColumn, ...]
    extra_features: bool = False
    """Also learn from measurements that the contract does not name, if every bound dataset has them."""
    derived: tuple[Derived, ...] = ()
    """Further features, made of the numbers above where the data has both; for the model and its baseline alike."""
    split: Split = Split()

    @model_validator(mode="after")
    def _coherent(self) -> Contract:
        counts = {role: sum(column.role == role for column in self.columns) for role in ("target", "group", "time")}
        if counts["target"] != 1:
            raise ValueError(f"exactly one column must have role: target (found {counts['target']})")
        twice = {c.concept for c in self.columns if sum(other.concept == c.concept for other in self.columns) > 1}
        if twice:
            raise ValueError(f"concept written twice: {', '.join(sorted(twice))}")
        numbers = {column.concept for column in self.columns if column.role == "feature" and column.kind == "number"}
        if strange := sorted({name for item in self.derived for name in item.of} - numbers):
            raise ValueError(f"derived features are made of numbers of role feature, not of {', '.join(strange)}")
        if self.split.by == "group" and not counts["group"] and not self.split.episodes_of:
            raise ValueError("split by group needs a column with role: group, or episodes_of")
        if self.split.by == "time" and not counts["time"]:
            raise ValueError("split by time needs a column with role: time")
        return self

    def column(self, role: str) -> ContractColumn | None:
        """The first column of a role."""
        return next((column for column in self.columns if column.role == role), None)


class DataRole(Strict):
    """A place in the recipe where data is bound."""

    dataset: str | tuple[str, ...] | None = None
    """One dataset or several to pool, by name or name@version; None: the sample."""
    sample: str | None = None
    """A generator of the catalogue, so that the recipe runs before any data is bound."""
    contract: Contract

    @property
    def bound(self) -> tuple[str, ...]:
        """The dataset references, in order."""
        return () if self.dataset is None else (self.dataset,) if isinstance(self.dataset, str) else self.dataset


class Parameter(Strict):
    """One knob of the task, with its meaning."""

    type: Literal["int", "float", "bool", "str"]
    default: int | float | bool | str
    help: str
    range: tuple[float, float] | None = None
    choices: tuple[int | float | str, ...] | None = None
    scale: Literal["linear", "log"] = "linear"
    """How a sweep spreads its values over the range."""

    @model_validator(mode="after")
    def _default_fits(self) -> Parameter:
        self.accept(self.default)
        if self.scale == "log" and (self.range is None or self.range[0] <= 0):
            raise ValueError("scale: log needs a range above 0")
        return self

    def accept(self, value: Any) -> int | float | bool | str:
        """The value in the declared type. Raises: ValueError — it does not fit, and why."""
        kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
        if not isinstance(value, kinds[self.type]) or (isinstance(value, bool) and self.type != "bool"):
            raise ValueError(f"expected {self.type}, found {value!r}")
        if self.range and isinstance(value, int | float) and not self.range[0] <= value <= self.range[1]:
            raise ValueError(f"{value!r} is outside {self.range[0]:g} to {self.range[1]:g}")
        if self.choices and value not in self.choices:
            raise ValueError(f"{value!r} is none of {', '.join(map(str, self.choices))}")
        accepted = cast("int | float | bool | str", value)
        return float(accepted) if self.type == "float" else accepted


class Train(Strict):
    """How the model is trained."""

    strategy: Annotated[str, one_of("strategy", STRATEGIES)] = "ddp"
    epochs: Count = 50
    max_steps: Count | None = None
    """Stop after this many optimizer steps, whatever the epoch."""
    batch_size: Count = 256
    """Rows in one optimizer step over all ranks together."""
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    gradient_clip: float | None = Field(default=1.0, gt=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    class_weights: Literal["none", "balanced"] = "none"
    patience: int = Field(default=0, ge=0)
    """Epochs without a better validation metric before an early stop; 0: never."""
    checkpoint_every: Count = 200
    """Optimizer steps between two checkpoints."""
    seed: int = Field(default=0, ge=0)
    preflight: bool = True
    """Look at every node for some seconds before the training, and go round a bad one."""
    determinism: Literal["D0", "D1"] = "D1"
    """D0: seeds are recorded. D1: the same request on the same layout gives the same tensors."""


class Attempts(Strict):
    """How often a run may go on by itself from its last checkpoint, by what ended the attempt before."""

    time_limit: int | None = Field(default=None, ge=0)
    """Reached the time limit. None: as often as the walltime needs where the queue allows less at a time, or 20."""
    preemption: int = Field(default=20, ge=0)
    """Gave way to a job of higher priority."""
    node_failure: int = Field(default=3, ge=0)


class Resources(Strict):
    """What the run asks of the cluster."""

    nodes: Count = 1
    gpus_per_node: int = Field(default=0, ge=0)
    tasks_per_node: Count | None = None
    """Processes on a node; default: one a GPU, or one."""
    cpus_per_task: Count = 1
    memory_gb: float = Field(default=4, gt=0)
    """On each node."""
    walltime: Duration = Field(default=3600, validate_default=False)
    """Of all attempts together; where the queue allows less at a time, the run is cut into a chain of attempts."""
    attempts: Attempts = Attempts()


class Gate(Strict):
    """What a model must reach to become a release."""

    metric: Metric
    minimum: float | None = None
    baseline_margin: float | None = None
    """How far below the baseline it may stay (above, for errors)."""


class Evaluate(Strict):
    """How the model is judged, on the test part only."""

    metrics: tuple[Metric, ...] = Field(min_length=1)
    primary: Metric
    baseline: Annotated[str, one_of("baseline", BASELINES)] | None = None
    gate: Gate | None = None

    @model_validator(mode="after")
    def _measured(self) -> Evaluate:
        for name in filter(None, (self.primary, self.gate and self.gate.metric)):
            if name not in self.metrics:
                raise ValueError(f"{name} is judged by but not listed in metrics")
        if self.gate and self.gate.baseline_margin is not None and not self.baseline:
            raise ValueError("gate.baseline_margin needs a baseline")
        return self


class Recipe(Strict):
    """A recipe.yaml."""

    schema_version: Literal[1]
    name: Name
    version: Version
    title: str
    summary: str
    licence: str = Field(min_length=1)
    """SPDX expression of the recipe's own code and text."""
    authors: tuple[str, ...] = ()
    data: dict[str, DataRole] = Field(min_length=1, max_length=1)
    """Role → data. One role for the tasks that exist; the format has room for more."""
    task: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*:[A-Za-z_]\w*$")]
    """``module:Class`` in the recipe's folder."""
    params: dict[str, Parameter] = Field(default_factory=dict)
    train: Train = Train()
    resources: Resources = Resources()
    test: dict[str, Any] = Field(default_factory=dict)
    """Dotted overrides that make a run small: what the catalogue's tests and ``--test`` use."""
    evaluate: Evaluate
    export: tuple[Annotated[str, one_of("format", FORMATS)], ...] = FORMATS
    environment: Annotated[str, AfterValidator(environments.checked)] = environments.CURRENT
    """``current``: the environment that forgia itself runs in; else a lock in the recipe's folder, or IMAGE@DIGEST."""


@dataclass(frozen=True, slots=True)
class RecipeFolder:
    """A recipe with the folder and the document it came from."""

    root: Path
    document: Document
    recipe: Recipe

    def problem(self, location: tuple[str | int, ...], message: str) -> Problem:
        """A problem at a field of recipe.yaml."""
        return self.document.problem(location, message)


def load(root: Path, vocabulary: Vocabulary) -> RecipeFolder:
    """Read a recipe folder. Raises: NotFound, UserError — with every problem at once, also of what it names."""
    path = root / FILE_NAME
    if not path.is_file():
        raise NotFound("recipe", str(root), hint=f"a recipe is a folder with a {FILE_NAME}")
    found = document.load(path)
    recipe, problems = document.check(found, Recipe)
    problems += task_problems(root, found) + concept_problems(found, vocabulary)
    problems += environments.lock_problems(root, str(found.value.get("environment", environments.CURRENT)))
    if problems or recipe is None:
        raise document.invalid(path, problems)
    return RecipeFolder(root, found, recipe)


def task_problems(root: Path, found: Document) -> list[Problem]:
    """What is wrong with the task's module, found by reading it; nothing of it is run."""
    module, _, name = str(found.value.get("task", "")).partition(":")
    if not (module.isidentifier() and name.isidentifier()):
        return []  # the format's own check speaks of it
    path = root / f"{module}.py"
    if not path.is_file():
        return [found.problem(("task",), f"no file {path.name} in {root}")]
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        return [Problem(str(path), getattr(error, "lineno", None), "", f"not Python: {getattr(error, 'msg', error)}")]
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    if name in classes:
        return []
    close = nearest(name, classes)
    return [
        found.problem(("task",), f"{path.name} has no class {name}" + (f"; did you mean {close[0]}?" if close else ""))
    ]


def concept_problems(found: Document, vocabulary: Vocabulary) -> list[Problem]:
    """Concepts that no vocabulary knows, and units that do not measure their concept; read from the raw document,
    so that they show beside the problems of the format."""
    problems = []
    for location, column in _written_columns(found.value):
        name, unit = column.get("concept"), column.get("unit")
        concept = vocabulary.concepts.get(name) if isinstance(name, str) else None
        if isinstance(name, str) and concept is None:
            close = nearest(name, vocabulary.concepts)
            text = f"did you mean {close[0]}?" if close else "forgia vocabulary list shows all"
            problems.append(found.problem((*location, "concept"), f"unknown concept {name!r}; {text}"))
        if concept and isinstance(unit, str) and not units.are_compatible(unit, concept.unit or units.DIMENSIONLESS):
            text = f"{unit!r} does not measure {name} (canonical unit: {concept.unit or 'none'})"
            problems.append(found.problem((*location, "unit"), text))
    return problems


def _written_columns(value: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    roles = value.get("data")
    for role, written in roles.items() if isinstance(roles, dict) else ():
        contract = written.get("contract") if isinstance(written, dict) else None
        columns = contract.get("columns") if isinstance(contract, dict) else None
        for index, column in enumerate(columns if isinstance(columns, list) else ()):
            if isinstance(column, dict):
                yield ("data", role, "contract", "columns", index), column


def json_schema() -> dict[str, Any]:
    """The format as JSON schema, for editors."""
    return {"$id": "urn:forgia:schema:recipe:1", **Recipe.model_json_schema()}
