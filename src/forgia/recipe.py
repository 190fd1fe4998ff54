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
from forgia.data_contract import DataRole, Images
from forgia.document import Document
from forgia.errors import NotFound, Problem, nearest
from forgia.fields import Count, Duration, Name, Strict, Version, one_of
from forgia.vocabulary import Vocabulary

FILE_NAME = "recipe.yaml"
METRICS = (
    "f1", "precision", "recall", "average_precision", "roc_auc", "balanced_accuracy", "brier", "mae", "rmse", "r2",
    "pinball", "coverage", "phm08", "false_alarm_rate", "missed_alarm_rate", "window_f1", "window_false_alarm_rate",
    "window_missed_alarm_rate", "perplexity", "exact_match", "answer_f1",
    "accuracy", "macro_f1", "escape_rate", "false_reject_rate",
)  # fmt: skip
"""What a recipe can ask to be measured; defined as scikit-learn defines the same names (rmse: root of its mse; pinball:
its mean_pinball_loss, the mean over all quantiles; coverage: share of the truth between the outermost quantiles;
phm08: the penalty of the prognostics challenge of 2008; alarm rates: shares of the normal and of the abnormal that were
called wrongly; window_: of windows that follow each other instead of rows; perplexity: exponential of the mean surprise
a token; exact_match and answer_f1: as SQuAD's, of questions answered; macro_f1: its f1_score with average="macro";
escape_rate: share of the defective that passed as normal; false_reject_rate: share of the normal that did not)."""
NEED_NORMAL = frozenset({"escape_rate", "false_reject_rate", "average_precision", "roc_auc"})
"""Figures of classes that hold one of them, the normal one, against all others together."""
BASELINES = ("gradient-boosted-trees", "seasonal-naive", "isolation-forest", "pca", "token-trigrams", "untrained")
STRATEGIES = ("ddp", "fsdp", "deepspeed", "ray")
FORMATS = ("safetensors", "onnx")


Metric = Annotated[str, one_of("metric", METRICS)]
Baseline = Annotated[str, one_of("baseline", BASELINES)]


class Parameter(Strict):
    """One knob of the task, with its meaning."""

    type: Literal["int", "float", "bool", "str", "weights"]
    """weights: a folder or file of safetensors on this machine and the nodes, known by its digest; empty: none."""
    default: int | float | bool | str
    help: str
    range: tuple[float, float] | None = None
    choices: tuple[int | float | str, ...] | None = None
    scale: Literal["linear", "log"] = "linear"
    """How a sweep spreads its values over the range."""
    files: tuple[str, ...] = ()
    """Of weights: what their folder must hold beside the tensors."""

    @model_validator(mode="after")
    def _default_fits(self) -> Parameter:
        self.accept(self.default)
        if self.scale == "log" and (self.range is None or self.range[0] <= 0):
            raise ValueError("scale: log needs a range above 0")
        return self

    def accept(self, value: Any) -> int | float | bool | str:
        """The value in the declared type. Raises: ValueError — it does not fit, and why."""
        kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
        kinds["weights"] = (str,)
        if not isinstance(value, kinds[self.type]) or (isinstance(value, bool) and self.type != "bool"):
            raise ValueError(f"expected {self.type}, found {value!r}")
        if self.range and isinstance(value, int | float) and not self.range[0] <= value <= self.range[1]:
            raise ValueError(f"{value!r} is outside {self.range[0]:g} to {self.range[1]:g}")
        if self.choices and value not in self.choices:
            raise ValueError(f"{value!r} is none of {', '.join(map(str, self.choices))}")
        accepted = cast("int | float | bool | str", value)
        return float(accepted) if self.type == "float" else accepted


class DeepSpeed(Strict):
    """What only strategy deepspeed asks; batch sizes, precision, clipping and optimizer are the recipe's own."""

    stage: Literal[0, 1, 2, 3] = 2
    """0: nothing is sharded; 1: the optimizer's state; 2: gradients, too; 3: parameters, too."""
    offload: bool = False
    """Keep the optimizer's state in the memory of the host, and step there: room on the GPU for time."""


