"""The request as the node reads it: what to train, on which data, how, and how to judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from forgia import digest, store
from forgia.errors import UserError
from forgia.features import Derivation

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

    @property
    def all(self) -> tuple[str, ...]:
        """Every column that is read, once, in a fixed order."""
        extra = (self.target, self.group, self.time, self.episodes_of)
        return tuple(dict.fromkeys([*self.numeric, *self.categorical, *(name for name in extra if name)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRule:
    """How rows part into train, validation and test."""

    by: str
    fractions: tuple[float, float, float]
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """The data of one role of the recipe, pooled from one or more datasets."""

    name: str
    datasets: tuple[DatasetFacts, ...]
    columns: Columns
    units: Mapping[str, str | None]
    split: SplitRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Settings of the training loop."""

    strategy: str = "ddp"
    epochs: int = 1
    max_steps: int | None = None
    batch_size: int = 256
    """Rows of all ranks together."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    gradient_clip: float | None = None
    precision: str = "fp32"
    class_weights: str = "none"
    patience: int = 0
    """Epochs without a better figure before an early stop; 0: never stop early."""
    checkpoint_every: int = 200
    """Optimizer steps."""
    seed: int = 0
    determinism: str = "D1"
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
    baseline: str | None = None
    gate: Gate | None = None


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


def load(path: Path) -> Request:
    """Read a request. Raises: UserError — not a request that this forgia can run."""
    value = store.read_json(path)
    if value.get("schema_version") != 1:
        raise UserError(f"{path}: schema version {value.get('schema_version')}; this forgia runs version 1")
    try:
        return Request(
            identity=digest.of_json(value),
            recipe=_known(RecipeFacts, value["recipe"]),
            role=_role(value["data"]),
            params=value["params"],
            train=_known(Train, value["train"]),
            evaluate=_evaluate(value["evaluate"]),
            export=tuple(value["export"]),
            resources=_known(Resources, value["resources"]),
            environment=value.get("environment", {}),
            profile=value.get("profile", {}),
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: not a request: {error}") from error


def _known(kind: type[T], value: Mapping[str, Any]) -> T:
    """An object of the fields it has; a newer forgia may write more."""
    names = {known.name for known in fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: tuple(item) if isinstance(item, list) else item for key, item in value.items() if key in names})


def _role(data: Mapping[str, Any]) -> Role:
    if len(data) != 1:
        raise UserError(f"the request binds {len(data)} data roles ({', '.join(data)}); training reads one")
    (name, value), *_ = data.items()
    return Role(
        name=name,
        datasets=tuple(_known(DatasetFacts, item) for item in value["datasets"]),
        columns=_columns(value["columns"]),
        units=value.get("units", {}),
        split=_known(SplitRule, value["split"]),
    )


def _columns(value: Mapping[str, Any]) -> Columns:
    derived = tuple(_known(Derivation, item) for item in value.get("derived", ()))
    return replace(_known(Columns, {**value, "derived": ()}), derived=derived)


def _evaluate(value: Mapping[str, Any]) -> Evaluate:
    gate = value.get("gate")
    return Evaluate(
        metrics=tuple(value["metrics"]),
        primary=value["primary"],
        baseline=value.get("baseline"),
        gate=_known(Gate, gate) if gate else None,
    )
