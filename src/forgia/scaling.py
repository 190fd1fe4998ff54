"""How a recipe's speed grows with the processes that train it: the same steps at several sizes, side by side.

The runs are a sweep over sizes: their releases stay in their folders, and ``forgia sweep`` knows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from forgia import digest
from forgia.errors import UserError
from forgia.paths import HomePaths, RunPaths
from forgia.plan import Plan
from forgia.run import Journal, State, now
from forgia.store import read_lines
from forgia.sweep import Member, Sweep

SPEED = "speed"
"""Kind of the line of a run's metrics that says how fast it trained."""
SIZE = re.compile(r"(?P<nodes>[1-9]\d{0,4})x(?P<tasks>[1-9]\d{0,2})")
SIZES = ("1x1", "1x2", "1x4")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Size:
    """Nodes, and processes on each."""

    nodes: int
    tasks: int

    @property
    def world_size(self) -> int:
        """Processes in all."""
        return self.nodes * self.tasks

    def __str__(self) -> str:
        return f"{self.nodes}x{self.tasks}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """How fast one size was."""

    size: Size
    run_id: str
    state: State
    reason: str
    samples_per_s: float | None = None
    speedup: float | None = None
    """Over the smallest size."""
    efficiency: float | None = None
    """Speedup over how many times as many processes there are."""
    figures: Mapping[str, Any]
    """What else the run's meter says."""

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {**asdict(self), "size": str(self.size), "state": str(self.state), "figures": dict(self.figures)}


def parse(texts: Iterable[str]) -> tuple[Size, ...]:
    """Sizes as NODESxPROCESSES, the smallest first. Raises: UserError — all that are none."""
    found, wrong = set(), []
    for text in texts:
        match = SIZE.fullmatch(text)
        if match is None:
            wrong.append(text)
        else:
            found.add(Size(nodes=int(match["nodes"]), tasks=int(match["tasks"])))
    if wrong:
        raise UserError(f"{', '.join(wrong)}: write a size as NODESxPROCESSES, such as 2x4")
    return tuple(sorted(found, key=lambda size: (size.world_size, size.nodes)))


def settings(size: Size, *, steps: int, batch_size: int, is_weak: bool, has_gpus: bool) -> list[str]:
    """What a size changes of the recipe, as ``--set`` takes it.

    Args: batch_size — the recipe's own; is_weak — let it grow with the processes, so that each has as much to do.
    """
    rows = batch_size * size.world_size if is_weak else batch_size
    changes = {
        "resources.nodes": size.nodes,
        "resources.tasks_per_node": size.tasks,
        **({"resources.gpus_per_node": size.tasks} if has_gpus else {}),
        "train.max_steps": steps,
        "train.epochs": steps,  # enough of them, however few steps the data makes of one
        "train.patience": 0,
        "train.batch_size": rows,
        "evaluate.gate": "null",  # so few steps make no good model
    }
    return [f"{name}={value}" for name, value in changes.items()]


def as_sweep(plans: Sequence[Plan], run_ids: Sequence[str], sizes: Sequence[Size]) -> Sweep:
    """The runs as one thing that other commands know."""
    request = plans[0].request
    name = digest.hexadecimal(digest.of_json([plan.identity for plan in plans]))[:10]
    return Sweep(
        id=f"{request['recipe']['name'][:30]}-scaling-{name}",
        recipe=request["recipe"]["name"],
        version=request["recipe"]["version"],
        profile=request["profile"]["name"],
        scheduler=request["profile"]["scheduler"],
        primary=request["evaluate"]["primary"],
        is_lower_better=False,
        members=tuple(
            Member(
                run_id=run_id,
                identity=plan.identity,
                values={"resources.nodes": size.nodes, "resources.tasks_per_node": size.tasks},
            )
            for plan, run_id, size in zip(plans, run_ids, sizes, strict=True)
        ),
        created=now(),
        array_size=1,
    )


def speed_of(paths: RunPaths) -> Mapping[str, Any]:
    """What a run's meter said last; empty where it has said nothing."""
    lines = [line for line in read_lines(paths.metrics) if line.get("kind") == SPEED]
    return {key: value for key, value in (lines[-1] if lines else {}).items() if key not in ("kind", "progress")}


def points(home: HomePaths, sizes: Sequence[Size], run_ids: Sequence[str]) -> list[Point]:
    """How each size did, beside the smallest that has a speed."""
    found: list[Point] = []
    base: tuple[Size, float] | None = None
    for size, run_id in zip(sizes, run_ids, strict=True):
        status, figures = Journal(home.run(run_id)).status(), dict(speed_of(home.run(run_id)))
        rate = figures.pop("samples_per_s", None)
        if base is None and rate:
            base = size, rate
        speedup = rate / base[1] if base and rate else None
        growth = size.world_size / base[0].world_size if base else 1.0
        found.append(
            Point(
                size=size,
                run_id=run_id,
                state=status.state,
                reason=status.reason,
                samples_per_s=rate,
                speedup=speedup,
                efficiency=speedup / growth if speedup else None,
                figures=figures,
            )
        )
    return found