class Privacy(Strict):
    """Differential privacy of the training samples: no single one of them can be read out of the weights.

    Source: Abadi et al.: Deep Learning with Differential Privacy, CCS 2016, https://arxiv.org/abs/1607.00133.
    """

    kind: Literal["dp"]
    noise: float = Field(gt=0)
    """Standard deviation of the noise that is added to the sum of the gradients, over ``clip``."""
    clip: float = Field(default=1.0, gt=0)
    """The greatest norm of one sample's gradient; it stands in for train.gradient_clip."""
    delta: float = Field(default=1e-5, gt=0, lt=1)
    """The probability with which epsilon does not hold; well below one over the number of samples."""


class Train(Strict):
    """How the model is trained."""

    strategy: Annotated[str, one_of("strategy", STRATEGIES)] = "ddp"
    epochs: Count = 50
    max_steps: Count | None = None
    """Stop after this many optimizer steps, whatever the epoch."""
    batch_size: Count = 256
    """Rows in one optimizer step over all ranks and micro-batches together."""
    accumulate: Count = 1
    """Micro-batches that one optimizer step is cut into, where its rows do not fit into memory at once."""
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    gradient_clip: float | None = Field(default=1.0, gt=0)
    privacy: Privacy | None = None
    """None: the weights may hold what single samples say."""
    precision: Literal["fp32", "bf16"] = "fp32"
    activation_checkpointing: bool = False
    """Compute each block twice rather than keep what its gradient needs; blocks are the members of ModuleLists."""
    compile: bool = False
    """Have torch compile the network's blocks; the first steps take minutes, the others less time."""
    deepspeed: DeepSpeed | None = None
    """Only with strategy deepspeed."""
    class_weights: Literal["none", "balanced"] = "none"
    patience: int = Field(default=0, ge=0)
    """Epochs without a better validation metric before an early stop; 0: never."""
    checkpoint_every: Count = 200
    """Optimizer steps between two checkpoints."""
    keep_checkpoints: Count = 2
    """So many of the newest; an older one stands in for one that a disk has damaged."""
    seed: int = Field(default=0, ge=0)
    collective_timeout_s: int = Field(default=1800, ge=10)
    """A rank that waits for the others for so long gives them up, and the job ends; seconds."""
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
    baseline: Baseline | tuple[Baseline, ...] | None = None
    """What the model is held against; of several, the one with the best primary figure."""
    miss_cost: float | None = Field(default=None, gt=0)
    """So many false alarms are as bad as one miss: the threshold is then the one that costs least on the validation
    part; default: the one with the greatest F1 there."""
    examples: int = Field(default=0, ge=0, le=64)
    """Misjudged images of the test part that are shown on the card, and so go where the model goes."""
    gate: Gate | None = None

    @model_validator(mode="after")
    def _measured(self) -> Evaluate:
        for name in filter(None, (self.primary, self.gate and self.gate.metric)):
            if name not in self.metrics:
                raise ValueError(f"{name} is judged by but not listed in metrics")
        if self.gate and self.gate.baseline_margin is not None and not self.baseline:
            raise ValueError("gate.baseline_margin needs a baseline")
        return self

    @property
    def baselines(self) -> tuple[str, ...]:
        """What the model is held against, one after the other."""
        return (self.baseline,) if isinstance(self.baseline, str) else self.baseline or ()


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

    @model_validator(mode="after")
    def _comparable(self) -> Recipe:
        wanting = sorted(NEED_NORMAL & set(self.evaluate.metrics))
        for name, role in self.data.items():
            target = role.contract.column("target")
            if wanting and isinstance(role.contract.samples, Images) and target and target.normal is None:
                text = f"say which class is the normal one: normal, at the target of data.{name}.contract"
                raise ValueError(f"evaluate.metrics: {', '.join(wanting)}: {text}")
        return self


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
        is_number = column.get("kind", "number") in ("number", "category", "boolean")
        if concept and concept.role == "label" and column.get("role", "feature") == "feature" and is_number:
            text = f"{name} is a label, which nobody has where an answer is wanted; it is no feature (role: identifier)"
            problems.append(found.problem((*location, "role"), text))
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
