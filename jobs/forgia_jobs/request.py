"""The request as the node reads it: what to train, on which data, how, and how to judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from forgia import digest, store
from forgia.errors import UserError
from forgia.features import Derivation, Output

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeFacts:
    """Which recipe, by name and by bytes."""

    name: str
    version: str
    digest: str
    task: str
    """``module:Class`` in the recipe's folder."""
    title: str = ""
    summary: str = ""
    licence: str = ""
    authors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """Which dataset version, by name and by bytes."""

    name: str
    version: int
    owner: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Parquet columns by what they are for."""

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    target: str
    group: str | None = None
    time: str | None = None
    episodes_of: str | None = None
    derived: tuple[Derivation, ...] = ()
    """Measurements made of two others, beside the numeric ones."""
    ahead: tuple[str, ...] = ()
    """Those of the numeric ones that are known in advance."""
    part: str | None = None
    """Says of a row which part it belongs to."""
    conditions: tuple[str, ...] = ()
    """Those of the numeric ones that are the settings of a machine."""
    texts: tuple[str, ...] = ()
    """What is read as text."""
    image: str | None = None
    """What is looked at; read apart from the others, for it is large."""

    @property
    def all(self) -> tuple[str, ...]:
        """Every column that is read, once, in a fixed order."""
        extra = (self.target, self.group, self.time, self.episodes_of, self.part)
        return tuple(dict.fromkeys([*self.numeric, *self.categorical, *self.texts, *(name for name in extra if name)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRule:
    """How rows part into train, validation and test."""

    by: str
    fractions: tuple[float, float, float]
    seed: int = 0
    judge: str = "every"
    """Of a test part that the data names: ``every`` sample, or the ``last`` of each group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """The data of one role of the recipe, pooled from one or more datasets."""

    name: str
    datasets: tuple[DatasetFacts, ...]
    columns: Columns
    units: Mapping[str, str | None]
    split: SplitRule
    samples: Mapping[str, Any] = field(default_factory=lambda: {"kind": "rows"})
    """What one sample is: its kind, and the numbers of that kind."""
    output: Output | None = None
    """What a model of it gives; None: what the target's type says."""
    quantiles: tuple[float, ...] = ()
    cap: float | None = None
    """A greater value of the target counts as this one."""
    normal: str | None = None
    """The class that means nothing is wrong."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Parameter → place on this node of the weights it names; known once they have been found there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepSpeed:
    """What only DeepSpeed asks."""

    stage: int = 2
    """0: nothing is sharded; 1: the optimizer's state; 2: gradients, too; 3: parameters, too."""
    offload: bool = False
    """Keep the optimizer's state in the memory of the host, and step there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """Differential privacy of the training samples."""

    kind: str
    noise: float
    clip: float = 1.0
    delta: float = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Settings of the training loop."""

    strategy: str = "ddp"
    epochs: int = 1
    max_steps: int | None = None
    batch_size: int = 256
    """Rows of one optimizer step, over all ranks and micro-batches together."""
    accumulate: int = 1
    """Micro-batches of one optimizer step."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    gradient_clip: float | None = None
    privacy: Privacy | None = None
    precision: str = "fp32"
    activation_checkpointing: bool = False
    compile: bool = False
    deepspeed: DeepSpeed = DeepSpeed()
    class_weights: str = "none"
    patience: int = 0
    """Epochs without a better figure before an early stop; 0: never stop early."""
    checkpoint_every: int = 200
    """Optimizer steps."""
    keep_checkpoints: int = 2
    """The newest ones; all are whole, and an older one stands in for a damaged one."""
    seed: int = 0
    determinism: str = "D1"
    collective_timeout_s: int = 1800
    preflight: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a model must reach to be released."""

    metric: str
    minimum: float | None = None
    baseline_margin: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """How the model is judged."""

    metrics: tuple[str, ...]
    primary: str
    baseline: str | tuple[str, ...] | None = None
    gate: Gate | None = None
    miss_cost: float | None = None
    """So many false alarms are as bad as one miss; None: the threshold has the greatest F1."""
    examples: int = 0
    """Misjudged images on the card."""

    @property
    def baselines(self) -> tuple[str, ...]:
        """What the model is held against, one after the other."""
        return (self.baseline,) if isinstance(self.baseline, str) else self.baseline or ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the scheduler was asked for."""

    nodes: int = 1
    tasks_per_node: int = 1
    gpus_per_node: int = 0
    cpus_per_task: int = 1
    memory_gb: float = 0.0
    walltime_s: int = 0
    """Of one attempt."""
    walltime_total_s: int = 0
    """Of all attempts together; 0: not limited."""
    attempts: Mapping[str, int] = field(default_factory=dict)
    """Cause of an end → how often the run goes on by itself after it; a cause that is missing is not limited."""

    @property
    def world_size(self) -> int:
        """Processes that train together."""
        return self.nodes * self.tasks_per_node


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """request.json, complete and unchanging; its digest is the run's identity."""

    identity: str
    recipe: RecipeFacts
    role: Role
    params: Mapping[str, Any]
    train: Train
    evaluate: Evaluate
    export: tuple[str, ...]
    resources: Resources
    environment: Mapping[str, Any]
    profile: Mapping[str, Any]
    weights: Mapping[str, str] = field(default_factory=dict)
    """Parameter → digest of the weights it names."""
    goes_on_from: Mapping[str, Any] | None = None
    """The ``run``, ``step`` and ``digest`` of the checkpoint that the training begins with."""
    test: bool = False
    """With the recipe's small test settings."""

    @property
    def given(self) -> dict[str, Any]:
        """The parameters as a task wants them: weights by their place on this node."""
        return {**self.params, **self.role.weights}


def load(path: Path) -> Request:
    """Read a request. Raises: UserError — not a request that this forgia can run."""
    value = store.read_json(path)
    if value.get("schema_version") != 1:
        raise UserError(f"{path}: schema version {value.get('schema_version')}; this forgia runs version 1")
    try:
        return Request(
            identity=digest.of_json(value),
            recipe=_known(RecipeFacts, value["recipe"]),
            role=role_of(value["data"]),
            params=value["params"],
            train=_train(value["train"]),
            evaluate=_evaluate(value["evaluate"]),
            export=tuple(value["export"]),
            resources=_known(Resources, value["resources"]),
            environment=value.get("environment", {}),
            profile=value.get("profile", {}),
            weights=value.get("weights", {}),
            goes_on_from=value.get("goes_on_from"),
            test=bool(value.get("test", False)),
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: not a request: {error}") from error


def _known(kind: type[T], value: Mapping[str, Any]) -> T:
    """An object of the fields it has; a newer forgia may write more."""
    names = {known.name for known in fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: tuple(item) if isinstance(item, list) else item for key, item in value.items() if key in names})


def role_of(data: Mapping[str, Any]) -> Role:
    """The one role of a request's data. Raises: UserError — there are more; KeyError, TypeError — not such a value."""
    if len(data) != 1:
        raise UserError(f"the request binds {len(data)} data roles ({', '.join(data)}); training reads one")
    (name, value), *_ = data.items()
    return Role(
        name=name,
        datasets=tuple(_known(DatasetFacts, item) for item in value["datasets"]),
        columns=_columns(value["columns"]),
        units=value.get("units", {}),
        split=_known(SplitRule, value["split"]),
        samples=value.get("samples", {"kind": "rows"}),
        output=value.get("output"),
        quantiles=tuple(value.get("quantiles", ())),
        cap=None if value.get("cap") is None else float(value["cap"]),
        normal=value.get("normal"),
    )


def _columns(value: Mapping[str, Any]) -> Columns:
    derived = tuple(_known(Derivation, item) for item in value.get("derived", ()))
    return replace(_known(Columns, {**value, "derived": ()}), derived=derived)


def _train(value: Mapping[str, Any]) -> Train:
    settings = _known(DeepSpeed, value.get("deepspeed") or {})
    privacy = _known(Privacy, value["privacy"]) if value.get("privacy") else None
    return _known(Train, {**value, "deepspeed": settings, "privacy": privacy})


def _evaluate(value: Mapping[str, Any]) -> Evaluate:
    gate = value.get("gate")
    return Evaluate(
        metrics=tuple(value["metrics"]),
        primary=value["primary"],
        baseline=tuple(known) if isinstance(known := value.get("baseline"), list) else known,
        gate=_known(Gate, gate) if gate else None,
        miss_cost=value.get("miss_cost"),
        examples=value.get("examples", 0),
    )
